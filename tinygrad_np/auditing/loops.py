"""The same mistake at every turn of a loop, or wherever an op is used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from ..graph import Node
from .mistakes import KINDS, Mistake
from .trace import Tape

LEAST, RULES = 200, 50_000
"""How many of these mistakes are tried: as many as run so many rules, but no fewer than this."""


def mistakes(trace: Tape, single: Iterable[Mistake]) -> Iterator[Mistake]:
    """Mistakes at all nodes of a loop, of a source line, or of one op."""
    groups: dict[object, list[Mistake]] = defaultdict(list)
    sizes = Counter(name for node in trace.order for name in _names(trace, node))
    for mistake in single:
        if mistake.solved is None and mistake.key is not None and mistake.cost <= 1.2:
            for name in _names(trace, mistake.at[0]):
                if mistake.cost <= 1.1 or name[0] == "op":
                    groups[name, mistake.key].append(mistake)
    found: dict[frozenset[int], Mistake] = {}
    for (name, _), members in groups.items():  # type: ignore[misc]
        if len(members) > 1 and len(members) >= sizes[name] - 1:
            found.setdefault(frozenset(map(id, members)), _together(members))
    key = lambda m: (" reads " in m.words, m.cost, KINDS.index(m.kind))  # noqa: E731
    yield from sorted(found.values(), key=key)[: max(LEAST, RULES // len(trace.rules))]


def _names(trace: Tape, node: Node) -> list[tuple[object, ...]]:
    """The groups that a node belongs to."""
    if node.op is None or node not in trace.sites:
        return []
    names: list[tuple[object, ...]] = [("op", node.op.name), ("line", trace.lines.get(node))]
    return names + ([("loop", trace.sites[node])] if node in trace.turn else [])


def _together(members: list[Mistake]) -> Mistake:
    """One mistake at several places."""
    first = members[-1]  # the uppermost comes last in the forward pass
    changes = tuple([change for member in members for change in member.changes])
    words = f"{first.words}, at each of {len(members)} places"
    return Mistake(first.kind, words, first.at, changes, None, first.cost + 0.05)
