"""Products of small matrices by C code that keeps the sums in registers.

The C compiler knows the sizes, so the code copies less than BLAS does and uses all of the
processor's vector instructions, which BLAS may not. The order of additions differs from BLAS's.
"""

from typing import Any

import numpy as np

from ..program import Program, Value

_MOST, _DEEPEST = 1 << 21, 2048
"""The largest second matrix, in bytes and in rows, whose columns stay in the cache."""
_NARROW = 100
"""Some side is at most this long: BLAS takes half the time where all three are 500 or more."""


def tiled(a: Any, b: Any) -> Any:
    """``a @ b``."""
    return np.matmul(a, b)


def run(program: Program) -> None:
    """Mark the products that are small enough."""
    for call in program.calls:
        if call.function in (np.matmul, np.dot, np.ndarray.dot) and not call.kwargs:
            a, b = call.args
            if _fits(a, b, call.out, call.function is np.matmul):
                call.function = tiled


def _fits(a: Any, b: Any, out: Value, batched: bool) -> bool:
    if not (isinstance(a, Value) and isinstance(b, Value)) or out.dtype.char not in "fd":
        return False
    ranks = {len(a.shape), len(b.shape)}
    if {a.dtype, b.dtype} != {out.dtype} or not out.size or not a.size or min(ranks) < 2:
        return False
    if (not batched and ranks != {2}) or out.strides[-1] != out.dtype.itemsize:
        return False
    n, (k, m) = a.shape[-2], b.shape[-2:]
    if min(n, k, m) > _NARROW:
        return False
    return n > 1 and m > 4 and k <= _DEEPEST and k * m * out.dtype.itemsize <= _MOST
