"""Simplification for reading: what a person would not write down.

Nothing is made faster, and the last digits may change: ``x * (1 / n)`` becomes ``x / n``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..compiler.passes import cse, dce
from ..compiler.program import Call, Program, Value, is_elementwise, map_tree
from ..compiler.tracer import laid_out

Made = dict[Value, Call]


def run(program: Program) -> None:
    """Apply the rules until none changes anything."""
    for value, call in [(call.out, call) for call in program.calls]:
        call.args, call.kwargs = map_tree(_number, call.args), map_tree(_number, call.kwargs)
        call.view, value.strides = False, _strides(value)
    for _ in range(100):
        changed = False
        made: Made = {call.out: call for call in program.calls}
        same: dict[Value, Any] = {}
        results = set(program.results)
        for call in program.calls:
            call.args, call.kwargs = (
                map_tree(lambda leaf: _now(same, leaf), tree) for tree in (call.args, call.kwargs)
            )
            changed |= any([rule(call, made) for rule in REWRITES])
            found = _instead(call, made)
            if found is not None and not (call.out in results and not isinstance(found, Value)):
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
    """Those of an array of this shape in C's order: the order in memory is none of a reader's."""
    sizes = itertools.accumulate(value.shape[:0:-1], int.__mul__, initial=value.dtype.itemsize)
    return tuple(sizes)[::-1][-len(value.shape) :] if value.shape else ()


def _number(leaf: Any) -> Any:
    """A constant of one number as this number."""
    if isinstance(leaf, Value) and leaf.source == "constant" and leaf.shape == ():
        return leaf.array.item()
    if isinstance(leaf, np.generic):
        return leaf.item()
    return leaf


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, int | float) and not isinstance(leaf, bool)


# What a call's result is equal to: one of its operands, or a number


def _instead(call: Call, made: Made) -> Any:
    found, out = _equal(call, made), call.out
    if isinstance(found, Value):
        return found if (found.shape, found.dtype) == (out.shape, out.dtype) else None
    return None if out.shape else found


def _equal(call: Call, made: Made) -> Any:
    first, *rest = call.args or (None,)
    second = rest[0] if rest else None
    if is_elementwise(call, np.multiply, np.divide, np.power) and _is(second, 1):
        return first
    if is_elementwise(call, np.multiply) and _is(first, 1):
        return second
    if is_elementwise(call, np.add, np.subtract) and _is(second, 0):
        return first
    if is_elementwise(call, np.add) and _is(first, 0):
        return second
    if is_elementwise(call, np.negative):
        if _is_number(first):
            return -first
        inner = _made_by(first, made, np.negative)
        return inner.args[0] if inner else None
    if is_elementwise(call, np.multiply, np.add, np.subtract) and all(map(_is_number, call.args)):
        return call.function(*map(float, call.args)).item()
    if is_elementwise(call, np.positive) or call.function in _ARRANGE:
        return first
    if call.function in (np.swapaxes, np.ndarray.swapaxes, np.ndarray.transpose):
        inner = made.get(first)
        undone = inner is not None and inner.function is call.function
        if inner is not None and undone and inner.args[1:] == call.args[1:] and len(call.args) > 2:
            return inner.args[0]  # two axes swapped back
        return first if len(getattr(first, "shape", (0, 0))) < 2 else None
    if call.function == np.add.reduce and second == ():
        return first
    return None


_ARRANGE = (
    np.ndarray.reshape, np.broadcast_to, laid_out, np.ndarray.copy, np.ndarray.astype, np.copy,
    np.squeeze,
)  # fmt: skip
"""What may leave an array as it is."""


def _is(operand: Any, number: float) -> bool:
    return _is_number(operand) and operand == number


def _made_by(value: Any, made: Made, *functions: Any) -> Call | None:
    call = made.get(value) if isinstance(value, Value) else None
    return call if call is not None and call.function in functions and not call.kwargs else None


# What a call is written as instead: each rule changes the call and says whether it did


def _become(call: Call, function: Any, *args: Any) -> bool:
    call.function, call.args, call.kwargs = function, args, {}
    return True


def _signs(call: Call, made: Made) -> bool:
    """x + (-y) is x - y, x - (-y) is x + y, -1 * x is -x, (-x) * (-y) is x * y."""
    if call.function not in (np.add, np.subtract, np.multiply, np.divide):
        return False
    first, second = call.args
    minus = [_made_by(operand, made, np.negative) for operand in call.args]
    if call.function in (np.multiply, np.divide):
        if minus[0] and minus[1]:
            return _become(call, call.function, minus[0].args[0], minus[1].args[0])
        if _is(second, -1) and not _is_number(first) and first.dtype == call.out.dtype:
            return _become(call, np.negative, first)
        if call.function is np.multiply and _is(first, -1) and not _is_number(second) and second.dtype == call.out.dtype:
            return _become(call, np.negative, second)
        return False
    if minus[1]:
        other = np.subtract if call.function is np.add else np.add
        return _become(call, other, first, minus[1].args[0])
    if call.function is np.add and minus[0]:
        return _become(call, np.subtract, second, minus[0].args[0])
    return False


def _fractions(call: Call, made: Made) -> bool:
    """x * (1 / n) is x / n, (1 / m) / n is 1 / (m n), (6 x) / 3 is 2 x, a * (b x) is (a b) x."""
    if call.function not in (np.multiply, np.divide):
        return False
    first, second = call.args
    if call.function is np.multiply:
        for x, y in ((first, second), (second, first)):
            share = _made_by(y, made, np.divide)
            if share and all(map(_is_number, share.args)):
                if _is(share.args[0], 1):
                    return _become(call, np.divide, x, share.args[1])
                if _is(share.args[0], -1):
                    return _become(call, np.divide, x, -share.args[1])
            scaled = _made_by(y, made, np.multiply)
            if _is_number(x) and scaled and _is_number(scaled.args[0]):
                return _become(call, np.multiply, x * scaled.args[0], scaled.args[1])
        if _is_number(second) and not _is_number(first):
            return _become(call, np.multiply, second, first)
        return False
    inner = _made_by(first, made, np.divide)
    if inner and _is_number(second) and _is_number(inner.args[1]):
        return _become(call, np.divide, inner.args[0], second * inner.args[1])
    scaled = _made_by(first, made, np.multiply)
    if scaled and _is_number(second) and _is_number(scaled.args[0]) and scaled.args[0]:
        factor, number = scaled.args[0], second / scaled.args[0]
        if number == int(number) and number:
            return _become(call, np.divide, scaled.args[1], number)
        if factor % second == 0:
            return _become(call, np.multiply, factor / second, scaled.args[1])
    return False


def _broadcasts(call: Call, made: Made) -> bool:
    """An operand that is broadcast on purpose, where the other operands do it anyway."""
    if not (is_elementwise(call) or call.function is np.where):
        return False
    for i, operand in enumerate(call.args):
        spread = made.get(operand) if isinstance(operand, Value) else None
        if spread is None or spread.function is not np.broadcast_to:
            continue
        args = (*call.args[:i], spread.args[0], *call.args[i + 1 :])
        shapes = [getattr(arg, "shape", ()) for arg in args]
        if np.broadcast_shapes(*shapes) == call.out.shape and _same_dtype(call, args):
            call.args = args
            return True
    return False


def _same_dtype(call: Call, args: tuple[Any, ...]) -> bool:
    samples = [np.ones((), a.dtype) if isinstance(a, Value) else a for a in args]
    try:
        return bool(call.function(*samples).dtype == call.out.dtype)
    except (TypeError, AttributeError):
        return False


def _plainer(call: Call, made: Made) -> bool:
    """np.dot of matrices is @, what has an order in memory has none, moved twice is moved once."""
    if call.function is np.dot and all(len(getattr(a, "shape", ())) == 2 for a in call.args):
        return _become(call, np.matmul, *call.args)
    if call.function is np.square or (call.function is np.power and _is(call.args[1], 2)):
        return call.function is np.square and _become(call, np.power, call.args[0], 2)
    if call.function in (np.ndarray.__getitem__, np.ndarray.reshape) and _is_number(call.args[0]):
        return _become(call, np.broadcast_to, call.args[0], call.out.shape)
    if "order" in call.kwargs:
        del call.kwargs["order"]
        return True
    if call.function in (np.ndarray.reshape, np.broadcast_to):
        inner = made.get(call.args[0])
        if inner is not None and inner.function is call.function:
            call.args = (inner.args[0], call.out.shape)
            return True
    return False


def _means(call: Call, made: Made) -> bool:
    """np.sum(x) / x.size is np.mean(x)."""
    if call.function is not np.divide or not _is_number(call.args[1]):
        return False
    total = made.get(call.args[0])
    if total is None or total.function != np.add.reduce or total.kwargs.get("dtype"):
        return False
    x = total.args[0]
    if x.size == call.args[1] * total.out.size and x.dtype == call.out.dtype:
        call.function, call.args, call.kwargs = np.mean, total.args, dict(total.kwargs)
        return True
    return False


REWRITES: tuple[Callable[[Call, Made], bool], ...] = (
    _signs, _fractions, _broadcasts, _plainer, _means
)  # fmt: skip
