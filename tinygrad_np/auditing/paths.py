"""Mistakes with paths: a use of a Tensor that is left out, or whole turns of a loop."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Effect, Mistake, Open, Slip, nothing, replaced_by, then
from .trace import Change, Gradients, Trace, Use

MOST_STEPS = 40
"""In loops of more steps it is not tried how far a gradient goes back."""
STATISTICS = frozenset(["max", "mean", "min", "norm", "std", "var"])
Slots = tuple[tuple[Node, int], ...]
"""All uses of one Tensor by one op, as in b * b."""


def uses_of(trace: Trace, node: Node) -> list[Slots]:
    """A node's uses, those of one op together, in the order of the forward pass."""
    found: dict[Node, list[tuple[Node, int]]] = defaultdict(list)
    for user, slot in trace.users[node]:
        found[user].append((user, slot))
    return [tuple(found[user]) for user in sorted(found, key=lambda n: n.tick)]


def without(trace: Trace, node: Node, uses: Sequence[Slots]) -> Effect:
    """The effect of some uses of a node being left out."""

    def effect(gradients: Gradients) -> tuple[Node, np.ndarray]:
        parts = [trace.part(use, gradients[use[0]]) for slots in uses for use in slots]
        return node, -sum(parts[1:], parts[0])

    return effect


def dropped(
    trace: Trace, node: Node, uses: Sequence[Slots], words: str, cost: float = 1.0
) -> Mistake:
    """Some uses of a node left out."""
    edits = {use: nothing for slots in uses for use in slots}
    effect = without(trace, node, uses)
    return Mistake("path", words, uses[0][0], edits, None, cost, effect)


def mistakes(trace: Trace, given: Mapping[Node, Array]) -> Iterator[Slip]:
    """Uses of a node left out: one, those of one line in all turns, or turns of a loop."""
    for name, leaf in trace.leaves.items():
        yield _added(name, leaf, trace)
        if leaf in given:
            yield from _some(trace, leaf, given[leaf])
    for node in trace.order:
        uses = uses_of(trace, node)
        if len(uses) < 2:
            continue
        what = f"the gradient of {trace.labels[node]}"
        for slots in uses:
            user = slots[0][0]
            words = f"{what} that comes from {trace.labels[user]} is missing"
            if user.op and user.op.name in STATISTICS:
                words += f": {trace.labels[user]} is treated as a constant"
            yield dropped(trace, node, [slots], words)
        sites: dict[object, list[Slots]] = defaultdict(list)
        for slots in uses:
            sites[trace.sites.get(slots[0][0])].append(slots)
        groups = [group for group in sites.values() if len(group) > 1]
        for group in groups:
            if len(group) < len(uses):
                words = f"{what} that comes from {_named(trace, group)} is missing, at every turn"
                yield dropped(trace, node, group, words)
        for group in groups if len(groups) != 1 or len(groups[0]) != len(uses) else [uses]:
            yield from _turns(trace, node, group, what)


def _some(trace: Trace, leaf: Node, given: Array) -> Iterator[Slip]:
    """Those turns of a loop left out that explain a gradient: of a loop in a loop, say."""
    uses, true = uses_of(trace, leaf), trace.run()
    if not 3 < len(uses) <= math.prod(leaf.shape):
        return
    parts = [-without(trace, leaf, [slots])(true)[1].ravel() for slots in uses]
    shares, _, rank, _ = np.linalg.lstsq(np.array(parts).T, given.ravel(), rcond=None)
    left = [i for i, share in enumerate(shares) if abs(share) < 1e-6]
    if rank < len(uses) or not left or not np.isclose(shares, np.round(shares), atol=1e-6).all():
        return
    words = f"{len(left)} of {len(uses)} turns of the loop over {trace.labels[leaf]} are left out: "
    words += f"number {', '.join(str(i + 1) for i in left[:8])}{', …' if len(left) > 8 else ''}"
    yield dropped(trace, leaf, [uses[i] for i in left], words, 1.2)
    above = [user for i in left for user, _ in trace.users[uses[i][0][0]]]
    edits = dict.fromkeys([(node, None) for node in above], nothing)
    yield Mistake("path", words, uses[left[0]][0], edits, None, 1.2)


def _added(name: str, leaf: Node, trace: Trace) -> Open:
    """The gradient of a regularisation that f does not have."""
    values = next((v.array for v in trace.values if v.node is leaf), np.zeros(leaf.shape))

    def made(number: float) -> Mistake:
        words = f"the gradient of {name} has a term {number:.6g} · {name}, that of a "
        words += f"regularisation of {name}, which f does not have"
        change = then(lambda g: g + number * values)
        return Mistake("path", words, (leaf, None), {(leaf, None): change}, None, 1.2)

    return Open(made(1.0), made)


def _named(trace: Trace, group: Sequence[Slots]) -> str:
    first, last = (trace.labels[slots[0][0]] for slots in (group[0], group[-1]))
    return f"{first} to {last}" if first != last else first


def _turns(trace: Trace, node: Node, group: Sequence[Slots], what: str) -> Iterator[Slip]:
    """A loop that ends too early or starts too late, or keeps one turn only."""
    count = len(group)
    for k in range(1, count):
        turns = "the first turn" if k == 1 else f"the first {k} turns"
        only = "alone is there" if k == 1 else "alone are there"
        words = f"{what}: {turns} of the loop {only}, of {count}"
        yield dropped(trace, node, group[k:], words, 1.0 if k in (1, count - 1) else 1.2)
        turns = turns.replace("first", "last")
        words = f"{what}: {turns} of the loop {only}, of {count}"
        yield dropped(trace, node, group[:-k], words, 1.0 if k in (1, count - 1) else 1.2)


def _carries(trace: Trace) -> list[tuple[Node, int]]:
    """The uses that hand something on from one turn of a loop to the next."""
    found = []
    for node, slot in trace.uses:
        parent = node.parents[slot]
        if parent is None or not parent.shape:  # such as the loss, added up in the loop
            continue
        if parent in trace.turn and node in trace.turn and trace.turn[node] > trace.turn[parent]:
            found.append((node, slot))
    return found


def truncated(trace: Trace, given: Mapping[Node, Array]) -> Iterator[Mistake]:
    """Each loss goes back through a few steps only.

    What goes through at most m steps is what passes all windows of m steps, less what passes all
    of m − 1: a way through fewer steps lies in one window more of these than of those.
    """
    steps: dict[int, list[tuple[Node, int]]] = defaultdict(list)
    for node, slot in _carries(trace):
        parent = node.parents[slot]
        steps[trace.turn[parent] if parent else 0].append((node, slot))
    turns = sorted(steps)
    count = len(turns)
    if not 2 < count < MOST_STEPS:
        return

    def through(width: int) -> Gradients:
        total: Gradients = {}
        for start in range(1 - width, count):
            kept = turns[max(0, start) : max(0, start + width)]
            shut = [use for turn in turns if turn not in kept for use in steps[turn]]
            found = trace.run(dict.fromkeys(shut, nothing))
            total = {n: total.get(n, 0) + found[n] for n in given}
        return total

    less = through(0)
    for width in range(1, min(5, count)):
        more = through(width)
        edits: dict[Use, Change] = {(n, None): replaced_by(more[n] - less[n]) for n in given}
        less = more
        words = f"the gradient goes back through {width} step{'s' * (width > 1)} only, of {count}: "
        yield Mistake("path", f"{words}the path through time is cut off", next(iter(edits)), edits)


def carried(trace: Trace) -> Iterator[Mistake]:
    """What comes back from the next turn of a loop is left out: of every state, or of one."""
    sites: dict[object, list[tuple[Node, int]]] = defaultdict(list)
    for node, slot in _carries(trace):
        sites[trace.sites[node], slot].append((node, slot))
    groups = [*sites.values()]
    if len(groups) > 1:
        words = "the gradient that comes back from the next turn of the loop is missing: the path "
        words += "through time"
        every = [use for group in groups for use in group]
        yield Mistake("path", words, every[0], dict.fromkeys(every, nothing))
    for group in groups:
        node, slot = group[0]
        parent = node.parents[slot]
        names = trace.labels[parent] if parent else "", trace.labels[node]
        words = f"the gradient that comes back through time from {names[1]} to {names[0]} is "
        words += "missing, at every step"
        yield Mistake("path", words, group[0], dict.fromkeys(group, nothing))
