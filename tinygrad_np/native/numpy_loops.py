"""NumPy's own inner loops, by address: what a ufunc calls on each stretch of its operands.

Code that calls them gets NumPy's results bit for bit, vector instructions included. The beginning
of a ufunc object is part of NumPy's public C interface (``numpy/ufuncobject.h``); here nothing is
believed before it is checked: the object against what NumPy says in Python, the loop against the
ufunc's own results.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

_size, _pointer = ctypes.c_ssize_t, ctypes.c_void_p
_LOOP = ctypes.CFUNCTYPE(
    None, ctypes.POINTER(_pointer), ctypes.POINTER(_size), ctypes.POINTER(_size), _pointer
)


class _UFunc(ctypes.Structure):
    _fields_ = [  # in ctypes' form
        ("references", _size), ("type", _pointer),
        ("nin", ctypes.c_int), ("nout", ctypes.c_int), ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(_pointer)), ("data", ctypes.POINTER(_pointer)),
        ("ntypes", ctypes.c_int), ("reserved", ctypes.c_int), ("name", ctypes.c_char_p),
        ("types", ctypes.POINTER(ctypes.c_char)),
    ]  # fmt: skip


def loop(ufunc: np.ufunc, dtypes: Sequence[DTypeLike]) -> tuple[int, int] | None:
    """The addresses of a ufunc's inner loop and of the data it wants as its last argument.

    ``dtypes`` are those of all operands, inputs first. None where NumPy has no such loop, or where
    it cannot be called safely with equal results. For a generalised ufunc (``np.matmul``) the loop
    takes the core dimensions and their strides after the outer ones.

    >>> function, data = loop(np.exp, ["float32", "float32"])
    >>> loop(np.exp, ["int64", "float32"])
    """
    chars = "".join(np.dtype(dtype).char for dtype in dtypes)
    return _verified(ufunc, f"{chars[: ufunc.nin]}->{chars[ufunc.nin :]}")


@functools.cache
def _verified(ufunc: np.ufunc, types: str) -> tuple[int, int] | None:
    if set(types) & set("OSUVMmgG") or not _as_declared(ufunc):
        return None  # objects and times are more than their bytes; long doubles vary
    seen = _UFunc.from_address(id(ufunc))
    for i, found in enumerate(ufunc.types):  # the first of several is the fastest
        function, data = seen.functions[i], seen.data[i]
        if found == types and function and _equal(ufunc, types, function, data):
            return function, data or 0
    return None


def _as_declared(ufunc: np.ufunc) -> bool:
    """Whether the fields that we read agree with the ufunc's attributes in Python."""
    seen = _UFunc.from_address(id(ufunc))
    counts = (seen.nin, seen.nout, seen.nargs, seen.ntypes)
    if counts != (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes):
        return False
    chars = "".join(types.replace("->", "") for types in ufunc.types)
    numbers = bytes(np.dtype(char).num for char in chars)
    return (seen.name, seen.types[: len(numbers)]) == (ufunc.__name__.encode(), numbers)


def _equal(ufunc: np.ufunc, types: str, function: int, data: int | None) -> bool:
    """Whether the loop gives the ufunc's own results, nan for nan, on a few arrays."""
    # 67 numbers, or 3 repetitions of a core like (n,k),(k,m)->(n,m) with all dimensions 4.
    cores = re.findall(r"\(([^)]*)\)", ufunc.signature or "") or [""] * ufunc.nargs
    ranks = [len(core.split(",")) if core else 0 for core in cores]
    dimensions = len({name for core in cores for name in core.split(",") if name})
    outer = 3 if dimensions else 67
    ins, outs = types.split("->")
    shapes = [(outer, *[4] * rank) for rank in ranks]
    arrays = [
        _sample(char, shape, i) for i, (char, shape) in enumerate(zip(ins, shapes, strict=False))
    ]
    with np.errstate(all="ignore"):
        try:
            expected: Any = ufunc(*arrays, signature=types)
        except (TypeError, ValueError, np.linalg.LinAlgError):
            return False
        arrays += [
            np.zeros(shape, char) for char, shape in zip(outs, shapes[len(ins) :], strict=True)
        ]
        places = (_pointer * len(arrays))(*(array.ctypes.data for array in arrays))
        lengths = (_size * (1 + dimensions))(outer, *[4] * dimensions)
        steps = [array.strides[0] for array in arrays]
        steps += [step for array in arrays for step in array.strides[1:]]
        _LOOP(function)(places, lengths, (_size * len(steps))(*steps), data)
    expected = expected if isinstance(expected, tuple) else (expected,)
    return all(
        a.dtype == b.dtype and np.array_equal(_bits(a), _bits(b))
        for a, b in zip(expected, arrays[len(ins) :], strict=True)
    )


def _sample(char: str, shape: tuple[int, ...], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    if char not in "efdFD":
        return rng.integers(0, 2 if char == "?" else 5, shape).astype(char)
    array = (3 * rng.standard_normal(shape)).astype(char)
    if len(shape) == 1:
        array[:6] = 0.0, -0.0, np.inf, -np.inf, np.nan, 50.0
    return array


def _bits(array: Any) -> Any:
    """The bits of an array's numbers, with nan as zero, because the sign of nan is arbitrary."""
    return np.where(np.isnan(array), array.dtype.type(0), array).view(np.uint8)
