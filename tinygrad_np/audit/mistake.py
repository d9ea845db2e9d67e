"""A mistake in a backward pass, and the ways in which a gradient rule can be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..graph import Node, Rule
from ..tensor import Array

Change = Callable[[Rule], Rule]


class Mistake(NamedTuple):
    """One change of the backward pass, and what to call it.

    ``change`` replaces the rule of ``node`` for its input ``slot``; with None it stands before all
    its rules, as that of the identity, and changes the gradient that arrives there. ``cost`` says
    how hard it is to believe, 1 being an ordinary slip.
    """

    kind: str
    node: Node
    slot: int | None
    change: Change
    words: str
    cost: float = 1.0

    @property
    def place(self) -> Node:
        """The node whose gradient comes out wrong."""
        return self.node if self.slot is None else parent_of(self.node, self.slot)


def parent_of(node: Node, slot: int) -> Node:
    """The node that is an input which gets a gradient."""
    parent = node.parents[slot]
    assert parent is not None
    return parent


def identity(g: Any, saved: Any) -> Any:
    """The rule of the identity."""
    return g


def then(function: Callable[[Any], Any]) -> Change:
    """What the rule gives, changed by a function."""
    return lambda rule: lambda g, saved: function(rule(g, saved))


def times(factor: Array | float) -> Change:
    """What the rule gives, multiplied."""
    return then(lambda g: g * factor)


def instead(other: Rule) -> Change:
    """Another rule."""
    return lambda rule: other


def reading(place: int, value: Array) -> Change:
    """The rule with another array among what was saved for it."""
    return lambda rule: lambda g, saved: rule(g, (*saved[:place], value, *saved[place + 1 :]))


def one_row(row: int) -> Change:
    """The rule for one row of the gradient, and 0 in the others."""

    def alone(g: Any) -> Any:
        return np.where(np.arange(len(g)).reshape(-1, *[1] * (g.ndim - 1)) == row, g, 0)

    return lambda rule: lambda g, saved: rule(alone(g), saved)
