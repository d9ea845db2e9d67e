"""Units: parts of a graph that compute one array from another of its shape, such as x ↦ tanh(ax).

A single op of one variable is a unit, and so is a formula of several ops, such as a sigmoid, a GELU
or a softmax that somebody has written out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Mistake
from .trace import Tape

LONGEST = 14
"""How many ops a unit has at most."""
LARGE = 4096
"""The largest unit whose Jacobian's diagonal is computed element by element."""


@dataclass(frozen=True, eq=False)
class Unit:
    """A function of the node ``start`` with the result ``end``; ``inside``: its ops, end first."""

    trace: Tape
    end: Node
    start: Node
    inside: tuple[Node, ...]

    @property
    def single(self) -> bool:
        """Whether it is one op."""
        return len(self.inside) == 1

    @property
    def label(self) -> str:
        """What the unit is called."""
        start, end = self.trace.labels[self.start], self.trace.labels[self.end]
        return end if self.single else f"the part from {start} to {end}"

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

    @cached_property
    def is_elementwise(self) -> bool:
        """Whether each element of the result depends on one element of the input."""
        return all(u in self.trace.factors for n in self.inside for u, _ in self.trace.slots[n])

    def pull(self, g: Any, saved: Any = None) -> Array:
        """The gradient of the start, from that of the end (if single, with other arrays saved)."""
        found, trace = {self.end: g}, self.trace
        for node in self.inside:
            for use, parent in trace.slots[node]:
                part = trace.part(use, found[node]) if saved is None else trace.rules[use](g, saved)
                found[parent] = found.get(parent, 0) + part
        return np.asarray(found[self.start])

    def diagonal(self, saved: Any = None) -> Array:
        """The derivative of each element of the result by that element of the input."""
        shape, size = self.end.shape, self.out.size
        if self.is_elementwise or size > LARGE:
            return self.pull(np.ones(shape), saved)
        ones = np.eye(size).reshape(size, *shape)
        return np.reshape([self.pull(one, saved).flat[i] for i, one in enumerate(ones)], shape)

    @cached_property
    def slope(self) -> Array:
        """Its diagonal where it was computed."""
        return self.diagonal()

    @cached_property
    def is_curved(self) -> bool:
        """Whether its slope changes smoothly, unlike that of a line or a relu."""
        if len(np.unique(self.slope)) > 2 or not self.single:
            return len(np.unique(self.slope)) > 1
        there = None if self.x is None else self.at(self.x + 0.375)
        return there is not None and not np.isin(there[1].round(9), self.slope.round(9)).all()

    def at(self, value: Array) -> tuple[Array, Array] | None:
        """The result of a single op, and its slope, at another input, the constants unchanged."""
        operands = [
            operand if parent is None else value
            for parent, operand in zip(self.end.parents, self.trace.operands[self.end], strict=True)
        ]
        found = self.trace.again(self.end, *operands)
        return None if found is None else (found[0], self.diagonal(found[1]))

    def slip(
        self, kind: str, words: str, new: Callable[[Any], Any], key: Hashable, cost: float = 1.0
    ) -> Mistake:
        """A mistake in the unit's derivative: ``new(g)`` in the place of its gradient."""
        use, _ = self.trace.slots[self.end][0]
        names = tuple([node.op.name for node in self.inside if node.op])
        changes = (self.start, lambda found: new(found[self.end]) - self.pull(found[self.end]))
        return Mistake(kind, words, use, (changes,), (kind, names, key), cost)


def units(trace: Tape) -> Iterator[Unit]:
    """The units of a graph: of each op by itself, and then those of several."""
    for end in trace.order:
        inside: list[Node] = []
        frontier = {end}
        while len(inside) < LONGEST:
            node = max(frontier, key=lambda n: n.tick)
            parents = {parent for _, parent in trace.slots[node]}
            if not parents or any(user not in inside for user, _ in trace.users[node] if inside):
                break  # what is read elsewhere as well is an array of its own
            inside.append(node)
            frontier = (frontier - {node}) | parents
            if len(frontier) == 1 and {n.shape for n in frontier} == {end.shape}:
                [start] = frontier
                yield Unit(trace, end, start, tuple(inside))
