"""The names that the caller gives to Tensors and arrays, as text that can be drawn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..nn import Module
from ..tensor import Tensor

Names = Module | Mapping[str, Any] | Iterable[tuple[str, Any]] | None

# Characters that XML 1.0 cannot hold, and control characters of terminals.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def legible(name: object) -> str:
    r"""A name as text that XML can hold and that does not control a terminal.

    >>> print(legible("\x1b[31mred"), legible(3))
    \x1b[31mred 3
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(name))


def named(names: Names) -> Iterator[tuple[str, Any]]:
    """Pairs of a name and its Tensor or array; TypeError for anything else."""
    given: Any = names.named_parameters() if isinstance(names, Module) else names
    pair: Any
    pairs = given.items() if isinstance(given, Mapping) else () if given is None else given
    for pair in pairs if isinstance(pairs, Iterable) else (None,):
        fits = isinstance(pair, tuple | list) and len(pair) == 2
        if not fits or isinstance(pair[0], Tensor | np.ndarray):
            raise TypeError(
                "names is a module, or a dict from names to Tensors and arrays, such as "
                f"names={{'x': x}} or names=model; got {_described(names)}"
            )
        yield legible(pair[0]), pair[1]


def _described(names: Any) -> str:
    """A short description of the wrong argument."""
    kind = type(names).__name__
    if isinstance(names, Mapping):
        return f"a {kind} whose keys are {', '.join({type(key).__name__ for key in names})}"
    if isinstance(names, list | tuple):
        return f"a {kind} of {', '.join({type(value).__name__ for value in names})}"
    return f"a {kind}"
