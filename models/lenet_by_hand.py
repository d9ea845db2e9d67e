"""``models.lenet`` in plain NumPy, its backward pass derived by hand.

Images are kept as (channels, height, width, n), the batch last: so every slice of them consists of
long runs of memory, and NumPy is fast. A convolution copies the window of each pixel into a column
of a matrix; one product of the filters with it then gives all outputs, and the gradients are those
of an affine layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from . import trained
from .trained import Trained
from .updates import Update

Array = NDArray[Any]
Parameters = dict[str, Array]
"""W1, b1, ..., W5, b5, as ``LeNet.state_dict()`` returns them."""


def windows(x: Array) -> Array:
    """The 5 × 5 windows of images (c, h, w, n) as columns: (25 c, (h-4) (w-4) n)."""
    found = sliding_window_view(x, (5, 5), axis=(1, 2))  # (c, h-4, w-4, n, 5, 5)
    return found.transpose(0, 4, 5, 1, 2, 3).reshape(25 * len(x), -1)


def add_windows(columns: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of ``windows``: each column added to its window of images of this shape.

    A pixel lies in up to 25 windows, and its gradient is the sum over these. The elements at one
    place (i, j) of all windows are one shifted image: so 25 additions of images suffice.
    """
    channels, height, width, n = shape
    high, wide = height - 4, width - 4
    parts = columns.reshape(channels, 5, 5, high, wide, n)
    x = np.zeros(shape, columns.dtype)
    for i in range(5):
        for j in range(5):
            x[:, i : i + high, j : j + wide] += parts[:, i, j]
    return x


def quarters(x: Array) -> list[Array]:
    """The four elements of each 2 × 2 window of images (c, h, w, n), each (c, h/2, w/2, n)."""
    return [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]


def max_pool(x: Array) -> Array:
    """The largest element of each 2 × 2 window."""
    a, b, c, d = quarters(x)
    return np.maximum(np.maximum(a, b), np.maximum(c, d))


def max_pool_back(delta: Array, x: Array, largest: Array) -> Array:
    """Each gradient goes to the largest element of its window, to the first where several are."""
    out = np.empty_like(x)
    free = np.ones(delta.shape, bool)  # the windows whose gradient has not gone anywhere yet
    for element, place in zip(quarters(x), quarters(out), strict=True):
        here = element == largest
        here &= free
        free ^= here
        np.multiply(delta, here, out=place)
    return out


def loss_and_gradients(p: Parameters, x: Array, labels: Array) -> tuple[float, Parameters]:
    """The mean cross-entropy over the batch, and its gradient for each parameter.

    ``x`` is (n, 784), of the parameters' dtype; ``labels`` are class numbers (n,).
    """
    n, rows = len(x), np.arange(len(x))
    W1, W2 = p["W1"].reshape(6, 25), p["W2"].reshape(16, 150)  # a row for each filter

    # Forward. The first convolution pads the images with two pixels of 0 on each side
    images = np.zeros((1, 32, 32, n), x.dtype)
    images[0, 2:30, 2:30] = x.T.reshape(28, 28, n)
    windows1 = windows(images)
    a1 = W1 @ windows1
    a1 += p["b1"][:, np.newaxis]
    a1 = a1.reshape(6, 28, 28, n)
    pooled1 = max_pool(a1)
    z1 = np.maximum(pooled1, 0)
    windows2 = windows(z1)
    a2 = W2 @ windows2
    a2 += p["b2"][:, np.newaxis]
    a2 = a2.reshape(16, 10, 10, n)
    pooled2 = max_pool(a2)
    z2 = np.maximum(pooled2, 0).reshape(400, n).T  # from here on (n, features)
    z3 = np.maximum(z2 @ p["W3"] + p["b3"], 0)
    z4 = np.maximum(z3 @ p["W4"] + p["b4"], 0)
    logits = z4 @ p["W5"] + p["b5"]

    # Softmax and cross-entropy, -log y[label], in one: log Σ exp a - a[label]
    logits -= logits.max(axis=1, keepdims=True)
    picked = logits[rows, labels]
    y = np.exp(logits, out=logits)
    total = y.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - picked).mean())

    # Backward. d loss / d logits = (y - one-hot) / n; relu' is 1 where its result is above 0
    y /= total
    y[rows, labels] -= 1
    y /= n
    d5 = y
    d4 = d5 @ p["W5"].T
    d4 *= z4 > 0
    d3 = d4 @ p["W4"].T
    d3 *= z3 > 0
    d2 = d3 @ p["W3"].T
    d2 *= z2 > 0
    # As a2 = W2 windows2: dW2 = d2 windows2ᵀ, and the windows' own gradient is W2ᵀ d2
    d2 = max_pool_back(d2.T.reshape(pooled2.shape), a2, pooled2).reshape(16, -1)
    d1 = add_windows(W2.T @ d2, z1.shape)
    d1 *= z1 > 0
    d1 = max_pool_back(d1, a1, pooled1).reshape(6, -1)
    return loss, {
        "W1": (d1 @ windows1.T).reshape(6, 1, 5, 5),
        "b1": d1.sum(axis=1),
        "W2": (d2 @ windows2.T).reshape(16, 6, 5, 5),
        "b2": d2.sum(axis=1),
        "W3": z2.T @ d3,
        "b3": d3.sum(axis=0),
        "W4": z3.T @ d4,
        "b4": d4.sum(axis=0),
        "W5": z4.T @ d5,
        "b5": d5.sum(axis=0),
    }


def by_hand(start: list[Array], update: Update) -> Trained:
    """A training step that begins with these parameters."""
    names = [f"{kind}{i}" for i in range(1, 6) for kind in "Wb"]

    def gradients(parameters: list[Array], x: Array, labels: Array) -> tuple[float, list[Array]]:
        named = dict(zip(names, parameters, strict=True))
        loss, found = loss_and_gradients(named, x, labels)
        return loss, [found[name] for name in names]

    return trained.by_hand(gradients, start, update)
