"""``models.three_layer`` in plain NumPy, its backward pass derived by hand.

Autograd is checked and timed against it. It is written for speed: nothing is computed twice, and
results are written into existing arrays where NumPy can do that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Parameters = dict[str, Array]
"""W1, b1, W2, b2, W3, b3, as ``ThreeLayer.state_dict()`` returns them."""


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written into x."""
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def loss_and_gradients(p: Parameters, x: Array, labels: Array) -> tuple[float, Parameters]:
    """The mean cross-entropy over the batch, and its gradient for each parameter.

    ``x`` is (n, 784), of the parameters' dtype; ``labels`` are class numbers (n,).
    """
    rows = np.arange(len(x))

    # Forward
    z1 = x @ p["W1"]
    z1 += p["b1"]
    z1 = sigmoid(z1)
    z2 = z1 @ p["W2"]
    z2 += p["b2"]
    z2 = sigmoid(z2)
    logits = z2 @ p["W3"]
    logits += p["b3"]

    # Softmax and cross-entropy, -log y[label], in one: log Σ exp a - a[label]
    logits -= logits.max(axis=1, keepdims=True)
    picked = logits[rows, labels]
    y = np.exp(logits, out=logits)
    total = y.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - picked).mean())

    # Backward. d loss / d logits = (y - one-hot) / n; sigmoid' = z (1 - z)
    y /= total
    y[rows, labels] -= 1
    y /= len(x)
    d3 = y
    d2 = d3 @ p["W3"].T
    d2 *= z2
    d2 *= 1 - z2
    d1 = d2 @ p["W2"].T
    d1 *= z1
    d1 *= 1 - z1
    return loss, {
        "W1": x.T @ d1,
        "b1": d1.sum(axis=0),
        "W2": z1.T @ d2,
        "b2": d2.sum(axis=0),
        "W3": z2.T @ d3,
        "b3": d3.sum(axis=0),
    }


def step(p: Parameters, x: Array, labels: Array, lr: float = 0.1) -> float:
    """One update of gradient descent, in place; the loss before it."""
    loss, gradients = loss_and_gradients(p, x, labels)
    for name, gradient in gradients.items():
        p[name] -= lr * gradient
    return loss
