"""MyGrad: tensors with ``backward``; its memory guard off, as its manual advises for speed."""

from __future__ import annotations

from typing import Any

import mygrad as mg
from mygrad.nnet import relu, sigmoid, softmax_crossentropy

from .libraries import Training
from .workloads import LEARNING_RATE, Array, Problem


def training(problem: Problem) -> Training:
    mg.turn_memory_guarding_off()
    parameters = [mg.tensor(array) for array in problem.copies()]
    *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
    activation = {"sigmoid": sigmoid, "relu": relu}[problem.workload.activation]

    def step(x: Array, labels: Array) -> Any:
        z: Any = x
        for W, b in hidden:
            z = activation(z @ W + b)
        loss = softmax_crossentropy(z @ last_W + last_b, labels)
        loss.backward()
        for parameter in parameters:
            parameter.data -= LEARNING_RATE * parameter.grad
        return loss

    return Training(step, problem.batches, lambda: [p.data for p in parameters])
