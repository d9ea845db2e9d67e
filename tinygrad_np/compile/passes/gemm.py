"""GEMM with alpha and beta: a matrix product, its scaling and a sum in one pass over memory.

beta * C ± alpha * (A @ B) becomes one BLAS call that works in C's memory if C is not read again:
the update W - lr * (xᵀ @ delta) takes one pass over W instead of four, momentum's likewise.
"""

from typing import Any

import numpy as np

from .. import blas
from ..program import Call, Program, Value, is_ufunc
from .match import product_of, single_use


def run(program: Program) -> int:
    """Fuse sums of a matrix and a matrix product; needs BLAS."""
    if blas.library() is None:
        return 0
    changed = 0
    outputs = set(program.outputs)
    uses, producers = program.uses(), program.producers()
    for call in list(program.calls):
        if not is_ufunc(call, np.add, np.subtract) or call.out is None or len(call.args) != 2:
            continue
        sign = -1.0 if call.function is np.subtract else 1.0
        orders = [(call.args[0], call.args[1], 1.0, sign), (call.args[1], call.args[0], sign, 1.0)]
        for addend, product, of_addend, of_product in orders:
            found = _matrix_product(product, producers, uses, outputs)
            if found is None or not _fits(addend, call.out):
                continue
            alpha, inner, scaling = found
            beta: Any = 1.0
            scaled = product_of(producers.get(addend), producers)
            if scaled is not None and single_use(addend, uses) and addend not in outputs:
                beta, matrix = scaled
                if _fits(matrix, call.out):
                    program.calls.remove(producers[addend])
                    addend = matrix
                else:
                    beta = 1.0
            for dead in (inner, scaling):
                if dead is not None:
                    program.calls.remove(dead)
            call.function = blas.gemm
            call.args = (addend, *inner.args)
            call.kwargs = {
                "alpha": alpha,
                "of_product": of_product,
                "beta": beta,
                "of_addend": of_addend,
            }
            changed += 1
            uses, producers = program.uses(), program.producers()
            break
    return changed


def _fits(addend: Any, out: Value) -> bool:
    return isinstance(addend, Value) and addend.shape == out.shape and addend.dtype == out.dtype


def _matrix_product(
    value: Any, producers: dict[Value, Call], uses: dict[Value, list[Call]], outputs: set[Value]
) -> tuple[Any, Call, Call | None] | None:
    """alpha, the matmul and the scaling (if any) whose result ``value`` is, read here alone."""
    if not isinstance(value, Value) or not single_use(value, uses) or value in outputs:
        return None
    call = producers.get(value)
    alpha, scaling = 1.0, None
    found = product_of(call, producers)
    if found is not None:
        alpha, inner = found
        if not single_use(inner, uses) or inner in outputs:
            return None
        scaling, call = call, producers.get(inner)
    if call is None or call.function is not np.matmul or call.out is None:
        return None
    if len(call.out.shape) != 2 or call.out.dtype.char not in "fd":
        return None
    if any(
        not isinstance(a, Value) or a.dtype != call.out.dtype or len(a.shape) != 2
        for a in call.args
    ):
        return None
    return alpha, call, scaling
