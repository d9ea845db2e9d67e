"""Rules for arithmetic as a person writes it: signs, numbers in front, means."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from ..compiler.program import Call, Value
from .calls import Made, become
from .literals import Size, exact, is_number


def signs(call: Call, made: Made) -> bool:
    """x + (-y) is x - y, x - (-y) is x + y, (-x) * (-y) is x * y."""
    if call.function not in (np.add, np.subtract, np.multiply, np.divide):
        return False
    first, second = call.args
    left, right = (made.by(operand, np.negative) for operand in call.args)
    if call.function in (np.multiply, np.divide):
        if left is None or right is None:
            return False
        return become(call, call.function, left.args[0], right.args[0])
    other = np.subtract if call.function is np.add else np.add
    if right:
        return become(call, other, first, right.args[0])
    scaled = made.by(second, np.multiply, once=True)
    if scaled and is_number(scaled.args[0]) and scaled.args[0] < 0:
        scaled.args = -scaled.args[0], scaled.args[1]
        return become(call, other, first, second)
    return bool(
        left and call.function is np.add and become(call, np.subtract, second, left.args[0])
    )


def doubled(call: Call, made: Made) -> bool:
    """x + x is 2 x."""
    first, second = (*call.args, None)[:2]
    return (
        call.function is np.add and isinstance(first, Value) and first is second
        and first.dtype == call.out.dtype and become(call, np.multiply, 2.0, first)
    )  # fmt: skip


def factors(call: Call, made: Made) -> bool:
    """A number in front: x * 2 is 2 * x, x * (1 / n) is x / n, 2 * (3 x) is 6 x, 2 (-x) is -2 x.

    2 x / 6 is x / 3, and 2 x / (2 n) is x / n, once it is known whether 6 depends on n.
    """
    scaled = _scaled(call)
    if scaled is None or scaled[2].dtype != call.out.dtype:
        return False
    function, number, x = scaled
    inner = made.get(x)
    more = _scaled(inner) if inner is not None and made.by(x, inner.function, once=True) else None
    if more is not None and more[2].dtype == call.out.dtype:
        joined = _joined(function, number, *more[:2], made.sizes_known)
        function, number, x = (*joined, more[2]) if joined else scaled
    if number == -1 and function is np.multiply:
        function = np.negative
    before = call.function, call.args
    if not isinstance(number, Size):
        whole = isinstance(number, int) or number == int(number)
        number = float(number) if whole else number
    if function is np.negative:
        become(call, np.negative, x)
    else:
        become(call, function, *((x, number) if function is np.divide else (number, x)))
    return (call.function, call.args) != before


def _scaled(call: Call) -> tuple[Any, Any, Value] | None:
    """The function by which a number scales an array, the number, and the array."""
    if call.function is np.negative and isinstance(call.args[0], Value):
        return np.negative, Fraction(-1), call.args[0]
    if call.function not in (np.multiply, np.divide) or call.kwargs:
        return None
    x, number = call.args
    if call.function is np.multiply and isinstance(number, Value):
        x, number = number, x
    if not (isinstance(x, Value) and is_number(number) and number):
        return None
    number = exact(number)
    share = isinstance(number, Fraction) and number.numerator == 1 < number.denominator
    if call.function is np.multiply and share:
        return np.divide, 1 / number, x
    return call.function, number, x


def _joined(outer: Any, number: Any, inner: Any, other: Any, sizes: bool) -> tuple[Any, Any] | None:
    """Two scalings as one, a function and a number; None if they stay two."""
    functions = {outer, inner}
    if functions == {np.multiply, np.divide} and sizes:
        above, below = (number, other) if outer is np.multiply else (other, number)
        size = isinstance(below, Size)
        factor = Fraction(below.factor) if size else below
        if not (isinstance(above, Fraction) and isinstance(factor, Fraction)):
            return None
        left = factor / above
        if left.denominator == 1:
            return np.divide, Size(below.n, int(left), below.power) if size else left
        return (np.multiply, 1 / left) if abs(left.numerator) == 1 and not size else None
    if isinstance(number, Size) or isinstance(other, Size):
        return None
    if outer is inner or (np.negative in functions and np.divide not in functions):
        return np.divide if outer is np.divide else np.multiply, number * other
    return None


def means(call: Call, made: Made) -> bool:
    """np.sum(x) / x.size is np.mean(x)."""
    if call.function is not np.divide or not is_number(call.args[1]):
        return False
    total = made.by(call.args[0], np.add.reduce)
    if total is None or total.kwargs.get("dtype"):
        return False
    x = total.args[0]
    mean = x.size == call.args[1] * total.out.size and x.dtype == call.out.dtype
    return mean and become(call, np.mean, *total.args, **total.kwargs)
