"""Simplification for reading: what a person would not write down.

Nothing is made faster, and the last digits may change: ``x * (1 / n)`` becomes ``x / n``.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from ..compiler.passes import cse, dce
from ..compiler.program import Call, Program, Value, is_elementwise, map_tree
from ..compiler.tracer import laid_out
from ..shapes import kept_shape
from .numpy_text import Size


def run(program: Program) -> None:
    """Apply the rules until none changes anything."""
    for call in program.calls:
        call.args, call.kwargs = map_tree(_number, call.args), map_tree(_number, call.kwargs)
        call.view, call.out.strides = False, _strides(call.out)
    for _ in range(100):
        made = Made(program)
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


class Made(dict[Value, Call]):
    """The call that makes each value, how often it is read, and which values are results."""

    def __init__(self, program: Program) -> None:
        super().__init__({call.out: call for call in program.calls})
        self.results = set(program.results)
        self.uses = Counter([value for call in program.calls for value in call.inputs])

    def by(self, value: Any, *functions: Any, once: bool = False) -> Call | None:
        """The call that makes a value, if it is one of these functions (and read here alone)."""
        call = self.get(value) if isinstance(value, Value) else None
        if call is None or call.function not in functions:
            return None
        return None if once and (self.uses[value] > 1 or value in self.results) else call


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
        number: Any = leaf.array
        return number.item()
    if isinstance(leaf, np.generic):
        return leaf.item()
    return leaf


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, int | float | Fraction) and not isinstance(leaf, bool)


def _exact(number: Any) -> Any:
    """A whole number as a Fraction, so that 1 / n stays what it is."""
    if isinstance(number, Size):
        return number
    whole = isinstance(number, int | Fraction) or (abs(number) < 2**53 and number == int(number))
    return Fraction(number) if whole else number


# What a call's result is equal to: one of its operands, or a number


def _instead(call: Call, made: Made) -> Any:
    found, out = _equal(call, made), call.out
    if isinstance(found, Value):
        return found if (found.shape, found.dtype) == (out.shape, out.dtype) else None
    return None if out.shape else found


def _equal(call: Call, made: Made) -> Any:
    function, (first, *rest) = call.function, call.args or (None,)
    second = rest[0] if rest else None
    if function in _FOLDED and not call.kwargs and all(map(_is_number, call.args)):
        return _folded(call)
    if function in (np.multiply, np.divide, np.power) and _is(second, 1):
        return first
    if function is np.multiply and _is(first, 1):
        return second
    if function in (np.add, np.subtract) and _is(second, 0):
        return first
    if function is np.add and _is(first, 0):
        return second
    if function is np.negative:
        inner = made.by(first, np.negative)
        return inner.args[0] if inner else None
    if function is np.positive or function in _ARRANGE:
        return first
    if function is np.ndarray.transpose:
        inner = made.by(first, function)
        return inner.args[0] if inner and len(call.args) == len(inner.args) == 1 else None
    if function == np.add.reduce and second == ():
        return first
    return None


_FOLDED: dict[Any, Callable[..., Any]] = {
    np.multiply: operator.mul, np.add: operator.add, np.subtract: operator.sub,
    np.divide: operator.truediv, np.negative: operator.neg,
}  # fmt: skip


def _folded(call: Call) -> Any:
    """What numbers give; nothing for 1 / 0."""
    try:
        return _FOLDED[call.function](*[_exact(number) for number in call.args])
    except (ZeroDivisionError, OverflowError, ValueError):
        return None


_ARRANGE = (
    np.ndarray.reshape, np.broadcast_to, laid_out, np.ndarray.copy, np.ndarray.astype, np.copy,
    np.squeeze,
)  # fmt: skip
"""What may leave an array as it is."""


def _is(operand: Any, number: float) -> bool:
    return _is_number(operand) and operand == number


# What a call is written as instead: each rule changes the call and says whether it did


def _become(call: Call, function: Any, *args: Any) -> bool:
    call.function, call.args, call.kwargs = function, args, {}
    return True


def _plainer(call: Call, made: Made) -> bool:
    """One way to write a thing: matrices' products with @, their transposes with .T, np.mean(x)."""
    function, args = call.function, call.args
    if function is np.dot and all(len(getattr(a, "shape", ())) == 2 for a in args):
        return _become(call, np.matmul, *args)
    if function is np.square:
        return _become(call, np.power, args[0], 2)
    if "order" in call.kwargs or call.kwargs.get("optimize") is False:
        for name in ("order", "optimize"):
            call.kwargs.pop(name, None)
        return True
    turns = (np.swapaxes, np.ndarray.swapaxes, np.ndarray.transpose, np.transpose, np.moveaxis)
    if function in turns and len(args[0].shape) < 3 and len(args) > 1:
        if _leaves_axes(call):
            return _become(call, np.ndarray.reshape, args[0], call.out.shape)
        return _become(call, np.ndarray.transpose, args[0])
    if function in _FUNCTIONS or (function in _FUNCTIONS.values() and len(args) == 1):
        if not call.kwargs.get("keepdims", True):
            del call.kwargs["keepdims"]
        function = _FUNCTIONS.get(function, function)
        axis = call.kwargs.pop("axis", args[1] if len(args) > 1 else None)
        call.function, call.args = function, (args[0], axis)
        return True
    if function is np.ndarray.__getitem__ and isinstance(args[1], tuple) and len(args[1]) == 1:
        call.args = args[0], args[1][0]
        return True
    return False


_FUNCTIONS: dict[Any, Any] = {
    np.ndarray.mean: np.mean,
    np.ndarray.std: np.std,
    np.ndarray.var: np.var,
}


def _leaves_axes(call: Call) -> bool:
    """Whether a call that moves the axes of a vector or matrix leaves them where they are."""
    x, *moved = call.args
    if len(x.shape) < 2 or moved == [None]:
        return len(x.shape) < 2
    axes = [int(axis) % 2 for axis in np.ravel(moved)]
    if call.function in (np.ndarray.transpose, np.transpose):
        return axes == [0, 1]
    return axes[: len(axes) // 2] == axes[len(axes) // 2 :]


def _signs(call: Call, made: Made) -> bool:
    """x + (-y) is x - y, x - (-y) is x + y, (-x) * (-y) is x * y."""
    if call.function not in (np.add, np.subtract, np.multiply, np.divide):
        return False
    first, second = call.args
    minus = [made.by(operand, np.negative) for operand in call.args]
    if call.function in (np.multiply, np.divide):
        if minus[0] and minus[1]:
            return _become(call, call.function, minus[0].args[0], minus[1].args[0])
        return False
    other = np.subtract if call.function is np.add else np.add
    if minus[1]:
        return _become(call, other, first, minus[1].args[0])
    scaled = made.by(second, np.multiply, once=True)
    if scaled and _is_number(scaled.args[0]) and scaled.args[0] < 0:
        scaled.args = -scaled.args[0], scaled.args[1]
        return _become(call, other, first, second)
    if call.function is np.add and minus[0]:
        return _become(call, np.subtract, second, minus[0].args[0])
    return False


def _doubled(call: Call, made: Made) -> bool:
    """x + x is 2 x."""
    first, second = (*call.args, None)[:2]
    return (
        call.function is np.add and isinstance(first, Value) and first is second
        and first.dtype == call.out.dtype and _become(call, np.multiply, 2.0, first)
    )  # fmt: skip


def _factors(call: Call, made: Made) -> bool:
    """A number in front: x * 2 is 2 * x, x * (1 / n) is x / n, 2 * (3 x) is 6 x, 2 (-x) is -2 x.

    Whether 2 x / 6 is x / 3 is left to ``shorten``: it is not so for each size of the batch.
    """
    scaled = _scaled(call)
    if scaled is None or scaled[2].dtype != call.out.dtype or isinstance(scaled[1], Size):
        return False
    function, number, x = scaled
    inner = made.get(x)
    more = _scaled(inner) if inner is not None and made.by(x, inner.function, once=True) else None
    if more is not None and more[2].dtype == call.out.dtype and not isinstance(more[1], Size):
        signs = np.negative in (function, more[0]) and np.divide not in (function, more[0])
        if function is more[0] or signs:
            function = np.divide if function is np.divide else np.multiply
            number, x = number * more[1], more[2]
    if number == -1 and function is np.multiply:
        function = np.negative
    before = call.function, call.args
    plain = float(number) if isinstance(number, int) or number == int(number) else number
    if function is np.negative:
        _become(call, np.negative, x)
    else:
        _become(call, function, *((x, plain) if function is np.divide else (plain, x)))
    return (call.function, call.args) != before


def _scaled(call: Call) -> tuple[Any, Any, Value] | None:
    """How a number scales an array: multiply, divide or negative, the number, the array."""
    if call.function is np.negative and isinstance(call.args[0], Value):
        return np.negative, Fraction(-1), call.args[0]
    if call.function not in (np.multiply, np.divide) or call.kwargs:
        return None
    x, number = call.args
    if call.function is np.multiply and isinstance(number, Value):
        x, number = number, x
    if not (isinstance(x, Value) and _is_number(number) and number):
        return None
    number = _exact(number)
    share = isinstance(number, Fraction) and number.numerator == 1 < number.denominator
    if call.function is np.multiply and share:
        return np.divide, 1 / number, x
    return call.function, number, x


def shorten(program: Program) -> None:
    """2 x / 6 is x / 3, and 2 x / (2 n) is x / n: once it is known which numbers are what."""
    made = Made(program)
    for call in program.calls:
        scaled = _scaled(call)
        inner = made.get(scaled[2]) if scaled else None
        if scaled is None or inner is None or not made.by(inner.out, inner.function, once=True):
            continue
        more = _scaled(inner)
        if more is None or {scaled[0], more[0]} != {np.multiply, np.divide}:
            continue
        if more[2].dtype != call.out.dtype:
            continue
        above, below = (scaled, more) if scaled[0] is np.multiply else (more, scaled)
        size = call.args[1] if scaled[0] is np.divide else inner.args[1]
        top, bottom = above[1], below[1]
        factor = size.factor if isinstance(size, Size) else bottom
        if not (isinstance(top, Fraction) and isinstance(factor, Fraction | int)):
            continue
        if Fraction(factor) % top == 0:
            left = Fraction(factor) / top
            new = Size.of(int(left), size) if isinstance(size, Size) else float(left)
            same = new == 1 and not isinstance(size, Size)
            _become(call, *((np.multiply, 1.0, more[2]) if same else (np.divide, more[2], new)))
        elif not isinstance(size, Size) and top % bottom == 0:
            _become(call, np.multiply, float(top / bottom), more[2])
    run(program)


def _broadcasts(call: Call, made: Made) -> bool:
    """An operand that is broadcast on purpose, where the other operands do it anyway."""
    if not (is_elementwise(call) or call.function is np.where):
        return False
    for i, operand in enumerate(call.args):
        spread = made.by(operand, np.broadcast_to, np.ndarray.reshape, np.ndarray.__getitem__)
        if spread is not None and _only_broadcasts(spread):
            part = spread.args[0]
        elif isinstance(operand, Value) and _is_filled(operand.array):
            part = float(operand.array.flat[0])  # type: ignore[union-attr]
        else:
            continue
        args = (*call.args[:i], part, *call.args[i + 1 :])
        shapes = [getattr(arg, "shape", ()) for arg in args]
        if np.broadcast_shapes(*shapes) == call.out.shape and _same_dtype(call, args):
            call.args = args
            return True
    full = [made.by(operand, np.broadcast_to) for operand in call.args]
    parts = [f.args[0] if f else a for f, a in zip(full, call.args, strict=True)]
    if call.function in _FOLDED and any(full) and all(map(_is_number, parts)):
        number = _folded(Call(call.function, tuple(parts), {}, call.out))
        return number is not None and _become(call, np.broadcast_to, number, call.out.shape)
    return False


def _is_filled(array: Any) -> bool:
    """Whether an array is a constant of nothing but one number."""
    real = array is not None and array.size and array.dtype.kind == "f"
    return bool(real and (array == array.flat[0]).all())


def _only_broadcasts(call: Call) -> bool:
    """Whether NumPy's broadcasting would do the same by itself."""
    x, shape = call.args[0], call.out.shape
    if call.function is np.broadcast_to:
        return True
    given = getattr(x, "shape", ())
    if call.function is np.ndarray.reshape:
        return shape[len(shape) - len(given) :] == given and set(
            shape[: len(shape) - len(given)]
        ) <= {1}
    return given == () and all(part in (None, Ellipsis) for part in np.atleast_1d(call.args[1]))


def _same_dtype(call: Call, args: tuple[Any, ...]) -> bool:
    samples = [
        np.ones((), a.dtype) if isinstance(a, Value) else float(a) if isinstance(a, Fraction) else a
        for a in args
    ]
    try:
        return bool(call.function(*samples).dtype == call.out.dtype)
    except (TypeError, AttributeError):
        return False


def _shapes(call: Call, made: Made) -> bool:
    """What is reshaped twice is reshaped once; a sum that gets its axes back has kept them."""
    function, (first, *_) = call.function, call.args or (None,)
    if function in (np.ndarray.__getitem__, np.ndarray.reshape) and _is_number(first):
        return _become(call, np.broadcast_to, first, call.out.shape)
    if function not in (np.ndarray.reshape, np.broadcast_to):
        return False
    inner = made.by(first, function)
    if inner is not None:
        call.args = (inner.args[0], call.out.shape)
        return True
    full = made.by(first, np.broadcast_to)
    if full is not None and _is_number(full.args[0]):
        return _become(call, np.broadcast_to, full.args[0], call.out.shape)
    total = made.by(first, *_REDUCTIONS, once=True) if function is np.ndarray.reshape else None
    if total is not None and len(total.args) == 2 and total.args[1] is not None:
        x, axis = total.args
        if call.out.shape == kept_shape(x.shape, axis) != total.out.shape:
            call.function, call.args = total.function, total.args
            call.kwargs = {**total.kwargs, "keepdims": True}
            return True
    return False


_REDUCTIONS = (np.add.reduce, np.multiply.reduce, np.maximum.reduce, np.minimum.reduce, np.mean)


def _means(call: Call, made: Made) -> bool:
    """np.sum(x) / x.size is np.mean(x)."""
    if call.function is not np.divide or not _is_number(call.args[1]):
        return False
    total = made.by(call.args[0], np.add.reduce)
    if total is None or total.kwargs.get("dtype"):
        return False
    x = total.args[0]
    if x.size == call.args[1] * total.out.size and x.dtype == call.out.dtype:
        call.function, call.args, call.kwargs = np.mean, total.args, dict(total.kwargs)
        return True
    return False


def _unscaled(call: Call, made: Made) -> bool:
    """s * sqrt(sum((x / s)²)) is sqrt(sum(x²)): s only keeps the squares from overflowing."""
    if call.function is not np.multiply:
        return False
    root = made.by(call.args[0], np.sqrt, once=True)
    scale = call.args[1]
    while (moved := made.by(scale, np.ndarray.reshape)) is not None:
        scale = moved.args[0]
    total = made.by(root.args[0], np.add.reduce, np.mean, once=True) if root else None
    if total is None or made.by(scale, np.exp2) is None:
        return False
    squares = made.by(total.args[0], np.power, once=True)
    ratio = made.by(squares.args[0], np.divide, once=True) if squares else None
    if squares is None or ratio is None or ratio.args[1] is not scale:
        return False
    squares.args = ratio.args[0], squares.args[1]
    assert root is not None
    return _become(call, np.sqrt, root.args[0])


REWRITES: tuple[Callable[[Call, Made], bool], ...] = (
    _plainer, _signs, _doubled, _factors, _broadcasts, _shapes, _means, _unscaled
)  # fmt: skip
"""Each may change one call, and says whether it did."""
