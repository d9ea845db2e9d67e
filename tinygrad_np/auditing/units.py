"""Units: elementwise parts of a graph that compute one array from another, such as x ↦ tanh(ax).

A single op of one variable is a unit, and so is a formula of several, such as a sigmoid or a GELU
that somebody has written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import graph
from ..definition import Op
from ..graph import Node
from ..tensor import Array, Tensor
from .mistakes import Mistake, handed_on, instead, nothing
from .trace import Change, Gradients, Trace, Use

LONGEST = 14
"""How many ops a unit has at most."""


class Unit(NamedTuple):
    """An elementwise function of the Tensor ``start`` with the result ``end``.

    ``inside`` holds the nodes that compute it, ``end`` first, ``path`` one way through it, from
    the end to the start, and ``slope`` its derivative.
    """

    trace: Trace
    end: Node
    start: Node
    inside: tuple[Node, ...]
    path: tuple[tuple[Node, int], ...]
    slope: Array

    @property
    def label(self) -> str:
        """What the unit is called."""
        name = self.trace.labels[self.end]
        if len(self.inside) == 1:
            return name
        return f"what is between {self.trace.labels[self.start]} and {name}"

    @property
    def x(self) -> Array | None:
        """The unit's input, where it was met."""
        node = self.inside[-1]
        pairs = zip(node.parents, self.trace.operands[node], strict=False)
        return next((np.asarray(array) for parent, array in pairs if parent is self.start), None)

    @property
    def out(self) -> Array:
        """The unit's result."""
        return self.trace.outputs[self.end]

    def slip(
        self, kind: str, words: str, change: Any, key: Any = None, cost: float = 1.0
    ) -> Mistake:
        """A mistake in the unit's derivative: ``change(g)`` in the place of slope · g."""
        edits: dict[Use, Change] = dict.fromkeys(
            [(node, slot) for node in self.inside for slot, *_ in self.trace.links[node]], nothing
        )
        edits.update(dict.fromkeys(self.path, handed_on))
        edits[self.path[0]] = instead(change)

        def effect(gradients: Gradients) -> tuple[Node, Array]:
            g = gradients[self.end]
            return self.start, change(g) - g * self.slope

        shape = tuple([self.trace.labels[n].partition(" ")[0] for n in self.inside])
        return Mistake(kind, words, self.path[0], edits, (kind, shape, key), cost, effect)

    def at(self, value: Array) -> tuple[Array, Array] | None:
        """The unit's result and its derivative at another value, the constants unchanged."""
        x = Tensor(value, True)
        found: dict[Node, Any] = {self.start: x}
        try:
            with np.errstate(all="ignore"), graph.enable_grad():
                for node in reversed(self.inside):
                    op, operands = node.op, self.trace.operands[node]
                    if not isinstance(op, Op) or op.variadic:
                        return None
                    given = [
                        found.get(parent, operand) if parent is not None else operand
                        for parent, operand in zip(node.parents, operands, strict=True)
                    ]
                    named = dict(zip(op.inputs, given, strict=True))
                    extras = dict(zip(op.extras[::-1], (node.saved or ())[::-1], strict=False))
                    named |= {name: extras[name] for name in op.parameters if name not in named}
                    found[node] = op.function(**named)
                out = found[self.end]
                out.backward(np.ones(out.shape))
        except Exception:  # an op with an argument that the graph has not kept
            return None
        return out.data, np.zeros(x.shape) if x.grad is None else np.asarray(x.grad)


def units(trace: Trace) -> Iterator[Unit]:
    """The units of a graph, each op's by itself first, then formulas of several ops."""
    for end in trace.order:
        if end.op is None:
            continue
        inside: list[Node] = []
        frontier = {end}
        while len(inside) < LONGEST:
            node = max(frontier, key=lambda n: n.tick)
            links = trace.links[node]
            if not links or any((node, slot) not in trace.factors for slot, *_ in links):
                break
            if any(parent.shape != end.shape for _, parent, _ in links):
                break
            if inside and any(user not in inside for user, _ in trace.users[node]):
                break  # what is read elsewhere as well is an array of its own
            inside.append(node)
            frontier = (frontier - {node}) | {parent for _, parent, _ in links}
            if len(frontier) == 1:
                [start] = frontier
                yield Unit(trace, end, start, tuple(inside), *_through(trace, inside, start))


def _through(
    trace: Trace, inside: list[Node], start: Node
) -> tuple[tuple[tuple[Node, int], ...], Array]:
    """A path through a unit, and its derivative."""
    slopes: dict[Node, Array] = {start: np.ones(start.shape)}
    for node in reversed(inside):
        parts = [trace.factors[node, slot] * slopes[p] for slot, p, _ in trace.links[node]]
        slopes[node] = sum(parts[1:], parts[0])
    path, node = [], inside[0]
    while node is not start:
        slot, parent, _ = trace.links[node][0]
        path.append((node, slot))
        node = parent
    return tuple(path), slopes[inside[0]]
