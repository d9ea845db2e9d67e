"""Reductions and running reductions along axes, with NumPy's names and keywords."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from ..arrays import Traced, as_array
from ..cases import (
    above_zero,
    booleans,
    case,
    distinct,
    normal,
    reductions,
    uniform,
)  # fmt: skip
from ..definition import OPS, Case, Value, op
from ..shapes import Axis, Shape
from ..source import said
from ..tensor import Tensor, plain
from .axes import kept_shape, normalize_axes, spread
from .elementwise import bounded, floats, for_people, kept, like, unless_zero, wide
from .origin import depends, slope_at_zero, some, zero_with_slope

__all__ = [
    "all", "any", "argmax", "argmin", "cumprod", "cumsum", "linear_recurrence", "logsumexp",
    "max", "mean", "min", "norm", "prod", "std", "sum", "var",
]  # fmt: skip


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes of a reduction; NumPy reduces a 0-d array along axis 0, too."""
    return () if not ndim and axis in (0, -1) else normalize_axes(axis, ndim)


def _count(shape: Shape, axis: Axis) -> int:
    """How many elements go into one element of the result."""
    return math.prod([shape[i] for i in axes_of(axis, len(shape))])


@op(cases=reductions(normal), numpy=np.sum, x=lambda g, x_shape, axis: spread(g, x_shape, axis))
def sum(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The sum along ``axis`` (None: all axes). Gradient: g, spread over the axes summed.

    >>> import tinygrad_np as tg
    >>> tg.sum(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).tolist()
    [4.0, 6.0]
    """
    if x.dtype.char == "e":  # along some axes NumPy's own stops growing at 2,048 ones
        return x.sum(axis=axis, keepdims=keepdims, dtype=np.float32).astype(x.dtype)
    return x.sum(axis=axis, keepdims=keepdims)  # np.sum(x) costs half a microsecond more


@op(
    cases=reductions(normal), numpy=np.mean,
    x=said(
        "g / n",
        lambda g, x_shape, axis: spread(wide(g) / _count(x_shape, axis), x_shape, axis),
    ),
)  # fmt: skip
def mean(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The mean along ``axis``. Gradient: g / n, spread over the n elements averaged.

    >>> import tinygrad_np as tg
    >>> tg.mean([[1.0, 3.0], [5.0, 7.0]], axis=0).tolist()
    [3.0, 5.0]
    """
    return np.mean(x, axis=axis, keepdims=keepdims)


def _centered(x: Any, axis: Axis) -> Any:
    x = wide(x)
    return x - x.mean(axis=axis, keepdims=True)


_SPREADS = [
    *reductions(distinct)[:-2], case(distinct(5), axis=0, ddof=1), case(distinct(3, 4), ddof=1)
]  # fmt: skip


@op(
    cases=_SPREADS, numpy=np.var,
    x=said("g * 2 * (x - mean(x)) / (n - ddof)", lambda g, x, axis, ddof: (
        spread(wide(g) * (2 / (_count(x.shape, axis) - ddof)), x.shape, axis) * _centered(x, axis)
    )),
)  # fmt: skip
def var(x: Value, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Value:
    """The variance along ``axis``, divided by n - ``ddof``. Gradient: 2 g (x - mean) / (n - ddof).

    Raises ValueError where n - ddof is not positive: the variance would be nan or infinite.

    >>> import tinygrad_np as tg
    >>> tg.var([1.0, 3.0, 5.0], ddof=1).item()
    4.0
    """
    centered, free = _centered(x, axis), _degrees_of_freedom(x, axis, ddof)
    return like(np.sum(centered * centered, axis=axis, keepdims=keepdims) / free, x)


def _std_x(g: Any, x: Any, out: Any, axis: Axis, ddof: float) -> Any:
    """g * (x - mean(x)) / ((n - ddof) * out)"""
    count = _count(x.shape, axis) - ddof
    size = spread(unless_zero(out), x.shape, axis)  # g / size overflows where it is denormal
    part = spread(wide(g) / count, x.shape, axis) * (_centered(x, axis) / size)
    if (slope := slope_at_zero(g, out)) is not None:
        return part + zero_with_slope(_centered(x, axis), spread(slope / count, x.shape, axis))
    return part


@op(cases=_SPREADS, numpy=np.std, x=_std_x)
def std(x: Value, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Value:
    """The standard deviation along ``axis``. Gradient: g (x - mean) / ((n - ddof) std), 0 at std 0.

    The second derivative at std 0 is right where there is one (std(x)² has var's), else nan.
    Raises ValueError where n - ddof is not positive.

    >>> import tinygrad_np as tg
    >>> tg.std([1.0, 3.0]).item()
    1.0
    """
    free = _degrees_of_freedom(x, axis, ddof)
    return like(_root_of_squares(_centered(x, axis), axis, keepdims, free), x)


def _degrees_of_freedom(x: Any, axis: Axis, ddof: float) -> float:
    count = _count(x.shape, axis)
    if count <= ddof:
        raise ValueError(
            f"{count} elements along axis={axis} and ddof={ddof} leave no degree of freedom: "
            "reduce over more elements or lower ddof"
        )
    return float(count - ddof)


def _root_of_squares(x: Any, axis: Axis, keepdims: bool, count: float = 1.0) -> Any:
    """sqrt(sum(x²) / count). Where the squares are too large, or too small, x is scaled first."""
    with np.errstate(over="ignore"):
        squares = np.sum(x * x, axis=axis, keepdims=keepdims)
    if isinstance(x, Traced) or not _in_range(squares.real):
        scale = _scale(x, axis)
        total = np.sum(np.square(x / scale), axis=axis, keepdims=keepdims)
        return np.sqrt(total / count) * scale.reshape(total.shape)
    return np.sqrt(squares / count)


def _in_range(squares: Any) -> bool:
    limits = np.finfo(squares.dtype)
    return squares.size == 0 or bool(
        squares.min() > limits.tiny / limits.eps**2 and squares.max() < np.inf
    )


def _scale(x: Any, axis: Axis) -> Any:
    """The power of 2 below the largest of |x|: division by it is exact."""
    if for_people():
        return np.ones(kept_shape(x.shape, axis), x.dtype)
    largest = np.max(np.abs(x.real), axis=axis, keepdims=True, initial=0)
    usual = (largest > 0) & (largest < np.inf)
    return np.exp2(np.floor(np.log2(np.where(usual, largest, 1))))


# Largest and smallest: elements that tie for the extreme share its gradient


def _extreme_x(g: Any, x: Any, out: Any, axis: Axis) -> Any:
    """where(x == out, g, 0)"""
    hits = x == out.reshape(kept_shape(x.shape, axis))
    g = wide(g)
    share = g / hits.sum(axis=axis).reshape(g.shape).astype(g.dtype)
    return kept(spread(share, x.shape, axis), hits)


_EXTREME: dict[str, Any] = {"cases": reductions(distinct), "analytic": False, "x": _extreme_x}


@op(**_EXTREME, numpy=(np.max, np.amax))
def max(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The largest element along ``axis``. Equal largest elements share the gradient equally.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor([1.0, 3.0, 3.0], requires_grad=True)
    >>> tg.max(x).backward()
    >>> x.grad
    array([0. , 0.5, 0.5])
    """
    return np.max(x, axis=axis, keepdims=keepdims)


@op(**_EXTREME, numpy=(np.min, np.amin))
def min(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The smallest element along ``axis``. Equal smallest elements share the gradient equally.

    >>> import tinygrad_np as tg
    >>> tg.min([[1.0, 3.0], [4.0, 2.0]], axis=1).tolist()
    [1.0, 2.0]
    """
    return np.min(x, axis=axis, keepdims=keepdims)


def _logsumexp_x(g: Any, x: Any, out: Any, axis: Axis) -> Any:
    """g * exp(x - out)"""
    # For a large x, out has no digits left for the log of the sum, so the shares are normalized.
    shares = _shares(wide(x), wide(out).reshape(kept_shape(x.shape, axis)))
    total = shares.sum(axis=axis, keepdims=True)
    return spread(wide(g), x.shape, axis) * shares / np.where(total == 0, 1, total)


def _shares(x: Any, out: Any) -> Any:
    """exp(x - out). An infinite x takes the whole; if all are -inf, each share is 0."""
    if for_people():
        return np.exp(x - out)
    infinite = np.isinf(out)
    powers = np.exp(np.where(infinite, 0, x) - np.where(infinite, 0, out))
    return np.where(infinite, x == np.inf, powers)


@op(cases=reductions(normal), x=_logsumexp_x)
def logsumexp(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """log(sum(exp(x))) along ``axis`` without overflow. Gradient: g softmax(x).

    >>> import tinygrad_np as tg
    >>> tg.logsumexp(tg.Tensor([1000.0, 1000.0])).item()
    1000.6931471805599
    """
    given, x = x, wide(floats(x))
    largest = np.finfo(x.dtype).max  # inf - inf would be nan
    # Any pivot does; the real part stays analytic.
    pivot = np.max(x.real, axis=axis, keepdims=True, initial=-largest)
    pivot = bounded(pivot, largest)
    with np.errstate(divide="ignore"):  # the log of a sum of nothing but exp(-inf) is -inf
        total = np.log(np.sum(np.exp(x - pivot), axis=axis, keepdims=True)) + pivot
    total = like(total, given)
    return total if keepdims else np.squeeze(total, axis=axes_of(axis, x.ndim))


# Products


def _prod_x(g: Any, x: Any, axis: Axis) -> Any:
    """g * the product of the others"""
    # The product of all other elements, from the left and from the right, is also right with zeros.
    axes = axes_of(axis, x.ndim)
    order = sorted(range(x.ndim), key=axes.__contains__)
    x = wide(x)
    moved = x.transpose(order)
    lanes = moved.reshape(*moved.shape[: x.ndim - len(axes)], _count(x.shape, axes))
    others = products_before(lanes) * np.flip(products_before(np.flip(lanes, -1)), -1)
    back = others.reshape(moved.shape).transpose([order.index(i) for i in range(x.ndim)])
    return spread(g, x.shape, axis) * back


def products_before(x: Any) -> Any:
    """Along the last axis, the product of all elements before each one."""
    ones = np.ones((*x.shape[:-1], builtins.min(1, x.shape[-1])), x.dtype)
    return np.concatenate([ones, np.cumprod(x[..., :-1], axis=-1)], axis=-1)


_ZEROS = [case(uniform(0.0, 0.0, 3)), case(uniform(0.0, 0.0, 2, 2), axis=1)]


@op(cases=[*reductions(above_zero), *_ZEROS], numpy=np.prod, x=_prod_x)
def prod(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The product along ``axis``. Gradient: g times the product of all other elements.

    It is right at zeros, too, because it needs no division.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor([2.0, 0.0, 3.0], requires_grad=True)
    >>> tg.prod(x).backward()
    >>> x.grad
    array([0., 6., 0.])
    """
    return like(np.prod(wide(x), axis=axis, keepdims=keepdims), x)


# Running reductions. The derivative of a running product is a linear recurrence, and that of a
# linear recurrence is a linear recurrence: this one op gives derivatives of every order.

_RUNNING: list[Case] = [
    case(normal(4)), case(normal(2, 3, 4), axis=1), case(normal(2, 3), axis=-1), case(normal(2, 3)),
    case(normal(0, 2), axis=0), case(normal()),
]  # fmt: skip


@op(
    cases=[case(normal(2, 4), normal(2, 4)), case(normal(3), normal(3)),
           case(normal(2, 0), normal(2, 0))],
    a=said("db * out of the step before", lambda g, a, out: _recurrence_b(g, a) * _shifted(out)),
    b=said("linear_recurrence(a, g) from the end", lambda g, a: _recurrence_b(g, a)),
)  # fmt: skip
def linear_recurrence(a: Value, b: Value) -> Value:
    """y[k] = a[k] y[k-1] + b[k] along the last axis, from y[-1] = 0; a and b have the same shape.

    Gradients: db is the recurrence run backwards over g, with a shifted by one; da = db y[k-1].

    >>> import tinygrad_np as tg
    >>> tg.linear_recurrence([0.5, 0.5, 0.5], [1.0, 1.0, 1.0]).tolist()
    [1.0, 1.5, 1.75]
    """
    if a.shape != b.shape:
        raise ValueError(f"a of shape {a.shape} and b of shape {b.shape} must have the same shape")
    rows = [b[..., 0]] if a.shape[-1] else []
    for k in range(1, a.shape[-1]):
        rows.append(a[..., k] * rows[-1] + b[..., k])
    return np.stack(rows, axis=-1) if rows else np.zeros_like(b)


def _shifted(y: Any) -> Any:
    """``y`` one place later along the last axis, 0 in front."""
    return np.concatenate([0 * y[..., :1], y[..., :-1]], axis=-1)


def _recurrence_b(g: Any, a: Any) -> Any:
    later = np.concatenate([a[..., 1:], 0 * a[..., :1]], axis=-1)
    return np.flip(OPS["linear_recurrence"](np.flip(later, -1), np.flip(g, -1)), -1)


@op(
    cases=_RUNNING, numpy=np.cumsum,
    x=said("cumsum(g) from the end", lambda g, x_shape, axis: (
        np.flip(np.cumsum(np.flip(wide(g), axis), axis), axis).reshape(x_shape)
    )),
)  # fmt: skip
def cumsum(x: Value, axis: int | None = None) -> Value:
    """The running sum along ``axis`` (None: of x flattened). Gradient: g summed from the end.

    >>> import tinygrad_np as tg
    >>> tg.cumsum([1.0, 2.0, 3.0]).tolist()
    [1.0, 3.0, 6.0]
    """
    return like(np.cumsum(wide(x), axis=axis), x)


def _cumprod_x(g: Any, x: Any, axis: int | None) -> Any:
    """the sum of g * out / x, from the end"""
    along = 0 if axis is None else axis
    lanes = np.moveaxis(wide(x).reshape(g.shape), along, -1)
    back = products_before(lanes) * _recurrence_b(np.moveaxis(wide(g), along, -1), lanes)
    return np.moveaxis(back, -1, along).reshape(x.shape)


@op(cases=[*_RUNNING, *_ZEROS[:1]], numpy=np.cumprod, x=_cumprod_x)
def cumprod(x: Value, axis: int | None = None) -> Value:
    """The running product along ``axis`` (None: of x flattened).

    Gradient: dx[j] = (product before j) · s[j] with s[j] = g[j] + x[j+1] s[j+1], a linear
    recurrence: right at zeros, too.

    >>> import tinygrad_np as tg
    >>> tg.cumprod([1.0, 2.0, 3.0]).tolist()
    [1.0, 2.0, 6.0]
    """
    return like(np.cumprod(wide(x), axis=axis), x)


# Norms


def _norm_x(g: Any, x: Any, out: Any, ord: Any, axis: Axis) -> Any:
    """g * sign(x) * (abs(x) / out) ** (ord - 1)"""
    size = out.reshape(kept_shape(x.shape, axis))
    if isinstance(g, Tensor) and some(plain(x) == 0):
        slope = _norm_slope(g, x, out, ord, axis)
        return _norm_part(g, x, size, ord, axis) + zero_with_slope(x, slope)
    if ord in (None, 2, "fro"):
        return spread(wide(g), x.shape, axis) * x / unless_zero(size)
    return _norm_part(g, x, size, ord, axis)


def _norm_part(g: Any, x: Any, size: Any, ord: Any, axis: Axis) -> Any:
    if ord in (None, 2, "fro"):
        return spread(wide(g), x.shape, axis) * x / unless_zero(size)
    if ord == np.inf:
        return np.sign(x) * _extreme_x(g, np.abs(x), size, axis)
    ratio = np.where(x == 0, 1, np.abs(x) / unless_zero(size, 1))
    return spread(wide(g), x.shape, axis) * np.sign(x) * np.power(ratio, ord - 1)


def _norm_slope(g: Any, x: Any, out: Any, ord: Any, axis: Axis) -> Any:
    """The second derivative where x is 0, which the formula lacks. See ``origin``."""
    slope = slope_at_zero(g, out, smooth=ord == 1)
    if ord in (None, 2, "fro"):
        return np.zeros((), g.dtype) if slope is None else spread(slope, x.shape, axis)
    if ord < 2 and ord != 1:  # |x|^p itself has none, whatever becomes of the norm
        steep = g.data == g.data if g.requires_grad else g.data != 0
    else:  # a power of the norm may have one, if its own slope at 0 is 0
        steep = np.zeros(g.shape, bool) if slope is None else plain(slope) != 0
        if ord == 1 and depends(g, out):
            steep = steep | (out.data != 0)
    bent = (plain(x) == 0) & spread(steep, x.shape, axis)
    return np.where(bent, np.nan, 0).astype(g.dtype)


@op(
    cases=[*reductions(normal), case(normal(4), ord=1), case(normal(2, 4), ord=3, axis=0),
           case(normal(2, 4), ord=2, axis=-1), case(distinct(2, 4), ord=np.inf, axis=-1),
           case(normal(2, 4), ord=1, axis=1), case(normal(2, 2), ord="fro")],
    numpy=np.linalg.norm, analytic=False, x=_norm_x,
)  # fmt: skip
def norm(
    x: Value, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False
) -> Value:
    """The p-norm ``(sum |x|^p)^(1/p)`` of the vectors along ``axis``, p = ``ord``; None, "fro": 2.

    With None or "fro" the elements along several axes (``axis=None``: all) count as one vector.
    Another ``ord`` is a positive number or inf and takes one axis: matrix norms are refused.
    Gradient: ``g sign(x) (|x| / out)^(p-1)``; at 0 it is 0; for inf, ties share it. The second
    derivative at 0 is right where there is one (norm(x)² has 2 I), else nan.

    >>> import tinygrad_np as tg
    >>> tg.norm(tg.Tensor([3.0, 4.0])).item()
    5.0
    """
    return like(_length(wide(floats(x)), ord, axis, keepdims), x)


def _length(x: Any, ord: Any, axis: Axis, keepdims: bool) -> Any:
    if ord in (None, "fro"):
        return _root_of_squares(x, axis, keepdims)
    if isinstance(ord, str) or not ord > 0:
        raise ValueError(f"ord={ord!r}: use None, 'fro', inf or a positive number")
    if x.ndim > 1 and (axis is None or np.size(axis) > 1):
        raise ValueError(
            f"ord={ord!r} of a matrix means another norm in NumPy: give one axis to take the norm "
            "of each vector, or write tg.norm(tg.ravel(x), ord) for the norm of all elements"
        )
    if ord == np.inf:
        return np.max(np.abs(x), axis=axis, keepdims=keepdims)
    scale = _scale(x, axis)
    # np.power and not **, which rounds scalars in its own way.
    total = np.sum(np.power(np.abs(x / scale), float(ord)), axis=axis, keepdims=keepdims)
    root = np.power(total, 1 / float(ord))
    return root * scale.reshape(total.shape)


# Tests and positions, which have no gradient


_PLACES = [case(distinct(3, 4)), case(distinct(3, 4), axis=1), case(distinct(5), 0, True)]
_MASKS = [case(booleans(3, 4)), case(booleans(3, 4), axis=(0, 1)), case(booleans(5), 0, True)]


@op(cases=_PLACES, numpy=np.argmax, constant=True)
def argmax(x: Value, axis: int | None = None, keepdims: bool = False) -> Value:
    """The index of the largest element along ``axis``, the first of equal ones. No gradient.

    >>> import tinygrad_np as tg
    >>> tg.argmax([[1.0, 3.0], [4.0, 2.0]], axis=1).tolist()
    [1, 0]
    """
    return np.argmax(x, axis=axis, keepdims=keepdims)


@op(cases=_PLACES, numpy=np.argmin, constant=True)
def argmin(x: Value, axis: int | None = None, keepdims: bool = False) -> Value:
    """The index of the smallest element along ``axis``, the first of equal ones. No gradient.

    >>> import tinygrad_np as tg
    >>> tg.argmin([[1.0, 3.0], [4.0, 2.0]], axis=1).tolist()
    [0, 1]
    """
    return np.argmin(x, axis=axis, keepdims=keepdims)


@op(cases=_MASKS, numpy=np.all, constant=True)
def all(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Whether all elements along ``axis`` are true. No gradient.

    >>> import tinygrad_np as tg
    >>> tg.all(tg.Tensor([[True, False], [True, True]]), axis=1).tolist()
    [False, True]
    """
    return as_array(x).all(axis=axis, keepdims=keepdims)


@op(cases=_MASKS, numpy=np.any, constant=True)
def any(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Whether any element along ``axis`` is true. No gradient.

    >>> import tinygrad_np as tg
    >>> tg.any(tg.Tensor([[True, False], [False, False]]), axis=1).tolist()
    [True, False]
    """
    return as_array(x).any(axis=axis, keepdims=keepdims)
