"""Mistakes with values: a rule reads an array transposed, another one, weights already updated."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import (
    Changes,
    Mistake,
    changed,
    open_,
    reading,
    saved_arrays,
    slip,
    square,
    swapped,
    with_saved,
)
from .trace import BackwardTrace, Observed, Use, parent_of

NEAREST = 10
"""How many arrays of the right shape are tried in the place of another."""
SMALL = 1e-3
"""A constant below this that is added is an epsilon, which a derivation may leave out."""


def mistakes(trace: BackwardTrace, given: Mapping[Node, Array]) -> Iterator[Mistake]:
    """Rules that read the wrong array, or weights updated with the gradients ``given``."""
    for node in trace.order:
        if square(node.shape):
            words = f"the gradient of {trace.labels[node]} is transposed"
            yield slip(trace, "transpose", words, (node, None), lambda g, _: swapped(g), "arriving")
    for node, slot in trace.rules:
        parent = parent_of(node, slot)
        what = f"the gradient of {trace.labels[parent]} that comes from {trace.labels[node]}"
        if square(parent.shape) and len(trace.users[parent]) > 1:
            turned = lambda g, rule: swapped(rule(g))  # noqa: E731
            yield slip(trace, "transpose", f"{what} is transposed", (node, slot), turned, "part")
        for axis, step in itertools.product(range(len(parent.shape)), (1, -1)):
            if node.op and node.op.name in ("getitem", "padded"):
                words = f"{what} is put one place {'after' if step > 0 else 'before'} its own"
                new = partial(_moved, axis=axis, step=step)
                yield slip(trace, "value", words, (node, slot), new, ("moved", axis, step), 1.1)
        yield from _misread(trace, node, slot)
        yield from _updated(trace, node, slot, given)
    yield from _epsilons(trace)
    yield from _left_out(trace)


def _moved(g: Any, rule: Any, axis: int, step: int) -> Any:
    return np.roll(rule(g), step, axis)


# Derivations of another f: a gain is 1, or an epsilon 0


def _left_out(trace: BackwardTrace) -> Iterator[Mistake]:
    """A weight that multiplies, as a gain does, is left out: all is derived for the weight 1."""
    for name, leaf in trace.leaves.items():
        for user, slot in trace.users[leaf]:
            if user.op is None or user.op.name != "multiply" or user not in trace.operands:
                continue
            array = trace.operands[user][slot]
            words = f"{name} is missing: the gradients are those for {name} = 1"
            changes = _elsewhere(trace, array, np.ones(leaf.shape))
            yield Mistake("derivative", words, (leaf, None), changes, None, 1.1)


def _epsilons(trace: BackwardTrace) -> Iterator[Mistake]:
    """A small constant, added so that nothing is divided by 0, is left out of the derivative."""
    for node in trace.order:
        slots, operands = trace.slots(node), trace.operands.get(node, ())
        if node.op is None or node.op.name not in ("add", "maximum") or len(slots) != 1:
            continue
        small = [o for p, o in zip(node.parents, operands, strict=True) if p is None]
        if small and not np.ndim(small[0]) and 0 < abs(float(small[0])) <= SMALL:
            words = f"the epsilon {float(small[0]):g} of {trace.labels[node]} is left out"
            before = np.asarray(operands[slots[0][0][1]])
            changes = _elsewhere(trace, trace.outputs[node], before)
            yield Mistake("value", words, (node, None), changes, "epsilon", 0.95)


def _elsewhere(trace: BackwardTrace, array: Array, value: Array) -> Changes:
    """What changes in the backward pass where an array of f has another value."""
    instead, saved = {id(array): value}, {}
    for user in trace.order[::-1]:
        operands = trace.operands.get(user, ())
        if any(id(operand) in instead for operand in operands):
            there = trace.again(user, *[instead.get(id(o), o) for o in operands])
            if there is None:
                return ()
            instead[id(trace.outputs[user])], saved[user] = there
    return tuple(
        [
            (parent_of(*use), changed(trace, use, with_saved(saved[use[0]])))
            for use in trace.rules
            if use[0] in saved
        ]
    )


def _misread(trace: BackwardTrace, node: Node, slot: int) -> Iterator[Mistake]:
    label = trace.labels[node]
    for place, array in saved_arrays(node):
        own, found = trace.label_of(array), list[tuple[str, str, object, Array, float]]()
        if square(array.shape):
            words = f"{own} stands transposed in the rule of {label}"
            found.append(("transpose", words, "turned", swapped(array), 1.0))
            words = f"{own} is rotated by 180° in the rule of {label}, or not where it should be"
            found.append(("value", words, "180°", np.flip(array, (-1, -2)), 1.1))
        for value in _alike(trace, array, node):
            what = "its own result" if own == label else own
            words = f"the rule of {label} reads {value.label}, not {what}"
            role = _role(trace, node, value)
            found.append(("value", words, role, value.array, 1.0))
            if place == 1 == len(node.parents) and (there := trace.again(node, value.array)):
                words = f"the derivative of {label} is taken at {value.label}, not at its input"
                found.append(("value", words, ("at", role), there[0], 1.15))
        for kind, words, key, other, cost in found:
            new = with_saved(reading(node, place, other))
            yield slip(trace, kind, words, (node, slot), new, (place, key), cost)


def _role(trace: BackwardTrace, node: Node, value: Observed) -> object:
    """The same array seen from any turn of a loop: who computed it, how many turns away."""
    other = value.node
    if other in trace.turn and node in trace.turn:
        return trace.sites[other], trace.turn[other] - trace.turn[node]
    return value.label


def _alike(trace: BackwardTrace, array: Array, node: Node) -> list[Observed]:
    """The other arrays of an array's shape that were met near by."""
    here = trace.place_of.get(id(trace.outputs.get(node)), 0)
    order = sorted(range(len(trace.values)), key=lambda i: abs(i - here))[: 6 * NEAREST]
    found = [trace.values[i] for i in order if trace.values[i].array is not array]
    fit = [v for v in found if v.array.shape == array.shape and v.array.dtype.kind == "f"]
    return fit[:NEAREST]


def _updated(
    trace: BackwardTrace, node: Node, slot: int, given: Mapping[Node, Array]
) -> Iterator[Mistake]:
    """A rule reads a weight after its update, by a learning rate that is to be found."""
    operands = trace.operands.get(node, ())
    for place, array in saved_arrays(node):
        for leaf, operand in zip(node.parents, operands, strict=False):
            if leaf and operand is array and leaf in given and leaf in trace.leaves.values():
                made = partial(_after_update, trace, (node, slot), place, leaf, given[leaf])
                yield open_(made, partial(_likely, made))


def _likely(made: Callable[[float], Mistake], rate: float) -> Mistake | None:
    return made(rate) if -50 < rate < 0 else None


def _after_update(
    trace: BackwardTrace, use: Use, place: int, leaf: Node, gradient: Array, rate: float
) -> Mistake:
    node = use[0]
    saved = reading(node, place, (node.saved or ())[place] + rate * gradient)
    words = f"the rule of {trace.labels[node]} reads {trace.labels[leaf]} after its update "
    words += f"with the learning rate {-rate:.6g}, not before it"
    return slip(trace, "value", words, use, with_saved(saved), ("updated", rate))
