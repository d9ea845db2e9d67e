"""NumPy's functions on Tensors: which op each of them calls."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from . import messages

Function = Callable[..., Any]

NUMPY: dict[Function, Function] = {}
"""What to call instead of one of NumPy's functions when an argument is a Tensor."""

# The values of these arguments if they are not given.
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
    """What one of NumPy's functions gives for Tensors; TypeError if no op stands for it."""
    function = NUMPY.get(func)
    if function is None:
        raise TypeError(messages.no_gradient(func))
    if len(args) > 2 and (names := _names_from_third(func)):
        args, kwargs = args[:2], dict(zip(names, args[2:], strict=False)) | kwargs
    # np.row_stack, for example, passes such defaults on to np.vstack.
    given = {k: v for k, v in kwargs.items() if k not in _DEFAULTS or v is not _DEFAULTS[k]}
    return function(*args, **given)


@functools.cache
def _names_from_third(function: Function) -> tuple[str, ...]:
    """NumPy's names of the arguments from the third on, if that is ``dtype`` or ``out``; else none.

    Ops have neither, and would take a positional one for their own next argument.
    """
    try:
        names = tuple(inspect.signature(function).parameters)[2:]
    except ValueError:  # some functions in C have no signature
        return ()
    return names if names[:1] in (("dtype",), ("out",)) else ()
