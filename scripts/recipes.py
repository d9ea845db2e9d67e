"""How a network is trained, as settings: the first seed's way, and the best found here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from scripts.augmentation import Augmentation, shifted
from scripts.training import updates_per_epoch
from tinygrad_np import optim
from tinygrad_np.nn import Module
from tinygrad_np.optim import Optimizer, Schedule

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": optim.SGD,
    "momentum": lambda parameters, lr: optim.SGD(parameters, lr, momentum=0.9),
    "nesterov": lambda parameters, lr: optim.SGD(parameters, lr, momentum=0.9, nesterov=True),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
}
RATES = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "adam": 0.001, "adamw": 0.001}
"""The learning rate that an optimiser gets where none is given."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run.

    ``epochs`` or ``iterations`` says how long it is: one of them is None. With ``replacement``
    batches are drawn afresh each time; without, an epoch meets every image once. With
    ``one_cycle`` the learning rate rises to ``lr`` and falls to almost 0. With ``shifts`` images
    are moved by up to a pixel. ``relu`` takes ``three_layer_relu`` for ``three_layer``.
    """

    optimizer: str = "sgd"
    lr: float = RATES["sgd"]
    batch_size: int = 150
    iterations: int | None = 15_000
    epochs: float | None = None
    replacement: bool = True
    one_cycle: bool = False
    shifts: bool = False
    relu: bool = False

    def network(self, name: str) -> str:
        """The name of the network to train where ``name`` is asked for."""
        return "three_layer_relu" if self.relu and name == "three_layer" else name

    def updates(self, images: int) -> int:
        """The length of the run, for so many training images."""
        per_epoch = updates_per_epoch(images, self.batch_size, self.replacement)
        return self.iterations or round((self.epochs or 1) * per_epoch)

    def make_optimizer(self, model: Module, updates: int) -> Optimizer:
        """The optimiser of a model's parameters, for so many updates."""
        rate: float | Schedule = optim.one_cycle(self.lr, updates) if self.one_cycle else self.lr
        return OPTIMIZERS[self.optimizer](model.parameters(), rate)

    def augmentation(self, ground: float = 0.0) -> Augmentation | None:
        """What is done to each batch of images, whose background is ``ground``."""
        return functools.partial(shifted, ground=ground) if self.shifts else None


RECIPES: dict[str, Recipe] = {
    "seed": Recipe(),
    "best": Recipe(
        optimizer="adamw", lr=0.006, batch_size=100, iterations=None, epochs=20,
        replacement=False, one_cycle=True, shifts=True, relu=True,
    ),
}  # fmt: skip
"""``best`` was chosen on the last 10,000 training images, held out while the other 50,000 were
trained on for 20 epochs (seeds 1 and 2); the test set had no part in it. Accuracies there: AdamW
with a highest rate of 0.003: 98.3%, 0.006: 98.5%, 0.01: 98.3%; Nesterov at 0.05: 98.4%, 0.1 and
0.2: 98.3%; batches of 50 as good as of 100; dropout of 0.1 before the last layer as good as none,
more of it or before the middle layer worse. So it has no dropout, and is trained on all 60,000."""
