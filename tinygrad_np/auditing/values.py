"""Mistakes with values: a rule reads another array than it should, or weights already updated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Changes, Mistake, New, changed, open_, slip, square, swapped, turned
from .trace import Given, Gradients, Observed, Tape, parent_of

NEAREST = 10
"""How many arrays of the right shape are tried in the place of another."""
SMALL = 1e-3
"""An added constant below this is an epsilon, which a derivation may leave out."""
MOVING = frozenset(["getitem", "moveaxis", "ravel", "reshape", "swapaxes", "transpose"])
"""Ops that only move elements about."""
TURNING = frozenset(["moveaxis", "swapaxes", "transpose"])


def mistakes(trace: Tape, given: Given) -> Iterator[Mistake]:
    """Rules that read the wrong array, or weights updated with the gradients ``given``."""
    for node in trace.order:
        if square(node.shape):
            words = f"the gradient of {trace.labels[node]} is transposed"
            yield slip(trace, "transpose", words, (node, None), lambda g, _: swapped(g), "arriving")
        yield from _windows(trace, node)
    for node, slot in trace.rules:
        parent, name = parent_of(node, slot), node.op.name if node.op else ""
        what = f"the gradient of {trace.labels[parent]} that comes from {trace.labels[node]}"
        if square(parent.shape) and len(trace.users[parent]) > 1:
            yield slip(trace, "transpose", f"{what} is transposed", (node, slot), turned, "part")
        if name in TURNING:
            words = f"{what} is reshaped, where it should be transposed back"
            yield slip(trace, "transpose", words, (node, slot), _reshaped, "reshaped")
        yield from _misread(trace, node, slot)
    for name, leaf in trace.leaves.items():
        yield from _of_leaf(trace, name, leaf, given)
    yield from _epsilons(trace)


def _with_saved(saved: tuple[Any, ...]) -> New:
    """The rule with other arrays in place of the saved ones."""
    return lambda g, rule: rule(g, saved)


def _reshaped(g: Any, rule: Any) -> Any:
    return np.reshape(g, rule(g).shape)


# Another array in the forward pass, and what changes in the backward pass


def _elsewhere(
    trace: Tape, others: Mapping[int, Array], ops: frozenset[str] | None = None
) -> Changes:
    """The changes in the backward pass if arrays of f, given by id, have other values.

    The values that ``ops`` compute from them change, too; by default, all ops.
    """
    instead, saved = dict(others), {}
    for user in trace.order[::-1]:
        operands = trace.operands.get(user, ())
        if any(id(operand) in instead for operand in operands):
            there = trace.again(user, *[instead.get(id(o), o) for o in operands])
            if there is None:
                return ()
            saved[user] = there[1]
            if ops is None or (user.op and user.op.name in ops):
                instead[id(trace.outputs[user])] = there[0]
    uses = [use for use in trace.rules if use[0] in saved]
    return tuple([(parent_of(*u), changed(trace, u, _with_saved(saved[u[0]]))) for u in uses])


def _of_leaf(trace: Tape, name: str, leaf: Node, given: Given) -> Iterator[Mistake]:
    """An input is read updated, rotated or as 1; or its gradient is that of another input."""
    users = [use for use in trace.users[leaf] if use[0] in trace.operands]
    if leaf.op is not None or not users:
        return
    use = users[0]
    array = trace.operands[use[0]][use[1]]

    def updated(rate: float) -> Mistake:
        changes = _elsewhere(trace, {id(array): array + rate * given[leaf]}, MOVING)
        words = f"{name} is read after its update with the learning rate {-rate:.6g}, not before it"
        return Mistake("value", words, use, changes)

    if leaf in given:
        yield open_(updated, lambda rate: updated(rate) if -50 < rate < 0 else None)
    for axes in ((0, 1), (-2, -1)):
        if array.ndim > 1 and array.shape[axes[0]] == array.shape[axes[1]] > 1:
            changes = _elsewhere(trace, {id(array): np.flip(array, axes)}, MOVING)
            words = f"{name} is rotated by 180° in the backward pass, or not where it should be"
            yield Mistake("value", words, use, changes, None, 1.1)
    if any(user.op and user.op.name == "multiply" for user, _ in users):
        changes = _elsewhere(trace, {id(array): np.ones(leaf.shape)})
        words = f"{name} is missing: the gradients are those for {name} = 1"
        yield Mistake("derivative", words, use, changes, None, 1.1)
    for other, node in trace.leaves.items():
        if node is not leaf and node in given and node.shape == leaf.shape and given[node].any():
            copied = lambda found, node=node: given[node] - found[leaf]  # noqa: E731
            words = f"the gradient of {name} is that of {other}"
            yield Mistake("value", words, (leaf, None), ((leaf, copied),), None, 1.2)


def _epsilons(trace: Tape) -> Iterator[Mistake]:
    """A small constant, added so that nothing is divided by 0, is left out of the derivative."""
    for node in trace.order:
        slots, operands = trace.slots[node], trace.operands.get(node, ())
        if node.op is None or node.op.name not in ("add", "maximum") or len(slots) != 1:
            continue
        small = [o for p, o in zip(node.parents, operands, strict=True) if p is None]
        if small and not np.ndim(small[0]) and 0 < abs(float(small[0])) <= SMALL:
            words = f"the epsilon {float(small[0]):g} of {trace.labels[node]} is left out"
            before = np.asarray(operands[slots[0][0][1]])
            changes = _elsewhere(trace, {id(trace.outputs[node]): before})
            yield Mistake("value", words, (node, None), changes, "epsilon", 0.95)


def _windows(trace: Tape, node: Node) -> Iterator[Mistake]:
    """Windows of an array that a loop moves by a stride, which the backward pass forgets."""
    whole = np.arange(int(np.prod(node.shape))).reshape(node.shape)
    uses = [use for use in trace.users[node] if use[0].op and use[0].op.name == "getitem"]
    places = [np.asarray(whole[(user.saved or ((),))[-1]]) for user, _ in uses]
    if len(uses) < 2 or any(p.shape != places[0].shape or not p.size for p in places):
        return
    starts = np.array([np.unravel_index(p.flat[0], node.shape) for p in places])
    strides = np.maximum(np.gcd.reduce(starts - starts.min(axis=0), axis=0), 1)
    if strides.max() == 1:
        return
    shift = np.ravel_multi_index((starts - starts // strides).T, node.shape)
    wrong = [p - s for p, s in zip(places, shift, strict=True)]

    def misplaced(found: Gradients) -> Array:
        values = np.concatenate([found[user].ravel() for user, _ in uses])
        wrongly = np.bincount(np.concatenate(wrong, axis=None), values, whole.size)
        right = sum(trace.part(u, found[u[0]]) for u in uses)
        return np.asarray(wrongly.reshape(node.shape) - right)

    words = f"windows of {trace.labels[node]} are {{}} at steps of 1: the stride is missing"
    array = trace.operands[uses[0][0]][0]
    read = {id(trace.outputs[u]): array.flat[w] for (u, _), w in zip(uses, wrong, strict=True)}
    yield Mistake("value", words.format("put"), uses[0], ((node, misplaced),), None, 1.1)
    changes = _elsewhere(trace, read, MOVING)
    yield Mistake("value", words.format("read"), uses[0], changes, None, 1.1)


# One rule that reads another array


def _misread(trace: Tape, node: Node, slot: int) -> Iterator[Mistake]:
    label, squared = trace.labels[node], node.parents[:1] * 2 == node.parents
    if squared and slot:
        return
    for place, array in enumerate(saved := node.saved or ()):
        if not isinstance(array, np.ndarray) or not array.ndim:
            continue
        own, found = trace.label_of(array), list[tuple[str, str, object, Array, float]]()
        if square(array.shape):
            words = f"{own} stands transposed in the rule of {label}"
            found.append(("transpose", words, "turned", swapped(array), 1.0))
        if array.min(initial=1) == 0 < array.max(initial=0):
            words = f"the rule of {label} reads the mask {own} > 0, not {own}"
            found.append(("value", words, "mask", (array > 0) * 1.0, 1.1))
        for value in _alike(trace, array, node, place):
            what = "its own result" if own == label else own
            words = f"the rule of {label} reads {value.label}, not {what}"
            if any(value.array is operand for operand in trace.operands.get(node, ())):
                words = f"the rule of {label} takes its input, {value.label}, for {what}"
            role = _role(trace, node, value)
            found.append(("value", words, role, value.array, 1.0))
            if place == 1 == len(node.parents) and (there := trace.again(node, value.array)):
                words = f"the derivative of {label} is taken at {value.label}, not at its input"
                found.append(("value", words, ("at", role), there[0], 1.2))
        for kind, words, key, other, cost in found:
            if squared:  # b * b reads b in both places
                new = _with_saved((other, other))
                both = [(parent_of(node, s), changed(trace, (node, s), new)) for s in (0, 1)]
                yield Mistake(kind, words, (node, slot), tuple(both), None, cost)
            else:
                new = _with_saved((*saved[:place], other, *saved[place + 1 :]))
                yield slip(trace, kind, words, (node, slot), new, (place, key), cost)


def _role(trace: Tape, node: Node, value: Observed) -> object:
    """The same array seen from any turn of a loop: who computed it, how many turns away."""
    other = value.node
    if other in trace.turn and node in trace.turn:
        return trace.sites[other], trace.turn[other] - trace.turn[node]
    return value.label


def _alike(trace: Tape, array: Array, node: Node, place: int) -> list[Observed]:
    """Other arrays of the same shape: the nearest ones, and that of the last turn of a loop."""
    here = trace.place_of.get(id(trace.outputs.get(node)), 0)
    order = sorted(range(len(trace.values)), key=lambda i: abs(i - here))[: 6 * NEAREST]
    found = [trace.values[i] for i in order]
    fit = [v for v in found if v.array.shape == array.shape and v.array.dtype.kind == "f"]
    near = [value for value in fit if value.array is not array][:NEAREST]
    last = [v for v in _last_turn(trace, node, place) if v.array.shape == array.shape]
    return near + [value for value in last if all(value.array is not v.array for v in near)]


def _last_turn(trace: Tape, node: Node, place: int) -> list[Observed]:
    """What the first turn of a loop reads as h[t - 1]: in Python, the result of the last turn."""
    turns = [n for n in trace.order if n in trace.turn and trace.sites[n] == trace.sites.get(node)]
    if not turns or turns[-1] is not node:
        return []
    read = [n.saved[place] for n in turns[:-1] if n.saved and place < len(n.saved)]
    made = [trace.values[i].node for a in read if (i := trace.place_of.get(id(a))) is not None]
    sites = {trace.sites[n] for n in made if n in trace.turn}
    last = [n for n in trace.order if trace.turn.get(n) == -1 and trace.sites[n] in sites]
    return [Observed(f"{trace.labels[n]} (of the last turn)", trace.outputs[n], n) for n in last]
