"""The workloads as data: networks, batch sizes, and the arrays that every library starts from."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import models
from models.updates import SGD

Array = NDArray[Any]

LEARNING_RATE = 0.01
BATCHES = 4
"""The number of batches that take turns, so that no library trains on inputs that never change."""


@dataclass(frozen=True)
class Workload:
    """A step that every library makes; a subclass for each kind of network.

    ``network`` names the files in ``models`` with the functions that prepare it. They are called
    with the initial arrays, and ``settings`` by name.
    """

    name: str
    network: ClassVar[str]

    @property
    def title(self) -> str:
        """The workload in words."""
        raise NotImplementedError

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the network's functions, after the parameters."""
        raise NotImplementedError

    def arrays(self, rng: np.random.Generator) -> tuple[list[Array], list[tuple[Array, Array]]]:
        """Initial parameters, and batches."""
        raise NotImplementedError


@dataclass(frozen=True)
class MLP(Workload):
    """One update of a fully connected network: softmax cross-entropy, biases, plain SGD.

    Parameters are [W1, b1, W2, b2, ...], W of shape (in, out). Weights start from N(0, spread²),
    by default N(0, 2 / in).
    """

    network = "mlp"
    sizes: tuple[int, ...]
    batch: int
    activation: str
    rate: float = LEARNING_RATE
    spread: float | None = None

    @property
    def title(self) -> str:
        """Sizes, batch and activation in words."""
        return f"{'-'.join(map(str, self.sizes))}, batch {self.batch}, {self.activation}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"batch": self.batch, "activation": self.activation, "rate": self.rate}

    def arrays(self, rng: np.random.Generator) -> tuple[list[Array], list[tuple[Array, Array]]]:
        """Parameters, and batches whose inputs are mostly dark, as digits are."""
        parameters: list[Array] = []
        for fan_in, fan_out in itertools.pairwise(self.sizes):
            spread = self.spread or np.sqrt(2 / fan_in)
            parameters += [rng.normal(0.0, spread, (fan_in, fan_out)), np.zeros(fan_out)]
        return parameters, digits(self.batch, self.sizes[0], self.sizes[-1], rng)


@dataclass(frozen=True)
class LeNet(Workload):
    """One update of ``models.lenet``: softmax cross-entropy, SGD with momentum."""

    network = "lenet"
    batch: int
    update: SGD

    @property
    def title(self) -> str:
        """Batch and optimiser in words."""
        return f"LeNet-5, batch {self.batch}, SGD with momentum {self.update.momentum}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"update": self.update}

    def arrays(self, rng: np.random.Generator) -> tuple[list[Array], list[tuple[Array, Array]]]:
        """The parameters as the network starts, and batches of 28 × 28 pixels."""
        parameters = models.make("lenet", rng, np.float64).parameters()
        return [p.data for p in parameters], digits(self.batch, 784, 10, rng)


@dataclass(frozen=True)
class Convolution(Workload):
    """``models.convolution``: 3 × 3 with padding 1, forward and backward, nothing trained."""

    network = "convolution"
    channels: int
    filters: int
    side: int
    batch: int

    @property
    def title(self) -> str:
        """The sizes in words."""
        size, sides = f"{self.channels}→{self.filters}", f"{self.side}×{self.side}"
        return f"conv2d {size}, 3×3, {sides}, batch {self.batch}, forward and backward"

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def arrays(self, rng: np.random.Generator) -> tuple[list[Array], list[tuple[Array, Array]]]:
        """Weight and bias, room for the results; images and gradients of the outputs."""
        given, made = (
            (self.batch, channels, self.side, self.side)
            for channels in (self.channels, self.filters)
        )
        weight = rng.normal(0.0, 0.1, (self.filters, self.channels, 3, 3))
        bias = rng.normal(0.0, 0.1, self.filters)
        results = [np.zeros(made), np.zeros(given), np.zeros_like(weight), np.zeros_like(bias)]
        return [weight, bias, *results], [
            (rng.random(given), rng.normal(size=made)) for _ in range(BATCHES)
        ]


def digits(
    batch: int, pixels: int, classes: int, rng: np.random.Generator
) -> list[tuple[Array, Array]]:
    """Batches of images, mostly dark, and labels."""
    return [
        (rng.random((batch, pixels)) ** 4, rng.integers(0, classes, batch)) for _ in range(BATCHES)
    ]


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        MLP("W1", (784, 50, 100, 10), 150, "sigmoid"),
        MLP("W2", (784, 40, 10), 1, "relu"),
        MLP("W3", (784, 100, 10), 100, "relu"),
        MLP("W4", (784, 1024, 1024, 10), 512, "relu"),
        LeNet("W5", 64, SGD(LEARNING_RATE, momentum=0.9)),
        Convolution("W6", 32, 64, 28, 64),
    )
}

THREE_LAYER = MLP("three_layer", (784, 50, 100, 10), 150, "sigmoid", 0.1, 0.01)
"""The network of ``make train``, and how it is trained."""

GROWTH = {
    "depth": [
        MLP(f"{depth} layers of 64, batch 64", (64,) * depth + (10,), 64, "relu")
        for depth in (2, 8, 16)  # at 32, float32 runs part at a unit next to relu's kink
    ],
    "width": [
        MLP(f"784-{width}-10, batch 100", (784, width, 10), 100, "relu")
        for width in (16, 128, 1024)
    ],
    "batch": [
        MLP(f"784-100-10, batch {batch}", (784, 100, 10), batch, "relu")
        for batch in (1, 16, 256, 1024)
    ],
}
"""Series of workloads in which one size grows."""


@dataclass(frozen=True)
class Problem:
    """A workload's arrays: the initial parameters, and batches."""

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
