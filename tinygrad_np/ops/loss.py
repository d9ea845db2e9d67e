"""Loss functions. ``reduction`` is "mean", "sum" or "none", over the rows (or elements)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import tracing
from ..cases import Case, case, integers, normal, probabilities, uniform
from ..definition import OPS, Value, op
from ..shapes import Shape
from .activation import by_rows, order_for_rows
from .elementwise import floats, like, wide

__all__ = [
    "binary_cross_entropy_with_logits", "mse_loss", "softmax_cross_entropy",
]  # fmt: skip


def _reduced(losses: Any, reduction: str, inputs: Any) -> Any:
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


def _share(g: Any, count: int, reduction: str) -> Any:
    """The gradient that each of ``count`` losses receives."""
    return wide(g) / count if reduction == "mean" else g


# Classification


def _array(labels: Any) -> Any:
    return labels if hasattr(labels, "dtype") else np.asarray(labels)


def _are_classes(labels: Any, shape: Shape) -> bool:
    """Whether labels are class numbers (True) or rows of probabilities; ValueError if neither."""
    if labels.dtype.kind in "iu" and labels.shape == shape[:-1]:
        tracing.check(_check_classes, labels, shape[-1])
        return True
    if labels.shape != shape:
        raise ValueError(
            f"labels of shape {labels.shape}, {labels.dtype}, do not fit logits of shape {shape}: "
            f"give integer class numbers of shape {shape[:-1]}, or one-hot rows of shape {shape}"
        )
    tracing.check(_check_rows, labels)
    return False


def _check_classes(labels: Any, classes: int) -> None:
    if labels.size == 1 and 0 <= labels.item() < classes:  # a sixth of the time of what follows
        return
    # Seen as unsigned, a negative label is huge: one pass finds both kinds of stray.
    if labels.size and int(labels.astype(np.uint64).max()) >= classes:
        raise ValueError(
            f"labels must lie in 0..{classes - 1} (there are {classes} classes), "
            f"got {int(labels.min())}..{int(labels.max())}"
        )


def _check_rows(labels: Any) -> None:
    total = labels.sum(axis=-1)
    if not (np.abs(total - 1) < 1e-3).all():
        raise ValueError(
            "each row of one-hot (or probability) labels must add up to 1, but the rows' sums go "
            f"from {total.min()} to {total.max()}"
        )


def _softmax_cross_entropy_logits(
    g: Any, logits: Any, softmax: Any, labels: Any, reduction: str
) -> Any:
    excess = softmax - _one_hot(labels, logits)
    count = max(1, excess.size // excess.shape[-1])
    if reduction == "none":
        return excess * g[..., None]
    if g.dtype.char == "e":
        return excess * _share(g, count, reduction)
    return excess * (g / count if reduction == "mean" else g)


def _one_hot(labels: Any, logits: Any) -> Any:
    """Rows of probabilities as they are, class numbers as rows of booleans."""
    labels = _array(labels)
    if labels.ndim == logits.ndim:
        return labels.astype(logits.dtype, copy=False)
    classes = np.arange(logits.shape[-1])
    return np.equal(labels[..., None], classes, order=order_for_rows(logits.shape))


_LABELS: list[Case] = [
    case(normal(3, 4), integers(4, 3)), case(normal(3, 4), integers(4, 3), "sum"),
    case(normal(3, 4), integers(4, 3), "none"), case(normal(3, 4), probabilities(3, 4)),
    case(normal(2, 3, 4), integers(4, 2, 3), "none"), case(normal(1, 4), integers(4, 1)),
    case(normal(4), probabilities(4)), case(normal(32, 2), integers(2, 32)),
]  # fmt: skip


# To keep the softmax costs one division in the forward pass and saves the whole of it in backward:
# 5% of a training step of the three-layer network.
@op(
    cases=_LABELS, logits=_softmax_cross_entropy_logits,
    residual=("softmax", lambda logits: OPS["softmax"](logits)),
)  # fmt: skip
def softmax_cross_entropy(logits: Value, labels: Any, reduction: str = "mean") -> Value:
    """The cross-entropy of softmax(logits) against labels, as one op that never takes log 0.

    ``logits`` (..., classes) are unnormalised; ``labels`` are class numbers (...) or one-hot (or
    probability) rows (..., classes) and get no gradient. Gradient: (softmax - one-hot) g / rows.
    Raises ValueError for labels out of range, of another shape, or rows that do not add up to 1.

    >>> import tinygrad_np as tg
    >>> tg.softmax_cross_entropy(tg.Tensor([[0.0, 0.0]]), [1]).item()
    0.6931471805599453
    """
    labels = _array(labels)
    indexed = _are_classes(labels, logits.shape)
    rows = by_rows(logits)
    shifted = rows - rows.real.max(axis=-1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(axis=-1, keepdims=True)
    if indexed:
        places = np.arange(labels.size)
        picked = shifted.reshape(-1, logits.shape[-1])[places, labels.reshape(-1)]
        picked = picked.reshape(labels.shape)
    else:
        picked = _unless_absent(_one_hot(labels, rows.real), shifted).sum(axis=-1)
    losses = np.log(sums)[..., 0] - picked
    return _reduced(losses, reduction, logits), like(powers / sums, logits)


def _unless_absent(share: Any, x: Any) -> Any:
    """share x, which is 0 for no share, even of an infinite x: a class that is masked by -inf."""
    return np.where(share == 0, 0, x) * share


_BINARY: list[Case] = [
    case(normal(3, 4), uniform(0.0, 1.0, 3, 4)), case(normal(3), uniform(0.0, 1.0, 3), "sum"),
    case(normal(3, 4), uniform(0.0, 1.0, 3, 4), "none"), case(normal(), uniform(0.0, 1.0)),
]  # fmt: skip


def _fit(name: str, x: Any, y: Any) -> None:
    """Refuse to broadcast: (n,) against (n, 1) would silently make n² losses."""
    if x.shape != y.shape:
        raise ValueError(
            f"{name} of shape {x.shape} and targets of shape {y.shape} must have the same shape: "
            "reshape one of them"
        )


@op(
    cases=_BINARY, analytic=False,
    logits=lambda g, logits, targets, reduction: (
        (OPS["sigmoid"](logits) - targets) * _share(g, logits.size, reduction)
    ),
    targets=lambda g, logits, reduction: -logits * _share(g, logits.size, reduction),
)  # fmt: skip
def binary_cross_entropy_with_logits(
    logits: Value, targets: Value, reduction: str = "mean"
) -> Value:
    """The cross-entropy of sigmoid(logits) against targets in [0, 1], without overflow.

    Both of one shape. Gradients: (sigmoid(logits) - targets) g / n; -logits g / n.
    """
    _fit("logits", logits, targets)
    x = wide(floats(logits))
    t = wide(targets) if targets.dtype.kind == "f" else targets.astype(x.dtype)
    size = np.abs(x)
    losses = _unless_absent(np.where(x > 0, 1 - t, t), size) + np.log1p(np.exp(-size))
    return _reduced(losses, reduction, logits)


# Regression


@op(
    cases=[case(normal(3, 4), normal(3, 4)), case(normal(3), normal(3), "sum"),
           case(normal(3), normal(3), "none")],
    predictions=lambda g, predictions, targets, reduction: (
        2 * (predictions - targets) * _share(g, predictions.size, reduction)
    ),
    targets=lambda g, predictions, targets, reduction: (
        2 * (targets - predictions) * _share(g, predictions.size, reduction)
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
    return _reduced(difference * difference, reduction, predictions)
