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
    """The same arrays each time; the inputs are mostly dark, as digits are."""
    rng, sizes = np.random.default_rng(0), workload.sizes
    parameters = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        spread = workload.spread or np.sqrt(2 / fan_in)
        parameters.append(rng.normal(0.0, spread, (fan_in, fan_out)).astype(dtype))
        parameters.append(np.zeros(fan_out, dtype))
    shape = workload.batch, sizes[0]
    batches = [
        ((rng.random(shape) ** 4).astype(dtype), rng.integers(0, sizes[-1], workload.batch))
        for _ in range(BATCHES)
    ]
    return Problem(workload, np.dtype(dtype), parameters, batches)
