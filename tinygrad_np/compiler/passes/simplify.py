"""Simplification: what multiplies by 1, changes no shape, or undoes itself.

Only what gives the same bits: x * 1 is x, but x + 0 is not (it turns -0 into 0).
"""

from typing import Any

import numpy as np

from ..program import Call, Program, Value, is_elementwise
from ..tracer import laid_out
from .use_def import UseDef

_OF_ONE = (np.multiply.reduce, np.maximum.reduce, np.minimum.reduce)  # add.reduce turns -0 into 0


def run(program: Program) -> None:
    """Let calls read the operand where the operation changes nothing."""
    use_def = UseDef(program)
    same: dict[Value, Value] = {}
    for call in program.calls:
        operand = _unchanged(call, use_def)
        if operand is not None and operand.like(call.out) and not use_def.meet(operand, call.out):
            same[call.out] = operand
    program.substitute(same)
    for call in program.calls:
        if call.function in _OF_ONE and len(call.args) == 2 and "initial" not in call.kwargs:
            (x, _), out = call.args, call.out
            if x.size == out.size and x.size and x.dtype == out.dtype:
                call.function, call.view = np.ndarray.reshape, True
                call.args, call.kwargs = (x, out.shape), {}


def _unchanged(call: Call, use_def: UseDef) -> Value | None:
    """The operand that the result of this call may be equal to."""
    first, *rest = call.args or (None,)
    found: Any = None
    if is_elementwise(call, np.multiply, np.divide) and _is_one(rest[0]):
        found = first
    elif is_elementwise(call, np.multiply) and _is_one(first):
        found = rest[0]
    elif is_elementwise(call, np.negative):
        inner = use_def.producer(first)
        found = inner.args[0] if inner is not None and is_elementwise(inner, np.negative) else None
    elif is_elementwise(call, np.positive) or call.function in (
        np.ndarray.reshape, np.broadcast_to, laid_out, np.ndarray.copy,
    ):  # fmt: skip
        found = first
    return found if isinstance(found, Value) and found.source != "number" else None


def _is_one(operand: Any) -> bool:
    if isinstance(operand, Value):
        return False
    return isinstance(operand, int | float | np.floating) and bool(operand == 1)
