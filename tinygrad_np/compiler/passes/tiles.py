"""Products of small matrices by C code that keeps the sums in registers.

The C compiler knows the sizes, so the code copies less than BLAS does and uses all of the
processor's vector instructions, which BLAS may not. The order of additions differs from BLAS's.
"""

from typing import Any

import numpy as np

from ..program import Program, Value
from .matrices import products

_MOST, _DEEPEST = 1 << 21, 2048
"""The largest second matrix, in bytes and in rows, whose columns stay in the cache."""
_NARROW = 100
"""Some side is at most this long: BLAS takes half the time where all three are 500 or more."""


def tiled(a: Any, b: Any) -> Any:
    """``a @ b``."""
    return np.matmul(a, b)


def run(program: Program) -> None:
    """Mark the products that are small enough."""
    for call, a, b in products(program):
        if _fits(a, b, call.out):
            call.function = tiled


def _fits(a: Value, b: Value, out: Value) -> bool:
    n, (k, m), step = a.shape[-2], b.shape[-2:], out.dtype.itemsize
    small = min(n, k, m) <= _NARROW and k <= _DEEPEST and k * m * step <= _MOST
    return small and n > 1 and m > 4 and out.strides[-1] == step
