"""The axes of reductions: their numbers, the shape they keep, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..shapes import Axis, Shape

_INTEGERS = (int, np.integer)  # a union written in place is made anew at each call: 0.2 µs


def normalize_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes as sorted non-negative numbers; ``None`` means all of them.

    Raises numpy.exceptions.AxisError if an axis does not exist, ValueError if one is repeated.

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
    """The shape of a reduction over ``axis`` with ``keepdims=True``.

    >>> kept_shape((3, 4), 1)
    (3, 1)
    """
    if axis is None or not shape:  # NumPy reduces a 0-d array along axis 0 as well
        return (1,) * len(shape)
    axes = normalize_axes(axis, len(shape))
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def spread(reduced: Any, shape: Shape, axis: Axis) -> Any:
    """A reduction's result, broadcast back over the reduced axes."""
    if reduced.ndim not in (0, len(shape)):  # otherwise it broadcasts as it is
        reduced = reduced.reshape(kept_shape(shape, axis))
    return np.broadcast_to(reduced, shape)
