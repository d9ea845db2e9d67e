"""Constant factors: where one can stand, and what it is called: 2, ½, √3, the batch size, 1 − p."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from ..graph import Node
from .mistakes import Mistake, Open, slip, times
from .paths import Slots, uses_of
from .trace import Trace, parent_of


class Known(NamedTuple):
    """A number of this graph: its words, and the node that it belongs to, if it is one node's."""

    number: float
    words: str
    node: Node | None


def mistakes(trace: Trace) -> Iterator[Open]:
    """A factor at every node, and at each of several uses of one."""
    known = known_numbers(trace)
    for node in trace.order:
        yield _scaled(trace, known, node, ())
        uses = uses_of(trace, node)
        for slots in uses if len(uses) > 1 else ():
            yield _scaled(trace, known, node, slots)


def _scaled(trace: Trace, known: list[Known], node: Node, slots: Slots) -> Open:
    """The gradient of a node, or the part of it that comes from some uses, times a number."""
    use = slots[0] if slots else (node, None)
    what = f"the gradient of {trace.labels[node]}"
    if slots:
        what += f" that comes from {trace.labels[slots[0][0]]}"

    def made(kind: str, words: str, number: float, cost: float) -> Mistake:
        change = times(number)
        edits = dict.fromkeys(slots or [use], change)

        def effect(gradients: dict[Node, np.ndarray]) -> tuple[Node, np.ndarray]:
            if not slots:
                return node, (number - 1) * gradients[node]
            parts = [trace.part(one, gradients[one[0]]) for one in slots]
            return node, (number - 1) * sum(parts[1:], parts[0])

        return Mistake(kind, words, use, edits, (kind, use[1], number), cost, effect)

    def solved(change: float) -> Mistake | None:
        number = 1 + change
        if abs(number) < 1e-6:
            return made("path", f"{what} is missing", 0.0, 1.0)
        value, name, cost = name_factor(number, slots[0][0] if slots else node, known)
        if value == -1:
            return made("sign", f"{what} has the wrong sign", value, cost)
        return made("factor", f"{what} is {name} times the true one", value, cost)

    return Open(made("factor", "", 2.0, 1.0), solved)


PLAIN = {2.0: "2", 0.5: "½", -1.0: "−1", -2.0: "−2", -0.5: "−½"}


def known_numbers(trace: Trace) -> list[Known]:
    """The numbers of this graph that could have got lost."""
    found: list[Known] = []
    for use, factor in trace.factors.items():
        node = use[0]
        levels = np.unique(factor)
        if len(levels) == 2 and levels[0] == 0 and levels[1] != 1 and node.shape:
            scale, mask = float(levels[1]), f"the mask of {trace.labels[node]}"
            found.append(Known(scale, f"what {mask} multiplies with", node))
            found.append(Known(1 / scale, f"1 − p for {mask}", node))
    nodes = [node for node in trace.order if node.op and node.shape]
    rows = [node.shape[0] for node in nodes]
    batch = max(rows, key=rows.count) if rows else 0
    lengths: dict[int, list[str]] = {batch: ["the batch size"]} if batch > 1 else {}
    for leaf in trace.leaves.values():
        for length in leaf.shape:
            words = f"the width {length}"
            if length > 1 and words not in (seen := lengths.setdefault(length, [])):
                seen.append(words)
    for node in nodes:
        for axis, length in enumerate(node.shape):
            words = f"the length of axis {axis} of {trace.labels[node]}"
            lengths.setdefault(length, [words])
        words = f"the number of elements of {trace.labels[node]}"
        lengths.setdefault(math.prod(node.shape), [words])
    for length, names in lengths.items():
        if length > 1:
            words = names[0] + "".join(f", or {more}: possibly a coincidence" for more in names[1:])
            roots = "" if len(names) == 1 else f" of {names[0]}"
            width = next((f"√{length}, of {n}" for n in names if "width" in n), f"√ of {names[0]}")
            del roots
            found += [
                Known(float(length), words, None),
                Known(1 / length, f"the inverse of {words}", None),
                Known(math.sqrt(length), width, None),
                Known(1 / math.sqrt(length), f"1/{width}", None),
            ]
            if length > 2:
                found += [
                    Known((length - 1) / length, f"(n − 1) / n for {words}", None),
                    Known(length / (length - 1), f"n / (n − 1) for {words}", None),
                ]
    for node in trace.order:
        for parent, operand in zip(node.parents, trace.operands.get(node, ()), strict=False):
            if parent is None and np.ndim(operand) == 0 and isinstance(operand, float | np.ndarray):
                number = abs(float(operand))
                if number > 0 and number not in PLAIN and number != 1:
                    words = f"the constant {number:.6g} of {trace.labels[node]}"
                    found.append(Known(number, words, None))
                    found.append(Known(1 / number, f"the inverse of {words}", None))
    return found


def name_factor(number: float, site: Node, known: list[Known]) -> tuple[float, str, float]:
    """A factor as people would write it: its exact value, its words, and what it costs to believe.

    That is 1 for a number that can be named, a little less for a mask's factor at its own node,
    more for a product of two, most for any other. Of several masks the one nearest to ``site`` is
    meant.
    """

    def hits(table: list[Known]) -> list[Known]:
        near = [hit for hit in table if math.isclose(number, hit.number, rel_tol=1e-6)]
        return sorted(near, key=lambda hit: abs(hit.node.tick - site.tick) if hit.node else 0)

    def told(value: float, name: str, found: list[Known], cost: float) -> tuple[float, str, float]:
        own = bool(found) and found[0].node is site
        words = f"{name} ({found[0].words})" if found else name
        return value, words, cost * (0.999 if own else 1.0)

    found = hits(known)
    for value, name in PLAIN.items():
        if math.isclose(number, value, rel_tol=1e-6):
            # Which other number it happens to be is said of the likely ones.
            likely = [hit for hit in found if hit.node or "batch" in hit.words]
            return told(value, name, likely, 1.0)
    if found:
        return told(found[0].number, f"{found[0].number:.6g}", found, 1.0)
    others = [*(Known(value, words, None) for value, words in PLAIN.items())]
    others += [hit for hit in known if hit.node]
    found = hits(
        [Known(a * b, f"{x} × {y}", n) for a, y, n in known for b, x, _ in others if len(known) < 99]
    )
    if found:
        return told(found[0].number, f"{found[0].number:.6g}", found, 1.4)
    if (name := _closed_form(number)) is not None:
        return number, name, 1.3
    return number, f"{number:.6g}", 1.6


def _closed_form(number: float) -> str | None:
    """A fraction of small numbers, or the root of one, in words."""
    sign = "−" if number < 0 else ""
    fraction = Fraction(abs(number)).limit_denominator(16)
    if fraction and math.isclose(abs(number), fraction, rel_tol=1e-9):
        return f"{sign}{fraction}"
    fraction = Fraction(number * number).limit_denominator(16)
    if fraction and math.isclose(number * number, fraction, rel_tol=1e-9):
        return f"{sign}√{fraction}" if fraction.denominator == 1 else f"{sign}√({fraction})"
    return None


def parent_label(trace: Trace, node: Node, slot: int) -> str:
    """What the Tensor that a use reads is called."""
    return trace.labels[parent_of(node, slot)]


__all__ = ["Known", "known_numbers", "mistakes", "name_factor", "slip"]
