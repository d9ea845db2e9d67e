"""Functions as modules, which hold the arguments other than the inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from .module import Module


class Function(Module):
    """A function as a module: ``forward`` takes its inputs, ``__init__`` its other arguments."""

    function: Callable[..., Tensor]
    inputs: int
    settings: dict[str, inspect.Parameter]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = inspect.Signature([
            p.replace(kind=p.POSITIONAL_OR_KEYWORD, annotation=p.empty)
            for p in self.settings.values()
        ])  # fmt: skip
        try:
            bound = own.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}{own}: {error}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            setattr(self, name, value)

    def forward(self, *inputs: Any) -> Tensor:
        """The function of the inputs."""
        given = {name: getattr(self, name) for name in self.settings}
        return type(self).function(*inputs, **given)

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        return ", ".join([
            f"{name}={value!r}" for name, p in self.settings.items()
            if (value := getattr(self, name)) is not p.default
            and not (isinstance(value, str | int | float) and value == p.default)
        ])  # fmt: skip


def as_module(
    module: str, name: str, function: Callable[..., Any], inputs: int = 1, *,
    given: str = "", example: str = "np.array([[-1.0, 2.0]])",
) -> type[Function]:  # fmt: skip
    """A class for a function of ``inputs`` inputs, defined in ``module``, where pickle finds it.

    ``given`` and ``example`` are the settings and the inputs of the docstring's example.
    """
    found = inspect.signature(function).parameters
    usual = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = [(key, p) for key, p in found.items() if p.kind in usual][inputs:]
    return type(name, (Function,), {
        "function": staticmethod(function), "inputs": inputs, "settings": dict(parameters),
        "__doc__": _EXAMPLE.format(
            name=name, function=function.__name__, given=given, example=example,
            both=f"{example}, {given}".rstrip(", "),
        ),
        "__module__": module,
    })  # fmt: skip


_EXAMPLE = """``tg.{function}`` as a module.

>>> import numpy as np, tinygrad_np as tg
>>> out = tg.nn.{name}({given})({example})
>>> bool((out == tg.{function}({both})).all())
True
"""
