"""Picking elements: NumPy's indexing in all its forms, and what is built on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import as_array
from ..cases import case, distinct, integers, normal
from ..composites import composite
from ..definition import OPS, Value, op
from ..shapes import Shape
from ..source import said
from ..tensor import Operand, Tensor, plain
from ..tracing import item, pure
from .axes import normalize_axes
from .elementwise import like, wide

__all__ = [
    "getitem", "scatter", "sort", "take", "take_along_axis",
]  # fmt: skip

_CASES = [
    case(normal(5), 2),
    case(normal(5, 3), slice(None, None, -2)),
    case(normal(3, 4), (Ellipsis, 1)),
    case(normal(3, 4), (None, slice(1, 3), -1)),
    case(normal(5, 2), np.array([0, 3, 3, 0])),
    case(normal(4, 3), (np.array([0, 0, 2]), np.array([1, 1, 2]))),
    case(normal(4, 3), (slice(None), [2, 2, 0])),
    case(normal(3, 2), np.array([True, False, True])),
    case(normal(3, 2), (np.array([[2, 0], [1, 1]]), None, slice(0, 1))),
    case(normal(), ()),
    case(normal(0, 3), slice(0, 2)),
]


@op(
    cases=_CASES,
    x=said("g at the index, else 0", lambda g, x_shape, index: OPS["scatter"](g, index, x_shape)),
)
def getitem(x: Value, index: Any) -> Value:
    """``x[index]``: slices, None, Ellipsis, integer and boolean arrays, as in NumPy.

    Gradient: g at the places picked, added up where one was picked more than once.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x[[0, 0, 2]].sum().backward()
    >>> x.grad
    array([2., 0., 1.])
    """
    return item(x, index)


@op(
    cases=[case(normal(2), slice(1, 3), (5,)), case(normal(3), np.array([1, 1, 0]), (4,)),
           case(normal(2, 2), (slice(None), [0, 2]), (2, 3))],
    g=said("g[index]", lambda g, index: item(g, index)),
)  # fmt: skip
def scatter(g: Value, index: Any, shape: Shape) -> Value:
    """Zeros of ``shape`` with ``g`` added at ``index``: the adjoint of indexing.

    Gradient: g[index].

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.scatter([5.0, 6.0, 7.0], np.array([2, 0, 2]), (4,)).tolist()
    [6.0, 0.0, 12.0, 0.0]
    """
    return scattered(g, index, shape)


_BASIC = frozenset([int, np.int64, bool, slice, type(None), type(Ellipsis)])
"""What an index consists of that picks no element twice."""


@pure
def scattered(g: Value, index: Any, shape: Shape) -> Value:
    parts = index if isinstance(index, tuple) else (index,)
    if _BASIC.issuperset(map(type, parts)):
        out = np.zeros(shape, g.dtype)
        out[index] = g
        return out
    out = np.zeros(shape, wide(g).dtype)
    if isinstance(index, np.ndarray) and index.dtype.kind in "iu":
        # Rows: add.at is fast along one axis only. 20 times as fast for rows of 64.
        row = math.prod(shape[1:])
        places = (index.reshape(-1, 1) % max(1, shape[0])) * row + np.arange(row)
        np.add.at(out.reshape(-1), places.reshape(-1).astype(np.intp), wide(g).reshape(-1))
    else:
        np.add.at(out, index, g)
    return like(out, g)


@composite(
    cases=[case(normal(5), np.array([0, 3, 3])),
           case(normal(3, 4), np.array([[1, 1], [0, 2]]), axis=1),
           case(normal(3, 4), 2, axis=-1), case(normal(2, 3), np.array([5, 0]))],
    numpy=np.take,
)  # fmt: skip
def take(x: Operand, indices: Any, axis: int | None = None) -> Tensor:
    """The elements at ``indices`` along ``axis`` (None: of x flattened). Repeated ones add up.

    >>> import tinygrad_np as tg
    >>> tg.take([[1.0, 2.0], [3.0, 4.0]], [1, 1], axis=0).tolist()
    [[3.0, 4.0], [3.0, 4.0]]
    """
    x, indices = (x if isinstance(x, Tensor) else as_array(x)), as_array(plain(indices))
    if indices.dtype == bool or not indices.size:  # numbers here, and not a mask; or []
        indices = indices.astype(int)
    if axis is None:
        return getitem(x.reshape(-1), indices)
    (axis,) = normalize_axes(axis, x.ndim)
    return getitem(x, (slice(None),) * axis + (indices,))


@composite(
    cases=[case(normal(3, 4), integers(4, 3, 2), axis=1),
           case(normal(3, 4), integers(3, 1, 4), axis=0),
           case(normal(5), integers(5, 3))],
    numpy=np.take_along_axis,
)  # fmt: skip
def take_along_axis(x: Operand, indices: Any, axis: int | None = -1) -> Tensor:
    """For each lane along ``axis``, the elements at this lane's own ``indices``.

    The other axes of x and of the indices broadcast. Raises ValueError where the numbers of axes
    differ, IndexError where the indices are not integers.

    >>> import tinygrad_np as tg
    >>> tg.take_along_axis([[1.0, 2.0], [3.0, 4.0]], [[1], [0]], axis=1).tolist()
    [[2.0], [3.0]]
    """
    x, indices = (x if isinstance(x, Tensor) else as_array(x)), as_array(plain(indices))
    if axis is None:
        x, axis = x.reshape(-1), 0
    if indices.ndim != x.ndim:
        raise ValueError(
            f"take_along_axis: x of shape {x.shape} and indices of shape {indices.shape} "
            "must have the same number of axes"
        )
    if indices.dtype.kind not in "iu":
        raise IndexError(f"take_along_axis: indices must be integers, got {indices.dtype}")
    places = list(np.indices(x.shape, sparse=True))
    places[axis] = indices
    return getitem(x, tuple(places))


@composite(
    cases=[case(distinct(3, 4)), case(distinct(3, 4), axis=0), case(distinct(5))], numpy=np.sort
)
def sort(x: Operand, axis: int = -1) -> Tensor:
    """The elements in ascending order along ``axis``; equal elements keep their order.

    Gradient: each element gets the g of the place it went to.

    >>> import tinygrad_np as tg
    >>> tg.sort([3.0, 1.0, 2.0]).tolist()
    [1.0, 2.0, 3.0]
    """
    return take_along_axis(x, np.argsort(as_array(plain(x)), axis=axis, kind="stable"), axis)
