"""A training step of a fully connected network of any size in plain NumPy, derived by hand.

Two versions: one as it is usually written, and one with every trick that NumPy offers; and the
matrix products alone. Parameters are [W1, b1, W2, b2, ...], W of shape (in, out); they are updated
in place. Hidden layers are sigmoids or relus; the loss is the mean softmax cross-entropy.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .trained import Trained

Array = NDArray[Any]


def by_hand(parameters: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """Plain formulas, in place where that is as short."""
    weights, biases = parameters[::2], parameters[1::2]
    last, sigmoid = len(weights) - 1, activation == "sigmoid"

    def step(x: Array, labels: Array) -> np.floating:
        inputs = [x]
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            z = inputs[-1] @ W
            z += b
            if sigmoid:
                np.negative(z, out=z)
                np.exp(z, out=z)
                z += 1
                np.reciprocal(z, out=z)
            else:
                np.maximum(z, 0, out=z)
            inputs.append(z)
        logits = inputs[-1] @ weights[-1]
        logits += biases[-1]

        rows = np.arange(len(x))
        logits -= logits.max(axis=1, keepdims=True)
        picked = logits[rows, labels]
        y = np.exp(logits, out=logits)
        total = y.sum(axis=1, keepdims=True)
        loss: np.floating = (np.log(total[:, 0]) - picked).mean()

        y /= total
        y[rows, labels] -= 1
        y /= len(x)
        delta = y
        for i in range(last, -1, -1):
            z = inputs[i]
            dW, db = z.T @ delta, delta.sum(axis=0)
            if i > 0:
                delta = delta @ weights[i].T
                if sigmoid:
                    delta *= z
                    delta *= 1 - z
                else:
                    delta *= z > 0
            dW *= rate
            db *= rate
            weights[i] -= dW
            biases[i] -= db
        return loss

    return Trained(step, lambda: parameters)


def by_hand_tuned(parameters: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """Every trick that NumPy offers.

    All arrays are allocated once and written with ``out``. The learning rate and 1 / n are folded
    into the last layer's small delta, so that the gradients come out as the updates. The biases'
    sums are matrix-vector products. ``np.dot`` is used because ``np.matmul`` is slow at n = 1.
    """
    weights, biases = parameters[::2], parameters[1::2]
    n, sigmoid, dtype = batch, activation == "sigmoid", weights[0].dtype
    transposed = [W.T for W in weights]
    last, rows = len(weights) - 1, np.arange(n)
    empty = partial(np.empty, dtype=dtype)
    ones, scale = np.ones(n, dtype), dtype.type(rate / n)
    outputs = [empty((n, W.shape[1])) for W in weights]
    deltas = [empty(z.shape) for z in outputs[:-1]]
    spare = [empty(z.shape, dtype=dtype if sigmoid else bool) for z in deltas]
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

    return Trained(step, lambda: parameters)


def gemms(parameters: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """The matrix products of a step and nothing else: no way of training can avoid them."""
    weights = parameters[::2]
    dtype = weights[0].dtype
    outputs = [np.ones((batch, W.shape[1]), dtype) for W in weights]
    deltas = [np.ones(z.shape, dtype) for z in outputs]
    gradients = [np.empty(W.shape, dtype) for W in weights]

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

    return Trained(step, None)
