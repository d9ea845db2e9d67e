"""What people get wrong when they derive by hand: mistakes to try at every node of a graph.

Each generator yields the mistakes of one kind that could be made at one node. Constant factors,
signs and lost paths are not here: ``search`` solves for them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..graph import Node, Rule
from ..op import OPS
from ..tensor import Array
from .trace import Mistake, Trace, rules_of

NEAREST = 24
"""How many arrays of the right shape are tried in the place of another."""


def hypotheses(trace: Trace, node: Node) -> list[Mistake]:
    """All mistakes to try at ``node``."""
    kinds = (_transposed, _unmasked, _masked, _unsummed, _misplaced, _forgotten)
    return [mistake for kind in kinds for mistake in kind(trace, node)]


def _slots(node: Node) -> list[int]:
    return [slot for slot, parent in enumerate(node.parents) if parent is not None]


def _transposed(trace: Trace, node: Node) -> Iterator[Mistake]:
    """The gradient of a square matrix, or a square matrix in a rule, transposed."""
    label = trace.labels[node]
    if _square(node.shape):
        words = f"the gradient of {label} is transposed"
        yield Mistake("transpose", node, None, lambda g: np.swapaxes(g, -1, -2), words)
    for place, array in enumerate(node.saved or ()):
        if isinstance(array, np.ndarray) and _square(array.shape):
            for slot in _slots(node):
                words = f"{trace.label_of(array)} stands transposed in the rule of {label}"
                yield Mistake("transpose", node, slot, _reading(place, array.mT), words)


def _square(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 2 and shape[-1] == shape[-2] > 1


def _unmasked(trace: Trace, node: Node) -> Iterator[Mistake]:
    """A rule that multiplies elementwise does so not at all, or twice."""
    label = trace.labels[node]
    for slot in _slots(node):
        factor = trace.factor(node, slot)
        if factor is None:
            continue
        levels = np.unique(factor)
        if len(levels) == 1 and levels[0] != 0:
            continue
        if len(levels) == 2 and levels[0] == -levels[1]:
            words = f"the sign in the rule of {label} is missing"
            yield Mistake("sign", node, slot, _replaced_by(levels[1]), words)
        elif len(levels) <= 2:
            words = f"the mask of {label} is missing"
            yield Mistake("mask", node, slot, _replaced_by(1.0), words)
            scale = levels[-1] if levels[-1] not in (0, 1) else levels[0]
            if scale not in (0, 1):
                words = f"the mask of {label} is missing, only its factor {scale:.6g} is there"
                yield Mistake("mask", node, slot, _replaced_by(scale), words)
        else:
            words = f"the derivative of {label} is missing"
            yield Mistake("derivative", node, slot, _replaced_by(1.0), words)
            words = f"the derivative of {label} is multiplied twice"
            yield Mistake("derivative", node, slot, _also(factor), words)


def _masked(trace: Trace, node: Node) -> Iterator[Mistake]:
    """A mask from somewhere else, of the same shape, on the gradient that arrives at a node."""
    label = trace.labels[node]
    for name, mask in trace.masks(node.shape):
        words = f"the gradient of {label} is multiplied by {name}"
        yield Mistake("mask", node, None, functools.partial(np.multiply, mask), words)


_DIAGONAL: dict[str, Callable[[Any, Any], Any]] = {
    "softmax": lambda g, out: g * out * (1 - out),
    "log_softmax": lambda g, out: g * (1 - np.exp(out)),
}


def _unsummed(trace: Trace, node: Node) -> Iterator[Mistake]:
    """A sum along an axis that is taken along another, over one row only, or not at all."""
    label = trace.labels[node]
    if node.op and node.op.name in _DIAGONAL:
        diagonal = _DIAGONAL[node.op.name]
        words = f"the sum in the rule of {label} is missing: only its diagonal is there"
        yield Mistake("sum", node, 0, lambda rule: lambda g, s: diagonal(g, s[1]), words)
    rows = node.shape[0] if len(node.shape) > 1 else 1
    for slot in _slots(node):
        name = trace.labels[_parent(node, slot)]
        if rows > 1 and trace.factor(node, slot) is None:
            for row in (0, rows - 1):
                words = f"the gradient of {name} is not summed over the rows: row {row} alone"
                yield Mistake("sum", node, slot, _one_row(row), words, 1.05)
        if _square(node.shape) and len(node.shape) == 2 and _parent(node, slot).shape != node.shape:
            words = f"the gradient of {name} is summed over the wrong axis"
            yield Mistake("sum", node, slot, _other_axis, words)


def _misplaced(trace: Trace, node: Node) -> Iterator[Mistake]:
    """A rule that reads another array of the same shape in the place of the right one."""
    label = trace.labels[node]
    for slot in _slots(node):
        for place, array in enumerate(node.saved or ()):
            if not isinstance(array, np.ndarray) or not array.ndim:
                continue
            if not _reads(rules_of(node)[slot], node, place, array):
                continue
            own, alike = trace.label_of(array), trace.alike(array, node, NEAREST)
            for name, value in alike:
                instead = "its own result" if own == label else own
                words = f"the rule of {label} reads {name} in place of {instead}"
                yield Mistake("value", node, slot, _reading(place, value), words)
            forward = _unary(node, place)
            if forward is None:
                continue
            for name, value in [(own, array), *alike]:
                words = f"the derivative of {label} is taken at {name} in place of its input"
                with np.errstate(all="ignore"):
                    result = forward(value)
                yield Mistake("value", node, slot, _reading(place, result), words)


def _forgotten(trace: Trace, node: Node) -> Iterator[Mistake]:
    """One use of a Tensor that has several."""
    for slot in _slots(node):
        parent = _parent(node, slot)
        if len(trace.users[parent]) > 1:
            words = f"the gradient of {trace.labels[parent]} that comes from {trace.labels[node]}"
            yield Mistake("path", node, slot, _also(0.0), f"{words} is missing")


def _unary(node: Node, place: int) -> Callable[[Array], Array] | None:
    """The forward function of an op of one argument, if ``place`` is where its result is saved."""
    op = OPS.get(node.op.name) if node.op else None
    return op.forward if op is not None and len(op.parameters) == 1 and place == 1 else None


def _reads(rule: Rule, node: Node, place: int, array: Array) -> bool:
    """Whether what a rule gives depends on one of the saved arrays."""
    g = np.cos(np.arange(1.0, 1 + math.prod(node.shape))).reshape(node.shape)
    with np.errstate(all="ignore"):
        plain = rule(g, node.saved)
        try:
            other = _reading(place, np.flip(array) + 1)(rule)(g, node.saved)
        except Exception:  # it does read it, and had other plans for it
            return True
    return not np.array_equal(plain, other)


# Rules from rules


def _reading(place: int, value: Array) -> Callable[[Rule], Rule]:
    """The rule with another array among what was saved for it."""

    def change(rule: Rule) -> Rule:
        return lambda g, saved: rule(g, (*saved[:place], value, *saved[place + 1 :]))

    return change


def _replaced_by(number: float) -> Callable[[Rule], Rule]:
    return lambda rule: lambda g, saved: g * number


def _also(factor: Array | float) -> Callable[[Rule], Rule]:
    return lambda rule: lambda g, saved: rule(g, saved) * factor


def _one_row(row: int) -> Callable[[Rule], Rule]:
    def change(rule: Rule) -> Rule:
        def of_row(g: Any, saved: Any) -> Any:
            alone = np.zeros_like(g)
            alone[row] = g[row]
            return rule(alone, saved)

        return of_row

    return change


def _other_axis(rule: Rule) -> Rule:
    return lambda g, saved: rule(g, saved).mT


def _parent(node: Node, slot: int) -> Node:
    parent = node.parents[slot]
    assert parent is not None
    return parent
