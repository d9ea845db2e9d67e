"""Algebraic simplification: what multiplies by 1, adds nothing, or undoes itself.

Only what gives the same bits: x * 1 is x, but x + 0 is not (it turns -0 into 0).
"""

from typing import Any

import numpy as np

from ..program import REDUCES, Call, Program, Value, is_ufunc, map_tree


def run(program: Program) -> int:
    """Let calls read the operand where the operation changes nothing."""
    same: dict[Value, Value] = {}
    producers = program.producers()
    for call in program.calls:
        call.args = map_tree(lambda leaf: _now(same, leaf), call.args)
        call.kwargs = map_tree(lambda leaf: _now(same, leaf), call.kwargs)
        _as_view(call)
        operand = _unchanged(call, producers)
        if operand is not None and call.out is not None:
            same[call.out] = operand
    program.result = map_tree(lambda leaf: _now(same, leaf), program.result)
    return len(same)


def _now(same: dict[Value, Value], leaf: Any) -> Any:
    return same.get(leaf, leaf) if isinstance(leaf, Value) else leaf


def _as_view(call: Call) -> None:
    """A sum or an extreme over axes of length 1 is a view: there is nothing to add up."""
    if call.kind != "array" or call.function not in REDUCES or call.out is None:
        return
    x = call.args[0]
    if isinstance(x, Value) and x.size == call.out.size and x.size and x.dtype == call.out.dtype:
        call.kind, call.function = "view", np.ndarray.reshape
        call.args, call.kwargs = (x, call.out.shape), {}


def _unchanged(call: Call, producers: dict[Value, Call]) -> Value | None:
    """The operand that the result of this call equals, if there is one."""
    if call.out is None or call.kwargs:
        return None
    first = call.args[0] if call.args else None
    if is_ufunc(call, np.multiply, np.divide) and len(call.args) == 2:
        second = call.args[1]
        if _is_one(second) and _fits(first, call.out):
            return first if isinstance(first, Value) else None
        if call.function is np.multiply and _is_one(first) and _fits(second, call.out):
            return second if isinstance(second, Value) else None
    if is_ufunc(call, np.negative) and isinstance(first, Value):
        inner = producers.get(first)
        if inner is not None and is_ufunc(inner, np.negative):
            return inner.args[0] if isinstance(inner.args[0], Value) else None
    if (is_ufunc(call, np.positive) or call.kind == "view") and _fits(first, call.out):
        whole = call.kind == "array" or call.function in (np.ndarray.reshape, np.broadcast_to)
        return first if whole else None
    return None


def _is_one(operand: Any) -> bool:
    if isinstance(operand, Value):
        return operand.source == "constant" and bool(np.all(operand.where == 1))
    return isinstance(operand, int | float | np.floating) and bool(operand == 1)


def _fits(operand: Any, out: Value) -> bool:
    return (
        isinstance(operand, Value)
        and operand.shape == out.shape
        and operand.dtype == out.dtype
        and operand.source != "host"
    )
