"""Where a function has a kink, such as relu at 0, several gradients are right."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Node
from ..shapes import normalize_axes, spread
from ..tensor import Array
from .mistakes import Slip, instead, slip, times
from .trace import Change, Gradients, Trace, Use, parent_of
from .units import Unit

if TYPE_CHECKING:
    from .search import Search

Edits = dict[Use, Change]
SIDES = ("shared", "left", "right")
"""Which derivative is taken at a kink: autograd's own, or that of one side (the first or last)."""


def best_convention(
    trace: Trace, search_from: Callable[[Gradients], Search]
) -> tuple[Search, list[str]]:
    """The search from the subgradient that agrees with most of the gradients, and notes."""
    usual = trace.run()
    search, notes = search_from(usual), list[str]()
    given = search.given
    ties = {node: sides for node in trace.order if (sides := _ties(trace, node))}
    if not ties or not search.wrong:
        return search, notes
    reductions = {node: node.op is not None and node.op.name in ("max", "min") for node in ties}
    passes: list[tuple[Edits, Gradients]] = []
    for single, many in itertools.product(SIDES, SIDES):
        edits: Edits = {}
        for node, sides in ties.items():
            edits |= sides.get(many if reductions[node] else single, {})
        passes.append((edits, trace.run(edits)))
    right = [[n for n in given if search.fits(n, gradients[n])] for _, gradients in passes]
    best = max(range(len(passes)), key=lambda i: len(right[i]))
    if len(right[best]) > len(right[0]):
        trace.adopt(passes[best][0])
    true = dict(passes[best][1])
    for nodes, (_, gradients) in zip(right, passes, strict=True):
        true |= {n: gradients[n] for n in nodes if n not in right[best]}
    differing = [n for n in given if not np.array_equal(true[n], usual[n])]
    names = [name for name, node in trace.targets.items() if node in differing]
    if names:
        kinks = ", ".join(trace.labels[node] for node in list(ties)[:3])
        notes.append(
            f"{', '.join(names)}: f has a kink here ({kinks}{', …' if len(ties) > 3 else ''}), "
            "where every value between the derivatives of both sides is right; the one given is "
            "another than autograd's"
        )
    return search_from(true), notes


def mistakes(trace: Trace) -> Iterator[Slip]:
    """Elements that tie for a maximum get the whole gradient each."""
    for node, slot in trace.uses:
        if node.op is not None and node.op.name in ("max", "min"):
            shape, axes = parent_of(node, slot).shape, _axes(node, len(parent_of(node, slot).shape))
            words = f"the mask of {trace.labels[node]} is missing: each element gets the gradient"
            whole = instead(partial(spread, shape=shape, axis=axes))
            yield slip("mask", words, (node, slot), whole, "missing")
            ties, _ = _tied(trace, node)
            counts = _over(
                trace, node, ties, lambda rows: rows.sum(axis=-1, keepdims=True) + 0 * rows
            )
            if (counts > 1).any():
                words = f"elements that tie in {trace.labels[node]} get the whole gradient each"
                yield slip("mask", words, (node, slot), times(np.maximum(counts, 1.0)), "ties")


def _ties(trace: Trace, node: Node) -> dict[str, Edits]:
    """The changes of the rules of a node that stands at a kink, for either side."""
    name = node.op.name if node.op else ""
    links = trace.links[node]
    if name in ("max", "min") and links:
        ties, shared = _tied(trace, node)
        first = _over(trace, node, ties, lambda rows: (rows.cumsum(axis=-1) == 1) & (rows > 0))
        last = _over(
            trace, node, ties,
            lambda rows: (rows[:, ::-1].cumsum(axis=-1)[:, ::-1] == 1) & (rows > 0),
        )  # fmt: skip
        use, count = (node, links[0][0]), 1 / np.where(shared > 0, shared, 1)
        sides = {"left": first * count, "right": last * count}
        return {side: {use: times(w)} for side, w in sides.items()} if (shared < ties).any() else {}
    if name in ("maximum", "minimum"):
        x, y = (np.asarray(operand) for operand in trace.operands[node])
        tied = np.broadcast_to(x == y, node.shape)
        keep = {"left": 0, "right": 1}
        return {
            side: {(node, slot): _at(tied, float(slot == kept)) for slot, *_ in links}
            for side, kept in keep.items()
        } if tied.any() else {}  # fmt: skip
    if not links or getattr(node.op, "analytic", True) or (node, links[0][0]) not in trace.factors:
        return {}
    slot, start, _ = links[0]
    unit = Unit(trace, node, start, (node,), ((node, slot),), trace.factors[node, slot])
    if unit.x is None or start.shape != node.shape:
        return {}
    found = [unit.at(np.nextafter(unit.x, side)) for side in (-np.inf, np.inf)]
    if found[0] is None or found[1] is None:
        return {}
    slopes = found[0][1], found[1][1]
    tied = abs(slopes[0] - slopes[1]) > 1e-6
    if not tied.any():
        return {}
    pairs = zip(("left", "right"), slopes, strict=True)
    return {side: {(node, slot): _at(tied, slope)} for side, slope in pairs}


def _at(tied: Array, share: Any) -> Change:
    """A rule that hands on a share of the gradient where the function has a kink."""
    return lambda rule, g, saved: np.where(tied, g * share, rule(g, saved))


def _tied(trace: Trace, node: Node) -> tuple[Array, Array]:
    """Where the elements that tie for a maximum are, and the share of the gradient of each."""
    _, parent, rule = trace.links[node][0]
    shared = np.asarray(rule(np.ones(node.shape), node.saved))
    return (shared > 0) * 1.0, np.broadcast_to(shared, parent.shape)


def _over(trace: Trace, node: Node, array: Array, function: Callable[[Array], Any]) -> Array:
    """A function of rows, applied along the axes over which a maximum is taken."""
    axes = _axes(node, array.ndim)
    ends = tuple(range(-len(axes), 0))
    moved = np.moveaxis(array, axes, ends)
    rows = moved.reshape(-1, int(np.prod([array.shape[a] for a in axes])))
    done = np.asarray(function(rows)).astype(float).reshape(moved.shape)
    return np.moveaxis(done, ends, axes)


def _axes(node: Node, ndim: int) -> tuple[int, ...]:
    """The axes over which a reduction runs."""
    extras = getattr(node.op, "extras", ())
    axis = dict(zip(extras[::-1], (node.saved or ())[::-1], strict=False)).get("axis")
    return normalize_axes(axis, ndim)
