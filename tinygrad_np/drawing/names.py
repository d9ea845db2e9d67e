"""Names: what the caller calls Tensors and arrays, as text that can be drawn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..nn import Module
from ..tensor import Tensor

Names = Module | Mapping[str, Any] | Iterable[tuple[str, Any]] | None

# What XML 1.0 cannot hold, and what terminals obey.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(name: object) -> str:
    r"""A name as text that XML can hold and that a terminal prints as it is.

    >>> print(printable("\x1b[31mred"), printable(3))
    \x1b[31mred 3
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(name))


def named(names: Names) -> Iterator[tuple[str, Any]]:
    """Pairs of a name and its Tensor or array; TypeError for what ``names`` cannot be."""
    given: Any = names.named_parameters() if isinstance(names, Module) else names
    pairs = given.items() if isinstance(given, Mapping) else given
    wrong = not isinstance(pairs, Iterable | None)
    for pair in () if wrong or pairs is None else pairs:
        wrong = not isinstance(pair, tuple | list) or len(pair) != 2
        if wrong or isinstance(pair[0], Tensor | np.ndarray):
            wrong = True
            break
        yield printable(pair[0]), pair[1]
    if wrong:
        raise TypeError(
            "names is a module, or a dict from names to Tensors and arrays, such as "
            f"names={{'x': x}} or names=model; got {_described(names)}"
        )


def _described(names: Any) -> str:
    """What was given instead, in few words."""
    kind = type(names).__name__
    if isinstance(names, Mapping):
        return f"a {kind} whose keys are {', '.join({type(key).__name__ for key in names})}"
    if isinstance(names, list | tuple):
        return f"a {kind} of {', '.join({type(value).__name__ for value in names})}"
    return f"a {kind}"
