"""Elementwise arithmetic and functions: NumPy's ufuncs and their rules, as one flat table.

Sources: the derivatives are those of any calculus text; names and broadcasting are NumPy's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import Traced
from ..cases import (
    ABOVE_ONE,
    DISTINCT_PAIRS,
    PAIRS,
    POSITIVE,
    POSITIVE_PAIRS,
    REAL,
    UNIT,
    above_zero,
    booleans,
    case,
    distinct,
    normal,
    pairs,
)  # fmt: skip
from ..definition import OPS, Case, Value, op, ufunc
from ..numpy_calls import NUMPY
from ..source import said
from ..tensor import Tensor, TensorFunction, plain
from ..tracing import active
from .origin import slope_at_zero, zero_with_slope
from .ufunc_examples import examples

__all__ = [
    "abs", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "astype", "bitwise_and", "bitwise_or", "cbrt", "ceil", "clip", "cos", "cosh", "divide", "equal",
    "exp", "exp2", "expm1", "floor", "floor_divide", "greater", "greater_equal", "hypot", "invert",
    "isfinite", "isnan", "less", "less_equal", "log", "log1p", "log2", "log10", "logaddexp",
    "logical_and", "logical_not", "logical_or", "maximum", "minimum", "multiply", "negative",
    "not_equal", "positive", "power", "reciprocal", "remainder", "rint", "sign", "sin", "sinh",
    "sqrt", "square", "subtract", "tan", "tanh", "trunc", "where",
]  # fmt: skip

LN2, LN10 = math.log(2), math.log(10)


def floats(x: Any) -> Any:
    """Integers as float64: their negatives, differences and squares might wrap around."""
    return x if x.dtype.kind in "fc" else x.astype(float)


def for_people() -> bool:
    """Whether a derivation is being written: helpers then compute as in a textbook."""
    tracer = active.get()
    return tracer is not None and tracer.for_people


def bounded(x: Any, limit: float) -> Any:
    """x between -limit and limit, so that its powers do not overflow; in a derivation x itself."""
    return x if for_people() else np.clip(x, -limit, limit)


def wide(x: Any) -> Any:
    """float16 as float32: its sums and counts may be larger than 65,504, the largest float16."""
    return x.astype(np.float32) if x.dtype.char == "e" else x


def like(out: Any, x: Any) -> Any:
    """``out``, which was computed from ``wide(x)``, in x's own precision."""
    return out.astype(x.dtype) if x.dtype.char == "e" else out


_BITS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def kept(g: Any, mask: Any) -> Any:
    """``g`` where ``mask`` holds, else 0, also of nan and inf."""
    if type(g) is np.ndarray and g.dtype in _BITS and not isinstance(mask, Traced):
        # np.where takes 16 times as long.
        return (g.view(_BITS[g.dtype]) & -mask.view(np.int8)).view(g.dtype)
    return np.where(mask, g, 0)


# Arithmetic

add = ufunc(np.add, "The sum x + y.", cases=PAIRS, x=lambda g: g, y=lambda g: g)
subtract = ufunc(np.subtract, "x - y.", cases=PAIRS, x=lambda g: g, y=lambda g: -g)
multiply = ufunc(
    np.multiply, "The product x * y.", cases=PAIRS, x=lambda g, y: g * y, y=lambda g, x: g * x
)
divide = ufunc(
    np.divide, "The quotient x / y.", cases=pairs(normal, above_zero),
    x=lambda g, y: g / y, y=lambda g, y, out: -g * out / y,
)  # fmt: skip
negative = ufunc(np.negative, "-x.", cases=REAL, x=lambda g: -g)
positive = ufunc(np.positive, "+x: a copy.", cases=REAL, x=lambda g: g)
reciprocal = ufunc(np.reciprocal, "1 / x.", cases=POSITIVE, x=lambda g, out: -g * out * out)
square = ufunc(np.square, "The square of x.", cases=REAL, x=lambda g, x: g * 2 * x)
floor_divide = ufunc(
    np.floor_divide, "The largest integer not above x / y. Its gradient is 0, as of any step.",
    cases=pairs(normal, above_zero), analytic=False, x=lambda g: g * 0, y=lambda g: g * 0,
)  # fmt: skip
remainder = ufunc(
    np.remainder, "x - floor(x / y) * y, with the sign of y.",
    cases=pairs(normal, above_zero), analytic=False,
    x=lambda g: g, y=lambda g, x, y: -g * np.floor_divide(x, y),
)  # fmt: skip
NUMPY[np.divmod] = lambda x, y: (floor_divide(x, y), remainder(x, y))


def _power_x(g: Any, x: Any, y: Any) -> Any:
    """g * y * x ** (y - 1)"""
    # y x^(y-1) is 0 where y = 0, also at x = 0, where x^-1 would make it 0 · inf. At any other x it
    # has a derivative by y there, 1/x.
    if not hasattr(y, "dtype"):
        return g * y * x ** (y - 1 if y else 0)
    return g * y * x ** np.where((y == 0) & (np.abs(x) < np.finfo(x.dtype).tiny), 1, y - 1.0)


def _power_y(g: Any, x: Any, out: Any) -> Any:
    """g * out * log(x)"""
    # At x = 0 the gradient is 0, not 0 · log 0; at x < 0 there is none, and log says so (nan).
    if not hasattr(x, "dtype"):  # a plain number, and so its log: it shall not widen the dtype
        return g * out * float(np.log(x or 1))
    return g * out * np.log(np.where(x == 0, 1, x))


@op(
    cases=[*POSITIVE_PAIRS, case(normal(3, 4), 2), case(normal(3), 3), case(normal(2), 0)],
    numpy=np.power, weak=True, x=_power_x, y=_power_y,
)  # fmt: skip
def power(x: Any, y: Any) -> Any:
    """x to the power y, elementwise; ``y`` may be a plain number.

    Gradients: dx = g y x^(y-1), which is 0 where y = 0; dy = g x^y log x, which is 0 where x = 0,
    unless y < 0, and nan where x < 0.

    >>> import tinygrad_np as tg
    >>> tg.power(tg.Tensor([1.0, 3.0]), 2).tolist()
    [1.0, 9.0]
    """
    return x**y  # the operator: it has fast paths for small exponents, which np.power lacks


# Roots, exponentials, logarithms

sqrt = ufunc(np.sqrt, "The square root.", cases=POSITIVE, x=lambda g, out: g / (2 * out))
cbrt = ufunc(
    np.cbrt, "The cube root.", cases=REAL, analytic=False, x=lambda g, out: g / (3 * out * out)
)
exp = ufunc(np.exp, "e to the power x.", cases=REAL, x=lambda g, out: g * out)
exp2 = ufunc(np.exp2, "2 to the power x.", cases=REAL, x=lambda g, out: g * out * LN2)
expm1 = ufunc(np.expm1, "exp(x) - 1, precise near 0.", cases=REAL, x=lambda g, out: g * (out + 1))
log = ufunc(np.log, "The natural logarithm.", cases=POSITIVE, x=lambda g, x: g / x)
log2 = ufunc(np.log2, "The logarithm to base 2.", cases=POSITIVE, x=lambda g, x: g / (x * LN2))
log10 = ufunc(np.log10, "The logarithm to base 10.", cases=POSITIVE, x=lambda g, x: g / (x * LN10))
log1p = ufunc(np.log1p, "log(1 + x), precise near 0.", cases=POSITIVE, x=lambda g, x: g / (1 + x))
logaddexp = ufunc(
    np.logaddexp,
    "log(exp(x) + exp(y)) without overflow. Gradients: g sigmoid(±(x - y)); 0 where both are -inf.",
    cases=PAIRS, analytic=False,
    x=said("g * sigmoid(x - y)", lambda g, x, y: g * OPS["sigmoid"](_ahead(g, x, y))),
    y=said("g * sigmoid(y - x)", lambda g, x, y: g * OPS["sigmoid"](_ahead(g, y, x))),
)  # fmt: skip


def _ahead(g: Any, x: Any, y: Any) -> Any:
    """x - y. Of two equal infinities: 0 for inf, which share g; -inf for -inf, which get none."""
    same = (x == y) & np.isinf(x)
    ahead = np.where(same & (x > 0), 0, x) - np.where(same, 0, y)
    return ahead if ahead.dtype == g.dtype else ahead.astype(g.dtype)  # where a number is float64


# Trigonometric and hyperbolic functions

sin = ufunc(np.sin, "The sine of x (radians).", cases=REAL, x=lambda g, x: g * np.cos(x))
cos = ufunc(np.cos, "The cosine of x (radians).", cases=REAL, x=lambda g, x: -g * np.sin(x))
tan = ufunc(np.tan, "The tangent of x (radians).", cases=UNIT, x=lambda g, out: g * (1 + out * out))
arcsin = ufunc(np.arcsin, "Inverse sine.", cases=UNIT, x=lambda g, x: g / np.sqrt(1 - x * x))
arccos = ufunc(np.arccos, "Inverse cosine.", cases=UNIT, x=lambda g, x: -g / np.sqrt(1 - x * x))
arctan = ufunc(np.arctan, "Inverse tangent.", cases=REAL, x=lambda g, x: g / (1 + x * x))


def _arctan2_x(g: Any, x: Any, y: Any) -> Any:
    """g * y / (x ** 2 + y ** 2)"""
    size = unless_zero(np.hypot(x, y))  # its square might overflow, or vanish
    if isinstance(g, Tensor):
        return g * (y / size) / size + _no_slope(g, x, y)
    return g * (y / size) / size


def _arctan2_y(g: Any, x: Any, y: Any) -> Any:
    """-g * x / (x ** 2 + y ** 2)"""
    size = unless_zero(np.hypot(x, y))
    if isinstance(g, Tensor):
        return -g * (x / size) / size + _no_slope(g, x, y)
    return -g * (x / size) / size


def _no_slope(g: Any, x: Any, y: Any) -> Any:
    """0, without a derivative at the origin, unless g is a constant 0: an angle jumps there."""
    nowhere = (plain(x) == 0) & (plain(y) == 0) & (g.requires_grad | (g.data != 0))
    slope = np.where(nowhere, np.nan, 0).astype(g.dtype)
    return zero_with_slope(x, slope) + zero_with_slope(y, slope)


def unless_zero(x: Any, instead: float = np.inf) -> Any:
    """``x`` with inf in place of 0, as a divisor: the quotient and its derivatives are 0 there."""
    return np.where(x == 0, instead, x)


def _hypot_x(g: Any, x: Any, out: Any) -> Any:
    """g * x / out"""
    if (slope := slope_at_zero(g, out)) is not None:
        return g * x / unless_zero(out) + zero_with_slope(x, slope)
    return g * x / unless_zero(out)


def _hypot_y(g: Any, y: Any, out: Any) -> Any:
    """g * y / out"""
    return _hypot_x(g, y, out)


arctan2 = ufunc(
    np.arctan2,
    "The angle of the point (y, x): arctan2(x, y) has its height first, as NumPy's. At (0, 0) the "
    "gradient is 0.",
    cases=PAIRS, analytic=False, x=_arctan2_x, y=_arctan2_y,
)  # fmt: skip
hypot = ufunc(
    np.hypot,
    "sqrt(x² + y²) without overflow. At (0, 0) the gradient is 0; the second derivative is right "
    "where there is one (hypot² has 2 I), else nan.",
    cases=PAIRS, analytic=False,
    x=_hypot_x, y=_hypot_y,
)  # fmt: skip
sinh = ufunc(np.sinh, "Hyperbolic sine.", cases=REAL, x=lambda g, x: g * np.cosh(x))
cosh = ufunc(np.cosh, "Hyperbolic cosine.", cases=REAL, x=lambda g, x: g * np.sinh(x))
tanh = ufunc(np.tanh, "Hyperbolic tangent.", cases=REAL, x=lambda g, out: g * (1 - out * out))
arcsinh = ufunc(np.arcsinh, "Inverse sinh.", cases=REAL, x=lambda g, x: g / np.hypot(x, 1))
arccosh = ufunc(
    np.arccosh, "Inverse cosh.", cases=ABOVE_ONE,
    x=lambda g, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)),
)  # fmt: skip
arctanh = ufunc(np.arctanh, "Inverse tanh.", cases=UNIT, x=lambda g, x: g / (1 - x * x))

# With kinks and steps


def _abs_x(g: Any, x: Any, out: Any) -> Any:
    """g * sign(x)"""
    if (slope := slope_at_zero(g, out, smooth=True)) is not None:
        return g * np.sign(x) + zero_with_slope(x, slope)
    return g * np.sign(x)


abs = ufunc(
    np.absolute,
    "The absolute value. At 0 the gradient is 0; second derivatives are limits there, or nan.",
    cases=REAL, name="abs", analytic=False, x=_abs_x,
)  # fmt: skip


def _step(function: np.ufunc, doc: str) -> TensorFunction:
    """A step function: its gradient is 0 wherever it exists."""
    return ufunc(
        function, f"{doc} Its gradient is 0.", cases=REAL, analytic=False, x=lambda g: g * 0
    )


sign = _step(np.sign, "-1, 0 or 1.")
floor = _step(np.floor, "The largest integer not above x.")
ceil = _step(np.ceil, "The smallest integer not below x.")
rint = _step(np.rint, "The nearest integer, the even one of two.")
trunc = _step(np.trunc, "The integer part of x.")
maximum = ufunc(
    np.maximum,
    "The larger of x and y, nan where either is. Equal operands share the gradient; the smaller "
    "gets 0, also where the gradient is infinite. Second derivatives take these shares for "
    "constants: that of maximum(x, -x)**2 at x = 0 is 0, that of abs(x)**2 is 2.",
    cases=DISTINCT_PAIRS, analytic=False,
    x=said("where(x > y, g, 0)", lambda g, x, y: _winner(g, x, y)),
    y=said("where(y > x, g, 0)", lambda g, x, y: _winner(g, y, x)),
)  # fmt: skip
minimum = ufunc(
    np.minimum,
    "The smaller of x and y, nan where either is. Equal operands share the gradient; the larger "
    "gets 0, also where the gradient is infinite. Second derivatives take these shares for "
    "constants: that of minimum(x, -x)**2 at x = 0 is 0, that of abs(x)**2 is 2.",
    cases=DISTINCT_PAIRS, analytic=False,
    x=said("where(x < y, g, 0)", lambda g, x, y: _winner(g, y, x)),
    y=said("where(y < x, g, 0)", lambda g, x, y: _winner(g, x, y)),
)  # fmt: skip


def _winner(g: Any, larger: Any, smaller: Any) -> Any:
    """The gradient of the operand that won: all of it, half on a tie, none otherwise."""
    return kept(g, larger > smaller) + kept(g * 0.5, larger == smaller)


@op(
    cases=[
        case(booleans(3, 4), normal(3, 4), normal(3, 4)), case(booleans(3, 1), normal(4), 0.0),
        case(booleans(4), normal(), normal(2, 4)), case(booleans(0, 2), normal(2), normal()),
    ],
    numpy=np.where, weak=True,
    x=lambda g, condition: np.where(condition, g, 0),
    y=lambda g, condition: np.where(condition, 0, g),
)  # fmt: skip
def where(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where ``condition`` holds, else ``y``; all three broadcast.

    Gradients: each branch gets g where it was taken and exactly 0 elsewhere, also where g is nan
    or inf. The ops before the branch multiply this 0 by their own derivatives, and 0 · inf is nan:
    where such a derivative is not finite, choose the argument as well as the result.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.where([True, False], tg.Tensor([1.0, 2.0]), 0.0).tolist()
    [1.0, 0.0]
    >>> x = tg.Tensor([0.0, 4.0], requires_grad=True)
    >>> inner = tg.where(x > 0, x, 1.0)  # the root never sees the 0, where its slope is infinite
    >>> tg.where(x > 0, tg.sqrt(inner), 0.0).sum().backward()
    >>> x.grad
    array([0.  , 0.25])
    """
    return np.where(condition, x, y)


@op(
    cases=[
        case(distinct(3, 4), -0.3, 0.3), case(distinct(5), 0.0, None), case(distinct(5), None, 0.2),
        case(distinct(), -1.0, 1.0), case(distinct(0, 2), -1.0, 1.0),
    ],
    numpy=np.clip, analytic=False, weak=True,
    x=said(
        "where((a_min <= x) & (x <= a_max), g, 0)",
        lambda g, x, a_min, a_max: np.where(_inside(x, a_min, a_max), g, 0),
    ),
)  # fmt: skip
def clip(x: Any, a_min: Any = None, a_max: Any = None) -> Value:
    """``x`` limited to the range from ``a_min`` to ``a_max``; None leaves a side open.

    The bounds are constants (for bounds with a gradient use ``maximum`` and ``minimum``).
    Gradient: g where a_min <= x <= a_max, else exactly 0.

    >>> import tinygrad_np as tg
    >>> tg.clip(tg.Tensor([-2.0, 0.5, 2.0]), -1, 1).tolist()
    [-1.0, 0.5, 1.0]
    """
    return np.clip(x, a_min, a_max)


def _inside(x: Any, low: Any, high: Any) -> Any:
    above = x == x if low is None else x >= low  # not nan, in x's shape
    return above if high is None else above & (x <= high)


@op(
    cases=[case(normal(3, 4), "float64"), case(normal(), "float64")], analytic=False, x=lambda g: g
)  # fmt: skip
def astype(x: Value, dtype: Any, copy: bool = True) -> Value:
    """``x`` in another dtype. The gradient comes back in x's own; integer results are constants.

    >>> import tinygrad_np as tg
    >>> tg.astype(tg.Tensor([1.5]), "float32").dtype
    dtype('float32')
    """
    return x.astype(dtype, copy=copy)


# Questions: comparisons and tests have no gradient; their results are boolean constants


def _ask(function: np.ufunc, doc: str, cases: list[Case] = DISTINCT_PAIRS) -> TensorFunction:
    return ufunc(function, doc, cases=cases, analytic=False, constant=True)


greater = _ask(np.greater, "x > y.")
greater_equal = _ask(np.greater_equal, "x >= y.")
less = _ask(np.less, "x < y.")
less_equal = _ask(np.less_equal, "x <= y.")
equal = _ask(np.equal, "x == y.")
not_equal = _ask(np.not_equal, "x != y.")
logical_not = _ask(np.logical_not, "not x.", REAL)
logical_and = _ask(np.logical_and, "x and y.")
logical_or = _ask(np.logical_or, "x or y.")
_MASKS = [case(booleans(3, 4), booleans(3, 4)), case(booleans(4), True)]
bitwise_and = _ask(np.bitwise_and, "x & y: of masks and integers.", _MASKS)
bitwise_or = _ask(np.bitwise_or, "x | y: of masks and integers.", _MASKS)
invert = _ask(np.invert, "~x: of masks and integers.", [case(booleans(3, 4))])
isnan = _ask(np.isnan, "Whether x is nan.", REAL)
isfinite = _ask(np.isfinite, "Whether x is neither nan nor infinite.", REAL)

for _name, _example in examples():
    OPS[_name].function.__doc__ = f"{OPS[_name].function.__doc__}\n\n{_example}\n"
