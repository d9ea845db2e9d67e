"""A common factor: C + A @ B1 + A @ B2 is C + A @ (B1 + B2), one product of matrices for many.

So several updates of the same weights with the same inputs cost one product in all.
"""

from typing import Any

from .. import blas
from ..program import Call, Program, Value
from .facts import Facts


def run(program: Program) -> int:
    """Add up the other factors where a product is added to a sum that only it reads."""
    changed = 0
    calls = []
    facts = Facts(program)
    for i, call in enumerate(program.calls):
        earlier = facts.only_here(call.args[0]) if call.function is blas.gemm else None
        if earlier is not None and earlier.function is blas.gemm and _is_one(call.kwargs["beta"]):
            addend, left, right = earlier.args
            made = facts.made[call.args[0]]
            if left is call.args[1] and facts.stays(earlier.args, made, i):
                added = Value(right)
                scales = {"alpha": call.kwargs["alpha"], "beta": earlier.kwargs["alpha"]}
                args = right, call.args[2]
                calls.append(Call("array", blas.axpy, args, scales, added, call.line))
                call.args = addend, left, added
                call.kwargs = {"alpha": (1.0,), "beta": earlier.kwargs["beta"]}
                changed += 1
        calls.append(call)
    program.calls = calls
    return changed


def _is_one(factors: tuple[Any, ...]) -> bool:
    return all(type(factor) is float and factor == 1.0 for factor in factors)
