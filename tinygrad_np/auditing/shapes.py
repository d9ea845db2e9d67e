"""Gradients of another shape than their Tensor's: sums too many or too few, wrong products."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from ..graph import Node
from ..shapes import kept_shape
from ..tensor import Array
from .factors import known_numbers, name_factor
from .mistakes import KINDS, Mistake, reading, saved_arrays
from .trace import Gradients, Trace

Way = tuple[Array, Array, str, str]
"""Two arrays that would be the same if a mistake had been made, its kind, its words."""


def explained(
    trace: Trace, target: Node, gradients: Gradients, given: Array, rtol: float
) -> list[tuple[tuple[Mistake, ...], float]]:
    """The mistakes that make a gradient come out as given, and what each costs to believe.

    A constant factor may be left; it is then a mistake of its own.
    """
    found: list[tuple[tuple[Mistake, ...], float]] = []
    least = 1e-6 * float(np.max(np.abs(gradients[target])))
    for ours, theirs, kind, words in _ways(trace, target, gradients, given):
        size = max(float(np.max(np.abs(theirs), initial=0.0)), least)
        made = Mistake(kind, words, (target, None), {})
        cost = 1 + 0.01 * (KINDS.index(kind) if kind in KINDS else 0)
        if np.all(np.abs(ours - theirs) <= max(rtol, 1e-7) * max(size, 1e-300)):
            found.append(((made,), cost))
            continue
        length = float(np.vdot(ours, ours))
        number = float(np.vdot(ours, theirs)) / length if length else 0.0
        near = np.abs(number * ours - theirs) <= max(rtol, 1e-7) * size
        if ours.size > 1 and near.all() and abs(number) > 1e-6:
            found.append(((made, _factor(trace, target, number)), cost + 1.3))
    return sorted(found, key=lambda pair: pair[1])


def _factor(trace: Trace, target: Node, number: float) -> Mistake:
    value, name, _ = name_factor(number, target, known_numbers(trace))
    kind = "sign" if value == -1 else "factor"
    told = "has the wrong sign" if value == -1 else f"is {name} times the true one"
    return Mistake(kind, f"the gradient of {trace.labels[target]} {told}", (target, None), {})


def unexplained(trace: Trace, target: Node, given: Array) -> Mistake:
    """A gradient of a shape that nothing explains."""
    words = f"the gradient of {trace.labels[target]} has shape {given.shape}, not {target.shape}"
    return Mistake("unknown", f"{words}, and nothing tried makes it fit", (target, None), {})


def _ways(trace: Trace, target: Node, gradients: Gradients, given: Array) -> Iterator[Way]:
    true, what = gradients[target], f"the gradient of {trace.labels[target]}"
    facts = f"shape {given.shape}, not {target.shape}"
    for axes in _axes(given):
        kept = kept_shape(given.shape, axes)
        if (true.shape == kept or true.shape == given.sum(axes).shape) and kept != given.shape:
            words = f"{what}: a {{}} over {_named(axes)} is missing: {facts}"
            yield given.sum(axes).reshape(true.shape), true, "sum", words.format("sum")
            yield given.mean(axes).reshape(true.shape), true, "sum", words.format("mean")
    if given.ndim >= 2 and given.mT.shape == true.shape:
        yield given.mT, true, "transpose", f"{what} is transposed: {facts}"
    if given.size == true.size:
        words = f"{what} has the right numbers in the wrong shape: {facts}"
        yield given.reshape(true.shape), true, "shape", words
    for axes in _axes(true):
        for name, total in (("sum", true.sum(axes)), ("mean", true.mean(axes))):
            if total.size == given.size < true.size:
                words = f"{what} has one {name} too many, over {_named(axes)}: {facts}"
                yield total.reshape(given.shape), given, "sum", words
    for row in (0, -1) if true.ndim else ():
        if true[row].shape == given.shape:
            words = f"{what} is its {'last' if row else 'first'} row alone: {facts}"
            yield true[row], given, "sum", words
    for node, slot in trace.users[target]:
        for ours, kind, words in _products(trace, node, slot, gradients[node], given):
            yield ours, given, kind, f"{what}: {words}: {facts}"


def _products(
    trace: Trace, node: Node, slot: int, g: Array, given: Array
) -> Iterator[tuple[Array, str, str]]:
    """What could have been computed from the gradient that arrives at the use of a Tensor."""
    of = f"the gradient of {trace.labels[node]}"
    for axes in _axes(g):
        for name, total in (("sum", g.sum(axes)), ("mean", g.mean(axes))):
            if total.size == given.size:
                words = f"it is the {name} of {of} over {_named(axes)}"
                yield total.reshape(given.shape), "sum", words
    if g.size == given.size:
        yield g.reshape(given.shape), "sum", f"{of} is not summed"
    for row in (0, -1) if g.ndim > 1 else ():
        if g[row].shape == given.shape:
            yield g[row], "sum", f"it is the {'last' if row else 'first'} row of {of} alone"
    for place, array in saved_arrays(node):
        for value in trace.values:
            if value.array is not array and value.array.ndim == array.ndim:
                words = f"the rule of {trace.labels[node]} reads {value.label} in place of "
                try:
                    part = np.asarray(trace.part((node, slot), g, reading(place, value.array)))
                except Exception:  # it does not fit
                    try:
                        rule = reading(place, value.array)
                        links = {s: r for s, _, r in trace.links[node]}
                        part = np.asarray(rule(links[slot], g, node.saved))
                    except Exception:
                        continue
                if part.shape == given.shape:
                    yield part, "value", words + trace.label_of(array)
    for value in trace.values:
        other = value.array
        if other.dtype.kind != "f" or other.ndim != g.ndim:
            continue
        if given.size == 1 and g.ndim < 2 and other.shape == g.shape:
            words = f"an inner product of {of} and {value.label} stands in place of the outer one"
            yield np.asarray(np.vdot(g, other)).reshape(given.shape), "sum", words
        if other.shape == g.shape == given.shape:
            yield g * other, "sum", f"an elementwise product of {of} and {value.label}, not summed"
        if g.ndim == 2:
            for first, second, text in ((g.T, other, "{0}ᵀ @ {1}"), (other.T, g, "{1}ᵀ @ {0}"),
                                        (g, other, "{0} @ {1}"), (other, g, "{1} @ {0}"),
                                        (g, other.T, "{0} @ {1}ᵀ")):  # fmt: skip
                if first.shape[1] == second.shape[0]:
                    product = first @ second
                    if product.shape == given.shape:
                        words = f"it is the product {text.format(f'({of})', value.label)}"
                        yield product, "value", words
        elif g.ndim == 1 and given.shape == (other.size, g.size):
            yield np.outer(other, g), "value", f"the outer product of {value.label} and {of}"


def _axes(array: Array) -> list[tuple[int, ...]]:
    axes = range(array.ndim)
    return [some for count in axes for some in itertools.combinations(axes, count + 1)]


def _named(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"
