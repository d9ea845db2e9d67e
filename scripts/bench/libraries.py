"""What is compared: the libraries."""

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from models.trained import Trained

from .workloads import Problem


@dataclass(frozen=True)
class Library:
    """A way to train: the function called ``module`` in the files of each network in ``models``."""

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

    def function(self, network: str) -> Callable[..., Trained] | None:
        """The function that makes a network ready for training; None where there is none."""
        kind = "" if self.ours else "_by_hand" if self.package == "numpy" else "_peers"
        try:
            file = importlib.import_module(f"models.{network}{kind}")
        except ModuleNotFoundError:
            return None
        return getattr(file, self.module, None)

    def training(self, problem: Problem) -> Trained:
        """The problem's network, made ready by this library."""
        make = self.function(problem.workload.network)
        assert make is not None
        return make(problem.copies(), **problem.workload.settings)


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
