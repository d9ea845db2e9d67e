"""Recipes: how a network is trained. The first seed document's, and the best ones found here."""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scripts.pixels import Pixels, picture_shape
from tinygrad_np import optim
from tinygrad_np.nn import Module
from tinygrad_np.optim import Optimizer, Schedule
from tinygrad_np.tensor import Array

Augmentation = Callable[[Array, np.random.Generator], Array]
"""A change to images that leaves their labels true."""

OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], float]] = {
    "sgd": (optim.SGD, 0.1),
    "momentum": (functools.partial(optim.SGD, momentum=0.9), 0.01),
    "nesterov": (functools.partial(optim.SGD, momentum=0.9, nesterov=True), 0.01),
    "adam": (optim.Adam, 0.001),
    "adamw": (optim.AdamW, 0.001),
}
"""The optimisers, each with its default learning rate."""


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run.

    Either ``epochs`` or ``iterations`` sets the length; the other is None. With ``replacement``
    every batch is drawn afresh; without, an epoch uses every image once. ``one_cycle`` raises the
    learning rate to ``lr`` and lowers it to almost 0. ``shifts`` moves images by up to a pixel.
    ``relu`` trains ``three_layer_relu`` in the place of ``three_layer``.
    """

    optimizer: str = "sgd"
    lr: float = 0.1
    batch_size: int = 150
    iterations: int | None = 15_000
    epochs: float | None = None
    replacement: bool = True
    one_cycle: bool = False
    shifts: bool = False
    relu: bool = False

    def network(self, name: str) -> str:
        """The network to train where ``name`` is asked for."""
        return "three_layer_relu" if self.relu and name == "three_layer" else name

    def length(self, images: int) -> tuple[int, int]:
        """The number of updates in an epoch over so many images, and in the whole run."""
        size = self.batch_size
        if size > images:
            raise ValueError(f"a batch of {size} is more than the {images} training images")
        per_epoch = images // size if self.replacement else -(-images // size)
        return per_epoch, self.iterations or round((self.epochs or 1) * per_epoch)

    def make_optimizer(self, model: Module, updates: int) -> Optimizer:
        """The optimiser of a model's parameters, for a run of ``updates``."""
        rate: float | Schedule = optim.one_cycle(self.lr, updates) if self.one_cycle else self.lr
        return OPTIMIZERS[self.optimizer][0](model.parameters(), rate)

    def augmentation(self, form: object, shape: tuple[int, ...]) -> Augmentation | None:
        """The change of each batch, for images of this form and shape; None where there is none."""
        if not self.shifts or not isinstance(form, Pixels):
            return None
        height, width = picture_shape(shape) or (0, 1)
        if height != width:
            raise ValueError(f"to be moved by a pixel, images have to be square, not {shape}")
        return functools.partial(shifted, ground=(form.ground or 0.0) / form.scale)


def shifted(x: Array, rng: np.random.Generator, by: int = 1, ground: float = 0.0) -> Array:
    """Square images (n, pixels), each moved by up to ``by`` pixels along both axes.

    Each of the (2 by + 1)² moves is applied to an equal part of the batch, whose order is random
    already: so the moves are slices to copy, 4 times as fast as one move for each image. Pixels
    that leave the image are lost; ``ground`` fills the others.

    >>> x = np.array([[0, 0, 0, 0, 7, 0, 0, 0, 0.0]])
    >>> int(np.argmax(shifted(x, np.random.default_rng(0))))
    1
    """
    n, side = len(x), math.isqrt(x.shape[1])
    images = x.reshape(n, side, side)
    moved = np.full_like(images, ground)

    def overlap(move: int) -> tuple[slice, slice]:
        low, high = max(0, move), side + min(0, move)
        return slice(low, high), slice(low - move, high - move)

    moves = list(itertools.product(range(-by, by + 1), repeat=2))
    starts = n * np.arange(len(moves) + 1) // len(moves)
    for move, start, stop in zip(rng.permutation(moves), starts, starts[1:], strict=False):
        (to_down, from_down), (to_right, from_right) = map(overlap, move.tolist())
        moved[start:stop, to_down, to_right] = images[start:stop, from_down, from_right]
    return moved.reshape(n, -1)


RECIPES: dict[str, Recipe] = {
    "seed": Recipe(),
    "best": Recipe(
        optimizer="adamw", lr=0.006, batch_size=100, iterations=None, epochs=20,
        replacement=False, one_cycle=True, shifts=True, relu=True,
    ),
    "lenet": Recipe(
        optimizer="nesterov", lr=0.05, batch_size=100, iterations=None, epochs=10,
        replacement=False, one_cycle=True, shifts=True,
    ),
    "gpt": Recipe(
        optimizer="adamw", lr=0.006, batch_size=32, iterations=None, epochs=40, one_cycle=True
    ),
}  # fmt: skip
"""``best`` was chosen on the last 10,000 training images, held out while the other 50,000 were
trained on for 20 epochs (seeds 1 and 2); the test set was not looked at. Accuracies there: AdamW
with a peak rate of 0.003: 98.3%, 0.006: 98.5%, 0.01: 98.3%; Nesterov at 0.05: 98.4%, 0.1 and 0.2:
98.3%. Batches of 50 are as good as batches of 100. Dropout of 0.1 before the last layer changes
nothing; more dropout, or dropout before the middle layer, is worse. So the recipe has none.

``lenet`` was chosen on the same held-out images, after 10 epochs on the other 50,000 (seed 1).
Accuracies there: Nesterov with a peak rate of 0.02: 99.16%, 0.05: 99.34%, 0.1: 99.25%, 0.05
without shifts: 99.13%; AdamW at 0.002: 99.21%, 0.004: 99.20%, 0.008: 99.21%, 0.004 without shifts:
99.04%, in batches of 50: 99.21%, with shifts of up to 2 pixels: 99.18%. With seed 2 Nesterov gives
99.39% at 0.05, 99.29% at 0.1, AdamW 99.33% at 0.004. The recipe then reached 99.25% on the test
set (seed 0), looked at once.

``gpt`` gives 2.14 bits per character in the tenth of Alice that is held out. A peak rate of 0.003
gives 2.25 after 20 epochs; within 80 it reaches 2.19, and then gets worse."""
