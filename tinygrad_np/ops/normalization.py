"""Normalization: over the batch, the features, groups of them, or single images.

All but ``rms_norm`` and ``normalize`` are ``standardize`` along other axes, then a scale and an
offset for each feature. ``weight`` and ``bias`` are these, and may be None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..cases import above_zero, case, normal
from ..composites import composite
from ..definition import Value, op
from ..shapes import Axis
from ..tensor import Operand, Tensor, plain
from .elementwise import add, divide, floats, like, maximum, multiply, sqrt, square, subtract, wide
from .reduction import mean, norm
from .shape import reshape

__all__ = [
    "batch_norm", "group_norm", "instance_norm", "layer_norm", "normalize", "rms_norm",
    "standardize",
]  # fmt: skip


def _standardize_x(g: Any, x: Any, out: Any, scale: Any, axis: Axis) -> Any:
    """(g - mean(g) - out * mean(g * out)) * scale"""
    g = wide(g)  # x is named, and so kept, for the scale's own derivative
    shared = (g * out).mean(axis=axis, keepdims=True)
    return (g - g.mean(axis=axis, keepdims=True) - out * shared) * scale


def _scale(x: Any, axis: Axis, eps: float) -> Any:
    centered = wide(x) - wide(x).mean(axis=axis, keepdims=True)
    return 1 / np.sqrt((centered * centered).mean(axis=axis, keepdims=True) + eps)


@op(
    cases=[case(normal(3, 4)), case(normal(2, 3, 4), (0, 2), 0.1), case(normal(2, 3, 2, 2), (2, 3)),
           case(normal(5), 0, 1.0), case(normal(0, 3))],
    x=_standardize_x, residual=("scale", _scale),
)  # fmt: skip
def standardize(x: Value, axis: Axis = -1, eps: float = 1e-5) -> Value:
    """(x - mean) / sqrt(variance + eps) along ``axis``.

    Gradient: (g - mean(g) - out mean(g out)) / sqrt(variance + eps).

    >>> import tinygrad_np as tg
    >>> tg.standardize(tg.Tensor([1.0, 3.0]), eps=0.0).tolist()
    [-1.0, 1.0]
    """
    given, x = x, wide(floats(x))
    centered = x - x.mean(axis=axis, keepdims=True)
    scale = 1 / np.sqrt((centered * centered).mean(axis=axis, keepdims=True) + eps)
    return like(centered * scale, given), like(scale, given)


def affine(x: Tensor, weight: Operand | None, bias: Operand | None, shape: Sequence[int]) -> Tensor:
    """x weight + bias, both in a shape that broadcasts to x's."""
    if weight is not None:
        x = multiply(x, weight if np.shape(weight) == tuple(shape) else reshape(weight, shape))
    if bias is not None:
        x = add(x, bias if np.shape(bias) == tuple(shape) else reshape(bias, shape))
    return x


def _check_features(name: str, x: Any, count: int, **arrays: Any) -> None:
    for what, array in arrays.items():
        if array is not None and np.shape(array) != (count,):
            raise ValueError(
                f"{name}: {what} of shape {np.shape(array)} must have one number for each of the "
                f"{count} features (axis 1) of x of shape {np.shape(x)}"
            )


def follow(running: Any, batch: Any, momentum: float) -> None:
    """Move running statistics, in place, towards those of the batch."""
    running *= 1 - momentum
    running += (momentum * batch).astype(running.dtype)


def _statistics(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any, int]:
    """Mean and unbiased variance of an array along ``axes``, and how many elements these have."""
    x = wide(floats(x))
    count = math.prod([x.shape[i] for i in axes])
    average = x.mean(axis=axes, keepdims=True)
    squares = np.square(x - average).sum(axis=axes)
    return average.reshape(squares.shape), squares / (count - 1), count


def _fixed(
    x: Tensor, running_mean: Operand, running_var: Operand, shape: Sequence[int], eps: float
) -> Tensor:
    """x standardized by statistics that are given."""
    centered = subtract(x, reshape(running_mean, shape))
    return divide(centered, sqrt(add(reshape(running_var, shape), eps)))


@composite(
    cases=[case(normal(4, 3), None, None, normal(3), normal(3), True),
           case(normal(2, 3, 2, 2), None, None, None, None, True, eps=0.1),
           case(normal(2, 3), normal(3), above_zero(3), normal(3), normal(3)),
           case(normal(2, 3, 2), normal(3), above_zero(3))]
)  # fmt: skip
def batch_norm(
    x: Operand, running_mean: Operand | None, running_var: Operand | None,
    weight: Operand | None = None, bias: Operand | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Each feature (axis 1) standardized over the batch and all other axes, then weight and bias.

    While ``training``, by the batch's own statistics, to which ``running_mean`` and
    ``running_var`` (arrays, or None) move by ``momentum``, in place; else by the running ones.
    The running variance is the unbiased one. Raises ValueError where a batch has only one element
    for each feature, which has no variance. (Ioffe, Szegedy 2015.)

    >>> import numpy as np, tinygrad_np as tg
    >>> mean, var = np.zeros(1), np.ones(1)
    >>> tg.batch_norm([[1.0], [3.0]], mean, var, training=True).data.round(4).tolist()
    [[-1.0], [1.0]]
    >>> mean.tolist(), var.tolist()
    ([0.2], [1.1])
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x needs two axes (batch, features), its shape is {x.shape}")
    count = x.shape[1]
    _check_features(
        "batch_norm", x, count,
        running_mean=running_mean, running_var=running_var, weight=weight, bias=bias,
    )  # fmt: skip
    shape = (1, count, *(1,) * (x.ndim - 2))
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: running_mean and running_var are needed unless training")
        return affine(_fixed(x, running_mean, running_var, shape, eps), weight, bias, shape)
    axes = (0, *range(2, x.ndim))
    if math.prod(x.shape) == count:
        raise ValueError(
            f"batch_norm: more than one element for each feature is needed while training, but x "
            f"has shape {x.shape}: use larger batches, or eval() for single ones"
        )
    if running_mean is not None or running_var is not None:
        average, variance, _ = _statistics(plain(x), axes)
        if running_mean is not None:
            follow(plain(running_mean), average, momentum)
        if running_var is not None:
            follow(plain(running_var), variance, momentum)
    return affine(standardize(x, axes, eps), weight, bias, shape)


def _normalized(name: str, x: Any, normalized_shape: Any, **arrays: Any) -> tuple[int, ...]:
    """The last axes, which ``normalized_shape`` names by their lengths."""
    shape = np.shape(x)
    wanted = tuple(normalized_shape) if np.ndim(normalized_shape) else (normalized_shape,)
    if not wanted or shape[-len(wanted) :] != wanted:
        raise ValueError(f"{name}: x of shape {shape} does not end with {wanted}")
    for what, array in arrays.items():
        if array is not None and np.shape(array) != wanted:
            raise ValueError(f"{name}: {what} of shape {np.shape(array)} must have shape {wanted}")
    return tuple(range(-len(wanted), 0))


@composite(
    cases=[case(normal(3, 4), 4, normal(4), normal(4)), case(normal(2, 3, 2), (3, 2)),
           case(normal(2, 3), (3,), None, normal(3), 0.1)]
)  # fmt: skip
def layer_norm(
    x: Operand, normalized_shape: Any, weight: Operand | None = None, bias: Operand | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Each sample standardized over its last axes, of ``normalized_shape``, then weight and bias.

    (Ba, Kiros, Hinton 2016.)

    >>> import tinygrad_np as tg
    >>> tg.layer_norm(tg.Tensor([[1.0, 3.0]]), 2).data.round(4).tolist()
    [[-1.0, 1.0]]
    """
    axes = _normalized("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    return affine(standardize(x, axes, eps), weight, bias, np.shape(x)[-len(axes) :])


@composite(
    cases=[case(normal(2, 4, 3), 2, normal(4), normal(4)), case(normal(2, 3), 1),
           case(normal(1, 4, 2, 2), 2, None, normal(4), 0.1)]
)  # fmt: skip
def group_norm(
    x: Operand, num_groups: int, weight: Operand | None = None, bias: Operand | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Each sample standardized over groups of features (axis 1), then weight and bias by feature.

    Raises ValueError where the groups do not divide the features. (Wu, He 2018.)

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.group_norm(np.arange(4.0).reshape(1, 4), 2, eps=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    shape = np.shape(x)
    if len(shape) < 2 or num_groups < 1 or shape[1] % num_groups:
        raise ValueError(
            f"group_norm: num_groups={num_groups} must divide the features (axis 1) of x of shape "
            f"{shape}"
        )
    _check_features("group_norm", x, shape[1], weight=weight, bias=bias)
    inside = math.prod(shape[1:]) // num_groups
    if shape[0] * inside == 1:
        raise ValueError(f"group_norm: one element has no variance; x has shape {shape}")
    y = reshape(standardize(reshape(x, (shape[0], num_groups, inside)), -1, eps), shape)
    return affine(y, weight, bias, (1, shape[1], *(1,) * (len(shape) - 2)))


@composite(
    cases=[case(normal(2, 3, 4), None, None, normal(3), normal(3)), case(normal(1, 2, 2, 2)),
           case(normal(2, 3, 4), normal(3), above_zero(3), use_input_stats=False)]
)  # fmt: skip
def instance_norm(
    x: Operand, running_mean: Operand | None = None, running_var: Operand | None = None,
    weight: Operand | None = None, bias: Operand | None = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Each feature of each sample standardized over its image (axes 2 and on), then weight, bias.

    Running statistics move, in place, to the batch's average ones; with ``use_input_stats=False``
    they are used. (Ulyanov, Vedaldi, Lempitsky 2016.)

    >>> import tinygrad_np as tg
    >>> tg.instance_norm([[[1.0, 3.0], [2.0, 6.0]]], eps=0.0).tolist()
    [[[-1.0, 1.0], [-1.0, 1.0]]]
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    if x.ndim < 3:
        raise ValueError(f"instance_norm: x needs three axes or more, its shape is {x.shape}")
    count, axes = x.shape[1], tuple(range(2, x.ndim))
    _check_features(
        "instance_norm", x, count,
        running_mean=running_mean, running_var=running_var, weight=weight, bias=bias,
    )  # fmt: skip
    shape = (1, count, *(1,) * len(axes))
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("instance_norm: without use_input_stats running ones are needed")
        return affine(_fixed(x, running_mean, running_var, shape, eps), weight, bias, shape)
    if math.prod(x.shape[2:]) == 1:
        raise ValueError(
            f"instance_norm: more than one element for each feature is needed, but x has shape "
            f"{x.shape}"
        )
    if running_mean is not None or running_var is not None:
        average, variance, _ = _statistics(plain(x), axes)
        if running_mean is not None:
            follow(plain(running_mean), average.mean(axis=0), momentum)
        if running_var is not None:
            follow(plain(running_var), variance.mean(axis=0), momentum)
    return affine(standardize(x, axes, eps), weight, bias, shape)


@composite(
    cases=[case(normal(3, 4), 4, normal(4)), case(normal(2, 3, 2), (3, 2)),
           case(normal(2, 3), (3,), None, 0.1)]
)  # fmt: skip
def rms_norm(
    x: Operand, normalized_shape: Any, weight: Operand | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x²) + eps) over the last axes, of ``normalized_shape``, times ``weight``.

    ``eps=None`` is the dtype's own epsilon. (Zhang, Sennrich 2019.)

    >>> import tinygrad_np as tg
    >>> tg.rms_norm([[3.0, 4.0]], 2).data.round(4).tolist()
    [[0.8485, 1.1314]]
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    axes = _normalized("rms_norm", x, normalized_shape, weight=weight)
    given = x.dtype
    x = x.astype(np.float32) if given == np.float16 else x  # squares may pass 65,504
    eps = float(np.finfo(given).eps) if eps is None else eps
    y = divide(x, sqrt(add(mean(square(x), axes, keepdims=True), eps)))
    y = y.astype(given) if y.dtype != given else y
    return affine(y, weight, None, np.shape(x)[-len(axes) :])


@composite(
    cases=[case(normal(3, 4)), case(normal(2, 3, 2), 1.0, -1), case(normal(4, 2), 3, 0),
           case(normal(3), axis=0)],
    analytic=False,
)  # fmt: skip
def normalize(x: Operand, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖, eps), the p-norm along ``axis``: vectors of length 1.

    >>> import tinygrad_np as tg
    >>> tg.normalize([[3.0, 4.0]]).tolist()
    [[0.6, 0.8]]
    """
    return divide(x, maximum(norm(x, None if p == 2 else p, axis, keepdims=True), eps))
