"""Mistakes with sums: over the wrong axis, or over one row alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..graph import Node
from ..ops.axes import normalize_axes
from .mistakes import Mistake, New, slip, square, turned
from .trace import Gradients, Tape, Use, parent_of

STATISTICS = frozenset(["mean", "std", "sum", "var"])
PRODUCTS = frozenset(["einsum", "linear", "matmul"])
"""Ops whose rules sum over rows; so do those that broadcast an operand."""


def mistakes(trace: Tape) -> Iterator[Mistake]:
    """Mistakes with the sums of a graph's backward pass."""
    found: dict[Node, dict[tuple[int, ...], Mistake]] = {}
    for node, slot in trace.rules:
        yield from _rows(trace, node, slot)
        if over := _statistic(trace, node, slot):
            found[node] = over
            yield from [*over.values()][1:]
    for node, over in found.items():  # a normalisation: (x − mean) / deviation
        for means in [found[p] for p in node.parents if p in found and [*found[p]] == [*over]]:
            right, *_ = means.values()  # without the variance's share, which is 0
            for one, mean in [*zip(over.values(), means.values(), strict=True)][1:]:
                both = f"{mean.words}, and so is {one.words.partition(' is')[0]}"
                for other, words in ((right, one.words), (mean, both)):
                    yield Mistake("sum", words, one.at, other.changes + one.changes, None, 1.1)


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


def _statistic(trace: Tape, node: Node, slot: int) -> dict[tuple[int, ...], Mistake]:
    """A mean, sum or variance that ``node`` reads, perhaps through a root, taken over other axes.

    The right axes come first. The statistic is broadcast back to the shape of its input.
    """
    statistic, factor, weight = parent_of(node, slot), trace.factors.get((node, slot)), np.ones(())
    while True:
        slots = trace.slots[statistic]
        if statistic.shape == node.shape or len(trace.users[statistic]) != 1 or len(slots) != 1:
            return {}
        [(use, parent)] = slots
        if statistic.op and statistic.op.name in STATISTICS:
            break
        if use not in trace.factors or parent.shape != statistic.shape:
            return {}
        weight, statistic = weight * trace.factors[use], parent
    if factor is None or parent.shape != node.shape:
        return {}
    right = normalize_axes(trace.argument(statistic, "axis"), len(node.shape))
    # What is constant along the right axes is multiplied after the sum: here, or by the next op.
    above: list[Use] = []
    with np.errstate(all="ignore"):
        scale = factor / trace.outputs[node]
    if (abs(factor) == 1).all():  # a mean is subtracted
        above = [u for u in trace.users[node] if {*u[0].parents} - {node, None}]
        above = [use for use in above or trace.users[node] if use in trace.factors]
        scale = trace.factors[above[0]] if len(above) == 1 else np.ones(1)

    def effect(found: Gradients, axes: tuple[int, ...]) -> Any:
        arrived = found[node] if len(above) != 1 else trace.part(above[0], found[above[0][0]])
        total = (arrived * factor / scale).sum(axes, keepdims=True)
        if statistic.op and statistic.op.name != "sum":  # a mean over as many elements
            total *= total.size / math.prod(statistic.shape)
        each = weight * trace.part(use, np.ones(statistic.shape))
        return scale * total * each - trace.part(use, found[statistic])

    over: dict[tuple[int, ...], Mistake] = {}
    for axes in [right, *[(axis,) for axis in range(len(node.shape))]]:
        names = f"axis {axes[0]}, not over axis {', '.join(map(str, right))}"
        words, new = f"{trace.labels[statistic]} is taken over {names}", partial(effect, axes=axes)
        over.setdefault(axes, Mistake("sum", words, use, ((parent, new),), None, 1.1))
    return over
