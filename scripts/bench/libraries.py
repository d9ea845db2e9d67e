"""What is compared: each library's name, what it needs, and the training it prepares."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tinygrad_np as tg

from .workloads import Array, Problem


@dataclass(frozen=True)
class Training:
    """A network that a library has made ready to be trained.

    ``step(x, labels)`` makes one update and returns the loss before it, in the library's own type;
    ``batches`` are in its own arrays, so that no conversion is timed. ``parameters`` gives ndarrays
    of the parameters as they are now, or None where nothing is trained; ``wait`` returns when the
    work that yields a loss is done.
    """

    step: Callable[[Any, Any], Any]
    batches: Sequence[tuple[Any, Any]]
    parameters: Callable[[], list[Array]] | None
    wait: Callable[[Any], Any] = lambda loss: loss


@dataclass(frozen=True)
class Library:
    """A way to train: a module of this package with ``training(problem) -> Training``."""

    module: str
    title: str
    package: str = "numpy"
    ours: bool = False

    def version(self) -> str | None:
        """The version of the package that it needs, or None where that is not installed."""
        if self.module == "compiled" and not hasattr(tg, "compile"):
            return None
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def load(self) -> Any:
        """Its module, imported: it, and the library, are there from then on."""
        return importlib.import_module(f"{__package__}.{self.module}")

    def training(self, problem: Problem) -> Training:
        """The problem's network, ready to be trained by this library."""
        training: Training = self.load().training(problem)
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
        Library("jax_jit", "jax.jit", "jax"),
        Library("autograd_", "autograd", "autograd"),
        Library("mygrad_", "MyGrad", "mygrad"),
    )
}
REFERENCE = LIBRARIES["by_hand"]
"""What every time is compared with, and every result checked against."""


def installed() -> list[Library]:
    """The libraries that can be run here."""
    return [library for library in LIBRARIES.values() if library.version() is not None]
