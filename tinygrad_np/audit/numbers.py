"""Naming a constant factor: 2, ½, −1, the batch size, what dropout keeps, and their inverses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..graph import Node
from .trace import Trace

PLAIN = {2.0: "2", 0.5: "½", -1.0: "−1", -2.0: "−2", -0.5: "−½"}
CLOSE = 1e-6

Known = tuple[float, str, Node | None]


def known_numbers(trace: Trace) -> list[Known]:
    """The numbers of this graph that could have got lost: value, words, and the node it is at."""
    found: list[Known] = []
    lengths: dict[int, str] = {}
    rows = [node.shape[0] for node in trace.order if node.op and node.shape]
    if rows:
        lengths[max(rows, key=rows.count)] = "the batch size"
    for node in trace.order:
        if node.op is None:
            continue
        for slot, parent in enumerate(node.parents):
            scale = _mask_scale(trace, node, slot) if parent is not None else None
            if scale is not None:
                label = trace.labels[node]
                found.append((scale, f"what the mask of {label} multiplies with", node))
                found.append((1 / scale, f"1 − p for the mask of {label}", node))
        for axis, length in enumerate(node.shape):
            lengths.setdefault(length, f"the length of axis {axis} of {trace.labels[node]}")
        size = int(np.prod(node.shape))
        lengths.setdefault(size, f"the number of elements of {trace.labels[node]}")
    for length, words in lengths.items():
        if length > 1:
            found += [(float(length), words, None), (1 / length, f"the inverse of {words}", None)]
    return found


def _mask_scale(trace: Trace, node: Node, slot: int) -> float | None:
    """What a mask multiplies with where it lets through: 1 / (1 − p), say; None if 1 or no mask."""
    factor = trace.factor(node, slot)
    levels = np.unique(factor) if factor is not None else np.zeros(0)
    return float(levels[1]) if len(levels) == 2 and levels[0] == 0 and levels[1] != 1 else None


def name_factor(number: float, site: Node, known: list[Known]) -> tuple[float, str, float, bool]:
    """A factor as people would write it: exact value, words, cost, and whether it is at home.

    The cost is 1 for a number that can be named, more for a product of two, most for any other. Of
    several masks the one nearest to ``site`` is meant; at home is a mask's factor at its own node.
    """
    for table, cost in ((known, 1.0), (list(_products(known)), 1.4)):
        hits = [hit for hit in table if _close(number, hit[0])]
        plain = next((v for v in PLAIN if _close(number, v)), None) if cost == 1 else None
        if plain is not None:  # which other number it happens to be is said of the likely ones
            hits = [hit for hit in hits if hit[2] or "batch" in hit[1]]
        hits.sort(key=lambda hit: abs(hit[2].tick - site.tick) if hit[2] else 0)
        home = bool(hits) and hits[0][2] is site
        if plain is not None:
            return plain, PLAIN[plain] + (f" ({hits[0][1]})" if hits else ""), cost, home
        if hits:
            return hits[0][0], f"{hits[0][0]:.6g} ({hits[0][1]})", cost, home
    return number, f"{number:.6g}", 1.6, False


def _products(known: list[Known]) -> Iterator[Known]:
    for value, words, node in known:
        for plain, sign in PLAIN.items():
            yield plain * value, f"{sign} × {words}", node
    scales = [entry for entry in known if entry[2]]
    for value, words, _ in known:
        for scale, what, node in scales:
            yield value * scale, f"{words} × {what}", node


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= CLOSE * abs(b)
