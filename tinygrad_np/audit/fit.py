"""Gradients of the wrong shape: brought into the right one, with the mistake that it takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from ..shapes import kept_shape
from ..tensor import Array

Fitted = tuple[Array | None, str, str]
"""The gradient in its right shape (None where that cannot be), the kind of mistake, its words."""


def fit(given: Array, true: Array) -> Fitted:
    """The gradient in the shape of the true one. Of several ways the one that makes it right."""
    if given.shape == true.shape:
        return given, "", ""
    facts = f"shape {given.shape}, not {true.shape}"
    ways = list(_ways(given, true, facts))
    if ways:
        return next((way for way in ways if _near(way[0], true, true)), ways[0])
    for axes in _axes(true):
        for what, total in (("sum", true.sum(axes)), ("mean", true.mean(axes))):
            if total.size == given.size and _near(given.reshape(total.shape), total, true):
                return None, "sum", f"has one {what} too many, over {_named(axes)}: {facts}"
    return None, "unknown", f"has {facts}, and nothing tried makes it fit"


def _ways(given: Array, true: Array, facts: str) -> Iterator[tuple[Array, str, str]]:
    shape = true.shape
    for axes in _axes(given):
        kept = kept_shape(given.shape, axes)
        if (shape == kept or shape == given.sum(axes).shape) and kept != given.shape:
            words = f"over {_named(axes)} is missing: {facts}"
            yield given.sum(axes).reshape(shape), "sum", f"a sum {words}"
            yield given.mean(axes).reshape(shape), "sum", f"a mean {words}"
    if given.ndim >= 2 and given.mT.shape == shape:
        yield given.mT, "transpose", f"is transposed: {facts}"
    if given.size == true.size:
        yield given.reshape(shape), "shape", f"has the right numbers in the wrong shape: {facts}"


def _axes(array: Array) -> list[tuple[int, ...]]:
    axes = range(array.ndim)
    return [some for count in axes for some in itertools.combinations(axes, count + 1)]


def _named(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"


def _near(a: Array, b: Array, true: Array) -> bool:
    return bool(np.all(np.abs(a - b) <= 1e-4 * np.max(np.abs(true))))
