"""The matrix products of a training step and nothing else: what no way of training can avoid."""

from __future__ import annotations

import numpy as np

from .libraries import Training
from .workloads import Array, Problem


def training(problem: Problem) -> Training:
    weights = problem.copies()[::2]
    n = problem.workload.batch
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

    return Training(step, problem.batches, None)
