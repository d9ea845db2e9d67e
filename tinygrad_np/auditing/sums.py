"""Mistakes with sums: over the wrong axis, or over one row alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

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
    found: list[_Statistic] = []
    for node, slot in trace.rules:
        yield from _rows(trace, node, slot)
        if (statistic := _statistic(trace, node, slot)) is not None:
            yield from [statistic.over[axes] for axes in statistic.over if axes != statistic.axes]
            found.append(statistic)
    for variance, mean in itertools.permutations(found, 2):
        if mean.node in variance.node.parents and mean.axes == variance.axes:
            for axes, one in variance.over.items():
                # Formulas of a normalisation leave out the mean's share of the variance: it is 0.
                for other in [mean.over[mean.axes], mean.over[axes]] if axes != mean.axes else ():
                    words = one.words
                    if other is mean.over[axes]:
                        words = f"{other.words}, and so is {words.partition(' is')[0]}"
                    changes = other.changes + one.changes
                    yield Mistake("sum", words, one.at, changes, None, 1.1)


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


class _Statistic(NamedTuple):
    """A mean, sum or variance that ``node`` reads, and the mistakes of taking it over others."""

    node: Node
    axes: tuple[int, ...]
    over: dict[tuple[int, ...], Mistake]


def _statistic(trace: Tape, node: Node, slot: int) -> _Statistic | None:
    """A statistic that is broadcast back to its input's shape, perhaps after a root or the like."""
    statistic, factor, weight = parent_of(node, slot), trace.factors.get((node, slot)), np.ones(())
    while True:
        slots = trace.slots[statistic]
        if statistic.shape == node.shape or len(trace.users[statistic]) != 1 or len(slots) != 1:
            return None
        [(use, parent)] = slots
        if statistic.op and statistic.op.name in STATISTICS:
            break
        if use not in trace.factors or parent.shape != statistic.shape:
            return None
        weight, statistic = weight * trace.factors[use], parent
    if factor is None or parent.shape != node.shape:
        return None
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
        if statistic.op and statistic.op.name != "sum":
            total *= math.prod(node.shape[a] for a in right)
            total /= math.prod(node.shape[a] for a in axes)
        each = weight * trace.part(use, np.ones(statistic.shape))
        return scale * total * each - trace.part(use, found[statistic])

    over: dict[tuple[int, ...], Mistake] = {}
    for axes in {right, *[(axis,) for axis in range(len(node.shape))]}:
        words = f"{trace.labels[statistic]} is taken over axis {axes[0]}, not over axis "
        words += ", ".join(map(str, right))
        over[axes] = Mistake("sum", words, use, ((parent, partial(effect, axes=axes)),), None, 1.1)
    return _Statistic(node, right, over)
