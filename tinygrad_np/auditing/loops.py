"""The same mistake made again and again: at every turn of a loop, or wherever an op is used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from ..graph import Node
from .mistakes import KINDS, Mistake, Slip, merged
from .paths import carried
from .trace import Trace

MOST = 200
"""How many of these are tried at most: each takes a backward pass."""


def mistakes(trace: Trace, single: Iterable[Slip]) -> Iterator[Mistake]:
    """Slips that occur at all nodes of a loop, of a line of a function, or of one op."""
    yield from carried(trace)
    groups: dict[object, list[Mistake]] = defaultdict(list)
    sizes: dict[object, set[Node]] = defaultdict(set)
    for node in trace.order:
        for name in _names(trace, node):
            sizes[name].add(node)
    for mistake in single:
        if isinstance(mistake, Mistake) and mistake.key is not None and mistake.cost <= 1.1:
            for name in _names(trace, mistake.use[0]):
                groups[name, mistake.key].append(mistake)
    seen = set()
    found = []
    for (name, _), members in groups.items():  # type: ignore[misc]
        nodes = frozenset(id(m) for m in members)
        if len(members) < 2 or nodes in seen or len(members) < len(sizes[name]) - 1:
            continue
        seen.add(nodes)
        found.append(together(members))
    found.sort(key=lambda m: (" reads " in m.words, m.cost, KINDS.index(m.kind)))
    yield from found[:MOST]


def _names(trace: Trace, node: Node) -> list[tuple[object, ...]]:
    """The groups that a node belongs to."""
    if node.op is None or node not in trace.sites:
        return []
    calls = trace.sites[node]
    names: list[tuple[object, ...]] = [("op", node.op.name), ("line", trace.lines.get(node))]
    return names + ([("loop", calls)] if node in trace.turn else [])


def together(members: list[Mistake]) -> Mistake:
    """One slip made at several places."""
    first = members[-1]  # the uppermost comes last in the forward pass
    words = f"{first.words}, at each of {len(members)} places"
    return Mistake(first.kind, words, first.use, merged(members), None, first.cost + 0.05)
