"""NumPy's functions, called with Tensors: what each is called as instead."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from . import messages

Function = Callable[..., Any]

NUMPY: dict[Function, Function] = {}
"""NumPy's functions, and what to call instead when one of their arguments is a Tensor."""

# What NumPy's functions take for these when they are not given.
_DEFAULTS = {
    "casting": "same_kind", "dtype": None, "initial": np._NoValue, "keepdims": np._NoValue,
    "out": None, "where": np._NoValue,
}  # fmt: skip


def by_ufunc(self: Any, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
    """``Tensor.__array_ufunc__``: what a ufunc gives for Tensors; TypeError if no op stands for it.

    NumPy calls it for ``np.tanh(tensor)`` and for ``ndarray + tensor``.
    """
    if keywords.get("out") is not None:
        raise TypeError(messages.into_an_array(ufunc))
    function = NUMPY.get(ufunc)
    if method != "__call__" or function is None:
        raise TypeError(messages.no_gradient(ufunc, "" if method == "__call__" else f".{method}"))
    return function(*inputs, **keywords)


def by_numpy(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What one of NumPy's functions gives for Tensors; TypeError where no op stands for it."""
    function = NUMPY.get(func)
    if function is None:
        raise TypeError(messages.no_gradient(func))
    if len(args) > 2 and (names := _names_from_third(func)):
        args, kwargs = args[:2], dict(zip(names, args[2:], strict=False)) | kwargs
    # np.row_stack, say, gives np.vstack such defaults that nobody has asked for.
    given = {k: v for k, v in kwargs.items() if k not in _DEFAULTS or v is not _DEFAULTS[k]}
    return function(*args, **given)


@functools.cache
def _names_from_third(function: Function) -> tuple[str, ...]:
    """NumPy's names for its third argument on, where that is ``dtype`` or ``out``; else none.

    Ops have neither: by place, they would take it for their next argument.
    """
    try:
        names = tuple(inspect.signature(function).parameters)[2:]
    except ValueError:  # some of NumPy's functions in C do not tell theirs
        return ()
    return names if names[:1] in (("dtype",), ("out",)) else ()
