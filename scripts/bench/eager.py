"""tinygrad_np, its graph built anew at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinygrad_np as tg

from .libraries import Training
from .workloads import LEARNING_RATE, Array, Problem


def training(problem: Problem) -> Training:
    return prepare(problem, lambda step: step)


def prepare(problem: Problem, wrap: Callable[[Any], Any]) -> Training:
    """The network as tensor expressions, its training step passed through ``wrap``."""
    parameters = [tg.Tensor(array, requires_grad=True) for array in problem.copies()]
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    (last_W, last_b), hidden = layers[-1], layers[:-1]
    activation = {"sigmoid": tg.sigmoid, "relu": tg.relu}[problem.workload.activation]
    optimizer = tg.optim.SGD(parameters, LEARNING_RATE)

    def step(x: Array, labels: Array) -> tg.Tensor:
        z: Any = x
        for W, b in hidden:
            z = activation(z @ W + b)
        loss = tg.softmax_cross_entropy(z @ last_W + last_b, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Training(wrap(step), problem.batches, lambda: [p.data for p in parameters])
