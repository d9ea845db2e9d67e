"""Mistakes with values: a rule reads an array transposed, another one, weights already updated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..definition import OPS, Op
from ..graph import Node
from ..tensor import Array
from .mistakes import (
    Mistake,
    Open,
    Slip,
    handed_on,
    reading,
    replaced_by,
    saved_arrays,
    slip,
    square,
    then,
    transposed,
)
from .trace import Change, Trace, Use, Value, parent_of

NEAREST = 10
"""How many arrays of the right shape are tried in the place of another."""


def mistakes(trace: Trace, given: Mapping[Node, Array]) -> Iterator[Slip]:
    """Rules that read the wrong array, or weights updated with the gradients ``given``."""
    for node in trace.order:
        if square(node.shape):
            words = f"the gradient of {trace.labels[node]} is transposed"
            turned = then(lambda g: np.swapaxes(g, -1, -2))
            yield slip("transpose", words, (node, None), turned, "arriving")
    for node, slot in trace.uses:
        yield from _moved(trace, node, slot)
        yield from _misread(trace, node, slot)
        yield from _updated(trace, node, slot, given)
    yield from _crossed(trace)
    yield from _left_out(trace, given)


def _left_out(trace: Trace, given: Mapping[Node, Array]) -> Iterator[Slip]:
    """A weight that multiplies, as a gain does, is left out: all is derived for the weight 1."""
    for name, leaf in trace.leaves.items():
        if not any(user.op and user.op.name == "multiply" for user, _ in trace.users[leaf]):
            continue
        other = trace.again({name: np.ones(leaf.shape)})
        found = {n: other[n] for n in given if n is not leaf and n in other}
        edits: dict[Use, Change] = {(n, None): replaced_by(value) for n, value in found.items()}
        if edits:
            words = f"{name} is missing: the gradients are those for {name} = 1"
            yield Mistake("derivative", words, next(iter(edits)), edits, None, 1.1)


def _moved(trace: Trace, node: Node, slot: int) -> Iterator[Slip]:
    """What a rule gives, transposed, or put one place further."""
    parent, use, name = parent_of(node, slot), (node, slot), node.op.name if node.op else ""
    what = f"the gradient of {trace.labels[parent]} that comes from {trace.labels[node]}"
    if use not in trace.factors and square(parent.shape) and len(trace.users[parent]) > 1:
        yield slip("transpose", f"{what} is transposed", use, transposed, "part")
    if name in ("transpose", "swapaxes") and parent.shape == node.shape:
        yield slip("transpose", f"{what} is not transposed back", use, handed_on, "back")
    if name in ("getitem", "padded"):
        for axis in range(len(parent.shape)):
            for step in (1, -1):
                words = f"{what} is put one place {'after' if step > 0 else 'before'} its own"
                moved = then(partial(np.roll, shift=step, axis=axis))
                yield slip("value", words, use, moved, ("moved", axis, step), 1.1)


def _misread(trace: Trace, node: Node, slot: int) -> Iterator[Slip]:
    label, use = trace.labels[node], (node, slot)
    op = OPS.get(node.op.name) if node.op else None
    unary = isinstance(op, Op) and len(op.parameters) == 1
    for place, array in saved_arrays(node):
        own = trace.label_of(array)
        if square(array.shape):
            words = f"{own} stands transposed in the rule of {label}"
            turned = np.swapaxes(array, -1, -2)
            yield slip("transpose", words, use, reading(place, turned), ("turned", place))
            words = f"{own} is rotated by 180° in the rule of {label}, or not where it should be"
            yield slip("value", words, use, reading(place, np.flip(array, (-1, -2))), "180°", 1.1)
        for value in _alike(trace, array, node, place):
            what = "its own result" if own == label else own
            words = f"the rule of {label} reads {value.label} in place of {what}"
            key = ("reads", place, _role(trace, node, value))
            yield slip("value", words, use, reading(place, value.array), key)
            if op is not None and unary and place == 1:  # what it saves is its result
                words = f"the derivative of {label} is taken at {value.label} in place of its input"
                yield slip("value", words, use, _applied(op, place, value.array), ("at", key), 1.15)


def _applied(op: Op, place: int, array: Array) -> Change:
    """The rule that reads what the op would give for another array."""

    def change(rule: Any, g: Any, saved: Any) -> Any:
        return reading(place, op.forward(array))(rule, g, saved)

    return change


def _role(trace: Trace, node: Node, value: Value) -> object:
    """The same array seen from any turn of a loop: who computed it, how many turns away."""
    other = value.node
    if other in trace.turn and node in trace.turn:
        return trace.sites[other], trace.turn[other] - trace.turn[node]
    return value.label


def _alike(trace: Trace, array: Array, node: Node, place: int) -> list[Value]:
    """The other arrays of an array's shape: the same of other turns, then those met near by."""
    here = trace.value_at.get(id(trace.outputs.get(node)), 0)
    order = sorted(range(len(trace.values)), key=lambda i: abs(i - here))[: 6 * NEAREST]
    found = [trace.values[i] for i in order if trace.values[i].array is not array]
    fit = [v for v in found if v.array.shape == array.shape and v.array.dtype.kind == "f"]
    if node not in trace.turn:
        return fit[:NEAREST]
    count = NEAREST // 2 if trace.is_long else NEAREST
    state, turn = _state(trace, node, place), trace.turn[node]
    near = [v for v in fit if v.node is not None and trace.sites.get(v.node) == state]
    near = [v for v in near if v.node in trace.turn and abs(trace.turn[v.node] - turn) < 2]
    known = {id(v.array) for v in near}
    return near + [v for v in fit[:count] if id(v.array) not in known]


def _state(trace: Trace, node: Node, place: int) -> object:
    """Which call in the source computes what a node in a loop reads; it may begin as a constant."""
    for other in reversed(trace.turn):
        if trace.sites[other] == trace.sites[node] and other.saved and other in trace.links:
            at = trace.value_at.get(id(other.saved[place]))
            source = None if at is None else trace.values[at].node
            return trace.sites.get(source) if source else None
    return None


# Weights that are updated too early


def _updated(trace: Trace, node: Node, slot: int, given: Mapping[Node, Array]) -> Iterator[Open]:
    for place, array in saved_arrays(node):
        for name, leaf in trace.leaves.items():
            change = given.get(leaf)
            if change is None or array is not _leaf_array(trace, leaf):
                continue

            def made(rate: float, place: int = place, name: str = name, **_: Any) -> Mistake:
                return _with_rate(trace, [(node, slot, place)], given, name, rate)

            def solved(number: float, made: Any = made) -> Mistake | None:
                return made(number) if -50 < number < 0 else None

            yield Open(made(1.0), solved)


def _with_rate(
    trace: Trace,
    places: list[tuple[Node, int, int]],
    given: Mapping[Node, Array],
    name: str,
    rate: float,
) -> Mistake:
    edits: dict[Use, Change] = {}
    for node, slot, place in places:
        assert node.saved is not None
        array = node.saved[place]
        leaf = next(n for n in trace.leaves.values() if _leaf_array(trace, n) is array)
        edits[node, slot] = reading(place, array + rate * given[leaf])
    node, slot, _ = places[0]
    words = f"the rule of {trace.labels[node]} reads {name} after its update with the learning "
    words += f"rate {-rate:.6g}, not before it"
    return Mistake("value", words, (node, slot), edits, ("updated", rate))


def _leaf_array(trace: Trace, leaf: Node) -> Array | None:
    for node, slot in trace.users[leaf][:1]:
        operands = trace.operands.get(node, ())
        return operands[slot] if slot < len(operands) else None
    return None


# Numbers too small to matter, which a derivation leaves out

SMALL = 1e-3


def _crossed(trace: Trace) -> Iterator[Slip]:
    """A small constant, added so that nothing is divided by 0, is left out of the derivative."""
    for node in trace.order:
        if node.op is None or node.op.name not in ("add", "maximum") or len(trace.links[node]) != 1:
            continue
        [(slot, *_)] = trace.links[node]
        operands = trace.operands[node]
        small = [o for p, o in zip(node.parents, operands, strict=True) if p is None]
        before = np.asarray(operands[slot])
        if not small or np.ndim(small[0]) or not 0 < abs(float(small[0])) <= SMALL:
            continue
        edits: dict[Use, Change] = {}
        replaced = {id(trace.outputs[node]): before}
        for user, at in sorted(trace.users[node], key=lambda use: use[0].tick):
            op = user.op
            if isinstance(op, Op) and len(op.parameters) == 1:
                with np.errstate(all="ignore"):
                    replaced[id(trace.outputs[user])] = np.asarray(op.forward(before))
                for further in trace.users[user]:
                    edits[further] = _instead_of(replaced)
            edits[user, at] = _instead_of(replaced)
        if edits:
            words = f"the epsilon {float(small[0]):g} of {trace.labels[node]} is left out"
            yield Mistake("value", words, next(iter(edits)), edits, "epsilon", 0.95)


def _instead_of(replaced: Mapping[int, Array]) -> Change:
    """The rule with some arrays replaced, wherever it reads them."""
    return lambda rule, g, saved: rule(g, tuple([replaced.get(id(s), s) for s in saved]))
