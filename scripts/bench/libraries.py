"""What is compared: the libraries, and the training that each prepares."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .workloads import Array, Problem


@dataclass(frozen=True)
class Training:
    """A network that a library has made ready for training.

    ``step(x, labels)`` makes one update and returns the loss before it, in the library's own type.
    ``parameters`` gives ndarrays of the present parameters; it is None where nothing is trained.
    ``convert`` makes the library's own arrays of a batch; ``wait`` returns when the work that
    yields a loss is done.
    """

    problem: Problem
    step: Callable[[Any, Any], Any]
    parameters: Callable[[], list[Array]] | None
    convert: Callable[[Array, Array], tuple[Any, Any]] = lambda x, labels: (x, labels)
    wait: Callable[[Any], Any] = lambda loss: loss

    @cached_property
    def batches(self) -> list[tuple[Any, Any]]:
        """The problem's batches, converted, so that the conversion is not timed."""
        return [self.convert(x, labels) for x, labels in self.problem.batches]


@dataclass(frozen=True)
class Library:
    """A way to train: the function called ``module`` in the files of each network."""

    module: str
    title: str
    package: str = "numpy"
    ours: bool = False

    def version(self) -> str | None:
        """The version of the package that it needs, or None where that is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def training(self, problem: Problem) -> Training:
        """The problem's network, made ready by this library."""
        peers = "" if self.package == "numpy" else "_peers"
        file = importlib.import_module(f"{__package__}.{problem.workload.network}{peers}")
        training: Training = getattr(file, self.module)(problem)
        return training


LIBRARIES = {
    library.module: library
    for library in (
        Library("by_hand", "by hand"),
        Library("by_hand_tuned", "by hand, tuned"),
        Library("gemms", "GEMMs alone"),
        Library("eager", "ours, eager", ours=True),
        Library("compiled", "ours, compiled", ours=True),
        Library("torch_eager", "torch", "torch"),
        Library("torch_compile", "torch.compile", "torch"),
        Library("jax_jit", "jax.jit (donated)", "jax"),
        Library("autograd", "autograd", "autograd"),
        Library("mygrad", "MyGrad", "mygrad"),
    )
}
REFERENCE = LIBRARIES["by_hand"]
"""Every time is compared with its time, and every result with its result."""


def installed() -> list[Library]:
    """The libraries that can be run here."""
    return [library for library in LIBRARIES.values() if library.version() is not None]
