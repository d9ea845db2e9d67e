"""Activation functions, written so that they neither overflow nor warn at any finite input."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from ..cases import REAL, case, distinct, normal, uniform
from ..composites import composite
from ..definition import OPS, Value, op
from ..shapes import Shape
from ..source import said
from ..tensor import Operand, Tensor
from .axes import normalize_axes
from .elementwise import bounded, floats, like, multiply, negative, tanh, wide
from .shape import split
from .special import density

__all__ = [
    "celu", "elu", "gelu", "glu", "log_sigmoid", "log_softmax", "mish", "selu", "sigmoid", "silu",
    "softmax", "softmin", "softplus", "softsign", "tanhshrink",
]  # fmt: skip


@op(cases=REAL, x=lambda g, out: g * out * (1 - out))
def sigmoid(x: Value) -> Value:
    """The logistic function 1 / (1 + exp(-x)). Gradient: g out (1 - out).

    >>> import tinygrad_np as tg
    >>> tg.sigmoid(tg.Tensor([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    with np.errstate(over="ignore"):  # exp overflows to inf, and 1 / inf = 0 is the right answer
        return 1 / (1 + np.exp(-floats(x)))


@op(cases=REAL, analytic=False, x=said("g * sigmoid(-x)", lambda g, x: g * OPS["sigmoid"](0.0 - x)))
def log_sigmoid(x: Value) -> Value:
    """log(sigmoid(x)), precise for large negative x. Gradient: g sigmoid(-x).

    >>> import tinygrad_np as tg
    >>> tg.log_sigmoid([-1000.0, 0.0]).data.round(4).tolist()
    [-1000.0, -0.6931]
    """
    x = floats(x)
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@op(
    cases=[*REAL, case(normal(3), 0.5)], analytic=False,
    x=said("where(x > 0, g, g * alpha * exp(x))", lambda g, x, alpha: (
        g * np.where(x > 0, 1, alpha * np.exp(np.where(x > 0, 0, x))).astype(g.dtype)
    )),
)  # fmt: skip
def elu(x: Value, alpha: float = 1.0) -> Value:
    """x where positive, else alpha (exp(x) - 1). (Clevert, Unterthiner, Hochreiter 2016.)

    >>> import tinygrad_np as tg
    >>> tg.elu([-1.0, 2.0]).data.round(4).tolist()
    [-0.6321, 2.0]
    """
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


_GELU = math.sqrt(2 / math.pi)


def _gate(x: Any, approximate: str) -> Any:
    """The share of x that gelu lets pass: Φ(x), or its approximation by tanh."""
    if approximate == "none":
        return OPS["normal_cdf"](x)
    near = bounded(x, 10.0)  # beyond, the tangent is ±1
    return 0.5 * (1 + np.tanh(_GELU * (near + 0.044715 * near * near * near)))


def _gelu_x(g: Any, x: Any, gate: Any, approximate: str) -> Any:
    """g * (gate + x * slope of the gate)"""
    if approximate == "none":
        return g * (gate + bounded(x, 40.0) * density(x))
    near = bounded(x, 10.0)
    slope = 2 * _GELU * (1 + 3 * 0.044715 * near * near)
    return g * (gate + near * gate * (1 - gate) * slope)


@op(
    cases=[*REAL, case(uniform(-3.0, 3.0, 5)), case(uniform(-3.0, 3.0, 5), "tanh")],
    analytic=False, x=_gelu_x, residual=("gate", _gate),
)  # fmt: skip
def gelu(x: Value, approximate: str = "none") -> Value:
    """x Φ(x), where Φ is the normal distribution function.

    ``approximate="tanh"`` is 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))), which differs by less than
    0.0005. Gradient: g (Φ(x) + x φ(x)), where φ is the normal density.
    (Hendrycks, Gimpel 2016.)

    >>> import tinygrad_np as tg
    >>> tg.gelu(tg.Tensor([-1.0, 0.0, 1.0])).data.round(4).tolist()
    [-0.1587, 0.0, 0.8413]
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate={approximate!r} is neither 'none' nor 'tanh'")
    x = floats(x)
    gate = _gate(x, approximate)
    return x * gate, gate


@composite(cases=REAL)
def silu(x: Operand) -> Tensor:
    """x sigmoid(x), also called swish. (Elfwing, Uchibe, Doya 2017.)

    >>> import tinygrad_np as tg
    >>> tg.silu([-1.0, 2.0]).data.round(4).tolist()
    [-0.2689, 1.7616]
    """
    return multiply(x, sigmoid(x))


def _softplus_x(g: Any, x: Any, beta: float, threshold: float) -> Any:
    """g * sigmoid(beta * x)"""
    steep = x * beta > threshold
    return g * np.where(steep, 1, OPS["sigmoid"](beta * np.where(steep, 0, x))).astype(g.dtype)


@op(
    cases=[*REAL, case(normal(4), 2.0), case(distinct(8), 2.0, 0.3)], analytic=False,
    x=_softplus_x,
)  # fmt: skip
def softplus(x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    """log(1 + exp(beta x)) / beta without overflow; x itself where beta x is above ``threshold``.

    ``threshold=float("inf")`` gives every digit. Gradient: g sigmoid(beta x), g above it.

    >>> import tinygrad_np as tg
    >>> tg.softplus([-1.0, 1000.0]).data.round(4).tolist()
    [0.3133, 1000.0]
    """
    given, x = x, floats(x)
    scaled = x * beta
    steep = scaled > threshold
    soft = (np.maximum(scaled, 0) + np.log1p(np.exp(-np.abs(scaled)))) / beta
    return np.where(steep, x, soft).astype(given.dtype if given.dtype.kind == "f" else x.dtype)


@composite(cases=REAL, analytic=False)
def mish(x: Operand) -> Tensor:
    """x tanh(softplus(x)). (Misra 2019.)

    >>> import tinygrad_np as tg
    >>> tg.mish([-1.0, 2.0]).data.round(4).tolist()
    [-0.3034, 1.944]
    """
    return multiply(x, tanh(softplus(x)))


@composite(cases=REAL, analytic=False)
def selu(x: Operand) -> Tensor:
    """1.0507 elu(x, 1.6733), which keeps mean 0 and variance 1. (Klambauer et al. 2017.)

    >>> import tinygrad_np as tg
    >>> tg.selu([-1.0, 2.0]).data.round(4).tolist()
    [-1.1113, 2.1014]
    """
    return multiply(elu(x, 1.6732632423543772), 1.0507009873554805)


@op(
    cases=[*REAL, case(normal(3), 0.5)], analytic=False,
    x=said("where(x > 0, g, g * exp(x / alpha))", lambda g, x, alpha: (
        g * np.where(x > 0, 1, np.exp(np.where(x > 0, 0, x / alpha))).astype(g.dtype)
    )),
)  # fmt: skip
def celu(x: Value, alpha: float = 1.0) -> Value:
    """x where positive, else alpha (exp(x / alpha) - 1). (Barron 2017.)

    >>> import tinygrad_np as tg
    >>> tg.celu([-1.0, 2.0]).data.round(4).tolist()
    [-0.6321, 2.0]
    """
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


@op(cases=REAL, x=lambda g, x: g * np.tanh(x) * np.tanh(x))
def tanhshrink(x: Value) -> Value:
    """x - tanh(x). Gradient: g tanh(x)².

    >>> import tinygrad_np as tg
    >>> tg.tanhshrink([0.0, 2.0]).data.round(4).tolist()
    [0.0, 1.036]
    """
    return x - np.tanh(x)


@op(cases=REAL, analytic=False, x=lambda g, x: g / (1 + np.abs(x)) / (1 + np.abs(x)))
def softsign(x: Value) -> Value:
    """``x / (1 + |x|)``. Gradient: ``g / (1 + |x|)²``.

    >>> import tinygrad_np as tg
    >>> tg.softsign([-1.0, 3.0]).tolist()
    [-0.5, 0.75]
    """
    return x / (1 + np.abs(x))


@composite(cases=[case(normal(3, 4)), case(normal(2, 4, 3), 1)])
def glu(x: Operand, axis: int = -1) -> Tensor:
    """The first half of x along ``axis`` times the sigmoid of the second. (Dauphin et al. 2017.)

    Raises ValueError if the length of the axis is odd.

    >>> import tinygrad_np as tg
    >>> tg.glu([1.0, 2.0, 0.0, 0.0]).tolist()
    [0.5, 1.0]
    """
    length = np.shape(x)[normalize_axes(axis, np.ndim(x))[0]]
    if length % 2:
        raise ValueError(f"glu: axis {axis} of x of shape {np.shape(x)} must have an even length")
    a, b = split(x, 2, axis)
    return multiply(a, sigmoid(b))


# Along an axis


def order_for_rows(shape: Shape) -> Literal["F", "K"]:
    """The memory order in which rows are best reduced: Fortran's where they are many and short.

    NumPy starts its inner loop anew for each row: the softmax of 150 rows of 10 takes twice as
    long in C's order, that of 1,000 rows four times.
    """
    return "F" if len(shape) == 2 and shape[0] >= 32 and shape[1] <= 16 else "K"


def by_rows(x: Value, axis: int = -1) -> Value:
    """An array in the order, and the precision, that suits reductions along ``axis``."""
    order = order_for_rows(x.shape) if axis in (-1, 1) else "K"
    x = wide(floats(x))
    return x if order == "K" else np.positive(x, order=order)


def largest(x: Value, axis: int = -1) -> Value:
    """The largest elements along ``axis``, which is kept; -inf where there are none."""
    if x.size:
        return x.max(axis=axis, keepdims=True)
    return x.max(axis=axis, keepdims=True, initial=-np.inf)


_ROWS = [
    case(normal(3, 4)),
    case(normal(3, 4), axis=0),
    case(normal(2, 3, 4), axis=1),
    case(normal(5)),
    case(normal(32, 2)),  # many short rows
]


@op(cases=_ROWS, x=lambda g, out, axis: out * (g - (wide(g) * out).sum(axis=axis, keepdims=True)))
def softmax(x: Value, axis: int = -1) -> Value:
    """exp(x) / sum(exp(x)) along ``axis``, without overflow. Gradient: out (g - sum(g out)).

    >>> import tinygrad_np as tg
    >>> tg.softmax(tg.Tensor([1000.0, 1000.0])).tolist()
    [0.5, 0.5]
    """
    rows = by_rows(x, axis)
    powers = np.exp(rows - largest(rows.real, axis))
    return like(powers / powers.sum(axis=axis, keepdims=True), x)


@op(cases=_ROWS, x=lambda g, out, axis: g - np.exp(out) * wide(g).sum(axis=axis, keepdims=True))
def log_softmax(x: Value, axis: int = -1) -> Value:
    """log(softmax(x)) along ``axis``, precise where softmax is 0. Gradient: g - softmax Σg.

    >>> import tinygrad_np as tg
    >>> tg.log_softmax([0.0, 1000.0]).tolist()
    [-1000.0, 0.0]
    """
    rows = by_rows(x, axis)
    shifted = rows - largest(rows.real, axis)
    if not x.size:  # no element, hence no sum to take the log of
        return like(shifted, x)
    return like(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)), x)


@composite(cases=_ROWS)
def softmin(x: Operand, axis: int = -1) -> Tensor:
    """softmax(-x) along ``axis``.

    >>> import tinygrad_np as tg
    >>> tg.softmin([0.0, 1.0]).data.round(4).tolist()
    [0.7311, 0.2689]
    """
    return softmax(negative(x), axis)
