"""The fully connected network, trained by NumPy alone and by tinygrad_np.

One function for each library, of the name that ``libraries`` gives it; those that need another
package are in ``mlp_peers``. Another network is another pair of such files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_np as tg
from models.mlp_by_hand import plain_step, tuned_step

from .libraries import Training
from .workloads import Array, Problem


def by_hand(problem: Problem) -> Training:
    parameters, workload = problem.copies(), problem.workload
    step = plain_step(parameters, workload.activation == "sigmoid", workload.rate)
    return Training(problem, step, lambda: parameters)


def by_hand_tuned(problem: Problem) -> Training:
    parameters, workload = problem.copies(), problem.workload
    step = tuned_step(parameters, workload.activation == "sigmoid", workload.rate, workload.batch)
    return Training(problem, step, lambda: parameters)


def gemms(problem: Problem) -> Training:
    """The matrix products of a step and nothing else: no way of training can avoid them."""
    weights, n = problem.copies()[::2], problem.workload.batch
    outputs = [np.ones((n, W.shape[1]), problem.dtype) for W in weights]
    deltas = [np.ones(z.shape, problem.dtype) for z in outputs]
    gradients = [np.empty(W.shape, problem.dtype) for W in weights]

    def step(x: Array, labels: Array) -> float:
        inputs = [x, *outputs[:-1]]
        for z, W, out in zip(inputs, weights, outputs, strict=True):
            np.dot(z, W, out=out)
        for i in range(len(weights) - 1, -1, -1):
            np.dot(inputs[i].T, deltas[i], out=gradients[i])
            if i > 0:
                np.dot(deltas[i], weights[i].T, out=deltas[i - 1])
        for delta in deltas:  # so that repeated products neither overflow nor vanish
            delta.fill(1)
        return 0.0

    return Training(problem, step, None)


def eager(problem: Problem, wrap: Callable[[Any], Any] = lambda step: step) -> Training:
    """The network as tensor expressions; its training step is passed through ``wrap``."""
    parameters = [tg.Tensor(array, requires_grad=True) for array in problem.copies()]
    *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
    activation = {"sigmoid": tg.sigmoid, "relu": tg.relu}[problem.workload.activation]
    optimizer = tg.optim.SGD(parameters, problem.workload.rate)

    def step(x: Array, labels: Array) -> tg.Tensor:
        z: Any = x
        for W, b in hidden:
            z = activation(z @ W + b)
        loss = tg.softmax_cross_entropy(z @ last_W + last_b, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Training(problem, wrap(step), lambda: [p.data for p in parameters])


def compiled(problem: Problem) -> Training:
    return eager(problem, tg.compile)
