"""A convolution, 3 × 3 with padding 1: forward, and backward from a given gradient.

Nothing is trained. A step takes x and the gradient g of the outputs, and returns the outputs. In
the form of ``Trained``, its parameters are [weight, bias, y, dx, dweight, dbias], of which the last
four are what the last step computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_np as tg

from .trained import BATCHES, Array, Arrays, Trained


def arrays(rng: np.random.Generator, channels: int, filters: int, side: int, batch: int) -> Arrays:
    """Weight, bias and room for the results; images and gradients of the outputs."""
    given, made = (batch, channels, side, side), (batch, filters, side, side)
    weight, bias = rng.normal(0.0, 0.1, (filters, channels, 3, 3)), rng.normal(0.0, 0.1, filters)
    results = [np.zeros(made), np.zeros(given), np.zeros_like(weight), np.zeros_like(bias)]
    batches = [(rng.random(given), rng.normal(size=made)) for _ in range(BATCHES)]
    return [weight, bias, *results], batches


def eager(start: list[Array], wrap: Callable[[Any], Any] = lambda run: run) -> Trained:
    """Forward and backward, passed through ``wrap``."""
    weight, bias = (tg.Tensor(array, requires_grad=True) for array in start[:2])
    found: tuple[tg.Tensor, ...] = ()

    def run(x: Array, g: Array) -> tuple[tg.Tensor, ...]:
        images = tg.Tensor(x, requires_grad=True)
        y = tg.conv2d(images, weight, bias, padding=1)
        return y.detach(), *tg.grad(y, [images, weight, bias], g)

    run = wrap(run)

    def step(x: Array, g: Array) -> tg.Tensor:
        nonlocal found
        found = run(x, g)
        return found[0]

    return Trained(
        step, lambda: [p.data for p in (weight, bias, *found)], read=lambda y: float(y.data.sum())
    )


def compiled(start: list[Array]) -> Trained:
    """The same with ``tg.compile``."""
    return eager(start, tg.compile)
