"""Constant factors: where they can occur, and their names: 2, ½, √3, the batch size, 1 − p."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from ..graph import Node
from .mistakes import Mistake, open_
from .paths import STATISTICS, missing
from .trace import Gradients, Tape, Use

PLAIN = {2.0: "2", 0.5: "½", -1.0: "−1", -2.0: "−2", -0.5: "−½"}
LIKELY = ("the batch size", "the width")


class Known(NamedTuple):
    """A number of this graph: its description, its node if it belongs to one, and its notation."""

    number: float
    words: str
    node: Node | None = None
    name: str = ""
    likely: bool = False


def mistakes(trace: Tape) -> Iterator[Mistake]:
    """A factor at every node, and at each of several uses of one."""
    known = known_numbers(trace)
    for node in trace.order:
        yield _scaled(trace, known, node, ())
        uses = trace.uses_of(node)
        for slots in uses if len(uses) > 1 else ():
            yield _scaled(trace, known, node, slots)
        statistics = [u for slots in uses for u in slots if u[0].op and u[0].op.name in STATISTICS]
        if 1 < len(statistics) < len(uses):  # the mean and the variance, with one wrong count
            yield _scaled(trace, known, node, tuple(statistics))


def _scaled(trace: Tape, known: list[Known], node: Node, slots: tuple[Use, ...]) -> Mistake:
    """The gradient of a node, or the part of it that comes from some uses, times a number."""
    at = slots[0] if slots else (node, None)
    what = f"the gradient of {trace.labels[node]}"
    if slots:
        what += f" that comes from {' and '.join(dict.fromkeys(trace.labels[u] for u, _ in slots))}"

    def made(more: float) -> Mistake:
        kind, words, cost = "path", f"{what} is missing", 1.0
        if slots:
            words = missing(trace, node, *[user for user, _ in slots])
        if abs(1 + more) > 1e-6:
            value, kind, words, cost = named(1 + more, what, at[0], known)
            cost += 0.05 * (value == -1 and bool(slots))  # a missing use is easier to believe
            more = value - 1

        def effect(found: Gradients) -> np.ndarray:
            parts = [trace.part(use, found[use[0]]) for use in slots]
            return np.asarray(more * (sum(parts) if slots else found[node]))

        return Mistake(kind, words, at, ((node, effect),), (kind, at[1], more), cost)

    return open_(made)


def named(
    number: float, what: str, site: Node, known: list[Known]
) -> tuple[float, str, str, float]:
    """The exact value of a factor of ``what``, the kind of the mistake, its words and its cost."""
    value, name, cost = _name(number, site, known)
    if value == -1:
        return value, "sign", f"{what} has the wrong sign", cost
    return value, "factor", f"{what} is {name} times the true one", cost


def known_numbers(trace: Tape) -> list[Known]:
    """The numbers of this graph that could be a forgotten factor, the likeliest first."""
    found: list[Known] = []
    for (node, _), factor in trace.factors.items():
        low, high = np.unique(factor)[[0, -1]]
        if low == 0 < high != 1 and node.shape and np.isin(factor, (low, high)).all():
            mask = f"the mask of {trace.labels[node]}"
            found.append(Known(float(high), f"what {mask} multiplies with", node))
            found.append(Known(1 / float(high), f"1 − p for {mask}", node))
    constants = {
        abs(float(operand))
        for node in trace.order
        for parent, operand in zip(node.parents, trace.operands.get(node, ()), strict=False)
        if parent is None and np.ndim(operand) == 0 and np.asarray(operand).dtype.kind in "if"
    }
    lengths = _lengths(trace)
    for length, words in lengths:
        likely = words in LIKELY
        found.append(Known(length, words, likely=likely))
        found.append(Known(1 / length, f"the inverse of {words}", likely=words == LIKELY[0]))
        for root, name in ((math.sqrt(length), f"√{length}"), (length**-0.5, f"1/√{length}")):
            if root not in PLAIN or constants & {root, 1 / root}:
                found.append(Known(root, words, name=name, likely=likely))
    for number in sorted(constants - {length for length, _ in lengths} - {0, 1} - PLAIN.keys()):
        found.append(Known(number, f"the constant {number:.6g} of f"))
        found.append(Known(1 / number, f"the inverse of the constant {number:.6g} of f"))
    return found


def _lengths(trace: Tape) -> list[tuple[int, str]]:
    """The lengths of axes and the numbers of elements, with descriptions."""
    nodes = [node for node in trace.order if node.op and node.shape]
    found = [(n, LIKELY[0]) for n, _ in Counter(n.shape[0] for n in nodes).most_common(1)]
    found += dict.fromkeys((n, LIKELY[1]) for leaf in trace.leaves.values() for n in leaf.shape)
    known = {n for n, _ in found}
    for node in nodes:
        label = trace.labels[node]
        more = [(n, f"the length of axis {a} of {label}") for a, n in enumerate(node.shape)]
        more.append((math.prod(node.shape), f"the number of elements of {label}"))
        for length, words in more:
            if length not in known:
                found.append((length, words))
                known.add(length)
    return [(length, words) for length, words in found if length > 1]


def _name(number: float, site: Node, known: list[Known]) -> tuple[float, str, float]:
    """The exact value of a factor, its description, and its cost.

    The cost is 1 for a number with a name, a little less for a mask's factor at its own node, and
    more for others. Of several masks the nearest to ``site`` counts. The description mentions all
    known numbers that are equal to the factor.
    """
    found = [hit for hit in known if _same(number, hit.number)]
    if plain := [value for value in PLAIN if _same(number, value)]:
        value, name = plain[0], PLAIN[plain[0]]
        found = [hit for hit in found if hit.node or hit.likely]
    elif found:
        value, name = found[0].number, found[0].name or f"{found[0].number:.6g}"
    else:
        return number, *_composed(number, known)
    masks = sorted((abs(hit.node.tick - site.tick), i) for i, hit in enumerate(found) if hit.node)
    nearest = [found[i] for _, i in masks[:1]]
    others = [hit for hit in found if not hit.node and (hit.likely or not masks)]
    words = dict.fromkeys(
        f"{hit.name}: {hit.words}" if hit.name not in ("", name) else hit.words
        for hit in [*nearest, *others][:3]
    )
    told = " or ".join(words) + "; possibly a coincidence" * (len(words) > 1)
    own = bool(nearest) and nearest[0].node is site
    return value, f"{name} ({told})" if words else name, 0.999 if own else 1.0


def _composed(number: float, known: list[Known]) -> tuple[str, float]:
    """A number as a root, a fraction, or a product of two that are known."""
    square = Fraction(number * number).limit_denominator(8)
    if square and math.isclose(number * number, square, rel_tol=1e-9):
        root = Fraction(abs(number)).limit_denominator(8)
        name = str(root) if root * root == square else f"√{square}"
        return "−" * (number < 0) + name, 1.3
    others = [*(Known(value, words) for value, words in PLAIN.items())]
    for a, b in itertools.product(known[:99], [*others, *(hit for hit in known if hit.node)]):
        if _same(number, a.number * b.number):
            return f"{number:.6g} ({b.words} × {a.name or a.words})", 1.4
    return f"{number:.6g}", 1.6


def _same(number: float, value: float) -> bool:
    return math.isclose(number, value, rel_tol=1e-6)
