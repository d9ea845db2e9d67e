"""How a network is trained, as settings: the first seed's way, and the best found here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinygrad_np import optim
from tinygrad_np.nn import Module
from tinygrad_np.optim import Optimizer

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
    batches are drawn afresh each time; without, an epoch meets every image once.
    """

    optimizer: str = "sgd"
    lr: float = RATES["sgd"]
    batch_size: int = 150
    iterations: int | None = 15_000
    epochs: float | None = None
    replacement: bool = True

    def make_optimizer(self, model: Module) -> Optimizer:
        """The optimiser of a model's parameters."""
        return OPTIMIZERS[self.optimizer](model.parameters(), self.lr)


RECIPES: dict[str, Recipe] = {"seed": Recipe()}
