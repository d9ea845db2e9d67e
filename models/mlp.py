"""A fully connected network of any size, as tensor expressions: its training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

import tinygrad_np as tg

from .trained import Trained

Array = NDArray[Any]


def eager(
    parameters: list[Array], batch: int, activation: str, rate: float,
    wrap: Callable[[Any], Any] = lambda step: step,
) -> Trained:  # fmt: skip
    """A step of plain gradient descent, passed through ``wrap``.

    Parameters are [W1, b1, W2, b2, ...], W of shape (in, out); ``activation`` is sigmoid or relu.
    """
    tensors = [tg.Tensor(array, requires_grad=True) for array in parameters]
    *hidden, (last_W, last_b) = zip(tensors[::2], tensors[1::2], strict=True)
    function = {"sigmoid": tg.sigmoid, "relu": tg.relu}[activation]
    optimizer = tg.optim.SGD(tensors, rate)

    def step(x: Array, labels: Array) -> tg.Tensor:
        z: Any = x
        for W, b in hidden:
            z = function(z @ W + b)
        loss = tg.softmax_cross_entropy(z @ last_W + last_b, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Trained(wrap(step), lambda: [p.data for p in tensors])


def compiled(parameters: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """The same step with ``tg.compile``."""
    return eager(parameters, batch, activation, rate, tg.compile)
