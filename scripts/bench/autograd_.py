"""HIPS autograd: gradients of a function written in its NumPy."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad

from .libraries import Training
from .workloads import LEARNING_RATE, Array, Problem


def training(problem: Problem) -> Training:
    parameters = problem.copies()
    sigmoid = problem.workload.activation == "sigmoid"
    n = problem.workload.batch
    rows = np.arange(n)

    def loss_of(parameters: list[Any], x: Array, labels: Array) -> Any:
        *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
        z: Any = x
        for W, b in hidden:
            z = z @ W + b
            z = 1 / (1 + anp.exp(-z)) if sigmoid else anp.maximum(z, 0)
        logits = z @ last_W + last_b
        shifted = logits - anp.max(logits, axis=1, keepdims=True)
        total = anp.sum(anp.exp(shifted), axis=1)
        # The sum and a division: its mean turns float32 gradients to float64.
        return anp.sum(anp.log(total) - shifted[rows, labels]) / n

    loss_and_gradients = value_and_grad(loss_of)

    def step(x: Array, labels: Array) -> Any:
        loss, gradients = loss_and_gradients(parameters, x, labels)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            np.subtract(parameter, LEARNING_RATE * gradient, out=parameter)
        return loss

    return Training(step, problem.batches, lambda: parameters)
