"""NumPy's own BLAS, called with the alpha and beta that NumPy does not offer.

It has to be the very library that NumPy has loaded: a second one (SciPy's, say) brings a second
pool of threads, and the two waiting for each other make a step thirty times slower.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

import numpy as np

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


@functools.cache
def loaded() -> tuple[Any, str, str, Any] | None:
    """The library with its names' prefix and suffix and its integer type; None without one."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    for info in threadpool_info():
        if info.get("user_api") != "blas" or "numpy" not in info.get("filepath", ""):
            continue
        handle = ctypes.CDLL(info["filepath"])
        for prefix in ("scipy_", ""):
            for suffix, integer in (("64_", ctypes.c_int64), ("", ctypes.c_int32)):
                if hasattr(handle, f"{prefix}cblas_saxpby{suffix}"):
                    return handle, prefix, suffix, integer
    return None


# The program's own words for fused calls. Alpha and beta are products of several numbers.


def gemm(addend: Any, left: Any, right: Any, *, alpha: Any, beta: Any) -> Any:
    """Beta · addend + alpha · left @ right, in plain NumPy."""
    return axpy(addend, np.matmul(left, right), alpha=alpha, beta=beta)


def axpy(addend: Any, x: Any, *, alpha: Any, beta: Any) -> Any:
    """Beta · addend + alpha · x, in plain NumPy.

    >>> axpy(np.ones(2), np.arange(2.0), alpha=(2.0, 5.0), beta=(3.0,)).tolist()
    [3.0, 13.0]
    """
    one = addend.dtype.type(1)
    return one * np.prod(beta) * addend + one * np.prod(alpha) * x


class Kernel(NamedTuple):
    """A BLAS call: arguments, with None where alpha and beta go, and the operands' addresses."""

    function: Any
    real: Any
    arguments: list[Any]
    pointers: list[Any]


# OpenBLAS gives axpy to several threads from 10,000 elements on and ger from 8,192. That is too
# early: what they write has to come back from their caches. Until it pays, axpby and gemm are used,
# which it leaves to one thread (784 × 100 in float64: gemm 15 µs, ger 41).
_AXPY_PAYS, _GER_IS_ALONE, _GER_PAYS = 100_000, 8_192, 1_500_000  # elements, elements, bytes


def bind(out: Any, operands: tuple[Any, ...], unit_beta: bool) -> Kernel | None:
    """The call that does ``out = beta * out + alpha * product`` with these very arrays.

    Operands are one array of out's layout, or two matrices. The order of None among the arguments
    is alpha, beta; where ``unit_beta`` says that beta is 1, an outer product has none. None where
    there is no BLAS, or where the arrays' layout is not its own.
    """
    found = loaded()
    if found is None or not out.size or any(not operand.size for operand in operands):
        return None
    pointers = [_pointer(operand) for operand in operands]
    name, arguments = (_vectors if len(operands) == 1 else _matrices)(
        out, operands, pointers, unit_beta
    )
    if not name:
        return None
    handle, prefix, suffix, integer = found
    letter, real = ("s", ctypes.c_float) if out.dtype.char == "f" else ("d", ctypes.c_double)
    function = getattr(handle, f"{prefix}cblas_{letter}{name}{suffix}")
    typed = [integer(a) if type(a) is int else a for a in arguments]
    return Kernel(function, real, typed, pointers)


def _vectors(out: Any, operands: tuple[Any, ...], pointers: list[Any], unit_beta: bool) -> Any:
    (x,) = operands
    dense = out.flags.c_contiguous or out.flags.f_contiguous
    if not dense or (x.strides != out.strides and x.size > 1):
        return "", []
    ends = pointers[0], 1
    if unit_beta and out.size >= _AXPY_PAYS:
        return "axpy", [out.size, None, *ends, _pointer(out), 1]
    return "axpby", [out.size, None, *ends, None, _pointer(out), 1]


def _matrices(out: Any, operands: tuple[Any, ...], pointers: list[Any], unit_beta: bool) -> Any:
    left, right = operands
    if left.ndim == 1:
        left, out = left[None], out[None]
    places = [_layout(matrix) for matrix in (out, left, right)]
    if None in places or places[0][0] != _PLAIN:
        return "", []
    (_, ld_out), (flip_left, ld_left), (flip_right, ld_right) = places
    (rows, columns), inner = out.shape, left.shape[1]
    order, end = ctypes.c_int(_ROW_MAJOR), [_pointer(out), ld_out]
    ger_pays = out.size <= _GER_IS_ALONE or out.nbytes >= _GER_PAYS
    if inner == 1 and unit_beta and ger_pays:
        step_left = ld_left if flip_left == _PLAIN else 1
        step_right = ld_right if flip_right == _TRANSPOSED else 1
        ends = [pointers[0], step_left, pointers[1], step_right]
        return "ger", [order, rows, columns, None, *ends, *end]
    head = [order, ctypes.c_int(flip_left), ctypes.c_int(flip_right), rows, columns, inner]
    return "gemm", [*head, None, pointers[0], ld_left, pointers[1], ld_right, None, *end]


def _layout(matrix: Any) -> Any:
    """How BLAS reads a matrix by rows: (transposed or not, leading dimension); None: it cannot."""
    (rows, columns), step = matrix.shape, matrix.itemsize
    down, along = matrix.strides
    # A single row or column has a stride that means nothing.
    down, along = down if rows > 1 else columns * step, along if columns > 1 else rows * step
    if down % step or along % step:
        return None
    if (along == step or columns == 1) and down >= columns * step:
        return _PLAIN, down // step
    if (down == step or rows == 1) and along >= rows * step:
        return _TRANSPOSED, along // step
    return None


def _pointer(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(address(array))


def address(array: Any) -> int:
    """Where an array begins."""
    try:  # a fifth of the time of what always works
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):  # it is read-only, or has gaps
        found: int = array.__array_interface__["data"][0]
        return found
