"""NumPy's own BLAS, called with the alpha and beta that NumPy does not offer.

It has to be the very library that NumPy has loaded: a second one (SciPy's, say) brings a second
pool of threads, and the two waiting for each other make a step thirty times slower.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE = 101, 111, 112

Kernel = Callable[[], None]
Number = Callable[[], float] | float


@functools.cache
def library() -> tuple[Any, str, str, Any] | None:
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
                if hasattr(handle, f"{prefix}cblas_sgemm{suffix}"):
                    return handle, prefix, suffix, integer
    return None


def _kernel(name: str) -> Any:
    found = library()
    assert found is not None
    handle, prefix, suffix, _ = found
    return getattr(handle, f"{prefix}cblas_{name}{suffix}")


def gemm(
    addend: Any, left: Any, right: Any, *, alpha: Any = 1.0, of_product: float = 1.0,
    beta: Any = 1.0, of_addend: float = 1.0,
) -> Any:  # fmt: skip
    """beta of_addend · addend + alpha of_product · left @ right, in plain NumPy.

    The program's own word for the fused call; ``bind`` makes the call itself.
    """
    return (beta * of_addend) * addend + (alpha * of_product) * (left @ right)


def layout(matrix: Any) -> tuple[int, int] | None:
    """How BLAS reads a matrix by rows: (transposed or not, leading dimension); None: it cannot."""
    rows, columns = matrix.shape
    step = matrix.itemsize
    if matrix.strides[1] == step and matrix.strides[0] >= columns * step:
        return NO_TRANSPOSE, matrix.strides[0] // step
    if matrix.strides[0] == step and matrix.strides[1] >= rows * step:
        return TRANSPOSE, matrix.strides[1] // step
    # A single row or column has one stride that means nothing.
    if rows == 1 and matrix.strides[1] == step:
        return NO_TRANSPOSE, max(columns, 1)
    if columns == 1 and matrix.strides[0] == step:
        return TRANSPOSE, max(rows, 1)
    return None


def pointer(matrix: Any) -> ctypes.c_void_p:
    """Where an array begins, as BLAS wants it; ``moved`` points it to another array."""
    return ctypes.c_void_p(matrix.__array_interface__["data"][0])


def bind(
    out: Any, left: Any, right: Any, alpha: Number, beta: Number,
    left_pointer: ctypes.c_void_p, right_pointer: ctypes.c_void_p,
) -> Kernel | None:  # fmt: skip
    """A call that does ``out = beta * out + alpha * left @ right`` with these very arrays.

    ``alpha`` and ``beta`` are numbers, or functions asked at each run. The pointers may be moved
    to other arrays of the same layout afterwards. With one inner index and beta 1 it is ``ger``.
    None where there is no BLAS, or where the arrays' layout is not its own.
    """
    found = library()
    places = [layout(matrix) for matrix in (out, left, right)]
    if found is None or not (places[0] and places[1] and places[2]):
        return None
    if not out.size or not left.size or places[0][0] != NO_TRANSPOSE:
        return None
    (_, ld_out), (flip_left, ld_left), (flip_right, ld_right) = places[0], places[1], places[2]
    integer = found[3]
    letter, real = ("s", ctypes.c_float) if out.dtype.char == "f" else ("d", ctypes.c_double)
    (rows, columns), inner = out.shape, left.shape[1]
    scale, decay = _number(alpha, real), _number(beta, real)
    head = [ctypes.c_int(ROW_MAJOR)]
    end = [pointer(out), integer(ld_out)]
    if inner == 1 and beta == 1.0:
        ger = _kernel(f"{letter}ger")
        head += [integer(rows), integer(columns)]
        end = [
            left_pointer, integer(ld_left if flip_left == NO_TRANSPOSE else 1),
            right_pointer, integer(ld_right if flip_right == TRANSPOSE else 1), *end,
        ]  # fmt: skip
        return lambda: ger(*head, scale(), *end)
    gemm = _kernel(f"{letter}gemm")
    head += [ctypes.c_int(flip_left), ctypes.c_int(flip_right)]
    head += [integer(rows), integer(columns), integer(inner)]
    middle = [left_pointer, integer(ld_left), right_pointer, integer(ld_right)]
    return lambda: gemm(*head, scale(), *middle, decay(), *end)


def _number(value: Number, real: Any) -> Callable[[], Any]:
    if callable(value):
        return lambda: real(value())
    fixed = real(value)
    return lambda: fixed


def check(dtype: Any = np.float32) -> bool:
    """Whether the library found computes what it should: one small product against NumPy's."""
    left, right = np.ones((2, 3), dtype), np.arange(12, dtype=dtype).reshape(3, 4)
    out = np.ones((2, 4), dtype)
    run = bind(out, left, right, 2.0, 3.0, pointer(left), pointer(right))
    if run is None:
        return False
    run()
    return bool(np.allclose(out, 3 + 2 * (left @ right)))
