"""What a mistake is: a change of the gradients in a backward pass, and its description."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .trace import Gradients, Tape, fitted, parent_of

KINDS = ("factor", "sign", "transpose", "mask", "path", "derivative", "sum", "value", "elements",
         "shape", "unknown")  # fmt: skip
"""The kinds of mistakes; of equally good explanations, the first kind is reported."""
Effect = Callable[[Gradients], Any]
"""What a mistake adds to a node's gradient, as a function of the gradients above."""
Changes = tuple[tuple[Node, Effect], ...]


@dataclass(frozen=True, eq=False)
class Mistake:
    """One mistake: its description, and its ``changes``: what it adds to the gradients of nodes.

    ``at`` is the node and the slot of the rule to look at. ``cost`` says how unlikely the mistake
    is; a mere slip costs 1. Mistakes with the same ``key`` are the same slip at different
    nodes. With ``solved``, the changes are proportional to an unknown number:
    it returns the mistake for a number, or None if nobody makes that one.
    """

    kind: str
    words: str
    at: tuple[Node, int | None]
    changes: Changes = ()
    key: Hashable = None
    cost: float = 1.0
    solved: Callable[[float], Mistake | None] | None = None

    @property
    def place(self) -> Node:
        """The node with the wrong gradient."""
        node, slot = self.at
        return node if slot is None else parent_of(node, slot)


New = Callable[..., Any]
"""A replacement for a rule, ``new(g, rule)``; ``rule(g)`` is the right value."""


def slip(
    trace: Tape, kind: str, words: str, at: tuple[Node, int | None], new: New,
    key: Hashable = None, cost: float = 1.0,
) -> Mistake:  # fmt: skip
    """A mistake in one rule, or, without a slot, in the gradient that has arrived at a node."""
    node, slot = at
    if slot is None:
        changes = node, lambda found: new(found[node], lambda g: g) - found[node]
    else:
        changes = parent_of(node, slot), changed(trace, (node, slot), new)
    return Mistake(kind, words, at, (changes,), (kind, slot, key), cost)


def changed(trace: Tape, use: tuple[Node, int], new: New) -> Effect:
    """The effect of a replacement for a rule."""
    node, shape = use[0], parent_of(*use).shape

    def rule(g: Array, saved: Any = None) -> Any:
        return trace.rules[use](g, saved or node.saved)

    return lambda found: fitted(new(found[node], rule), shape) - trace.part(use, found[node])


def dropped(trace: Tape, node: Node, uses: Any, words: str, cost: float = 1.0) -> Mistake:
    """Some uses of a node left out."""
    flat = [use for slots in uses for use in slots]

    def effect(found: Gradients) -> Any:
        return -sum(trace.part(use, found[use[0]]) for use in flat)

    return Mistake("path", words, flat[0], ((node, effect),), None, cost)


def times(factor: Any) -> New:
    """The result of the rule times a factor."""
    return lambda g, rule: rule(g) * factor


def handed_on(g: Any, rule: Any) -> Any:
    """The gradient as it arrives, without the rule."""
    return g


def square(shape: tuple[int, ...]) -> bool:
    """Whether a shape is that of square matrices."""
    return len(shape) >= 2 and shape[-1] == shape[-2] > 1


def swapped(g: Any) -> Any:
    """The matrices, transposed."""
    return np.swapaxes(g, -1, -2)


def turned(g: Any, rule: Any) -> Any:
    """The result of the rule, transposed."""
    return swapped(rule(g))


def open_(
    made: Callable[[float], Mistake], solved: Callable[[float], Mistake | None] | None = None
) -> Mistake:
    """A mistake with an unknown number."""
    return replace(made(1.0), solved=solved or made)
