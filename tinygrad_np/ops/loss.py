"""Losses of predictions against targets. ``reduction`` is "mean", "sum" or "none".

Unless it says otherwise, both have one shape, and the mean is over all elements.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import tracing
from ..arrays import as_array
from ..cases import above_zero, case, normal, uniform
from ..composites import composite
from ..definition import OPS, Case, Value, op
from ..source import said
from ..tensor import Operand, Tensor, plain
from .activation import log_sigmoid
from .elementwise import (
    abs,
    add,
    clip,
    divide,
    exp,
    floats,
    like,
    log,
    maximum,
    multiply,
    negative,
    subtract,
    where,
    wide,
)
from .linalg import einsum
from .reduction import mean, norm, sum

__all__ = [
    "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_similarity",
    "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss",
    "pairwise_distance", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss",
]  # fmt: skip


def reduced(losses: Any, reduction: str, inputs: Any) -> Any:
    """The losses, or their mean or sum, in the precision of the inputs."""
    match reduction:
        case "mean":
            if not losses.size:
                raise ValueError(f"the mean over no rows is not defined: losses of {losses.shape}")
            losses = losses.sum() / losses.size
        case "sum":
            losses = losses.sum()
        case "none":
            pass
        case _:
            raise ValueError(f"reduction={reduction!r} is none of 'mean', 'sum', 'none'")
    return like(losses, inputs)


def share(g: Any, count: int, reduction: str) -> Any:
    """The gradient that each of ``count`` losses receives."""
    return wide(g) / count if reduction == "mean" else g


def constant(name: str, value: Any, dtype: Any = None) -> Any:
    """The array of an argument without a gradient; TypeError for a Tensor that wants one."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise TypeError(
            f"{name} gets no gradient, but the Tensor given for it requires grad: pass "
            f"{name}.detach() if it is meant as a constant"
        )
    array = as_array(plain(value))
    return array if dtype is None else array.astype(dtype, copy=False)


def average(losses: Tensor, reduction: str) -> Tensor:
    """The losses, or their mean or sum, as a Tensor."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum(losses)
    if reduction != "mean":
        raise ValueError(f"reduction={reduction!r} is none of 'mean', 'sum', 'none'")
    if not losses.size:
        raise ValueError(f"the mean over no elements is not defined: losses of {losses.shape}")
    return mean(losses)


def unless_absent(share: Any, x: Any) -> Any:
    """share x, and 0 where the share is 0, even of an infinite x: of a class masked by -inf."""
    return np.where(share == 0, 0, x) * share


@op(
    cases=[case(normal(3, 4), normal(3, 4)), case(normal(3, 4), normal(4))],
    x=said("g * y", lambda g, y: OPS["multiply_no_nan"](g, y)),
    y=said("g * x", lambda g, x: OPS["multiply_no_nan"](g, x)),
)  # fmt: skip
def multiply_no_nan(x: Value, y: Value) -> Value:
    """x y, and 0 where either is 0, even if the other is infinite or nan.

    Gradients: g y, g x, multiplied in the same way. The name is TensorFlow's.

    >>> multiply_no_nan([0.0, 2.0], [-np.inf, 3.0]).tolist()
    [0.0, 6.0]
    """
    return unless_absent(np.where(y == 0, 0, x), y)


@op(cases=[case(above_zero(3, 4)), case(above_zero())], x=lambda g, x: g * (np.log(x) + 1))
def x_log_x(x: Value) -> Value:
    """x log x, and 0 at 0, where its slope is -inf. Gradient: g (log x + 1).

    >>> x_log_x([0.0, 1.0]).tolist()
    [0.0, 0.0]
    """
    return x * np.log(np.where(x == 0, 1, x))


def _fit(name: str, x: Any, y: Any) -> None:
    """Refuse to broadcast: (n,) against (n, 1) would silently make n² losses."""
    if np.shape(x) != np.shape(y):
        raise ValueError(
            f"{name} of shape {np.shape(x)} and targets of shape {np.shape(y)} must have the same "
            "shape: reshape one of them"
        )


# Regression


@op(
    cases=[case(normal(3, 4), normal(3, 4)), case(normal(3), normal(3), "sum"),
           case(normal(3), normal(3), "none")],
    predictions=said(
        "2 * (predictions - targets) * g / n",
        lambda g, predictions, targets, reduction: (
            2 * (predictions - targets) * share(g, predictions.size, reduction)
        ),
    ),
    targets=said(
        "2 * (targets - predictions) * g / n",
        lambda g, predictions, targets, reduction: (
            2 * (targets - predictions) * share(g, predictions.size, reduction)
        ),
    ),
)  # fmt: skip
def mse_loss(predictions: Value, targets: Value, reduction: str = "mean") -> Value:
    """The squared differences, averaged (or added up) over all elements. Both of one shape.

    Gradients: ±2 (predictions - targets) g / n.

    >>> import tinygrad_np as tg
    >>> tg.mse_loss(tg.Tensor([1.0, 2.0]), tg.Tensor([1.0, 4.0])).item()
    2.0
    """
    _fit("predictions", predictions, targets)
    difference = wide(floats(predictions)) - targets
    return reduced(difference * difference, reduction, predictions)


_PAIRS = [case(normal(3, 4), normal(3, 4)), case(normal(3), normal(3), reduction="sum"),
          case(normal(3), normal(3), reduction="none")]  # fmt: skip


def _pair(x: Operand, targets: Operand, name: str = "predictions") -> tuple[Tensor, Tensor]:
    """Both as Tensors, of one shape; targets that are integers in the precision of x."""
    _fit(name, x, targets)
    x = x if isinstance(x, Tensor) else Tensor(x)
    t = targets if isinstance(targets, Tensor) else Tensor(targets)
    return x, t if t.dtype.kind in "fc" else t.astype(x.dtype)


@composite(cases=_PAIRS, analytic=False)
def l1_loss(predictions: Operand, targets: Operand, reduction: str = "mean") -> Tensor:
    """The absolute differences. Gradients: ± their signs.

    >>> import tinygrad_np as tg
    >>> tg.l1_loss(tg.Tensor([1.0, 2.0]), tg.Tensor([1.0, 4.0])).item()
    1.0
    """
    return average(abs(subtract(*_pair(predictions, targets))), reduction)


@composite(cases=[*_PAIRS, case(normal(5), normal(5), delta=0.3)], analytic=False)
def huber_loss(
    predictions: Operand, targets: Operand, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Half the squared difference d², beyond ``delta`` a line, ``delta (|d| - delta / 2)``.

    >>> import tinygrad_np as tg
    >>> tg.huber_loss([0.5, 3.0], [0.0, 0.0], "none").tolist()
    [0.125, 2.5]
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta={delta} must be above 0")
    difference = subtract(*_pair(predictions, targets))
    near = clip(difference, -delta, delta)
    return average(multiply(near, subtract(difference, multiply(near, 0.5))), reduction)


@composite(
    cases=[*_PAIRS, case(normal(5), normal(5), beta=0.3), case(normal(3), normal(3), beta=0.0)],
    analytic=False,
)  # fmt: skip
def smooth_l1_loss(
    predictions: Operand, targets: Operand, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """d² / (2 beta), from ``beta`` on ``|d| - beta / 2``: huber_loss / beta; 0 is l1_loss.

    >>> import tinygrad_np as tg
    >>> tg.smooth_l1_loss([0.5, 3.0], [0.0, 0.0], "none").tolist()
    [0.125, 2.5]
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta={beta} must not be negative")
    if beta == 0:
        return l1_loss(predictions, targets, reduction)
    return divide(huber_loss(predictions, targets, reduction, beta), beta)


@composite(
    cases=[case(normal(3, 4), normal(3, 4)),
           case(above_zero(3), above_zero(3), False, True, 0.5, "sum"),
           case(normal(3), uniform(2.0, 4.0, 3), True, True, reduction="none"),
           case(above_zero(3), above_zero(3), False)]
)  # fmt: skip
def poisson_nll_loss(
    predictions: Operand, targets: Operand, log_input: bool = True, full: bool = False,
    eps: float = 1e-8, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """exp(x) - t x, or x - t log(x + eps) unless ``log_input``: of counts t with the rate x.

    With ``full``, plus Stirling's t log t - t + log(2π t) / 2, where t is above 1.

    >>> import tinygrad_np as tg
    >>> round(tg.poisson_nll_loss([0.0, 1.0], [1.0, 2.0]).item(), 4)
    0.8591
    """
    x, targets = _pair(predictions, targets)
    if log_input:
        losses = subtract(exp(x), multiply(targets, x))
    else:
        losses = subtract(x, multiply(targets, log(add(x, eps))))
    if full:
        large = targets.data > 1
        t = where(large, targets, 1.0).astype(losses.dtype)
        stirling = t * log(t) - t + 0.5 * log(t * (2 * math.pi))
        losses = add(losses, where(large, stirling, 0.0))
    return average(losses, reduction)


# Probabilities


@composite(
    cases=[case(normal(3, 4), above_zero(3, 4)), case(normal(3, 4), normal(3, 4), "sum", True),
           case(normal(3, 4), above_zero(3, 4), "batchmean"),
           case(normal(3), above_zero(3), reduction="none")]
)  # fmt: skip
def kl_div(
    log_p: Operand, targets: Operand, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """target (log target - log_p): the divergence of probabilities from those in ``log_p``.

    With ``log_target`` the targets are logarithms, too. ``reduction="batchmean"`` divides the sum
    by the length of axis 0, which is the divergence's mean over a batch; "mean" by all elements.

    >>> import numpy as np, tinygrad_np as tg
    >>> round(tg.kl_div(np.log([0.5, 0.5]), [0.25, 0.75], "sum").item(), 4)
    0.1308
    """
    x, t = _pair(log_p, targets, "log_p")
    if log_target:
        losses = multiply(exp(t), subtract(t, x))
    else:
        losses = subtract(OPS["x_log_x"].function(t), OPS["multiply_no_nan"].function(t, x))
    if reduction == "batchmean":
        return divide(sum(losses), losses.shape[0] if losses.ndim else 1)
    return average(losses, reduction)


_SHARES = [
    case(uniform(0.1, 0.9, 3, 4), uniform(0.0, 1.0, 3, 4)),
    case(uniform(0.1, 0.9, 3), uniform(0.0, 1.0, 3), above_zero(3), "sum"),
    case(uniform(0.1, 0.9, 3), uniform(0.0, 1.0, 3), None, "none"),
]


def _check_shares(x: Any) -> None:
    if not ((x >= 0) & (x <= 1) | (x != x)).all():
        raise ValueError(
            f"binary_cross_entropy: predictions must lie in 0..1, got {x.min()}..{x.max()}: use "
            "binary_cross_entropy_with_logits for the values before the sigmoid"
        )


def _binary_entropies_x(g: Any, x: Any, t: Any) -> Any:
    """g * (x - t) / (x * (1 - x))"""
    x, t = wide(x), wide(t)
    both = x * (1 - x)
    inside = (x - t) / np.maximum(both, 1e-12)
    # At 0 and 1 the quotient is 0 / 0 where the target is met; the slope there is 1 or -1.
    border = (1 - t) / np.maximum(1 - x, 1e-12) - t / np.maximum(x, 1e-12)
    return g * np.where(both > 1e-12, inside, border).astype(g.dtype)


@op(
    cases=[case(uniform(0.1, 0.9, 3, 4), uniform(0.0, 1.0, 3, 4)),
           case(uniform(0.1, 0.9), uniform(0.0, 1.0)), case(uniform(0.1, 0.9, 0), normal(0))],
    x=_binary_entropies_x,
    t=lambda g, x: g * (OPS["bounded_log"](1 - x) - OPS["bounded_log"](x)),
)  # fmt: skip
def binary_entropies(x: Value, t: Value) -> Value:
    """-t log x - (1 - t) log(1 - x), with logarithms of at least -100.

    Gradients: g (x - t) / (x (1 - x)), whose slopes 1 / x and 1 / (1 - x) are at most 1e12;
    g (log(1 - x) - log x).
    """
    with np.errstate(divide="ignore"):
        return -(t * _bounded(np.log(x)) + (1 - t) * _bounded(np.log1p(-x)))


def _bounded(x: Any) -> Any:
    return np.where(x.real < -100, -100, x)


@op(
    cases=[case(uniform(0.1, 0.9, 3, 4)), case(uniform(0.1, 0.9))],
    x=said(
        "where(out > -100, g / x, 0)",
        lambda g, x, out: g * np.where(out > -100, 1, 0).astype(g.dtype) / np.where(x == 0, 1, x),
    ),
)  # fmt: skip
def bounded_log(x: Value) -> Value:
    """log x, and at least -100."""
    with np.errstate(divide="ignore"):
        return _bounded(np.log(x)).astype(x.dtype)


@composite(cases=_SHARES)
def binary_cross_entropy(
    predictions: Operand, targets: Operand, weight: Operand | None = None, reduction: str = "mean"
) -> Tensor:
    """The cross-entropy of probabilities against targets in [0, 1]; logarithms are at least -100.

    ``weight`` has a factor for each element. Gradient: (x - t) g / (x (1 - x)) / n, in which 1 / x
    and 1 / (1 - x) are at most 1e12. Prefer ``binary_cross_entropy_with_logits``, which loses no
    digits. Raises ValueError for predictions outside of 0..1.

    >>> import tinygrad_np as tg
    >>> round(tg.binary_cross_entropy([0.9, 0.2], [1.0, 0.0]).item(), 4)
    0.1643
    """
    x, t = _pair(predictions, targets)
    tracing.check(_check_shares, x.data)
    losses = OPS["binary_entropies"].function(x, t)
    return average(losses if weight is None else multiply(losses, weight), reduction)


_WEIGHTS = np.array([0.5, 1.0, 2.0])
_BINARY: list[Case] = [
    case(normal(3, 4), uniform(0.0, 1.0, 3, 4)), case(normal(3), uniform(0.0, 1.0, 3), "sum"),
    case(normal(3, 4), uniform(0.0, 1.0, 3, 4), "none"), case(normal(), uniform(0.0, 1.0)),
    case(normal(2, 3), uniform(0.0, 1.0, 2, 3), weight=_WEIGHTS, pos_weight=2 * _WEIGHTS),
]  # fmt: skip


def _logits_slope(logits: Any, targets: Any, weight: Any, pos_weight: Any) -> Any:
    if pos_weight is None:
        slope = OPS["sigmoid"](logits) - targets
    else:
        positive = targets * constant("pos_weight", pos_weight, logits.dtype)
        slope = OPS["sigmoid"](logits) * (1 - targets + positive) - positive
    return slope if weight is None else slope * constant("weight", weight, logits.dtype)


def _targets_slope(logits: Any, weight: Any, pos_weight: Any) -> Any:
    slope = -logits
    if pos_weight is not None:
        positive = OPS["softplus"](-logits, 1.0, np.inf)
        negative = OPS["softplus"](logits, 1.0, np.inf)
        slope = constant("pos_weight", pos_weight, logits.dtype) * positive - negative
    return slope if weight is None else slope * constant("weight", weight, logits.dtype)


@op(
    cases=_BINARY, analytic=False,
    logits=said(
        "weighted(sigmoid(logits) - targets) * g / n",
        lambda g, logits, targets, reduction, weight, pos_weight: (
            _logits_slope(logits, targets, weight, pos_weight) * share(g, logits.size, reduction)
        ),
    ),
    targets=said(
        "-weighted(logits) * g / n",
        lambda g, logits, reduction, weight, pos_weight: (
            _targets_slope(logits, weight, pos_weight) * share(g, logits.size, reduction)
        ),
    ),
)  # fmt: skip
def binary_cross_entropy_with_logits(
    logits: Value, targets: Value, reduction: str = "mean", *, weight: Any = None,
    pos_weight: Any = None,
) -> Value:  # fmt: skip
    """The cross-entropy of sigmoid(logits) against targets in [0, 1], without overflow.

    Both of one shape; ``weight``, a factor for each loss, and ``pos_weight``, a factor for its
    part of target 1, broadcast to it. Gradients: (sigmoid(logits) - targets) g / n; -logits g / n.

    >>> import tinygrad_np as tg
    >>> round(tg.binary_cross_entropy_with_logits([2.0, -1.0], [1.0, 0.0]).item(), 4)
    0.2201
    """
    _fit("logits", logits, targets)
    x = wide(floats(logits))
    t = wide(targets) if targets.dtype.kind == "f" else targets.astype(x.dtype)
    size = np.abs(x)
    if pos_weight is None:
        losses = unless_absent(np.where(x > 0, 1 - t, t), size) + np.log1p(np.exp(-size))
    else:
        soft = np.log1p(np.exp(-size))
        losses = unless_absent(
            t * constant("pos_weight", pos_weight, x.dtype), np.maximum(-x, 0) + soft
        )
        losses = losses + unless_absent(1 - t, np.maximum(x, 0) + soft)
    if weight is not None:
        losses = losses * constant("weight", weight, x.dtype)
    return reduced(losses, reduction, logits)


# Margins


@composite(
    cases=[case(normal(3, 4), 1 - 2 * (np.arange(12).reshape(3, 4) % 2)),
           case(normal(4), np.array([1, -1, -1, 1]), 0.05, "sum")],
    analytic=False,
)  # fmt: skip
def hinge_embedding_loss(
    x: Operand, targets: Any, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1: of distances x.

    >>> import tinygrad_np as tg
    >>> tg.hinge_embedding_loss([0.5, 0.25], [1, -1]).item()
    0.625
    """
    _fit("x", x, targets)
    targets = constant("targets", targets)
    far = where(targets == 1, 0.0, clip(subtract(margin, x), 0, None))
    return average(add(far, where(targets == -1, 0.0, x)), reduction)


@composite(
    cases=[case(normal(4), normal(4), np.array([1, -1, -1, 1])),
           case(normal(4), normal(4), np.array([1, -1, -1, 1]), 0.5, "none")],
    analytic=False,
)  # fmt: skip
def margin_ranking_loss(
    x1: Operand, x2: Operand, targets: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin - target (x1 - x2)): target 1 wants x1 to be larger, -1 wants x2.

    >>> import tinygrad_np as tg
    >>> tg.margin_ranking_loss([1.0, 2.0], [2.0, 1.0], [1, 1]).item()
    0.5
    """
    _fit("x1", x1, x2)
    ahead = multiply(*_pair(subtract(x1, x2), constant("targets", targets), "x1"))
    return average(clip(subtract(margin, ahead), 0, None), reduction)


@composite(cases=_PAIRS, analytic=False)
def soft_margin_loss(x: Operand, targets: Operand, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target x)), without overflow; targets are 1 or -1.

    >>> import tinygrad_np as tg
    >>> round(tg.soft_margin_loss([2.0, -1.0], [1, -1]).item(), 4)
    0.2201
    """
    return average(negative(log_sigmoid(multiply(*_pair(x, targets, "x")))), reduction)


# Pairs of vectors


@composite(
    cases=[case(normal(3, 4), normal(3, 4)), case(normal(2, 3, 2), normal(3, 1), -2),
           case(normal(3), normal(3), 0)],
    analytic=False,
)  # fmt: skip
def cosine_similarity(x1: Operand, x2: Operand, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along ``axis``: x1 · x2 / (‖x1‖ ‖x2‖).

    Lengths below ``eps`` count as ``eps``. Other axes broadcast.

    >>> import tinygrad_np as tg
    >>> tg.cosine_similarity([[3.0, 4.0]], [[4.0, 3.0]]).item()
    0.96
    """
    shape = np.broadcast_shapes(np.shape(x1), np.shape(x2))
    a, b = (OPS["broadcast_to"].function(x, shape) for x in (x1, x2))
    one, two = (divide(x, maximum(norm(x, None, axis, keepdims=True), eps)) for x in (a, b))
    return sum(multiply(one, two), axis)


@composite(
    cases=[case(normal(3, 4), normal(3, 4)), case(normal(2, 3), normal(3), 1.0, keepdims=True),
           case(normal(3), normal(3), 3.0)],
    analytic=False,
)  # fmt: skip
def pairwise_distance(
    x1: Operand, x2: Operand, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis.

    >>> import tinygrad_np as tg
    >>> tg.pairwise_distance([[0.0, 0.0]], [[3.0, 4.0]], eps=0.0).item()
    5.0
    """
    return norm(add(subtract(x1, x2), eps), None if p == 2 else p, -1, keepdims)


@composite(
    cases=[case(normal(3, 2), normal(3, 4), normal(5, 2, 4), normal(5)),
           case(normal(2, 3, 2), normal(2, 3, 2), normal(1, 2, 2)),
           case(normal(2), normal(3), normal(2, 2, 3))]
)  # fmt: skip
def bilinear(x1: Operand, x2: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """x1ᵀ W x2 + b for each matrix of ``weight`` (out, in1, in2): shape (..., out).

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.bilinear([1.0, 2.0], [3.0, 4.0], np.ones((1, 2, 2))).tolist()
    [21.0]
    """
    out = einsum("...i,oij,...j->...o", x1, weight, x2)
    return out if bias is None else add(out, bias)
