"""Large products in parts, one for each thread of the pool.

BLAS has one thread meanwhile. Its own threads wait for work by occupying the cores, where the
pool's threads want to run the loops between the products.
"""

from typing import Any

import numpy as np

from ..program import Call, Program, Value
from .gemm import layout

BLAS_ALONE = 1 << 18
"""Multiplications up to which OpenBLAS uses one thread anyway."""


def in_parts(a: Any, b: Any) -> Any:
    """``a @ b``."""
    return np.matmul(a, b)


def run(program: Program) -> None:
    """Mark the products that are large enough."""
    for call in program.calls:
        product = call.function in (np.matmul, np.dot, np.ndarray.dot) and not call.kwargs
        if product and _fits(call):
            call.function = in_parts


def _fits(call: Call) -> bool:
    (a, b), out = call.args, call.out
    if not (isinstance(a, Value) and isinstance(b, Value)) or out.dtype.char not in "fd":
        return False
    alike = {a.dtype, b.dtype} == {out.dtype} and len(a.shape) == len(b.shape) == 2
    if not alike or min(out.shape) == 1 or out.size * a.shape[1] <= BLAS_ALONE:
        return False
    return layout(out) == (False, out.shape[1]) and None not in (layout(a), layout(b))
