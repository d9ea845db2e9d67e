"""What a mistake is: a change of the backward pass, and what to call it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Node
from ..shapes import Shape
from ..tensor import Array
from .trace import Change, Edits, Gradients, Trace, Use, parent_of

KINDS = (
    "factor", "sign", "transpose", "mask", "path", "derivative", "sum", "value", "elements",
    "unknown",
)  # fmt: skip
"""The kinds of mistakes; of equally good explanations the first is reported."""
Effect = Callable[[Gradients], tuple[Node, Array]]
"""Which node's gradient changes first, and by what, when the gradients above are as given."""


@dataclass(frozen=True, eq=False)
class Mistake:
    """One mistake: ``edits`` of the backward pass, made first at ``use``, and its words.

    ``cost`` says how hard it is to believe, 1 being a mere slip. Mistakes of one ``key`` are the
    same slip at different nodes. ``effect`` computes what the edits change where they meet, if
    that takes no whole backward pass.
    """

    kind: str
    words: str
    use: Use
    edits: Edits
    key: Hashable = None
    cost: float = 1.0
    effect: Effect | None = None

    @property
    def place(self) -> Node:
        """The node whose gradient comes out wrong."""
        node, slot = self.use
        return node if slot is None else parent_of(node, slot)

    def change(self, trace: Trace, gradients: Gradients) -> tuple[Node, Array] | None:
        """What the mistake changes, and by how much, if no mistake is made above it."""
        if self.effect is not None:
            return self.effect(gradients)
        if len(self.edits) > 1:
            return None
        [((node, slot), change)] = self.edits.items()
        g = gradients[node]
        if slot is None:
            return node, change(lambda g, saved: g, g, ()) - g
        return parent_of(node, slot), trace.part((node, slot), g, change) - trace.part(
            (node, slot), g
        )


@dataclass(frozen=True, eq=False)
class Open:
    """A mistake with a number in it that is to be found: its effect is proportional to it.

    ``unit`` is the mistake with the number 1; ``solved(number)`` gives the mistake with another, or
    None where nobody makes it.
    """

    unit: Mistake
    solved: Callable[[float], Mistake | None]


Slip = Mistake | Open


def slip(
    kind: str, words: str, use: Use, change: Change, key: Hashable = None, cost: float = 1.0
) -> Mistake:
    """A mistake at one place."""
    return Mistake(kind, words, use, {use: change}, (kind, use[1], key), cost)


def merged(mistakes: Iterable[Mistake]) -> dict[Use, Change]:
    """The edits of several mistakes, one made after the other where they meet."""
    edits: dict[Use, Change] = {}
    for mistake in mistakes:
        for use, change in mistake.edits.items():
            edits[use] = _after(edits[use], change) if use in edits else change
    return edits


def _after(first: Change, second: Change) -> Change:
    return lambda rule, g, saved: second(functools.partial(first, rule), g, saved)


# Changes of a rule


def then(function: Callable[[Any], Any]) -> Change:
    """What the rule gives, changed by a function."""
    return lambda rule, g, saved: function(rule(g, saved))


def times(factor: Array | float) -> Change:
    """What the rule gives, multiplied."""
    return then(lambda g: g * factor)


def instead(function: Callable[[Any], Any]) -> Change:
    """A function of the gradient that arrives, in the place of the rule."""
    return lambda rule, g, saved: function(g)


def replaced_by(value: Array) -> Change:
    """An array in the place of what the rule gives."""
    return lambda rule, g, saved: value


nothing = times(0.0)
handed_on = instead(lambda g: g)
transposed = then(lambda g: np.swapaxes(g, -1, -2))


def reading(place: int, value: Any) -> Change:
    """The rule with another array among what was saved for it."""
    return lambda rule, g, saved: rule(g, (*saved[:place], value, *saved[place + 1 :]))


def square(shape: Shape) -> bool:
    """Whether a shape is that of square matrices."""
    return len(shape) >= 2 and shape[-1] == shape[-2] > 1


def saved_arrays(node: Node) -> Iterator[tuple[int, Array]]:
    """The arrays that a node's rules read, with their places."""
    for place, array in enumerate(node.saved or ()):
        if isinstance(array, np.ndarray) and array.ndim:
            yield place, array


def attempted(trace: Trace, mistakes: Iterable[Mistake]) -> Gradients | None:
    """The gradients with these mistakes; None where they make a rule fail."""
    try:
        return trace.run(merged(mistakes))
    except Exception:  # a rule that is given what it was not made for may raise anything
        return None
