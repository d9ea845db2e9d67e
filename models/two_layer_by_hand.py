"""``models.two_layer`` in plain NumPy: the true gradients, derived by hand.

Each function returns the value that its network minimises, and the gradients of W1 and W2. ``x``
is (n, 784), ``t`` one-hot labels (n, 10), ``mask`` zeros and ones (n, hidden); all of one dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Result = tuple[float, dict[str, Array]]


def relu_network(p: dict[str, Array], x: Array, t: Array) -> Result:
    """y = relu(x W1) W2, half the squared error averaged over the batch."""
    n = len(x)
    h = np.maximum(x @ p["W1"], 0)
    difference = h @ p["W2"] - t
    d2 = difference / n
    d1 = (d2 @ p["W2"].T) * (h > 0)
    return _half_squares(difference), {"W1": x.T @ d1, "W2": h.T @ d2}


def dropout_network(p: dict[str, Array], x: Array, t: Array, mask: Array) -> Result:
    """y = h W2 with h = relu(x W1) · 2 · mask: the backward pass is masked and doubled, too."""
    n = len(x)
    h = np.maximum(x @ p["W1"], 0) * (2 * mask)
    difference = h @ p["W2"] - t
    d2 = difference / n
    d1 = (d2 @ p["W2"].T) * (2 * mask) * (h > 0)
    return _half_squares(difference), {"W1": x.T @ d1, "W2": h.T @ d2}


def tanh_network(p: dict[str, Array], x: Array, t: Array, mask: Array) -> Result:
    """softmax(h W2), h = tanh(x W1) · 2 · mask; the cross-entropy, divided by n twice."""
    n = len(x)
    z = np.tanh(x @ p["W1"])
    h = z * (2 * mask)
    logits = h @ p["W2"]
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits)
    total = powers.sum(axis=1, keepdims=True)
    loss = float(np.sum(t * (np.log(total) - logits))) / n**2
    d2 = (powers / total - t) / n**2
    d1 = (d2 @ p["W2"].T) * (2 * mask) * (1 - z * z)  # tanh' before dropout scales it
    return loss, {"W1": x.T @ d1, "W2": h.T @ d2}


def _half_squares(difference: Array) -> float:
    return float(np.sum(difference * difference)) / (2 * len(difference))
