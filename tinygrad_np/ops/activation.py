"""Activation functions, written so that they neither overflow nor warn at any finite input."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from ..cases import REAL, case, normal, uniform
from ..definition import OPS, Value, composite, op
from ..shapes import Shape
from ..tensor import Operand, Tensor
from .elementwise import floats, like, multiply, wide

__all__ = [
    "elu", "gelu", "leaky_relu", "log_sigmoid", "log_softmax", "relu", "sigmoid", "silu",
    "softmax", "softplus",
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


@composite(cases=REAL, analytic=False)
def log_sigmoid(x: Operand) -> Tensor:
    """log(sigmoid(x)) = -softplus(-x), precise for large negative x."""
    return -softplus(0.0 - x)  # not -x, which wraps around for unsigned integers


@op(cases=REAL, analytic=False, x=lambda g, out: g * (out > 0))
def relu(x: Value) -> Value:
    """The rectifier max(x, 0). Gradient: g (x > 0), which is 0 at 0, too, if g is finite.

    An infinite g (of ``sqrt(relu(x))``, say) makes nan of it; ``maximum(x, 0)`` has no such limit.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor([-1.0, 0.0, 2.0], requires_grad=True)
    >>> tg.relu(x).sum().backward()
    >>> x.grad
    array([0., 0., 1.])
    """
    return np.maximum(x, 0)


@op(
    cases=[*REAL, case(normal(3), 0.3)], analytic=False,
    x=lambda g, x, negative_slope: np.where(x > 0, g, g * negative_slope),
)  # fmt: skip
def leaky_relu(x: Value, negative_slope: float = 0.01) -> Value:
    """x where positive, else ``negative_slope`` x. (Maas, Hannun, Ng 2013.)"""
    return np.where(x > 0, x, x * negative_slope)


@op(
    cases=[*REAL, case(normal(3), 0.5)], analytic=False,
    x=lambda g, x, alpha: (
        g * np.where(x > 0, 1, alpha * np.exp(np.where(x > 0, 0, x))).astype(g.dtype)
    ),
)  # fmt: skip
def elu(x: Value, alpha: float = 1.0) -> Value:
    """x where positive, else alpha (exp(x) - 1). (Clevert, Unterthiner, Hochreiter 2016.)"""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


_GELU = math.sqrt(2 / math.pi)


def _gelu_x(g: Any, x: Any) -> Any:
    near = np.clip(x, -10.0, 10.0)  # beyond, the cube might overflow; the tangent is ±1
    t = np.tanh(_GELU * (near + 0.044715 * near * near * near))
    slope = _GELU * (1 + 3 * 0.044715 * near * near)
    return g * (0.5 * (1 + t) + 0.5 * near * (1 - t * t) * slope)


@op(cases=[*REAL, case(uniform(-3.0, 3.0, 5))], x=_gelu_x)
def gelu(x: Value) -> Value:
    """x Φ(x) by the tanh formula, 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))).

    The formula is that of Hendrycks and Gimpel (2016), which PyTorch calls ``approximate="tanh"``;
    it differs from the exact x Φ(x) by less than 0.0005.
    """
    with np.errstate(over="ignore"):  # tanh(inf) = 1 is right
        return 0.5 * x * (1 + np.tanh(_GELU * (x + 0.044715 * x * x * x)))


@composite(cases=REAL)
def silu(x: Operand) -> Tensor:
    """x sigmoid(x), also called swish. (Elfwing, Uchibe, Doya 2017.)"""
    return multiply(x, sigmoid(x))


@op(cases=REAL, analytic=False, x=lambda g, x: g * OPS["sigmoid"](x))
def softplus(x: Value) -> Value:
    """log(1 + exp(x)) without overflow. Gradient: g sigmoid(x)."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(floats(x))))


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
    powers = np.exp(rows - rows.real.max(axis=axis, keepdims=True))
    return like(powers / powers.sum(axis=axis, keepdims=True), x)


@op(cases=_ROWS, x=lambda g, out, axis: g - np.exp(out) * wide(g).sum(axis=axis, keepdims=True))
def log_softmax(x: Value, axis: int = -1) -> Value:
    """log(softmax(x)) along ``axis``, precise where softmax is 0. Gradient: g - softmax Σg."""
    rows = by_rows(x, axis)
    shifted = rows - rows.real.max(axis=axis, keepdims=True)
    return like(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)), x)
