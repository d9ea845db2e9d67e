"""Plain arrays as the package takes them: traced, named, and beginning where a cache line does."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Traced:
    """An array that a tracer hands out in place of an ndarray; see ``compiler/symbol.py``."""

    __slots__ = ()


def as_array(value: Any, dtype: Any = None) -> Any:
    """``np.asarray``, which leaves traced arrays traced."""
    if isinstance(value, Traced):
        return value if dtype is None else value.astype(dtype, copy=False)  # type: ignore[attr-defined]
    return np.asarray(value, dtype=dtype)


# A constant has no node that could carry its name. Its array keeps the name as long as it lives.
_names: dict[int, tuple[str, weakref.ref[Array]]] = {}


def name_array(array: Any, name: str) -> None:
    """Give an array a name, for drawings."""
    if isinstance(array, np.ndarray):
        key = id(array)
        _names[key] = name, weakref.ref(array, lambda _: _names.pop(key, None))


def array_name(array: Any) -> str:
    """The name that an array was given, or ""."""
    return _names[id(array)][0] if id(array) in _names else ""


LINE = 64
"""Bytes of a cache line, and of the widest vector register."""


def aligned_bytes(count: int) -> NDArray[np.uint8]:
    """Uninitialised memory of ``count`` bytes, at least a line, that begins with a cache line."""
    whole = np.empty(count + 2 * LINE, np.uint8)
    start = -whole.ctypes.data % LINE
    return whole[start : start + max(count, LINE)]


def aligned_copy(array: Array) -> Array:
    """A copy in C order that begins with a cache line, if it has at least a kilobyte.

    NumPy's own arrays begin at any multiple of 16 bytes. If the weights lie across cache lines, a
    training step of the three-layer network takes a tenth longer with two BLAS threads: what ufuncs
    store has to come back from the other core's cache, two lines at a time.

    >>> aligned_copy(np.ones((500, 3))).ctypes.data % LINE
    0
    """
    if array.nbytes < 1024:
        return array.copy()
    copy = aligned_bytes(array.nbytes).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
