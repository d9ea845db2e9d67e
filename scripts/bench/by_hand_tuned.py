"""Hand-written NumPy with every trick that NumPy knows: how far one gets without a compiler.

All arrays are allocated once and written with ``out``; the learning rate and 1 / batch are folded
into the last layer's small delta, so that the gradients come out as the updates; biases' sums are
matrix-vector products; ``np.dot`` is used because ``np.matmul`` is slow at a batch of one.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from .libraries import Training
from .workloads import LEARNING_RATE, Array, Problem


def training(problem: Problem) -> Training:
    parameters = problem.copies()
    weights, biases = parameters[::2], parameters[1::2]
    transposed = [W.T for W in weights]
    last = len(weights) - 1
    sigmoid = problem.workload.activation == "sigmoid"
    n = problem.workload.batch
    rows = np.arange(n)
    empty = partial(np.empty, dtype=problem.dtype)
    ones, scale = np.ones(n, problem.dtype), problem.dtype.type(LEARNING_RATE / n)
    outputs = [empty((n, W.shape[1])) for W in weights]
    deltas = [empty(z.shape) for z in outputs[:-1]]
    spare = [empty(z.shape, dtype=problem.dtype if sigmoid else bool) for z in deltas]
    weight_updates = [empty(W.shape) for W in weights]
    bias_updates = [empty(b.shape) for b in biases]
    top, total = empty((n, 1)), empty((n, 1))

    def step(x: Array, labels: Array) -> np.floating:
        inputs = [x, *outputs[:-1]]
        for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
            z = outputs[i]
            np.dot(inputs[i], W, out=z)
            np.add(z, b, out=z)
            if i == last:
                break
            if sigmoid:
                np.negative(z, out=z)
                np.exp(z, out=z)
                np.add(z, 1, out=z)
                np.reciprocal(z, out=z)
            else:
                np.maximum(z, 0, out=z)
        y = outputs[-1]
        np.maximum.reduce(y, axis=1, keepdims=True, out=top)
        np.subtract(y, top, out=y)
        picked = y[rows, labels]
        np.exp(y, out=y)
        np.add.reduce(y, axis=1, keepdims=True, out=total)
        loss: np.floating = np.add.reduce(np.log(total[:, 0]) - picked) / n

        np.divide(y, total, out=y)
        y[rows, labels] -= 1
        np.multiply(y, scale, out=y)
        delta = y
        for i in range(last, -1, -1):
            z = inputs[i]
            np.dot(z.T, delta, out=weight_updates[i])
            np.dot(ones, delta, out=bias_updates[i])
            if i > 0:
                np.dot(delta, transposed[i], out=deltas[i - 1])
                delta, room = deltas[i - 1], spare[i - 1]
                if sigmoid:
                    np.multiply(delta, z, out=delta)
                    np.subtract(1, z, out=room)
                else:
                    np.greater(z, 0, out=room)
                np.multiply(delta, room, out=delta)
            np.subtract(weights[i], weight_updates[i], out=weights[i])
            np.subtract(biases[i], bias_updates[i], out=biases[i])
        return loss

    return Training(step, problem.batches, lambda: parameters)
