"""The cross-entropy of classes: fused with softmax, and from logarithms of probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import tracing
from ..cases import above_zero, case, integers, normal, probabilities
from ..composites import composite
from ..definition import OPS, Case, Value, op
from ..shapes import Shape
from ..tensor import Operand, Tensor, plain
from ..tracing import pure
from .activation import by_rows, log_softmax, order_for_rows
from .elementwise import add, divide, like, multiply, negative, where, wide
from .indexing import take_along_axis
from .loss import average, constant, reduced, share, unless_absent
from .reduction import sum
from .shape import moveaxis, squeeze

__all__ = ["cross_entropy", "nll_loss", "softmax_cross_entropy"]


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
    if labels.size == 1 and 0 <= labels.item() < classes:  # six times as fast as the general check
        return
    # As an unsigned number a negative label is huge: one pass finds labels below 0 and too large.
    if labels.size and int(labels.astype(np.uint64).max()) >= classes:
        raise ValueError(
            f"labels must lie in 0..{classes - 1} (there are {classes} classes), "
            f"got {int(labels.min())}..{int(labels.max())}: {_first_stray(labels, classes)}"
        )


def _check_counted(labels: Any, classes: int, ignore_index: int | None, reduction: str) -> None:
    """``_check_classes`` without the ignored labels; a mean needs at least one that counts."""
    if ignore_index is not None:
        counted = labels != ignore_index
        if reduction == "mean" and labels.size and not counted.any():
            raise ValueError("the mean over no rows is not defined: no label counts")
        labels = np.where(counted, labels, 0)
    _check_classes(labels, classes)


def _first_stray(labels: Any, classes: int) -> str:
    """The first label that is not a class, with its position."""
    place = [int(i) for i in np.argwhere((labels < 0) | (labels >= classes))[0]]
    return f"labels{place if place else ''} is {labels[tuple(place)]}"


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
    """(softmax(logits) - one_hot(labels)) * g / n"""
    excess = softmax - _one_hot(labels, logits)
    count = max(1, excess.size // excess.shape[-1])
    if reduction == "none":
        return excess * g[..., None]
    if g.dtype.char == "e":
        return excess * share(g, count, reduction)
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


# Keeping the softmax costs one division in the forward pass and saves computing it in backward:
# 5% of a training step of the three-layer network.
@op(
    name="softmax_cross_entropy", cases=_LABELS, logits=_softmax_cross_entropy_logits,
    residual=("softmax", lambda logits: OPS["softmax"](logits)),
)  # fmt: skip
def _fused(logits: Value, labels: Any, reduction: str = "mean") -> Value:
    """The cross-entropy of softmax(logits) against labels, as one op that never takes log 0.

    ``logits`` (..., classes) are unnormalised; ``labels`` are class numbers (...) or one-hot (or
    probability) rows (..., classes) and get no gradient. Gradient: (softmax - one-hot) g / rows.
    """
    labels = _array(labels)
    losses, softmax = _losses(logits, labels, _are_classes(labels, logits.shape))
    return reduced(losses, reduction, logits), like(softmax, logits)


def _losses(logits: Value, labels: Any, indexed: bool) -> tuple[Any, Any]:
    """The loss of each row, and the softmax."""
    rows = by_rows(logits)
    shifted = rows - rows.real.max(axis=-1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(axis=-1, keepdims=True)
    if indexed:
        places = np.arange(labels.size)
        picked = shifted.reshape(-1, logits.shape[-1])[places, labels.reshape(-1)]
        picked = picked.reshape(labels.shape)
    else:
        picked = unless_absent(_one_hot(labels, rows.real), shifted).sum(axis=-1)
    return np.log(sums)[..., 0] - picked, powers / sums


def _counted_logits(
    g: Any, logits: Any, softmax: Any, labels: Any, ignore_index: int, reduction: str
) -> Any:
    """where(labels != ignore_index, (softmax(logits) - one_hot(labels)) * g / n, 0)"""
    counted = _array(labels) != ignore_index
    excess = softmax - _one_hot(np.where(counted, labels, 0), logits)
    rows = np.where(counted[..., None], excess, 0)
    if reduction == "none":
        return rows * g[..., None]
    return rows * (wide(g) / counted.sum().astype(wide(g).dtype) if reduction == "mean" else g)


@op(
    cases=[case(normal(3, 4), integers(4, 3), 1), case(normal(3, 4), integers(4, 3), 1, "none"),
           case(normal(2, 3, 4), integers(4, 2, 3), 0, "sum"),
           case(normal(3, 4), integers(4, 3), -100)],
    logits=_counted_logits, residual=("softmax", lambda logits: OPS["softmax"](logits)),
)  # fmt: skip
def cross_entropy_of_counted(
    logits: Value, labels: Any, ignore_index: int, reduction: str = "mean"
) -> Value:
    """``softmax_cross_entropy`` where labels equal to ``ignore_index`` do not count.

    Gradient: (softmax - one-hot) g / rows that count, 0 in the other rows.
    """
    labels = _array(labels)
    _check_shape(labels, logits.shape)
    tracing.check(_check_counted, labels, logits.shape[-1], ignore_index, reduction)
    counted = labels != ignore_index
    losses, softmax = _losses(logits, np.where(counted, labels, 0), True)
    losses = np.where(counted, losses, 0)
    if reduction == "mean":
        losses, reduction = losses.sum() / counted.sum().astype(losses.dtype), "none"
    return reduced(losses, reduction, logits), like(softmax, logits)


# What people call: weights, ignored and smoothed labels, classes on any axis


def _axis_of_classes(shape: Shape, labels: Any) -> int:
    """The last axis if the labels fit the others, else axis 1 if they fit with that."""
    last = len(shape) - 1
    second = labels.shape == (shape[0], *shape[2:]) if last > 1 else False
    if not second:
        return last
    if labels.shape != shape[:-1]:
        return 1
    if last < 3:
        return last
    raise ValueError(
        f"labels of shape {labels.shape} fit logits of shape {shape} with the classes on axis 1 "
        f"and on axis {last}: say which, axis=1 or axis=-1"
    )


_fused = OPS["softmax_cross_entropy"].function


def softmax_cross_entropy(
    logits: Operand, labels: Any, reduction: str = "mean", ignore_index: int | None = None,
    weight: Operand | None = None, label_smoothing: float = 0.0, axis: int | None = None,
) -> Tensor:  # fmt: skip
    """The cross-entropy of softmax(logits) against labels, as one op that never takes log 0.

    ``logits`` are unnormalised. ``labels`` are class numbers, of the logits' shape without the
    axis of the classes, or one-hot rows or probabilities, of the logits' shape. The classes are on
    ``axis``: by default on the last, or on axis 1 if the labels fit only there, as of images.

    - ``weight`` has a factor for each class.
    - Labels equal to ``ignore_index`` do not count.
    - ``label_smoothing`` is the share of the uniform distribution that is mixed into the labels.
    - ``reduction``: "mean" (over the labels that count, by their weights, or over the rows of
      probabilities), "sum" or "none".

    Gradient: (softmax - one-hot) g / rows. Probabilities that require grad get -log softmax g.
    Raises ValueError for labels out of range, of another shape, or rows that do not add up to 1
    (unless they require grad).

    >>> import tinygrad_np as tg
    >>> tg.softmax_cross_entropy(tg.Tensor([[0.0, 0.0]]), [1]).item()
    0.6931471805599453
    """
    usual = weight is None and not label_smoothing
    if usual and axis is None is ignore_index and type(labels) is np.ndarray and labels.ndim < 2:
        return _fused(logits, labels, reduction)  # the usual call, without the checks below
    x = logits if isinstance(logits, Tensor) else Tensor(logits)
    given: Any = labels if isinstance(labels, Tensor) else _array(labels)
    classes = _axis_of_classes(x.shape, given) if axis is None else axis % x.ndim
    if classes != x.ndim - 1:
        given = np.moveaxis(given, classes, -1) if given.ndim == x.ndim else given
        x = moveaxis(x, classes, -1)
    if isinstance(given, Tensor) and not given.requires_grad:
        given = given.data
    if usual and not isinstance(given, Tensor):
        if ignore_index is None or given.ndim == x.ndim:
            same = classes == x.ndim - 1 and not isinstance(labels, Tensor)
            return _fused(x, labels if same else given, reduction)
        return OPS["cross_entropy_of_counted"].function(x, given, ignore_index, reduction)
    if given.shape == x.shape:
        return _of_rows(log_softmax(x), given, weight, reduction, label_smoothing)
    _check_shape(given, x.shape)
    return _of_classes(log_softmax(x), given, weight, ignore_index, reduction, label_smoothing)


OPS["softmax_cross_entropy"].function = softmax_cross_entropy


def _check_shape(labels: Any, shape: Shape, rows: bool = True) -> None:
    if labels.dtype.kind not in "iu" or labels.shape != shape[:-1]:
        raise ValueError(
            f"labels of shape {labels.shape}, {labels.dtype}, do not fit logits of shape {shape}: "
            f"give integer class numbers of shape {shape[:-1]}"
            + (f", or one-hot rows of shape {shape}" if rows else "")
        )


def _of_rows(
    log_p: Tensor, labels: Any, weight: Any, reduction: str, label_smoothing: float
) -> Tensor:
    """The loss for rows of probabilities, the classes on the last axis."""
    classes = log_p.shape[-1]
    if labels.dtype.kind not in "fc":
        labels = labels.astype(log_p.dtype)
    target = labels * (1 - label_smoothing) + label_smoothing / max(1, classes)
    weighted = _weighted(log_p, None if weight is None else _weights(weight, log_p))
    losses = negative(sum(OPS["multiply_no_nan"].function(target, weighted), -1))
    return _averaged(losses, reduction, losses.size)


def _weighted(log_p: Tensor, weight: Any) -> Tensor:
    """Each class times its weight: 0 for a class of weight 0, even where its log_p is -inf."""
    return log_p if weight is None else OPS["multiply_no_nan"].function(log_p, weight)


def _weights(weight: Any, log_p: Tensor) -> Any:
    weight = constant("weight", weight, log_p.dtype)
    if weight.shape != log_p.shape[-1:]:
        raise ValueError(
            f"weight of shape {weight.shape} must have one number for each of the "
            f"{log_p.shape[-1]} classes"
        )
    return weight


def _of_classes(
    log_p: Tensor, labels: Any, weight: Any, ignore_index: int | None, reduction: str,
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """The loss for class numbers, the classes on the last axis."""
    counts: Any = np.ones(labels.shape, bool)
    tracing.check(_check_counted, labels, log_p.shape[-1], ignore_index, reduction)
    if ignore_index is not None:
        counts = labels != ignore_index
        labels = np.where(counts, labels, 0)
    shares = counts.astype(log_p.dtype)
    scale = None if weight is None else _weights(weight, log_p)
    if scale is not None:
        shares = shares * _picked(scale, labels)
    picked = squeeze(take_along_axis(log_p, labels[..., None], -1), -1)
    losses = negative(multiply(where(shares == 0, 0, picked), shares))
    if label_smoothing:
        smooth = negative(where(counts, sum(_weighted(log_p, scale), -1), 0))
        part = label_smoothing / log_p.shape[-1]
        losses = add(multiply(losses, 1 - label_smoothing), multiply(smooth, part))
    return _averaged(losses, reduction, wide(shares).sum())


@pure
def _picked(array: Any, index: Any) -> Any:
    """``array[index]``, where the index may be traced and the array not."""
    return array[index]


def _averaged(losses: Tensor, reduction: str, total: Any) -> Tensor:
    """The losses, their sum, or their sum divided by ``total``."""
    if reduction != "mean":
        return average(losses, reduction)
    if not losses.size:
        raise ValueError(f"the mean over no rows is not defined: losses of {losses.shape}")
    return divide(sum(losses), total).astype(losses.dtype)


@composite(
    cases=[case(normal(3, 4), integers(4, 3)), case(normal(2, 3, 2, 2), integers(3, 2, 2, 2)),
           case(normal(3, 4), integers(4, 3), np.array([0.5, 1.0, 2.0, 1.5]), 1),
           case(normal(3, 4), integers(4, 3), None, -100, "sum", 0.2),
           case(normal(3, 4), above_zero(3, 4), reduction="none", label_smoothing=0.1),
           case(normal(2, 3, 2), above_zero(2, 3, 2))]
)  # fmt: skip
def cross_entropy(
    logits: Operand, labels: Any, weight: Operand | None = None, ignore_index: int = -100,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """``softmax_cross_entropy`` with PyTorch's arguments: the classes are on axis 1.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.cross_entropy(np.zeros((1, 2, 3)), np.array([[0, 1, -100]])).item()
    0.6931471805599453
    """
    given = labels if isinstance(labels, Tensor) else _array(labels)
    x = logits if isinstance(logits, Tensor) else Tensor(logits)
    axis = min(1, x.ndim - 1)
    if given.shape == x.shape:  # as PyTorch's, they need not add up to 1
        rows = log_softmax(moveaxis(x, axis, -1))
        return _of_rows(rows, moveaxis(given, axis, -1), weight, reduction, label_smoothing)
    return softmax_cross_entropy(
        x, given, reduction, ignore_index, weight, label_smoothing, axis
    )  # fmt: skip


@composite(
    cases=[case(normal(3, 4), integers(4, 3)),
           case(normal(2, 3, 2), integers(3, 2, 2), np.array([0.5, 1.0, 2.0]), 1, "sum"),
           case(normal(3, 4), integers(4, 3), reduction="none")]
)  # fmt: skip
def nll_loss(
    log_p: Operand, labels: Any, weight: Operand | None = None, ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-log p of the labels' classes: the cross-entropy of logarithms of probabilities.

    ``log_p`` (N, classes, ...) are, for example, a ``log_softmax`` along axis 1; ``labels``
    (N, ...) are class numbers. ``weight``, ``ignore_index`` and ``reduction`` as in
    ``softmax_cross_entropy``.

    >>> import tinygrad_np as tg
    >>> tg.nll_loss([[-1.0, -2.0]], [1]).item()
    2.0
    """
    x = log_p if isinstance(log_p, Tensor) else Tensor(log_p)
    given = plain(labels) if isinstance(labels, Tensor) else _array(labels)
    x = moveaxis(x, min(1, x.ndim - 1), -1)
    _check_shape(given, x.shape, rows=False)
    return _of_classes(x, given, weight, ignore_index, reduction)
