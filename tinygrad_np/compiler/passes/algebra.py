"""Algebraic simplification: what multiplies by 1, adds nothing, or undoes itself.

Only what gives the same bits: x * 1 is x, but x + 0 is not (it turns -0 into 0). And only where the
operand stays as it is: x * 1 is a copy, which a later store into x's array does not change.
"""

from typing import Any

import numpy as np

from ..program import Call, Program, Value, is_ufunc
from .facts import Facts

_OF_ONE = (np.multiply.reduce, np.maximum.reduce, np.minimum.reduce)  # add.reduce turns -0 into 0


def run(program: Program) -> int:
    """Let calls read the operand where the operation changes nothing."""
    same: dict[Value, Value] = {}
    facts = Facts(program)
    for call in program.calls:
        program.substitute(same, call)
        if call.function in _OF_ONE:
            as_view(call, facts)
        operand = _unchanged(call, facts)
        if operand and call.out and not facts.are_apart(call.out, operand, same):
            same[call.out] = operand
    program.substitute(same)
    return len(same)


def as_view(call: Call, facts: Facts) -> bool:
    """Turn a reduction over axes of length 1 into a view: there is nothing to add up."""
    x, out = call.args[0], call.out
    if len(call.args) != 2 or out is None or not isinstance(x, Value) or facts.is_changeable(x):
        return False  # a call with other arguments may begin with some number
    if x.size != out.size or not x.size or x.dtype != out.dtype:
        return False
    call.kind, call.function = "view", np.ndarray.reshape
    call.args, call.kwargs = (x, out.shape), {}
    return True


def _unchanged(call: Call, facts: Facts) -> Value | None:
    """The operand that the result of this call equals, if there is one."""
    if call.out is None or call.kwargs or not call.args:
        return None
    first, found = call.args[0], None
    if is_ufunc(call, np.multiply, np.divide) and _is_one(call.args[1]):
        found = first
    elif is_ufunc(call, np.multiply) and _is_one(first):
        found = call.args[1]
    elif is_ufunc(call, np.negative):
        inner = facts.producer(first)
        found = inner.args[0] if inner is not None and is_ufunc(inner, np.negative) else None
    elif is_ufunc(call, np.positive) or (
        call.kind == "view" and call.function in (np.ndarray.reshape, np.broadcast_to)
    ):
        found = first
    if not isinstance(found, Value) or found.source == "host":
        return None
    if any(getattr(found, k) != getattr(call.out, k) for k in ("shape", "strides", "dtype")):
        return None
    return None if call.kind == "array" and facts.is_changeable(found) else found


def _is_one(operand: Any) -> bool:
    if isinstance(operand, Value):
        return operand.source == "constant" and bool(np.all(operand.where == 1))
    return isinstance(operand, int | float | np.floating) and bool(operand == 1)
