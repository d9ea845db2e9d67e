"""Rectifiers and their kin: activation functions that are made of straight lines, with kinks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..cases import REAL, case, distinct, normal
from ..composites import composite
from ..definition import Value, op
from ..source import said
from ..tensor import Operand, Tensor
from .elementwise import kept, wide

__all__ = [
    "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "prelu", "relu", "relu6",
    "softshrink", "threshold",
]  # fmt: skip


@op(cases=REAL, analytic=False, x=lambda g, out: g * (out > 0))
def relu(x: Value) -> Value:
    """The rectifier max(x, 0). Gradient: g (x > 0), so it is 0 at x = 0 for every finite g.

    An infinite g, as in ``sqrt(relu(x))``, gives nan where x <= 0; that of ``maximum(x, 0)`` is 0
    for every x < 0.

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
    """x where positive, else ``negative_slope`` x. (Maas, Hannun, Ng 2013.)

    >>> import tinygrad_np as tg
    >>> tg.leaky_relu([-2.0, 3.0]).tolist()
    [-0.02, 3.0]
    """
    return np.where(x > 0, x, x * negative_slope)


def _by_feature(weight: Any, ndim: int) -> Any:
    """One number for all, or one for each feature (axis 1), in a shape that broadcasts."""
    return weight.reshape((-1, *(1,) * (ndim - 2)) if ndim else ())


def _prelu_weight(g: Any, x: Any, weight_shape: Any) -> Any:
    """sum of g * x where x < 0"""
    part = wide(np.where(x > 0, 0, g)) * np.where(x > 0, 0, x)
    if math.prod(weight_shape) == 1:
        return part.sum().reshape(weight_shape)
    return part.sum(axis=(0, *range(2, x.ndim))).reshape(weight_shape)


@op(
    cases=[case(normal(3, 4), normal(1)), case(normal(2, 3, 2), normal(3)),
           case(normal(4), normal(1))],
    analytic=False,
    x=said(
        "where(x > 0, g, g * weight)",
        lambda g, x, weight: np.where(x > 0, g, g * _by_feature(weight, x.ndim)),
    ),
    weight=_prelu_weight,
)  # fmt: skip
def prelu(x: Value, weight: Value) -> Value:
    """x where positive, else ``weight`` x: one weight, or one for each feature (axis 1).

    Gradients: g or weight g; the sum of g x over what is negative. (He et al. 2015.)

    >>> import tinygrad_np as tg
    >>> tg.prelu([-2.0, 3.0], 0.25).tolist()
    [-0.5, 3.0]
    """
    if weight.size != 1 and (weight.ndim != 1 or x.ndim < 2 or weight.size != x.shape[1]):
        raise ValueError(
            f"prelu: weight of shape {weight.shape} must have one number, or one for each feature "
            f"(axis 1) of x of shape {x.shape}"
        )
    return np.where(x > 0, x, x * _by_feature(weight, x.ndim))


@op(
    cases=[case(distinct(3, 8)), case(distinct(8), -0.2, 0.3), case(distinct()),
           case(distinct(0, 2))],
    analytic=False,
    x=said(
        "where((min_val < x) & (x < max_val), g, 0)",
        lambda g, x, min_val, max_val: kept(g, ~((x <= min_val) | (x >= max_val))),
    ),
)  # fmt: skip
def hardtanh(x: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    """x limited to the range from ``min_val`` to ``max_val``. Gradient: g inside, else 0.

    >>> import tinygrad_np as tg
    >>> tg.hardtanh([-2.0, 0.5, 2.0]).tolist()
    [-1.0, 0.5, 1.0]
    """
    return np.clip(x, min_val, max_val)


@composite(cases=[case(distinct(3, 8))], analytic=False)
def relu6(x: Operand) -> Tensor:
    """min(max(x, 0), 6). (Krizhevsky 2010.)

    >>> import tinygrad_np as tg
    >>> tg.relu6([-1.0, 3.0, 9.0]).tolist()
    [0.0, 3.0, 6.0]
    """
    return hardtanh(x, 0.0, 6.0)


_WIDE = [case(distinct(90)), case(distinct(3, 4)), case(distinct()), case(distinct(0, 2))]


@op(
    cases=_WIDE,
    analytic=False,
    x=said("where(abs(x) < 3, g / 6, 0)", lambda g, x: kept(g / 6, ~((x <= -3) | (x >= 3)))),
)
def hardsigmoid(x: Value) -> Value:
    """min(max(x + 3, 0), 6) / 6. Gradient: g / 6 where -3 < x < 3, else 0.

    >>> import tinygrad_np as tg
    >>> tg.hardsigmoid([-4.0, 0.0, 4.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.clip(x + 3, 0, 6) / 6


def _hardswish_x(g: Any, x: Any) -> Any:
    """where(x < 3, where(x > -3, g * (x / 3 + 1 / 2), 0), g)"""
    return kept(g * (np.clip(x, -3, 3) / 3 + 0.5), ~((x <= -3) | (x >= 3))) + kept(g, x >= 3)


@op(cases=_WIDE, analytic=False, x=_hardswish_x)
def hardswish(x: Value) -> Value:
    """x hardsigmoid(x). Gradient: g (x / 3 + 1 / 2) where -3 < x < 3, else 0 or g.

    (Howard et al. 2019.)

    >>> import tinygrad_np as tg
    >>> tg.hardswish([-4.0, 0.0, 4.0]).tolist()
    [-0.0, 0.0, 4.0]
    """
    return x * (np.clip(x + 3, 0, 6) / 6)


@op(
    cases=[case(distinct(3, 8)), case(distinct(8), 0.2), case(distinct()), case(distinct(0, 2))],
    analytic=False, x=said(
        "where(abs(x) > lambd, g, 0)",
        lambda g, x, lambd: kept(g, ~((x >= -lambd) & (x <= lambd))),
    ),
)  # fmt: skip
def hardshrink(x: Value, lambd: float = 0.5) -> Value:
    """x, but 0 where ``|x| <= lambd``. Gradient: g, or 0.

    >>> import tinygrad_np as tg
    >>> tg.hardshrink([-0.2, 0.2, 2.0]).tolist()
    [0.0, 0.0, 2.0]
    """
    return np.where((x >= -lambd) & (x <= lambd), 0, x)


@op(
    cases=[case(distinct(3, 8)), case(distinct(8), 0.2), case(distinct()), case(distinct(0, 2))],
    analytic=False, x=said(
        "where(abs(x) > lambd, g, 0)",
        lambda g, x, lambd: kept(g, ~((x >= -lambd) & (x <= lambd))),
    ),
)  # fmt: skip
def softshrink(x: Value, lambd: float = 0.5) -> Value:
    """x moved by ``lambd`` towards 0, and 0 where ``|x| <= lambd``. Gradient: g, or 0.

    >>> import tinygrad_np as tg
    >>> tg.softshrink([-2.0, 0.2, 2.0]).tolist()
    [-1.5, 0.0, 1.5]
    """
    if not lambd >= 0:
        raise ValueError(f"softshrink: lambd={lambd} must not be negative")
    return x - np.clip(x, -lambd, lambd)


@op(
    cases=[case(distinct(3, 8), 0.2, -1.0), case(distinct(8), -0.3, 5.0)], analytic=False,
    # value is read so that the graph keeps it: a derivation calls the op again.
    x=said(
        "where(x > threshold, g, 0)", lambda g, x, threshold, value: kept(g, ~(x <= threshold))
    ),
)  # fmt: skip
def threshold(x: Value, threshold: float, value: float) -> Value:
    """x where it is above ``threshold``, else ``value``. Gradient: g, or 0.

    >>> import tinygrad_np as tg
    >>> tg.threshold([0.5, 2.0], 1.0, -1.0).tolist()
    [-1.0, 2.0]
    """
    return np.where(x <= threshold, value, x).astype(x.dtype)
