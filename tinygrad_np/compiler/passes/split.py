"""Large products in parts, one for each thread of the pool.

BLAS has one thread meanwhile. Its own threads wait for work by occupying the cores, where the
pool's threads want to run the loops between the products.
"""

from typing import Any

import numpy as np

from ..program import Program, Value
from .gemm import layout
from .matrices import products

BLAS_ALONE = 1 << 18
"""Multiplications up to which OpenBLAS uses one thread anyway."""


def in_parts(a: Any, b: Any) -> Any:
    """``a @ b``."""
    return np.matmul(a, b)


def run(program: Program) -> None:
    """Mark the products that are large enough."""
    for call, a, b in products(program):
        large = call.out.size * a.shape[-1] > BLAS_ALONE
        if large and (len(call.out.shape) > 2 or _fits(a, b, call.out)):
            call.function = in_parts


def _fits(a: Value, b: Value, out: Value) -> bool:
    whole = layout(out) == (False, out.shape[1]) and min(out.shape) > 1
    return whole and None not in (layout(a), layout(b))
