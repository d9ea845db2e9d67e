"""The workloads as data: networks, their sizes, and how they are trained."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.trained import Array
from models.updates import SGD, AdamW

LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Workload:
    """A step that every library makes.

    ``network`` names the files in ``models``: ``arrays(rng, **sizes)`` gives the parameters and the
    batches, and the functions for the libraries are called with the parameters and ``settings``.
    """

    name: str
    title: str
    network: str
    sizes: Mapping[str, Any] = field(hash=False)
    settings: Mapping[str, Any] = field(hash=False)


def mlp(
    name: str, sizes: tuple[int, ...], batch: int, activation: str, rate: float = LEARNING_RATE,
    spread: float | None = None,
) -> Workload:  # fmt: skip
    """One update of a fully connected network: softmax cross-entropy, biases, plain SGD."""
    title = f"{'-'.join(map(str, sizes))}, batch {batch}, {activation}"
    settings = {"batch": batch, "activation": activation, "rate": rate}
    arrays = {"sizes": sizes, "batch": batch, "spread": spread}
    return Workload(name, title, "mlp", arrays, settings)


WORKLOADS = {
    workload.name: workload
    for workload in (
        mlp("W1", (784, 50, 100, 10), 150, "sigmoid"),
        mlp("W2", (784, 40, 10), 1, "relu"),
        mlp("W3", (784, 100, 10), 100, "relu"),
        mlp("W4", (784, 1024, 1024, 10), 512, "relu"),
        Workload(
            "W5", "LeNet-5, batch 64, SGD with momentum 0.9", "lenet", {"batch": 64},
            {"update": SGD(LEARNING_RATE, momentum=0.9)},
        ),
        Workload(
            "W6", "conv2d 32→64, 3×3, 28×28, batch 64, forward and backward", "convolution",
            {"channels": 32, "filters": 64, "side": 28, "batch": 64}, {},
        ),
        Workload(
            "W7", "GPT, 2 layers, width 64, 4 heads, 64 tokens, batch 16, AdamW", "gpt",
            {"batch": 16}, {"update": AdamW(0.001)},
        ),
    )
}  # fmt: skip

THREE_LAYER = mlp("three_layer", (784, 50, 100, 10), 150, "sigmoid", 0.1, 0.01)
"""The network of ``make train``, and how it is trained."""


GROWTH = [
    # At 32 layers, float32 runs part at a unit next to relu's kink.
    *(mlp("depth", (64,) * depth + (10,), 64, "relu") for depth in (2, 8, 16)),
    *(mlp("width", (784, width, 10), 100, "relu") for width in (16, 128, 1024)),
    *(mlp("batch", (784, 100, 10), batch, "relu") for batch in (1, 16, 256, 1024)),
]
"""Workloads in which one size grows."""


@dataclass(frozen=True)
class Problem:
    """A workload's arrays: the initial parameters, and batches."""

    workload: Workload
    parameters: list[Array]
    batches: list[tuple[Array, Array]]

    def copies(self) -> list[Array]:
        """The initial parameters, to be trained."""
        return [array.copy() for array in self.parameters]


def make_problem(workload: Workload, dtype: str) -> Problem:
    """The same arrays each time, numbers with a fraction in ``dtype``."""
    network = importlib.import_module(f"models.{workload.network}")
    parameters, batches = network.arrays(np.random.default_rng(0), **workload.sizes)

    def cast(array: Array) -> Array:
        return array.astype(dtype) if array.dtype.kind == "f" else array

    pairs = [(cast(x), cast(labels)) for x, labels in batches]
    return Problem(workload, [cast(array) for array in parameters], pairs)
