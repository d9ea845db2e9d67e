"""Mistakes with paths: a use of a Tensor that is left out, or overwritten, or turns of a loop."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Mistake, dropped, open_, slip
from .trace import Gradients, Trace, Use, parent_of

MOST_STEPS = 40
"""In loops of more steps it is not tried how far a gradient goes back."""
STATISTICS = frozenset(["max", "mean", "min", "norm", "std", "var"])


def mistakes(trace: Trace, given: Mapping[Node, Array]) -> Iterator[Mistake]:
    """Uses of a node left out, or those of one line in all turns, or turns of a loop."""
    for name, leaf in trace.leaves.items():
        yield _added(name, leaf, trace)
        if leaf in given:
            yield from _turns_left_out(trace, leaf, given[leaf])
    for node in trace.order:
        uses, what = trace.uses_of(node), f"the gradient of {trace.labels[node]}"
        sites: dict[object, list[Any]] = defaultdict(list)
        for slots in uses if len(uses) > 1 else ():
            user = slots[0][0]
            sites[trace.sites.get(user)].append(slots)
            words = f"{what} that comes from {trace.labels[user]} is missing"
            if user.op and user.op.name in STATISTICS:
                words += f": {trace.labels[user]} is treated as a constant"
            yield dropped(trace, node, [slots], words)
        for group in sites.values():
            if 1 < len(group) < len(uses):
                names = [trace.labels[slots[0][0]] for slots in (group[0], group[-1])]
                words = f"{what} that comes from {' to '.join(dict.fromkeys(names))} is missing"
                yield dropped(trace, node, group, f"{words}, at every turn")
            for turn, rest in (("first", group[1:]), ("last", group[:-1])):
                if rest:
                    words = f"{what}: the {turn} turn of the loop alone is there, of {len(group)}"
                    yield dropped(trace, node, rest, words)
        yield from _overwritten(trace, node)


def _added(name: str, leaf: Node, trace: Trace) -> Mistake:
    """The gradient of a regularisation that f does not have."""

    def made(number: float) -> Mistake:
        words = f"the gradient of {name} has a term {number:.6g} · {name}, that of a "
        words += f"regularisation of {name}, which f does not have"
        new = lambda g, _: g + number * trace.inputs[name]  # noqa: E731
        return slip(trace, "path", words, (leaf, None), new, None, 1.2)

    return open_(made)


def _turns_left_out(trace: Trace, leaf: Node, given: Array) -> Iterator[Mistake]:
    """Those turns of a loop left out that explain a gradient: of a loop in a loop, say."""
    uses, true = trace.uses_of(leaf), trace.run()
    if not 3 < len(uses) <= math.prod(leaf.shape):
        return
    parts = [sum(trace.part(u, true[u[0]]).ravel() for u in slots) for slots in uses]
    shares, _, rank, _ = np.linalg.lstsq(np.array(parts).T, given.ravel(), rcond=None)
    left = [i for i, share in enumerate(shares) if abs(share) < 1e-6]
    if rank < len(uses) or not left or not np.isclose(shares, np.round(shares), atol=1e-6).all():
        return
    words = f"{len(left)} of {len(uses)} turns of the loop over {trace.labels[leaf]} are left out: "
    words += f"number {', '.join(str(i + 1) for i in left[:8])}{', …' if len(left) > 8 else ''}"
    yield dropped(trace, leaf, [uses[i] for i in left], words, 1.2)
    above = dict.fromkeys([user for i in left for user, _ in trace.users[uses[i][0][0]]])
    changes = tuple([(node, lambda found, n=node: -found[n]) for node in above])
    yield Mistake("path", words, uses[left[0]][0], changes, None, 1.2)


# Parts that should add up: indices that occur more than once, and windows that overlap


def _overwritten(trace: Trace, node: Node) -> Iterator[Mistake]:
    uses = sorted(trace.users[node], key=lambda use: use[0].tick)
    uses = [use for use in uses if use[0].op and use[0].op.name == "getitem"]
    places = np.arange(math.prod(node.shape)).reshape(node.shape)
    picked = [places[(user.saved or (None,))[-1]] for user, _ in uses]
    for use, pixels in zip(uses, picked, strict=True):
        if len(np.unique(pixels)) < pixels.size:
            yield from _repeated(trace, use, pixels, node)
    flat = np.concatenate([p.ravel() for p in picked]) if picked else np.zeros(0)
    if len(uses) < 2 or len(np.unique(flat)) == len(flat):
        return
    for way, which in ((1, "last"), (-1, "first")):
        writer = np.full(node.shape, -1)
        for i in range(len(uses))[::way]:
            writer.flat[picked[i].ravel()] = i
        words = f"windows of {trace.labels[node]} that overlap are overwritten, not added: the "

        def effect(found: Gradients, writer: Array = writer) -> Any:
            parts = [trace.part(use, found[use[0]]) for use in uses]
            return sum(part * ((writer == i) - 1.0) for i, part in enumerate(parts))

        words += f"{which} one stays"
        yield Mistake("path", words, uses[0], ((node, effect),), ("overlap", way))


def _repeated(trace: Trace, use: Use, picked: Array, parent: Node) -> Iterator[Mistake]:
    label, size = trace.labels[use[0]], math.prod(parent.shape)
    what = f"an index of {label} that occurs more than once is overwritten, not added"

    def assigned(g: Any, rule: Any) -> Any:
        out = np.zeros(parent.shape)
        out[(use[0].saved or (None,))[-1]] = g
        return out

    def by_rows(g: Any, rule: Any) -> Any:
        out = np.zeros(parent.shape)
        for places, values in zip(picked, g, strict=True):
            out.flat[places.ravel()] += values.ravel()
        return out

    def shared(g: Any, rule: Any) -> Any:
        counts = np.bincount(picked.ravel(), minlength=size).reshape(parent.shape)
        return rule(g) / np.maximum(counts, 1)

    for words, new in (
        (f"{what}: the last one stays", assigned),
        (f"{what} within a row: += counts each index once", by_rows),
        (f"the gradients of an index of {label} that occurs more than once are averaged, not added",
         shared),
    ):  # fmt: skip
        yield slip(trace, "path", words, use, new, words.replace(label, ""))


# Time


def through_time(trace: Trace, given: Mapping[Node, Array]) -> Iterator[Mistake]:
    """What comes back from the next turn of a loop is left out, or goes back a few steps only."""
    carried = []
    for node, slot in trace.rules:
        parent = parent_of(node, slot)
        known = parent.shape and parent in trace.turn and node in trace.turn
        if known and trace.turn[node] > trace.turn[parent]:  # not the loss, added up in the loop
            carried.append((node, slot))
    sites: dict[object, list[Use]] = defaultdict(list)
    for node, slot in carried:
        sites[trace.sites[node], slot].append((node, slot))
    groups = [*sites.values()]
    words = "the gradient that comes back from the next turn of the loop is missing: the path "
    if len(groups) > 1:
        yield _cut(trace, carried, f"{words}through time")
    for group in groups:
        names = trace.labels[group[0][0]], trace.labels[parent_of(*group[0])]
        words = f"the gradient that comes back through time from {names[0]} to {names[1]} is "
        yield _cut(trace, group, f"{words}missing, at every step")
    yield from _truncated(trace, given, carried)


def _cut(trace: Trace, uses: Sequence[Use], words: str) -> Mistake:
    """Some uses left out, at many nodes."""
    changes = [(parent_of(*use), lambda found, u=use: -trace.part(u, found[u[0]])) for use in uses]
    return Mistake("path", words, uses[0], tuple(changes))


def _truncated(
    trace: Trace, given: Mapping[Node, Array], carried: Sequence[Use]
) -> Iterator[Mistake]:
    """Each loss goes back through a few steps only.

    What goes through at most m steps is what passes all windows of m steps, less what passes all
    of m − 1: a way through fewer steps lies in one window more of these than of those.
    """
    turns = sorted({trace.turn[parent_of(*use)] for use in carried})
    count = len(turns)
    if not 2 < count < MOST_STEPS:
        return

    def through(width: int) -> Gradients:
        total: Gradients = {}
        for start in range(1 - width, count):
            kept = turns[max(0, start) : max(0, start + width)]
            shut = [use for use in carried if trace.turn[parent_of(*use)] not in kept]
            found = trace.run([_cut(trace, shut, "")] if shut else ())
            total = {n: total.get(n, 0) + found[n] for n in given}
        return total

    less = through(0)
    for width in range(1, min(5, count)):
        more = through(width)
        change = {n: more[n] - less[n] for n in given}
        effects = [(n, lambda found, n=n, only=change: only[n] - found[n]) for n in given]
        less = more
        words = f"the gradient goes back through {width} step{'s' * (width > 1)} only, of {count}: "
        yield Mistake(
            "path", f"{words}the path through time is cut off", carried[0], tuple(effects)
        )
