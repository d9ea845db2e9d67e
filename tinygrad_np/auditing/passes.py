"""Backward passes with mistakes in them, and tangents.

A backward pass with a mistake in it gives the gradients of somebody who makes that mistake. A
tangent says how a target's gradient depends on the gradient of any node, so that one multiplication
tells what a mistake there does to the target.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from .. import graph
from ..graph import Node
from ..tensor import Array, Tensor
from .mistakes import Mistake
from .trace import Gradients, Tape, fitted


def run(trace: Tape, mistakes: Iterable[Mistake] = ()) -> Gradients:
    """The gradient of every node, with mistakes. Errors in a wrong rule propagate."""
    changed, rules = _by_node(mistakes), trace.rules
    found = {node: np.zeros(node.shape) for node in trace.targets.values()}
    found[trace.root] = np.ones(trace.root.shape)
    with np.errstate(all="ignore"):
        for node in trace.order:
            for effect in changed[node]:
                found[node] = found[node] + effect(found)
            g, saved = found[node], node.saved or ()
            for use, parent in trace.slots[node]:
                part = rules[use](g, saved)
                part = part if part.shape == parent.shape else fitted(part, parent.shape)
                found[parent] = found[parent] + part if parent in found else part
    return found


def tangent(
    trace: Tape, target: Node, direction: Array, mistakes: Iterable[Mistake] = ()
) -> Gradients:
    """For each node the array T with ⟨T, change of its gradient⟩ = ⟨direction, target's⟩."""
    changed = _by_node(mistakes)
    found: Gradients = {target: direction}
    for node in reversed(trace.order):
        for use, parent in trace.slots[node] if node is not target else ():
            if parent in found:
                part = trace.factors.get(use)
                if part is not None:
                    part = part * found[parent]
                else:
                    effect = lambda found, use=use: trace.part(use, found[use[0]])  # noqa: E731
                    part = transposed(effect, found[parent]).get(node, np.zeros(node.shape))
                _add(found, node, part)
        for change in changed[node][::-1] if node in found else ():
            for other, part in transposed(change, found[node]).items():
                _add(found, other, part)
    return found


class _Read(dict[Node, Tensor]):
    """Gradients as Tensors, created on first read."""

    def __missing__(self, node: Node) -> Tensor:
        self[node] = Tensor(np.ones(node.shape), True)
        return self[node]


def transposed(effect: Callable[[Any], Any], tangent: Array) -> Gradients:
    """The transpose of an effect, which is linear in the gradients that it reads."""
    read = _Read()
    with suppress(Exception):  # what is none of our ops, such as a checkpoint's rule
        out = effect(read) + 0.0  # a node of its own
        seeds = {out.node: np.broadcast_to(tangent, out.shape)}
        found = graph.backward(seeds, [t.node for t in read.values() if t.node], retain=True)
        return {node: found[t.node] for node, t in read.items() if t.node in found}
    return {}


def _add(found: Gradients, node: Node, part: Array) -> None:
    found[node] = found[node] + part if node in found else part


def _by_node(mistakes: Iterable[Mistake]) -> dict[Node, list[Callable[[Gradients], Array]]]:
    """What mistakes add to the gradients of the nodes."""
    changed: dict[Node, list[Any]] = defaultdict(list)
    for mistake in mistakes:
        for node, effect in mistake.changes:
            changed[node].append(effect)
    return changed
