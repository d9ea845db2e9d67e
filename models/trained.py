"""A network that some library trains, in a form that all libraries share: ours, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tinygrad_np as tg

from .updates import Update

Array = NDArray[Any]
Loss = Callable[[list[Any], Any, Any], Any]
"""A network's loss as a function of its parameters and a batch, in a library's own arrays."""
Arrays = tuple[list[Array], list[tuple[Array, Array]]]
"""The initial parameters, and batches of inputs and labels."""
BATCHES = 4
"""The number of batches that take turns, so that no library trains on inputs that never change."""


class Trained(NamedTuple):
    """A network made ready for training.

    ``step(x, labels)`` makes one update and returns the loss before it, in the library's own type;
    ``read`` makes a number of it. ``parameters`` gives ndarrays of the present parameters; it is
    None where nothing is trained. ``convert`` makes the library's own arrays of a batch; ``wait``
    returns when the work that yields a loss is done.
    """

    step: Callable[[Any, Any], Any]
    parameters: Callable[[], list[Array]] | None
    convert: Callable[[Array, Array], tuple[Any, Any]] = lambda x, labels: (x, labels)
    wait: Callable[[Any], Any] = lambda loss: loss
    read: Callable[[Any], float] = float


def eager(
    loss_of: Callable[[Any, Any], tg.Tensor], parameters: list[tg.Tensor], update: Update,
    wrap: Callable[[Any], Any] = lambda step: step,
) -> Trained:  # fmt: skip
    """Ours: a step passed through ``wrap``, such as ``tg.compile``."""
    optimizer = update.ours(parameters)

    def step(x: Array, labels: Array) -> tg.Tensor:
        loss = loss_of(x, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Trained(wrap(step), lambda: [p.data for p in parameters])


def module(
    make: Callable[..., Any], start: list[Array], update: Update,
    wrap: Callable[[Any], Any] = lambda step: step,
) -> Trained:  # fmt: skip
    """Ours: the same for a module with a ``loss``, made by ``make(dtype=...)``."""
    model = make(dtype=start[0].dtype)
    for parameter, array in zip(model.parameters(), start, strict=True):
        parameter.data = array
    return eager(model.loss, model.parameters(), update, wrap)


def by_hand(
    loss_and_gradients: Callable[[list[Array], Array, Array], tuple[Any, list[Array]]],
    parameters: list[Array], update: Update,
) -> Trained:  # fmt: skip
    """Plain NumPy, from a function that returns the loss and the gradients, in order."""
    buffers = [update.buffers(p) for p in parameters]

    def step(x: Array, labels: Array) -> Any:
        loss, gradients = loss_and_gradients(parameters, x, labels)
        for p, g, own in zip(parameters, gradients, buffers, strict=True):
            p[...], *kept = update(p, g, *own)
            own[:] = kept
        return loss

    return Trained(step, lambda: parameters)


def digits(
    rng: np.random.Generator, batch: int, pixels: int, classes: int
) -> list[tuple[Array, Array]]:
    """Batches of images (batch, pixels), mostly dark, and labels."""
    return [
        (rng.random((batch, pixels)) ** 4, rng.integers(0, classes, batch)) for _ in range(BATCHES)
    ]
