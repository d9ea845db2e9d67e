"""Outer products: a column times a row, written as a product of matrices with one inner index.

At batch 1 the gradient of a weight matrix is one. As a matrix product it can join an update
(see ``gemm``), where BLAS has ``ger``: a third of the time of a product, a scaling and a sum.
"""

import numpy as np

from ..program import Program, Value, is_ufunc


def run(program: Program) -> int:
    """Turn multiply((n, 1), (1, m)) and its like into matmul."""
    changed = 0
    for call in program.calls:
        if call.function is np.dot and all(
            isinstance(a, Value) and len(a.shape) == 2 for a in call.args
        ):
            call.function = np.matmul
            changed += 1
            continue
        if not is_ufunc(call, np.multiply) or call.out is None or len(call.out.shape) != 2:
            continue
        first, second = call.args
        if not (isinstance(first, Value) and isinstance(second, Value)):
            continue
        if first.dtype != second.dtype or first.dtype.kind != "f" or min(call.out.shape) < 2:
            continue
        for column, row in ((first, second), (second, first)):
            if column.shape == (call.out.shape[0], 1) and row.shape == (1, call.out.shape[1]):
                call.function, call.args = np.matmul, (column, row)
                changed += 1
                break
    return changed
