"""Simplification for reading: the program as a person would write it.

It does not become faster, and the last digits may change: ``x * (1 / n)`` becomes ``x / n``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..compiler.passes import cse, dce
from ..compiler.program import Call, Program, Value, map_tree
from ..compiler.tracer import laid_out
from . import arithmetic, arrangement
from .calls import FOLDED, Made, folded
from .literals import is_number


def run(program: Program, sizes_known: bool = False) -> None:
    """Apply the rules until none changes anything."""
    for call in program.calls:
        call.args, call.kwargs = map_tree(_number, call.args), map_tree(_number, call.kwargs)
        call.view, call.out.strides = False, _strides(call.out)
    for _ in range(100):
        made = Made(program, sizes_known)
        changed = False
        same: dict[Value, Any] = {}
        now = functools.partial(_now, same)
        for call in program.calls:
            call.args, call.kwargs = map_tree(now, call.args), map_tree(now, call.kwargs)
            for rule in REWRITES:
                changed |= rule(call, made)
            found = _instead(call, made)
            if found is not None and (call.out not in made.results or isinstance(found, Value)):
                same[call.out] = found
        program.substitute(same)
        dce.run(program)
        cse.run(program)
        if not changed and not same:
            return


def _now(same: dict[Value, Any], leaf: Any) -> Any:
    while isinstance(leaf, Value) and leaf in same:
        leaf = same[leaf]
    return leaf


def _strides(value: Value) -> tuple[int, ...]:
    """The strides of a C-contiguous array: the layout in memory does not matter to a reader."""
    sizes = itertools.accumulate(value.shape[:0:-1], int.__mul__, initial=value.dtype.itemsize)
    return tuple(sizes)[::-1][-len(value.shape) :] if value.shape else ()


def _number(leaf: Any) -> Any:
    """A constant of one number as this number."""
    if isinstance(leaf, Value) and leaf.source == "constant" and leaf.shape == ():
        number: Any = leaf.array
        return number.item()
    if isinstance(leaf, np.generic):
        return leaf.item()
    return leaf


def _instead(call: Call, made: Made) -> Any:
    found, out = _equal(call, made), call.out
    if isinstance(found, Value):
        return found if (found.shape, found.dtype) == (out.shape, out.dtype) else None
    return None if out.shape else found


def _equal(call: Call, made: Made) -> Any:
    """What a call's result is equal to: one of its operands, or a number; None for others."""
    function, (first, *rest) = call.function, call.args or (None,)
    second = rest[0] if rest else None
    if function in FOLDED and not call.kwargs and all(map(is_number, call.args)):
        return folded(call)
    if function in NEUTRAL and _is(second, NEUTRAL[function]):
        return first
    if function in (np.add, np.multiply) and _is(first, NEUTRAL[function]):
        return second
    if function in (np.negative, np.ndarray.transpose):
        inner = made.by(first, function)
        return inner.args[0] if inner and len(call.args) == len(inner.args) == 1 else None
    same = function in UNCHANGED or (function == np.add.reduce and second == ())
    return first if same else None


UNCHANGED = (
    np.ndarray.reshape, np.broadcast_to, laid_out, np.ndarray.copy, np.ndarray.astype, np.copy,
    np.squeeze, np.positive,
)  # fmt: skip
"""Functions that may leave an array unchanged: shape and dtype tell."""
NEUTRAL: dict[Any, int] = {
    np.multiply: 1, np.divide: 1, np.power: 1, np.add: 0, np.subtract: 0,
}  # fmt: skip
"""Second operands that change nothing."""


def _is(operand: Any, number: float) -> bool:
    return is_number(operand) and operand == number


REWRITES: tuple[Callable[[Call, Made], bool], ...] = (
    arrangement.plainer, arithmetic.signs, arithmetic.doubled, arithmetic.factors,
    arrangement.broadcasts, arrangement.shapes, arithmetic.means,
)  # fmt: skip
"""Each may change one call, and says whether it did."""
