"""Gradients of the wrong shape: brought into the right one, with the mistake that it takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from ..shapes import Shape, kept_shape
from ..tensor import Array

Fitted = tuple[Array | None, str, str]
"""The gradient in its right shape (None where that cannot be), the kind of mistake, its words."""


def fit(given: Array, true: Array) -> Fitted:
    """The gradient in the shape of the true one. Of several ways the one that makes it right."""
    if given.shape == true.shape:
        return given, "", ""
    ways = list(_ways(given, true))
    right = [way for way in ways if way[0] is not None and _near(way[0], true, true)]
    if right or ways:
        return (right or ways)[0]
    for axes in _axes(true.ndim):
        for what, total in (("sum", true.sum(axes)), ("mean", true.mean(axes))):
            if total.size == given.size and _near(given.reshape(total.shape), total, true):
                words = f"has one {what} too many, over {_named(axes)}"
                return None, "sum", f"{words}: shape {given.shape}, not {true.shape}"
    return None, "unknown", f"has shape {given.shape}, and nothing tried makes it {true.shape}"


def _ways(given: Array, true: Array) -> Iterator[Fitted]:
    shape = true.shape
    facts = f"shape {given.shape}, not {shape}"
    for axes in _axes(given.ndim):
        if (shape in (_without(given.shape, axes), kept_shape(given.shape, axes))) and any(
            given.shape[axis] > 1 for axis in axes
        ):
            words = f"over {_named(axes)} is missing: {facts}"
            yield given.sum(axes).reshape(shape), "sum", f"a sum {words}"
            yield given.mean(axes).reshape(shape), "sum", f"a mean {words}"
    if given.ndim == true.ndim >= 2 and given.mT.shape == shape:
        yield given.mT, "transpose", f"is transposed: {facts}"
    if given.size == true.size:
        yield given.reshape(shape), "shape", f"has the right numbers in the wrong shape: {facts}"


def _axes(ndim: int) -> Iterator[tuple[int, ...]]:
    for count in range(1, ndim + 1):
        yield from itertools.combinations(range(ndim), count)


def _without(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple([n for axis, n in enumerate(shape) if axis not in axes])


def _named(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"


def _near(a: Array, b: Array, true: Array) -> bool:
    return bool(np.all(np.abs(a - b) <= 1e-4 * np.max(np.abs(true))))
