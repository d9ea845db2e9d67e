"""The workloads as data: networks, batch sizes, and the arrays that every library starts from."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEARNING_RATE = 0.01
BATCHES = 4
"""The number of batches that take turns, so that no library trains on inputs that never change."""


@dataclass(frozen=True)
class Workload:
    """One update of a fully connected network: softmax cross-entropy, biases, plain SGD.

    A workload of another network is a subclass with its own title, settings and arrays.

    ``network`` names the files in ``models`` with the functions that train it. Weights start from
    N(0, spread²), by default N(0, 2 / in).
    """

    name: str
    sizes: tuple[int, ...]
    batch: int
    activation: str
    rate: float = LEARNING_RATE
    spread: float | None = None
    network: str = "mlp"

    @property
    def title(self) -> str:
        """Sizes, batch and activation in words."""
        return f"{'-'.join(map(str, self.sizes))}, batch {self.batch}, {self.activation}"

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the network's functions, after the parameters."""
        return {"batch": self.batch, "activation": self.activation, "rate": self.rate}

    def arrays(self, rng: np.random.Generator) -> tuple[list[Array], list[tuple[Array, Array]]]:
        """Parameters, and batches whose inputs are mostly dark, as digits are."""
        parameters: list[Array] = []
        for fan_in, fan_out in itertools.pairwise(self.sizes):
            spread = self.spread or np.sqrt(2 / fan_in)
            parameters += [rng.normal(0.0, spread, (fan_in, fan_out)), np.zeros(fan_out)]
        shape, classes = (self.batch, self.sizes[0]), self.sizes[-1]
        return parameters, [
            (rng.random(shape) ** 4, rng.integers(0, classes, self.batch)) for _ in range(BATCHES)
        ]


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", (784, 50, 100, 10), 150, "sigmoid"),
        Workload("W2", (784, 40, 10), 1, "relu"),
        Workload("W3", (784, 100, 10), 100, "relu"),
        Workload("W4", (784, 1024, 1024, 10), 512, "relu"),
    )
}

THREE_LAYER = Workload("three_layer", (784, 50, 100, 10), 150, "sigmoid", 0.1, 0.01)
"""The network of ``make train``, and how it is trained."""

GROWTH = {
    "depth": [
        Workload(f"{depth} layers of 64, batch 64", (64,) * depth + (10,), 64, "relu")
        for depth in (2, 8, 16)  # at 32, float32 runs part at a unit next to relu's kink
    ],
    "width": [
        Workload(f"784-{width}-10, batch 100", (784, width, 10), 100, "relu")
        for width in (16, 128, 1024)
    ],
    "batch": [
        Workload(f"784-100-10, batch {batch}", (784, 100, 10), batch, "relu")
        for batch in (1, 16, 256, 1024)
    ],
}
"""Series of workloads in which one size grows."""


@dataclass(frozen=True)
class Problem:
    """A workload's arrays: parameters [W1, b1, W2, b2, ...], W of shape (in, out), and batches."""

    workload: Workload
    dtype: np.dtype[Any]
    parameters: list[Array]
    batches: list[tuple[Array, Array]]

    def copies(self) -> list[Array]:
        """The initial parameters, to be trained."""
        return [array.copy() for array in self.parameters]


def make_problem(workload: Workload, dtype: str) -> Problem:
    """The same arrays each time, numbers with a fraction in ``dtype``."""
    parameters, batches = workload.arrays(np.random.default_rng(0))

    def cast(array: Array) -> Array:
        return array.astype(dtype) if array.dtype.kind == "f" else array

    pairs = [(cast(x), cast(labels)) for x, labels in batches]
    return Problem(workload, np.dtype(dtype), [cast(array) for array in parameters], pairs)
