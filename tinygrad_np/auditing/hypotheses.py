"""What people get wrong when they derive by hand, and how it is called.

Mistakes to try at every node of a graph; constant factors, for which ``search`` solves; shapes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..definition import OPS
from ..graph import Node
from ..shapes import Shape, kept_shape
from ..tensor import Array
from .trace import Change, Mistake, Trace, parent_of

NEAREST = 24
"""How many arrays of the right shape are tried in the place of another."""

Row = tuple[str, Change, str]
"""A kind of mistake, what it does to the rule, and its words."""


def hypotheses(trace: Trace) -> Iterator[Mistake]:
    """All mistakes to try, each at one place."""
    for node, slot in trace.uses:
        for mistakes in (_unmasked, _unsummed, _misread):
            for kind, change, words in mistakes(trace, node, slot):
                yield Mistake(kind, node, slot, change, words)
    for node in trace.order:
        for kind, change, words in _with_the_gradient(trace, node):
            yield Mistake(kind, node, None, change, words)


# Changes of a rule


def then(function: Callable[[Any], Any]) -> Change:
    """What the rule gives, changed by a function."""
    return lambda rule, g, saved: function(rule(g, saved))


def times(factor: Array | float) -> Change:
    """What the rule gives, multiplied."""
    return then(lambda g: g * factor)


def _without(rule: Any, g: Any, saved: Any) -> Any:
    return g


def _transpose(array: Any) -> Any:
    return np.swapaxes(array, -1, -2)


def _reading(place: int, value: Array, through: Callable[[Any], Any] = np.asarray) -> Change:
    """The rule with another array, or a function of it, among what was saved for it."""
    return lambda rule, g, saved: rule(g, (*saved[:place], through(value), *saved[place + 1 :]))


def _one_row(row: int) -> Change:
    """The rule for one row of the gradient, and 0 in the others."""
    return lambda rule, g, saved: rule(np.where(np.indices(g.shape)[0] == row, g, 0), saved)


# Mistakes at a node


def _with_the_gradient(trace: Trace, node: Node) -> Iterator[Row]:
    """The gradient that arrives transposed, or multiplied by a mask from somewhere else."""
    label = trace.labels[node]
    if _square(node.shape):
        yield "transpose", then(_transpose), f"the gradient of {label} is transposed"
    for name, mask in _masks(trace, node.shape):
        yield "mask", times(mask), f"the gradient of {label} is multiplied by {name}"


def _unmasked(trace: Trace, node: Node, slot: int) -> Iterator[Row]:
    """A rule that multiplies elementwise does so not at all, or twice."""
    label = trace.labels[node]
    factor, levels = trace.factors.get((node, slot), (None, np.zeros(1)))
    if factor is None or (len(levels) == 1 and levels[0]):
        return
    if len(levels) > 2:
        yield "derivative", _without, f"the derivative of {label} is missing"
        yield "derivative", times(factor), f"the derivative of {label} is multiplied twice"
    elif levels[0] == -levels[-1] != 0:
        yield "sign", lambda _, g, __: g * levels[1], f"the sign in the rule of {label} is missing"
    else:
        yield "mask", _without, f"the mask of {label} is missing"


_DIAGONAL: dict[str, Change] = {
    "softmax": lambda _, g, saved: g * saved[1] * (1 - saved[1]),
    "log_softmax": lambda _, g, saved: g * (1 - np.exp(saved[1])),
}


def _unsummed(trace: Trace, node: Node, slot: int) -> Iterator[Row]:
    """A sum along an axis that is taken along another, over one row only, or not at all."""
    label, parent = trace.labels[node], parent_of(node, slot)
    if node.op and node.op.name in _DIAGONAL:
        words = f"the sum in the rule of {label} is missing: only its diagonal is there"
        yield "sum", _DIAGONAL[node.op.name], words
    what = f"the gradient of {trace.labels[parent]}"
    rows = node.shape[0] if len(node.shape) > 1 else 1
    if rows > 1 and (node, slot) not in trace.factors:
        for row in (0, rows - 1):
            yield "sum", _one_row(row), f"{what} is not summed over the rows: row {row} alone"
    if _square(node.shape) and len(node.shape) == 2 and parent.shape != node.shape:
        yield "sum", then(_transpose), f"{what} is summed over the wrong axis"


def _misread(trace: Trace, node: Node, slot: int) -> Iterator[Row]:
    """A rule that reads the transpose of a square matrix, or another array of the same shape."""
    label = trace.labels[node]
    for place, array in enumerate(node.saved or ()):
        if not isinstance(array, np.ndarray) or not array.ndim:
            continue
        own, alike = trace.label_of(array), _alike(trace, array, node)
        if _square(array.shape):
            words = f"{own} stands transposed in the rule of {label}"
            yield "transpose", _reading(place, array, _transpose), words
        for name, value in alike:
            what = "its own result" if own == label else own
            words = f"the rule of {label} reads {name} in place of {what}"
            yield "value", _reading(place, value), words
        op = OPS.get(node.op.name) if node.op else None
        if op is not None and len(op.parameters) == 1 and place == 1:  # what it saves is its result
            for name, value in [(own, array), *alike]:
                words = f"the derivative of {label} is taken at {name} in place of its input"
                yield "value", _reading(place, value, op.forward), words


def _masks(trace: Trace, shape: Shape) -> list[tuple[str, Array]]:
    """The masks of a shape that somebody might apply: of relu, of dropout, signs of values."""
    masks: list[tuple[str, Array]] = []
    for (node, _), (factor, levels) in trace.factors.items():
        if node.shape == shape and len(levels) == 2 and levels[0] == 0:
            name = f"the mask of {trace.labels[node]}"
            masks += [(name, (factor != 0) * 1.0), (f"{name} and its factor", factor * 1.0)]
    for label, value in trace.values:
        if value.shape == shape and value.dtype.kind == "f":
            masks.append((f"the mask {label} > 0", (value > 0) * 1.0))
    different: dict[bytes, tuple[str, Array]] = {}
    for name, mask in masks:
        if mask.any() and not mask.all():
            different.setdefault(mask.tobytes(), (name, mask))
    return list(different.values())


def _alike(trace: Trace, array: Array, node: Node) -> list[tuple[str, Array]]:
    """The other arrays of an array's shape, those met closest to ``node`` first."""
    labels = [label for label, _ in trace.values]
    here = labels.index(trace.labels[node]) if trace.labels[node] in labels else 0
    nearest = sorted(range(len(labels)), key=lambda i: abs(i - here))
    found = [trace.values[i] for i in nearest if trace.values[i][1] is not array]
    return [(n, a) for n, a in found if a.shape == array.shape and a.dtype.kind == "f"][:NEAREST]


def _square(shape: Shape) -> bool:
    return len(shape) >= 2 and shape[-1] == shape[-2] > 1


# Constant factors: 2, ½, −1, the batch size, what dropout keeps, and their inverses

PLAIN = {2.0: "2", 0.5: "½", -1.0: "−1", -2.0: "−2", -0.5: "−½"}

Known = tuple[float, str, Node | None]
"""A number, its words, and the node that it belongs to, if it is one node's."""


def scaling(trace: Trace, node: Node, slot: int | None, number: float) -> Mistake:
    """The gradient of a node, or the part of its input's that comes from it, times a number."""
    what = f"the gradient of {trace.labels[node]}"
    if slot is not None:
        parent = trace.labels[parent_of(node, slot)]
        what = f"the gradient of {parent} that comes from {trace.labels[node]}"
    if abs(number) < 1e-6:
        return Mistake("path", node, slot, times(0.0), f"{what} is missing")
    value, name, cost = _name_factor(number, node, _known_numbers(trace))
    kind, words = "factor", f"{what} is {name} times the true one"
    if value == -1:
        kind, words = "sign", f"{what} has the wrong sign"
    return Mistake(kind, node, slot, times(value), words, cost)


def _known_numbers(trace: Trace) -> list[Known]:
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


def _name_factor(number: float, site: Node, known: list[Known]) -> tuple[float, str, float]:
    """A factor as people would write it: its exact value, its words, and what it costs to believe.

    That is 1 for a number that can be named, a little less for a mask's factor at its own node,
    more for a product of two, most for any other. Of several masks the one nearest to ``site`` is
    meant.
    """

    def hits(table: list[Known]) -> list[Known]:
        near = [hit for hit in table if math.isclose(number, hit[0], rel_tol=1e-6)]
        return sorted(near, key=lambda hit: abs(hit[2].tick - site.tick) if hit[2] else 0)

    def told(value: float, name: str, found: list[Known], cost: float) -> tuple[float, str, float]:
        own = bool(found) and found[0][2] is site
        words = f"{name} ({found[0][1]})" if found else name
        return value, words, cost * (0.999 if own else 1.0)

    found = hits(known)
    for value, name in PLAIN.items():
        if math.isclose(number, value, rel_tol=1e-6):
            # Which other number it happens to be is said of the likely ones.
            return told(value, name, [hit for hit in found if hit[2] or "batch" in hit[1]], 1.0)
    if found:
        return told(found[0][0], f"{found[0][0]:.6g}", found, 1.0)
    others = [*PLAIN.items(), *[(value, words) for value, words, node in known if node]]
    found = hits([(a * b, f"{x} × {y}", n) for a, y, n in known for b, x in others])
    value = found[0][0] if found else number
    return told(value, f"{value:.6g}", found, 1.4 if found else 1.6)


# Shapes


def fit(given: Array, true: Array) -> tuple[Array | None, str, str]:
    """A gradient in the shape of the true one, and what mistake that takes: its kind, its words.

    Of several ways the one that makes it right; None where there is none.
    """
    if given.shape == true.shape:
        return given, "", ""
    facts = f"shape {given.shape}, not {true.shape}"
    ways = list(_ways(given, true, facts))
    if ways:
        return next((way for way in ways if _near(way[0], true, true)), ways[0])
    for axes in _axes(true):
        for what, total in (("sum", true.sum(axes)), ("mean", true.mean(axes))):
            if total.size == given.size and _near(given.reshape(total.shape), total, true):
                return None, "sum", f"has one {what} too many, over {_named(axes)}: {facts}"
    return None, "unknown", f"has {facts}, and nothing tried makes it fit"


def _ways(given: Array, true: Array, facts: str) -> Iterator[tuple[Array, str, str]]:
    shape = true.shape
    for axes in _axes(given):
        kept = kept_shape(given.shape, axes)
        if (shape == kept or shape == given.sum(axes).shape) and kept != given.shape:
            words = f"over {_named(axes)} is missing: {facts}"
            yield given.sum(axes).reshape(shape), "sum", f"a sum {words}"
            yield given.mean(axes).reshape(shape), "sum", f"a mean {words}"
    if given.ndim >= 2 and given.mT.shape == shape:
        yield given.mT, "transpose", f"is transposed: {facts}"
    if given.size == true.size:
        yield given.reshape(shape), "shape", f"has the right numbers in the wrong shape: {facts}"


def _axes(array: Array) -> list[tuple[int, ...]]:
    axes = range(array.ndim)
    return [some for count in axes for some in itertools.combinations(axes, count + 1)]


def _named(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"


def _near(a: Array, b: Array, true: Array) -> bool:
    return bool(np.all(np.abs(a - b) <= 1e-4 * np.max(np.abs(true))))
