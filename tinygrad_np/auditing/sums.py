"""Mistakes with sums: over the wrong axis, or over one row alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..graph import Node
from ..ops.axes import normalize_axes
from .mistakes import Mistake, New, slip, square, turned
from .trace import Gradients, Tape, parent_of

PRODUCTS = frozenset(["einsum", "linear", "matmul"])
"""Ops whose rules sum over rows; so do those that broadcast an operand."""


def mistakes(trace: Tape) -> Iterator[Mistake]:
    """Mistakes with the sums of a graph's backward pass."""
    for node, slot in trace.rules:
        yield from _rows(trace, node, slot)
        yield from _statistic(trace, node, slot)


def _rows(trace: Tape, node: Node, slot: int) -> Iterator[Mistake]:
    """A sum over the rows of a batch takes one row alone, or the other axis."""
    parent, use = parent_of(node, slot), (node, slot)
    name = node.op.name if node.op else ""
    if parent.shape == node.shape if use in trace.factors else name not in PRODUCTS:
        return
    what = f"the gradient of {trace.labels[parent]} is"

    def of_row(row: int) -> New:
        return lambda g, rule: rule(np.where(np.indices(g.shape)[0] == row, g, 0))

    for row in {0, node.shape[0] - 1} if node.shape and node.shape[0] > 1 else ():
        words = f"{what} not summed over the rows: row {row} alone"
        yield slip(trace, "sum", words, use, of_row(row), ("row", row > 0), 1.15)
    if len(node.shape) == 2 and square(node.shape) and parent.shape != node.shape:
        yield slip(trace, "sum", f"{what} summed over the wrong axis", use, turned, "axis")


def _statistic(trace: Tape, node: Node, slot: int) -> Iterator[Mistake]:
    """A mean or sum over the wrong axis, of a statistic that is broadcast back to its input."""
    statistic, factor = parent_of(node, slot), trace.factors.get((node, slot))
    if statistic.op is None or statistic.op.name not in ("mean", "sum") or factor is None:
        return
    slots = trace.slots[statistic]
    if len(trace.users[statistic]) != 1 or not slots or slots[0][1].shape != node.shape:
        return
    [(use, parent)] = slots
    axes = normalize_axes(trace.argument(statistic, "axis"), len(node.shape))
    outer = [trace.factors.get(use, np.ones(1)) for use in trace.users[node]]
    scale = outer[0] if len(outer) == 1 and outer[0].all() else 1.0  # what is multiplied later
    for other in [axis for axis in range(len(node.shape)) if (axis,) != axes]:

        def effect(found: Gradients, axis: int = other) -> Any:
            terms = found[node] * factor / scale
            total = terms.mean if statistic.op and statistic.op.name == "mean" else terms.sum
            return scale * total(axis, keepdims=True) - trace.part(use, found[statistic])

        right = ", ".join(map(str, axes))
        words = f"{trace.labels[statistic]} is taken over axis {other}, not over axis {right}"
        yield Mistake("sum", words, use, ((parent, effect),), None, 1.1)
