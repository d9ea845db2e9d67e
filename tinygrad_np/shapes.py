"""Shape arithmetic that ndarrays and Tensors share: axes, un-broadcasting, spreading."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Axis = int | Sequence[int] | None
_INTEGERS = (int, np.integer)  # a union written in place is made anew at each call: 0.2 µs


def normalize_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes as sorted non-negative numbers; ``None`` means all of them.

    Raises numpy.exceptions.AxisError where an axis does not exist, ValueError for a repeated one.

    >>> normalize_axes(-1, 3), normalize_axes((1, 0), 2), normalize_axes(None, 2)
    ((2,), (0, 1), (0, 1))
    """
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, _INTEGERS) else tuple(axis)
    for number in axes:
        if not -ndim <= number < ndim:
            raise np.exceptions.AxisError(int(number), ndim)
    found = sorted([int(number) % ndim for number in axes])
    if len(set(found)) < len(found):
        raise ValueError(f"axis={axis!r} names an axis twice (the array has {ndim} axes)")
    return tuple(found)


def kept_shape(shape: Shape, axis: Axis) -> Shape:
    """The shape that a reduction over ``axis`` has with ``keepdims=True``.

    >>> kept_shape((3, 4), 1)
    (3, 1)
    """
    if axis is None:
        return (1,) * len(shape)
    axes = normalize_axes(axis, len(shape))
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def spread(reduced: Any, shape: Shape, axis: Axis) -> Any:
    """A reduction's result, broadcast back over the axes it was reduced along."""
    if reduced.ndim not in (0, len(shape)):  # else it broadcasts as it is
        reduced = reduced.reshape(kept_shape(shape, axis))
    return np.broadcast_to(reduced, shape)


def unbroadcast(gradient: Any, shape: Shape) -> Any:
    """Sum ``gradient`` over the axes along which ``shape`` was broadcast: broadcasting's adjoint.

    Raises ValueError where ``shape`` does not broadcast to the gradient's own shape.

    >>> unbroadcast(np.ones((5, 3, 4)), (3, 1)).tolist()
    [[20.0], [20.0], [20.0]]
    """
    axes = _stretched(gradient.shape, shape)
    if gradient.dtype.char == "e":  # a sum in float16 stops growing at 2,048 ones
        total = gradient.astype(np.float32).sum(axis=axes).astype(gradient.dtype)
    else:
        total = gradient.sum(axis=axes)
    return total if total.shape == shape else total.reshape(shape)


@functools.lru_cache(maxsize=4096)
def _stretched(large: Shape, shape: Shape) -> tuple[int, ...]:
    """The axes of ``large`` along which ``shape`` was broadcast."""
    extra = len(large) - len(shape)
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, large[extra:], strict=True)):
        raise ValueError(f"a gradient of shape {large} does not fit an input of shape {shape}")
    inner = [i + extra for i, n in enumerate(shape) if n == 1 and large[i + extra] != 1]
    return (*range(extra), *inner)
