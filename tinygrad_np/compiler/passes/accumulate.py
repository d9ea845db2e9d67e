"""Scaled sums in one pass over memory: beta * C ± alpha * (A @ B), and beta * y ± alpha * x.

BLAS does both in C's or y's own memory (see ``memory`` for when that may be). So the update
W - lr * (xᵀ @ delta) takes one pass over W instead of four; momentum, weight decay and Adam's
moments likewise.
"""

from typing import Any

import numpy as np

from .. import blas
from ..program import Program, Value, is_ufunc
from .facts import Facts, is_product


def run(program: Program) -> int:
    """Fuse scalings, products and sums; needs BLAS. What is fused is left behind, for ``dead``."""
    if blas.loaded() is None:
        return 0
    facts = Facts(program)
    updated = {call.args[1]: call.args[0] for call in program.calls if call.kind == "store"}
    changed = 0
    for i, call in enumerate(program.calls):
        if not is_ufunc(call, np.add, np.subtract) or call.out is None or call.kwargs:
            continue
        if call.out.dtype.char not in "fd" or not all(_fits(a, call.out) for a in call.args):
            continue
        first, second = call.args
        sign = -1.0 if call.function is np.subtract else 1.0
        found = [
            _fused(facts, i, addend, term, of_addend, of_term)
            for addend, term, of_addend, of_term in (
                (first, second, 1.0, sign), (second, first, sign, 1.0)
            )
        ]  # fmt: skip
        usable = [fused for fused in found if fused is not None]
        if usable:  # rather the one that works in the array that is to hold the result anyway
            usable.sort(key=lambda fused: fused[1][0] is not updated.get(call.out))
            call.function, call.args, call.kwargs = usable[0]
            changed += 1
    return changed


def _fits(operand: Any, out: Value) -> bool:
    return isinstance(operand, Value) and (operand.shape, operand.dtype) == (out.shape, out.dtype)


def _fused(
    facts: Facts, i: int, addend: Value, term: Value, of_addend: float, of_term: float
) -> Any:
    """The function, args and kwargs that compute of_addend · addend + of_term · term; or None."""
    alpha, operands = _term(facts, i, term)
    factor, array = _taken(facts, i, addend) or (1.0, addend)
    if operands == (term,) and array is addend:
        return None
    function = blas.gemm if len(operands) == 2 else blas.axpy
    return function, (array, *operands), {"alpha": (of_term, alpha), "beta": (of_addend, factor)}


def _taken(facts: Facts, i: int, value: Value) -> tuple[Any, Value] | None:
    """The number and the array whose product a value is, if call ``i`` may read these instead."""
    found = facts.scaled(facts.only_here(value))
    if found is None or not facts.stays(found, facts.made[value], i):
        return None
    return found


def _term(facts: Facts, i: int, term: Value) -> tuple[Any, tuple[Value, ...]]:
    """A number, and the array or the two factors that it scales."""
    number, array = _taken(facts, i, term) or (1.0, term)
    product = facts.only_here(array)
    if is_product(product) and facts.stays(product.args, facts.made[array], i):
        return number, product.args
    return number, (array,)
