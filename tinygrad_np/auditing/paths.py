"""Mistakes with paths: uses of a Tensor or turns of a loop that are left out or overwritten."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Mistake, dropped, open_, slip
from .passes import run
from .trace import Function, Given, Gradients, Tape, Use, fitted, parent_of

STATISTICS = frozenset(["max", "mean", "min", "norm", "std", "var"])


def mistakes(trace: Tape, given: Given) -> Iterator[Mistake]:
    """Uses of a node left out, or those of one line in all turns, or turns of a loop."""
    for name, leaf in trace.leaves.items():
        if math.prod(leaf.shape) > 1:  # a single number is a multiple of any other
            yield _added(name, leaf, trace)
        if leaf in given:
            yield from _turns_left_out(trace, leaf, given[leaf])
    for node in trace.order:
        uses = trace.uses_of(node)
        sites: dict[object, list[Any]] = defaultdict(list)
        for slots in uses if len(uses) > 1 else ():
            sites[trace.sites.get(slots[0][0])].append(slots)
            yield dropped(trace, node, [slots], missing(trace, node, slots[0][0]))
        for group in [group for group in sites.values() if len(group) > 1]:
            if len(group) < len(uses):
                words = missing(trace, node, group[0][0][0], group[-1][0][0])
                yield dropped(trace, node, group, f"{words}, at every turn")
            for turn, rest in (("first", group[1:]), ("last", group[:-1])):
                words = f"the {turn} turn of the loop alone is there, of {len(group)}"
                yield dropped(trace, node, rest, f"the gradient of {trace.labels[node]}: {words}")
        yield from _overwritten(trace, node)


def missing(trace: Tape, node: Node, *users: Node) -> str:
    """The description of a missing use of a node."""
    names = " to ".join(dict.fromkeys([trace.labels[user] for user in users]))
    words = f"the gradient of {trace.labels[node]} that comes from {names} is missing"
    is_statistic = users[0].op and users[0].op.name in STATISTICS
    return words + (f": {names} is treated as a constant" if is_statistic else "")


def _added(name: str, leaf: Node, trace: Tape) -> Mistake:
    """The gradient of a regularisation that f does not have."""

    def made(number: float) -> Mistake:
        words = f"{name} has a term {number:.6g} · {name}, but f has no regularisation of {name}"
        new = lambda g, _: g + number * trace.inputs[name]  # noqa: E731
        return slip(trace, "path", words, (leaf, None), new, None, 1.2)

    return open_(made)


def _turns_left_out(trace: Tape, leaf: Node, given: Array) -> Iterator[Mistake]:
    """The turns of a loop whose omission explains a gradient, as where a loop ends too early."""
    uses, true = trace.uses_of(leaf), run(trace)
    if not 3 < len(uses) <= math.prod(leaf.shape):
        return
    parts = [sum(trace.part(u, true[u[0]]).ravel() for u in slots) for slots in uses]
    shares, _, rank, _ = np.linalg.lstsq(np.array(parts).T, given.ravel(), rcond=None)
    left = [i for i, share in enumerate(shares) if abs(share) < 1e-6]
    if rank < len(uses) or not left or not np.isclose(shares, np.round(shares), atol=1e-6).all():
        return
    words = f"{len(left)} of {len(uses)} turns of the loop over {trace.labels[leaf]} are left out"
    yield dropped(trace, leaf, [uses[i] for i in left], words, 1.2)
    above = dict.fromkeys([user for i in left for user, _ in trace.users[uses[i][0][0]]])
    changes = tuple([(node, lambda found, n=node: -found[n]) for node in above])
    yield Mistake("path", words, uses[left[0]][0], changes, None, 1.2)


# Parts that should add up: indices that occur more than once, and windows that overlap

WRITTEN = {
    "last": "{} overwrite each other where they should add up: the last one stays",
    "rows": "{} do not add up within a row: += counts each index once",
    "some": "{} overwrite each other where they should add up: the last one that is not 0 stays",
}


def _overwritten(trace: Tape, node: Node) -> Iterator[Mistake]:
    """Elements that indices or windows select more than once."""
    uses = sorted(trace.users[node], key=lambda use: use[0].tick)
    uses = [use for use in uses if use[0].op and use[0].op.name == "getitem"]
    whole = np.arange(math.prod(node.shape)).reshape(node.shape)
    picked = [np.atleast_1d(whole[(user.saved or ((),))[-1]]) for user, _ in uses]
    parts = [array.ravel().tolist() for array in picked]
    rows = [row.ravel() for array in picked for row in array]
    places = np.concatenate(rows) if rows else np.zeros(0, int)
    if len(np.unique(places)) == len(places):
        return
    ends = np.cumsum([len(row) for row in rows])[:-1]

    def effect(found: Gradients, way: str) -> Array:
        values = np.concatenate([found[user].ravel() for user, _ in uses])
        total = np.bincount(places, values, whole.size)
        written = np.zeros(whole.size)
        kept = np.flatnonzero(values) if way == "some" else slice(None)
        if way != "rows":
            written[places[kept]] = values[kept]
        for row, part in zip(rows, np.split(values, ends), strict=True) if way == "rows" else ():
            written[row] += part
        return np.reshape(written - total, node.shape)

    repeated = [u for (u, _), row in zip(uses, parts, strict=True) if len({*row}) < len(row)]
    what = f"windows of {trace.labels[node]} that overlap"
    if repeated:
        label = trace.labels[repeated[0]]
        what = f"the gradients of an index of {label} that occurs more than once"
    for way, words in WRITTEN.items():
        changes = ((node, partial(effect, way=way)),)
        yield Mistake("path", words.format(what), uses[0], changes, ("overwritten", way))


# Time

TRUNCATED = 6
"""Up to how many steps back a truncation is looked for."""


def through_time(trace: Tape) -> Iterator[Mistake]:
    """The gradient that comes back from the next turn of a loop is missing, truncated or wrong."""
    sites: dict[object, list[Use]] = defaultdict(list)
    for node, slot in trace.rules:
        if node in trace.turn:
            sites[trace.sites[node], slot].append((node, slot))
    loops = [uses for uses in sites.values() if len(uses) > 1]
    for uses in loops:
        yield from _without_derivative(trace, uses)
    groups = [group for uses in loops if (group := [u for u in uses if _is_carried(trace, u)])]
    carried = [use for uses in groups for use in uses]
    nothing: Function = lambda found, use: 0 * found[use[0]]  # noqa: E731
    words = "the gradient that comes back from the next turn of the loop is missing: the path "
    if len(groups) > 1:
        yield _instead(trace, carried, f"{words}through time", nothing)
    for uses in groups:
        names = trace.labels[uses[0][0]], trace.labels[parent_of(*uses[0])]
        words = f"the gradient that comes back through time from {names[0]} to {names[1]} is "
        yield _instead(trace, uses, f"{words}missing, at every step", nothing)
    arrived = nothing
    for steps in range(1, min(TRUNCATED, len(carried) - 1)):
        words = f"the gradient of each step goes back {steps} steps alone: it is truncated"
        shorter = cache(partial(run, trace, (_instead(trace, carried, "", arrived),)))
        arrived = lambda found, use, shorter=shorter: shorter()[use[0]]  # noqa: E731
        yield _instead(trace, carried, words, arrived, "path", 1.05)


def _is_carried(trace: Tape, use: Use) -> bool:
    """Whether a use is of a state that an earlier turn computed (not the loss, added up in it)."""
    parent = parent_of(*use)
    known = bool(parent.shape) and parent in trace.turn
    return known and trace.turn[parent] < trace.turn[use[0]]


def _without_derivative(trace: Tape, uses: Sequence[Use]) -> Iterator[Mistake]:
    """The gradient of one input in a loop lacks the derivative of the function above it."""
    ends: dict[Use, Node] = {}
    for use in uses:
        users, end = trace.users[use[0]], use[0]
        while len(users) == 1 and users[0][0].op and users[0][0].op.name == "add":
            end = users[0][0]
            users = trace.users[end]
        if len(users) == 1 and users[0] in trace.factors and users[0][0].shape == end.shape:
            ends[use] = users[0][0]
    if len(ends) > 1:
        names = trace.labels[next(iter(ends.values()))], trace.labels[parent_of(*uses[0])]
        words = f"the derivative of {names[0]} is missing in the gradient of {names[1]}, "
        above = lambda found, use: fitted(found[ends[use]], use[0].shape)  # noqa: E731
        yield _instead(
            trace, [*ends], f"{words}at every turn of the loop", above, "derivative", 1.05
        )


def _instead(
    trace: Tape, uses: Sequence[Use], words: str, arrived: Function,
    kind: str = "path", cost: float = 1.0,
) -> Mistake:  # fmt: skip
    """Some uses receive another gradient than the one that arrives there."""

    def effect(found: Gradients, use: Use) -> Any:
        return trace.part(use, arrived(found, use) - found[use[0]])

    changes = [(parent_of(*use), partial(effect, use=use)) for use in uses]
    return Mistake(kind, words, uses[0], tuple(changes), None, cost)
