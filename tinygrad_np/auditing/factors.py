"""Constant factors: where one can stand, and what it is called: 2, ½, √3, the batch size, 1 − p."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from ..graph import Node
from .mistakes import Mistake, Open, times
from .paths import Slots, uses_of
from .trace import Trace


class Known(NamedTuple):
    """A number of this graph: what it is, the node it belongs to, if to one, how it is written."""

    number: float
    words: str
    node: Node | None = None
    name: str = ""
    likely: bool = False


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
            cost += 0.05 * bool(slots)  # another use that is missing is easier to believe
            return made("sign", f"{what} has the wrong sign", value, cost)
        return made("factor", f"{what} is {name} times the true one", value, cost)

    return Open(made("factor", "", 2.0, 1.0), solved)


PLAIN = {2.0: "2", 0.5: "½", -1.0: "−1", -2.0: "−2", -0.5: "−½"}


def known_numbers(trace: Trace) -> list[Known]:
    """The numbers of this graph that could have got lost, the likeliest first."""
    found: list[Known] = []
    for (node, _), factor in trace.factors.items():
        levels = np.unique(factor)
        if len(levels) == 2 and levels[0] == 0 and levels[1] != 1 and node.shape:
            scale, mask = float(levels[1]), f"the mask of {trace.labels[node]}"
            found.append(Known(scale, f"what {mask} multiplies with", node))
            found.append(Known(1 / scale, f"1 − p for {mask}", node))
    constants = {
        abs(float(operand))
        for node in trace.order
        for parent, operand in zip(node.parents, trace.operands.get(node, ()), strict=False)
        if parent is None and np.ndim(operand) == 0 and np.asarray(operand).dtype.kind in "if"
    }
    lengths = set[float]()
    for length, words in _lengths(trace):
        lengths.add(float(length))
        found.append(Known(float(length), words, likely=words in LIKELY))
        inverse = f"the inverse of {words}"
        found.append(Known(1 / length, inverse, likely=words == LIKELY[0]))
        for root, name in ((math.sqrt(length), f"√{length}"), (length**-0.5, f"1/√{length}")):
            if root not in PLAIN or constants & {root, 1 / root}:
                found.append(Known(root, words, name=name, likely=words in LIKELY))
        if length > 2:
            found.append(Known((length - 1) / length, f"(n − 1)/n for {words}"))
            found.append(Known(length / (length - 1), f"n/(n − 1) for {words}"))
    for number in sorted(constants - lengths):
        if number not in (0, 1) and number not in PLAIN:
            found.append(Known(number, f"the constant {number:.6g} of f"))
            found.append(Known(1 / number, f"the inverse of the constant {number:.6g} of f"))
    return found


LIKELY = ("the batch size", "the width")


def _lengths(trace: Trace) -> Iterator[tuple[int, str]]:
    """The lengths of axes, and numbers of elements, and what they are."""
    nodes = [node for node in trace.order if node.op and node.shape]
    rows = [node.shape[0] for node in nodes]
    found = [(max(rows, key=rows.count), "the batch size")] if rows else []
    found += [(n, "the width") for leaf in trace.leaves.values() for n in leaf.shape]
    for node in nodes:
        label = trace.labels[node]
        found += [(n, f"the length of axis {a} of {label}") for a, n in enumerate(node.shape)]
        found.append((math.prod(node.shape), f"the number of elements of {label}"))
    seen: dict[int, set[str]] = {}
    for length, words in found:
        known = seen.setdefault(length, set())
        if length > 1 and words not in known and (not known or words in LIKELY):
            known.add(words)
            yield length, words


def name_factor(number: float, site: Node, known: list[Known]) -> tuple[float, str, float]:
    """A factor as people would write it: its exact value, its words, and what it costs to believe.

    That is 1 for a number that can be named, a little less for a mask's factor at its own node,
    more for a product of two, most for any other. Of several masks the one nearest to ``site`` is
    meant. All that a number happens to be is said.
    """

    def hits(table: list[Known]) -> list[Known]:
        near = [hit for hit in table if math.isclose(number, hit.number, rel_tol=1e-6)]
        return sorted(near, key=lambda hit: abs(hit.node.tick - site.tick) if hit.node else 0)

    def told(value: float, name: str, found: list[Known], cost: float) -> tuple[float, str, float]:
        own = bool(found) and found[0].node is site
        masks = [hit for hit in found if hit.node][:1]
        rest = [hit for hit in found if not hit.node and (hit.likely or not masks)]
        words = []
        for hit in (masks + rest)[:3]:
            root = f"{hit.name}: " if hit.name and hit.name != name else ""
            words.append(root + hit.words)
        told = " or ".join(dict.fromkeys(words)) + ("; possibly a coincidence" if words[1:] else "")
        return value, f"{name} ({told})" if words else name, cost * (0.999 if own else 1.0)

    found = hits(known)
    for value, name in PLAIN.items():
        if math.isclose(number, value, rel_tol=1e-6):
            return told(value, name, [hit for hit in found if hit.node or hit.likely], 1.0)
    if found:
        return told(found[0].number, found[0].name or f"{found[0].number:.6g}", found, 1.0)
    if root := _root(number):
        return number, root, 1.3
    others = [*(Known(value, words) for value, words in PLAIN.items())]
    others += [hit for hit in known if hit.node]
    products = [
        Known(a.number * b.number, f"{b.words} × {a.name or a.words}", a.node)
        for a in known[:99]
        for b in others
    ]
    if found := hits(products)[:1]:
        return told(found[0].number, f"{found[0].number:.6g}", found, 1.4)
    sign, fraction = "−" if number < 0 else "", Fraction(abs(number)).limit_denominator(8)
    if fraction and math.isclose(abs(number), fraction, rel_tol=1e-9):
        return number, f"{sign}{fraction}", 1.3
    return number, f"{number:.6g}", 1.6


def _root(number: float) -> str | None:
    """The root of a small number or fraction, in words."""
    sign = "−" if number < 0 else ""
    fraction = Fraction(number * number).limit_denominator(8)
    whole = math.isqrt(fraction.numerator) ** 2 == fraction.numerator == fraction
    if fraction and not whole and math.isclose(number * number, fraction, rel_tol=1e-9):
        return f"{sign}√{fraction}" if fraction.denominator == 1 else f"{sign}√({fraction})"
    return None
