"""Checks of the memory layout of arrays, tuples and floats that ``runtime.h`` relies on."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import sysconfig

import numpy as np

_HEAD = 2 * ctypes.sizeof(ctypes.c_void_p)


class _Array(ctypes.Structure):
    _fields_ = [  # in ctypes' form
        ("head", ctypes.c_char * _HEAD), ("data", ctypes.c_void_p), ("ndim", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)), ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("base", ctypes.c_void_p), ("dtype", ctypes.c_void_p), ("flags", ctypes.c_int),
    ]  # fmt: skip


@functools.cache
def unavailable() -> str | None:
    """Why native code cannot read Python's and NumPy's objects here; None if it can.

    >>> unavailable()
    """
    if os.name != "posix":
        return "native code is for Linux and macOS"
    if sys.implementation.name != "cpython":
        return f"native code needs CPython, and this is {sys.implementation.name}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "native code needs a Python with a global interpreter lock"
    if not (_tuples() and _arrays()):
        return (
            f"Python {sys.version.split()[0]} or NumPy {np.__version__} lays its objects out anew"
        )
    return None


def _tuples() -> bool:
    """Check that a tuple is head, size, items, and a float is head, number."""
    if (object.__basicsize__, float.__basicsize__) != (_HEAD, _HEAD + 8):
        return False
    pair, number = (object(), object()), 1.5
    words = (ctypes.c_ssize_t * 3).from_address(id(pair) + _HEAD)
    read = ctypes.c_double.from_address(id(number) + _HEAD).value
    return list(words) == [2, *map(id, pair)] and read == number


def _arrays() -> bool:
    """Check that arrays of several ranks and strides read as NumPy describes them."""
    for array in (np.zeros((3, 4, 5), np.float32)[:, ::2].T, np.zeros(()), np.arange(7)[::-1]):
        seen = _Array.from_address(id(array))
        if seen.ndim != array.ndim:
            return False
        read = seen.data, seen.shape[: seen.ndim], seen.strides[: seen.ndim], seen.dtype, seen.flags
        shape, strides = list(array.shape), list(array.strides)
        if read != (array.ctypes.data, shape, strides, id(array.dtype), array.flags.num):
            return False
    return True
