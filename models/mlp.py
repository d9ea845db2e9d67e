"""A fully connected network of any size, as tensor expressions: its training step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_np as tg

from . import trained
from .trained import Array, Arrays, Trained
from .updates import SGD


def arrays(
    rng: np.random.Generator, sizes: tuple[int, ...], batch: int, spread: float | None = None
) -> Arrays:
    """Parameters [W1, b1, W2, b2, ...], W of shape (in, out), and batches.

    Weights start from N(0, spread²), by default N(0, 2 / in); biases start at 0.
    """
    parameters: list[Array] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        scale = spread or np.sqrt(2 / fan_in)
        parameters += [rng.normal(0.0, scale, (fan_in, fan_out)), np.zeros(fan_out)]
    return parameters, trained.digits(rng, batch, sizes[0], sizes[-1])


def eager(
    parameters: list[Array], batch: int, activation: str, rate: float,
    wrap: Callable[[Any], Any] = lambda step: step,
) -> Trained:  # fmt: skip
    """A step of plain gradient descent, passed through ``wrap``; sigmoid or relu."""
    tensors = [tg.Tensor(array, requires_grad=True) for array in parameters]
    *hidden, (last_W, last_b) = zip(tensors[::2], tensors[1::2], strict=True)
    function = {"sigmoid": tg.sigmoid, "relu": tg.relu}[activation]

    def loss(x: Array, labels: Array) -> tg.Tensor:
        z: Any = x
        for W, b in hidden:
            z = function(z @ W + b)
        return tg.softmax_cross_entropy(z @ last_W + last_b, labels)

    return trained.eager(loss, tensors, SGD(rate), wrap)


def compiled(parameters: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """The same step with ``tg.compile``."""
    return eager(parameters, batch, activation, rate, tg.compile)
