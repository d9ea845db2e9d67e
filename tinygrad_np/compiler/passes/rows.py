"""Products at batch 1: a row times a matrix, and a column times a row, as plain loops.

The C compiler knows the sizes, which makes its loops twice as fast as BLAS. They add in another
order than BLAS, so the last digit may differ.
"""

from typing import Any

import numpy as np

from ..program import Program, Value
from .matrices import products

_MOST_ADDED = 16
"""Length from which BLAS is faster for a row times a transposed matrix, a sum along memory."""
_MOST = 500_000
"""Elements of a matrix from which BLAS with two threads is faster."""


def small_product(a: Any, b: Any) -> Any:
    """``a @ b``."""
    return a @ b


def run(program: Program) -> None:
    """Mark the products for which loops are faster."""
    for call, a, b in products(program):
        if len(a.shape) == len(b.shape) == 2 and _is_small(a, b, call.out):
            # Columns times rows are elementwise, and so become part of other loops.
            call.function = np.multiply if a.shape[1] == 1 else small_product


def _is_small(a: Value, b: Value, out: Value) -> bool:
    (n, k), m = a.shape, b.shape[1]
    by_rows = m == 1 or b.strides[1] == b.dtype.itemsize
    return max(b.size, out.size) < _MOST and (k == 1 or (n == 1 and (by_rows or k <= _MOST_ADDED)))
