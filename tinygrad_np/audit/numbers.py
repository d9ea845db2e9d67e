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
                what = f"what the mask of {trace.labels[node]} multiplies with"
                found += [(scale, what, node), (1 / scale, f"1 / ({what})", node)]
                found += [(1 / scale, f"1 − p of {trace.labels[node]}", node)]
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


def name_factor(number: float, known: list[Known]) -> tuple[float, str, float, Node | None]:
    """A factor as people would write it: its exact value, words, cost, and the node it belongs to.

    The cost is 1 for a number that can be named, more for a product of two, most for any other.
    """
    for value, words in PLAIN.items():
        if _close(number, value):
            hits = [hit for hit in known if _close(value, hit[0]) and (hit[2] or "batch" in hit[1])]
            same = " or ".join(dict.fromkeys(what for _, what, _ in hits))
            node = next((place for _, _, place in hits if place), None)
            return value, f"{words} ({same})" if same else words, 1.0, node
    for cost, table in ((1.0, known), (1.4, list(_products(known)))):
        hits = [hit for hit in table if _close(number, hit[0])]
        if hits:
            value, words, node = hits[0]
            return value, f"{value:.6g} ({words})", cost, node
    return number, f"{number:.6g}", 1.6, None


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
