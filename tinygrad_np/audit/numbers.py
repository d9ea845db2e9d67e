"""Naming a constant factor: 2, ½, −1, the batch size, what dropout keeps, and their inverses."""

from __future__ import annotations

import math

from ..graph import Node
from .trace import Trace

PLAIN = {2.0: "2", 0.5: "½", -1.0: "−1", -2.0: "−2", -0.5: "−½"}

Known = tuple[float, str, Node | None]
"""A number, its words, and the node that it belongs to, if it is one node's."""


def known_numbers(trace: Trace) -> list[Known]:
    """The numbers of this graph that could have got lost."""
    found: list[Known] = []
    for (node, _), (_, levels) in trace.factors.items():
        if len(levels) == 2 and levels[0] == 0 and levels[1] != 1:
            scale, mask = float(levels[1]), f"the mask of {trace.labels[node]}"
            found.append((scale, f"what {mask} multiplies with", node))
            found.append((1 / scale, f"1 − p for {mask}", node))
    nodes = [node for node in trace.order if node.op and node.shape]
    rows = [node.shape[0] for node in nodes]
    lengths = {max(rows, key=rows.count): "the batch size"} if rows else {}
    for node in nodes:
        for axis, length in enumerate(node.shape):
            lengths.setdefault(length, f"the length of axis {axis} of {trace.labels[node]}")
        size = math.prod(node.shape)
        lengths.setdefault(size, f"the number of elements of {trace.labels[node]}")
    for length, words in lengths.items():
        if length > 1:
            found += [(float(length), words, None), (1 / length, f"the inverse of {words}", None)]
    return found


def name_factor(number: float, site: Node, known: list[Known]) -> tuple[float, str, float]:
    """A factor as people would write it: its exact value, its words, and what it costs to believe.

    That is 1 for a number that can be named, a little less for a mask's factor at its own node,
    more for a product of two, most for any other. Of several masks the one nearest to ``site`` is
    meant.
    """

    def hits(table: list[Known]) -> list[Known]:
        near = [hit for hit in table if math.isclose(number, hit[0], rel_tol=1e-6)]
        return sorted(near, key=lambda hit: abs(hit[2].tick - site.tick) if hit[2] else 0)

    found, cost = hits(known), 1.0
    for value, name in PLAIN.items():
        if math.isclose(number, value, rel_tol=1e-6):
            # Which other number it happens to be is said of the likely ones.
            found = [hit for hit in found if hit[2] or "batch" in hit[1]]
            return value, name + (f" ({found[0][1]})" if found else ""), _cost(found, site)
    if not found:
        others = [*PLAIN.items(), *[(value, words) for value, words, node in known if node]]
        found, cost = hits([(a * b, f"{x} × {y}", n) for a, y, n in known for b, x in others]), 1.4
    if not found:
        return number, f"{number:.6g}", 1.6
    return found[0][0], f"{found[0][0]:.6g} ({found[0][1]})", cost * _cost(found, site)


def _cost(found: list[Known], site: Node) -> float:
    return 0.999 if found and found[0][2] is site else 1.0
