"""Scaled sums of products: C + alpha * (A @ B) as one call of BLAS, in C's own memory."""

from typing import Any


def gemm(c: Any, a: Any, b: Any, sign: float, factor: Any) -> Any:
    """``c + sign * factor * (a @ b)``."""
    product = a @ b
    return c - factor * product if sign < 0 else c + factor * product


def small_product(a: Any, b: Any) -> Any:
    """``a @ b`` where one of them is a row: plain loops, in whatever order."""
    return a @ b
