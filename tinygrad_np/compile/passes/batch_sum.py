"""Sums over the batch as matrix-vector products: what a bias's gradient is.

BLAS adds up the rows of a matrix several times as fast as NumPy's reduction does.
"""

import numpy as np

from ..program import Program, Value


def run(program: Program) -> int:
    """Turn add.reduce(x, axis=0) of a matrix into ones @ x."""
    changed = 0
    for call in program.calls:
        if call.function != np.add.reduce or call.out is None or call.kwargs.get("keepdims"):
            continue
        x, axis = call.args
        axes = axis if isinstance(axis, tuple) else (axis,)
        if (
            axes != (0,)
            or not isinstance(x, Value)
            or len(x.shape) != 2
            or x.dtype.char not in "fd"
        ):
            continue
        if x.dtype != call.out.dtype or x.shape[0] < 2:
            continue
        ones = np.ones(x.shape[0], x.dtype)
        ones.setflags(write=False)
        call.function, call.args, call.kwargs = np.matmul, (Value(ones, "constant", ones), x), {}
        changed += 1
    return changed
