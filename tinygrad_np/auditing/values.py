"""Mistakes with values: a rule reads an array transposed, another one, weights already updated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import (
    Mistake,
    changed,
    handed_on,
    open_,
    reading,
    saved_arrays,
    slip,
    square,
    swapped,
    with_saved,
)
from .trace import Trace, Use, Value, parent_of

NEAREST = 10
"""How many arrays of the right shape are tried in the place of another."""
SMALL = 1e-3
"""A constant below this that is added is an epsilon, which a derivation may leave out."""


def mistakes(trace: Trace, given: Mapping[Node, Array]) -> Iterator[Mistake]:
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
        if node.op and node.op.name in ("transpose", "swapaxes") and parent.shape == node.shape:
            words = f"{what} is not transposed back"
            yield slip(trace, "transpose", words, (node, slot), handed_on, "back")
        yield from _misread(trace, node, slot)
        yield from _updated(trace, node, slot, given)
    yield from _epsilons(trace)
    yield from _left_out(trace, given)


def _left_out(trace: Trace, given: Mapping[Node, Array]) -> Iterator[Mistake]:
    """A weight that multiplies, as a gain does, is left out: all is derived for the weight 1."""
    for name, leaf in trace.leaves.items():
        if any(user.op and user.op.name == "multiply" for user, _ in trace.users[leaf]):
            other = trace.with_inputs({name: np.ones(leaf.shape)})
            nodes = [n for n in given if n is not leaf and n in other]
            effects = [(n, lambda found, n=n, other=other: other[n] - found[n]) for n in nodes]
            words = f"{name} is missing: the gradients are those for {name} = 1"
            if effects:
                yield Mistake("derivative", words, (leaf, None), tuple(effects), None, 1.1)


def _misread(trace: Trace, node: Node, slot: int) -> Iterator[Mistake]:
    label, use = trace.labels[node], (node, slot)
    for place, array in saved_arrays(node):
        own = trace.label_of(array)

        def reads(
            kind: str, words: str, key: object, other: Array, place: int = place, cost: float = 1.0
        ) -> Mistake:
            saved = reading(node, place, other)
            return slip(trace, kind, words, use, with_saved(saved), key, cost)

        if square(array.shape):
            words = f"{own} stands transposed in the rule of {label}"
            yield reads("transpose", words, ("turned", place), swapped(array))
            words = f"{own} is rotated by 180° in the rule of {label}, or not where it should be"
            yield reads("value", words, "180°", np.flip(array, (-1, -2)), cost=1.1)
        for value in _alike(trace, array, node, place):
            what = "its own result" if own == label else own
            words = f"the rule of {label} reads {value.label} in place of {what}"
            yield reads("value", words, ("reads", place, _role(trace, node, value)), value.array)


def _role(trace: Trace, node: Node, value: Value) -> object:
    """The same array seen from any turn of a loop: who computed it, how many turns away."""
    other = value.node
    if other in trace.turn and node in trace.turn:
        return trace.sites[other], trace.turn[other] - trace.turn[node]
    return value.label


def _alike(trace: Trace, array: Array, node: Node, place: int) -> list[Value]:
    """The other arrays of an array's shape: the same of other turns, then those met near by."""
    here = trace.place_of.get(id(trace.outputs.get(node)), 0)
    order = sorted(range(len(trace.values)), key=lambda i: abs(i - here))[: 6 * NEAREST]
    found = [trace.values[i] for i in order if trace.values[i].array is not array]
    fit = [v for v in found if v.array.shape == array.shape and v.array.dtype.kind == "f"]
    if node not in trace.turn:
        return fit[:NEAREST]
    count = NEAREST // 2 if trace.is_long else NEAREST
    state, turn = _state(trace, node, place), trace.turn[node]
    near = [v for v in fit if v.node is not None and trace.sites.get(v.node) == state]
    near = [v for v in near if v.node in trace.turn and abs(trace.turn[v.node] - turn) < 2]
    return near + [v for v in fit[:count] if all(v is not other for other in near)]


def _state(trace: Trace, node: Node, place: int) -> object:
    """Which call in the source computes what a node in a loop reads; it may begin as a constant."""
    for other in reversed(trace.turn):
        if trace.sites[other] == trace.sites[node] and other.saved and trace.slots(other):
            at = trace.place_of.get(id(other.saved[place]))
            source = None if at is None else trace.values[at].node
            return trace.sites.get(source) if source else None
    return None


def _updated(trace: Trace, node: Node, slot: int, given: Mapping[Node, Array]) -> Iterator[Mistake]:
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
    trace: Trace, use: Use, place: int, leaf: Node, gradient: Array, rate: float
) -> Mistake:
    node = use[0]
    saved = reading(node, place, (node.saved or ())[place] + rate * gradient)
    words = f"the rule of {trace.labels[node]} reads {trace.labels[leaf]} after its update "
    words += f"with the learning rate {-rate:.6g}, not before it"
    return slip(trace, "value", words, use, with_saved(saved), ("updated", rate))


def _epsilons(trace: Trace) -> Iterator[Mistake]:
    """A small constant, added so that nothing is divided by 0, is left out of the derivative."""
    for node in trace.order:
        slots = trace.slots(node)
        if node.op is None or node.op.name not in ("add", "maximum") or len(slots) != 1:
            continue
        [((_, slot), _)] = slots
        operands = trace.operands[node]
        small = [o for p, o in zip(node.parents, operands, strict=True) if p is None]
        if not small or np.ndim(small[0]) or not 0 < abs(float(small[0])) <= SMALL:
            continue
        instead = {id(trace.outputs[node]): np.asarray(operands[slot])}
        edges = []
        for user, at in sorted(trace.users[node], key=lambda use: use[0].tick):
            if there := trace.again(user, *[instead.get(id(o), o) for o in trace.operands[user]]):
                instead[id(trace.outputs[user])] = there[0]
            edges += [(user, at), *trace.users[user]]
        read = {n: tuple([instead.get(id(s), s) for s in n.saved or ()]) for n, _ in edges}
        changes = [
            (parent_of(n, i), changed(trace, (n, i), with_saved(read[n])))
            for n, i in dict.fromkeys(edges)
        ]
        words = f"the epsilon {float(small[0]):g} of {trace.labels[node]} is left out"
        yield Mistake("value", words, edges[0], tuple(changes), "epsilon", 0.95)
