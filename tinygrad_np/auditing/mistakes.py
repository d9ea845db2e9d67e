"""What a mistake is: something added to the gradients of a backward pass, and what to call it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .trace import Gradients, Trace, fitted, parent_of

KINDS = (
    "factor", "sign", "transpose", "mask", "path", "derivative", "sum", "value", "elements",
    "shape", "unknown",
)  # fmt: skip
"""The kinds of mistakes; of equally good explanations the first is reported."""
Effect = Callable[[Gradients], Any]
"""What a mistake adds to a node's gradient, when the gradients above are as given."""
Changes = tuple[tuple[Node, Effect], ...]


@dataclass(frozen=True, eq=False)
class Mistake:
    """One mistake: its words, and its ``changes``, the nodes and what it adds to their gradients.

    ``at`` is the node, and the slot of the rule, that is to be looked at. ``cost`` says how hard it
    is to believe, 1 being a mere slip. Mistakes of one ``key`` are the same slip at different
    nodes. Where ``solved`` is given, the changes are proportional to a number that is to be found:
    it gives the mistake with that number, or None where nobody makes it.
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
        """The node whose gradient comes out wrong."""
        node, slot = self.at
        return node if slot is None else parent_of(node, slot)


New = Callable[..., Any]
"""What stands in the place of a rule, ``new(g, rule)``; ``rule(g)`` is what it should be."""


def slip(
    trace: Trace, kind: str, words: str, at: tuple[Node, int | None], new: New,
    key: Hashable = None, cost: float = 1.0,
) -> Mistake:  # fmt: skip
    """A mistake in one rule, or, without a slot, in the gradient that has arrived at a node."""
    node, slot = at
    if slot is None:
        changes = node, lambda found: new(found[node], lambda g: g) - found[node]
    else:
        changes = parent_of(node, slot), changed(trace, (node, slot), new)
    return Mistake(kind, words, at, (changes,), (kind, slot, key), cost)


def changed(trace: Trace, use: tuple[Node, int], new: New) -> Effect:
    """The effect of something else in the place of a rule."""
    node, shape = use[0], parent_of(*use).shape

    def rule(g: Array, saved: Any = None) -> Any:
        return trace.rules[use](g, saved or node.saved)

    return lambda found: fitted(new(found[node], rule), shape) - trace.part(use, found[node])


def dropped(trace: Trace, node: Node, uses: Any, words: str, cost: float = 1.0) -> Mistake:
    """Some uses of a node left out."""
    flat = [use for slots in uses for use in slots]

    def effect(found: Gradients) -> Any:
        return -sum(trace.part(use, found[use[0]]) for use in flat)

    return Mistake("path", words, flat[0], ((node, effect),), None, cost)


def reading(node: Node, place: int, array: Any) -> tuple[Any, ...]:
    """What a node saved, with another array in one place."""
    saved = node.saved or ()
    return (*saved[:place], array, *saved[place + 1 :])


def saved_arrays(node: Node) -> Iterator[tuple[int, Array]]:
    """The arrays that a node's rules read, with their places."""
    for place, array in enumerate(node.saved or ()):
        if isinstance(array, np.ndarray) and array.ndim:
            yield place, array


def times(factor: Any) -> New:
    """What the rule gives, multiplied."""
    return lambda g, rule: rule(g) * factor


def handed_on(g: Any, rule: Any) -> Any:
    """The gradient as it arrives, without the rule."""
    return g


def with_saved(saved: tuple[Any, ...]) -> New:
    """The rule, reading other arrays than those that were saved for it."""
    return lambda g, rule: rule(g, saved)


def square(shape: tuple[int, ...]) -> bool:
    """Whether a shape is that of square matrices."""
    return len(shape) >= 2 and shape[-1] == shape[-2] > 1


def swapped(g: Any) -> Any:
    """The matrices, transposed."""
    return np.swapaxes(g, -1, -2)


def open_(
    made: Callable[[float], Mistake], solved: Callable[[float], Mistake | None] | None = None
) -> Mistake:
    """A mistake with a number in it that is to be found."""
    return replace(made(1.0), solved=solved or made)
