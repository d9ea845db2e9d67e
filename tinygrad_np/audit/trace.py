"""f, traced for an audit: its graph, every array it met, and backward passes with mistakes in them.

A mistake is a change of one gradient rule, or of the gradient that arrives at one node. The
backward pass runs with it as it runs without, and so shows what somebody gets who makes it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import graph
from ..graph import Node, Rule
from ..op import OPS
from ..shapes import Shape
from ..tensor import Array, Tensor

Gradients = dict[Node, Array]


@dataclass(frozen=True, eq=False)
class Mistake:
    """One change of the backward pass, and what to call it.

    ``slot`` is the input of ``node`` whose rule ``change`` replaces (rule -> rule); with None it
    replaces the gradient that arrives at ``node`` (array -> array). ``cost`` says how hard it is
    to believe, 1 being an ordinary slip.
    """

    kind: str
    node: Node
    slot: int | None
    change: Callable[[Any], Any]
    words: str
    cost: float = 1.0
    natural: bool = False

    @property
    def place(self) -> Node:
        """The node whose gradient comes out wrong."""
        parent = self.node if self.slot is None else self.node.parents[self.slot]
        assert parent is not None
        return parent


class _Mistaken:
    """An op with other rules: what the graph holds in the op's place during one backward pass."""

    def __init__(self, name: str, rules: list[Rule]) -> None:
        self.name, self.rules = name, rules


class Trace:
    """One run of f: the graph from the loss (``root``) to the ``targets``, from the loss down.

    ``targets`` maps names to nodes: f's inputs, and those intermediate Tensors that ``wanted``
    names. ``outputs`` holds what each node computed, and ``values`` every array that took part,
    with a label. Raises what is wrong with f: TypeError where it gives no Tensor, ValueError for a
    non-scalar, for nan and inf, and for names that are not there.
    """

    def __init__(
        self,
        call: Callable[[dict[str, Tensor]], Any],
        inputs: Mapping[str, Array],
        wanted: Collection[str],
    ) -> None:
        self.outputs: dict[Node, Array] = {}
        self.operands: dict[Node, tuple[Any, ...]] = {}
        tensors = {
            name: Tensor(array, requires_grad=True, name=name) for name, array in inputs.items()
        }
        with graph.observed(self), np.errstate(all="ignore"):
            returned = call(tensors)
        loss, named = _parts(returned)
        leaves = {name: tensor._node for name, tensor in tensors.items() if tensor._node}
        self.root = self._checked(loss)
        found = graph.reachable([self.root])
        self.order = [node for node in found if node.op is not None or node in leaves.values()]
        targets = {**leaves, **self._intermediate(named, wanted)}
        self.users: dict[Node, list[tuple[Node, int]]] = {}
        for node in self.order:
            for slot, parent in enumerate(node.parents):
                if parent is not None:
                    self.users.setdefault(parent, []).append((node, slot))
        # A leaf's gradient is complete after the lowest of its users, a node's before itself.
        depth = {
            node: min(user.tick for user, _ in uses) - 0.5 for node, uses in self.users.items()
        }
        depth.update({node: node.tick for node in self.outputs})
        self.targets = dict(sorted(targets.items(), key=lambda pair: -depth.get(pair[1], 0.0)))
        self.reach = self._reaches()
        self.labels = self._labels(leaves)
        self.values = self._values()
        self._factors: dict[tuple[Node, int], Array | None] = {}

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
        """Remember what a node was computed from, and what it gave."""
        self.outputs[node] = np.asarray(output)
        self.operands[node] = operands

    def _checked(self, loss: Any) -> Node:
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"audit: f must return a Tensor (or a Tensor and the intermediate ones by name), "
                f"got {type(loss).__name__}"
            )
        if loss.size != 1:
            raise ValueError(
                f"audit: f must return one number, got a {loss._label()}: reduce it first, for "
                "example by (weights * out).sum()"
            )
        if not np.isfinite(loss.data).all():
            names = [
                node.op.name
                for node, output in self.outputs.items()
                if node.op is not None and not np.isfinite(output).all()
            ]
            first = f": nan or inf comes up first in {names[0]!r}" if names else ""
            raise ValueError(f"audit: f gives {loss.item()}{first}")
        if loss._node is None:
            raise ValueError(
                "audit: f's result depends on none of the inputs: does f use its arguments?"
            )
        return loss._node

    def _intermediate(
        self, named: Mapping[str, Tensor], wanted: Collection[str]
    ) -> dict[str, Node]:
        """The nodes of the intermediate Tensors asked for, by the names that f gave them."""
        found: dict[str, list[Node]] = {}
        for name, tensor in named.items():
            if tensor._node is not None:
                tensor._node.name = name
        for node in self.order:
            if node.name and node in self.outputs:
                found.setdefault(node.name, []).append(node)
        for name in wanted:
            count = len(found.get(name, []))
            if count != 1:
                what = "no Tensor between the inputs and the loss" if not count else f"{count}"
                raise ValueError(
                    f"audit: {what} is called {name!r}; there are: {', '.join(found) or 'none'}. "
                    "Name one by tensor.name = ..., or return (loss, {name: tensor}) from f"
                )
        return {name: found[name][0] for name in wanted}

    def _reaches(self) -> dict[Node, frozenset[Node]]:
        """For each node, the targets whose gradients come through it."""
        wanted = set(self.targets.values())
        reach: dict[Node, frozenset[Node]] = {}
        for node in reversed(self.order):
            below = [reach.get(p, frozenset()) for p in node.parents if p is not None]
            reach[node] = frozenset({node} & wanted).union(*below)
        return reach

    def _labels(self, leaves: Mapping[str, Node]) -> dict[Node, str]:
        """A name for every node: its own, or its op's, numbered in the forward pass's order."""
        counts = Counter(node.op.name for node in self.order if node.op)
        seen: Counter[str] = Counter()
        labels = {node: name for name, node in leaves.items()}
        for node in reversed(self.order):
            if node.op is not None:
                name = node.op.name
                seen[name] += 1
                number = f" {seen[name]}" if counts[name] > 1 else ""
                labels[node] = node.name or f"{name}{number}"
        return labels

    def _values(self) -> list[tuple[str, Array]]:
        """Every array of at least one axis that the forward pass met, with a label."""
        found: dict[int, tuple[str, Any]] = {}
        for node in reversed(self.order):
            for parent, operand in zip(node.parents, self.operands.get(node, ()), strict=False):
                label = self.labels.get(parent, "an outer Tensor") if parent else ""
                found.setdefault(
                    id(operand), (label or f"a constant of {self.labels[node]}", operand)
                )
            if node in self.outputs:
                found[id(self.outputs[node])] = (self.labels[node], self.outputs[node])
        return [(name, a) for name, a in found.values() if isinstance(a, np.ndarray) and a.ndim]

    def label_of(self, array: Array) -> str:
        """What an array of the forward pass is called."""
        return next((label for label, value in self.values if value is array), "a saved array")

    def alike(self, array: Array, node: Node, count: int) -> list[tuple[str, Array]]:
        """The other arrays of an array's shape, those met closest to ``node`` first."""
        here = next((i for i, pair in enumerate(self.values) if pair[0] == self.labels[node]), 0)
        others = [
            (abs(i - here), label, value)
            for i, (label, value) in enumerate(self.values)
            if value is not array and value.shape == array.shape and value.dtype.kind == "f"
        ]
        return [(label, value) for _, label, value in sorted(others, key=lambda t: t[0])[:count]]

    def masks(self, shape: Shape) -> list[tuple[str, Array]]:
        """The masks of a shape that somebody might apply: of relu, of dropout, signs of values."""
        found: dict[bytes, tuple[str, Array]] = {}

        def add(label: str, mask: Array) -> None:
            if mask.any() and not mask.all():
                found.setdefault(mask.tobytes(), (label, mask))

        for node in self.order:
            for slot in range(len(node.parents)):
                factor = self.factor(node, slot) if node.shape == shape else None
                levels = np.unique(factor) if factor is not None else np.zeros(0)
                if factor is not None and len(levels) == 2 and levels[0] == 0:
                    add(f"the mask of {self.labels[node]}", (factor != 0) * 1.0)
                    add(f"the mask of {self.labels[node]} and its factor", factor * 1.0)
        for label, value in self.values:
            if value.shape == shape and value.dtype.kind == "f":
                add(f"the mask {label} > 0", (value > 0) * 1.0)
        return list(found.values())

    # The backward pass, with and without mistakes

    def gradients(self, mistakes: Iterable[Mistake] = ()) -> Gradients | None:
        """The targets' gradients with these mistakes made; None where they make a rule fail."""
        targets = self.targets.values()
        kept = []
        made = list(mistakes)
        try:
            for node in {m.node for m in made if m.node.op is not None}:
                kept.append((node, node.op))
                here = [m for m in made if m.node is node]
                node.op = _Mistaken(self.labels[node], _changed(rules_of(node), here))
            with np.errstate(all="ignore"):
                start = {self.root: np.ones(self.root.shape, self.root.dtype)}
                found = graph.backward(start, targets, retain=True)
                result = {
                    n: np.asarray(found[n]) if n in found else np.zeros(n.shape) for n in targets
                }
                for m in made:
                    if m.slot is None and m.node in result:
                        result[m.node] = m.change(result[m.node])
        except Exception:  # a rule that is given what it was not made for may raise anything
            if not made:
                raise
            return None
        finally:
            for node, op in kept:
                node.op = op
        return result

    def factor(self, node: Node, slot: int) -> Array | None:
        """The array that a rule multiplies the gradient with, elementwise; None if it does not."""
        key = node, slot
        if key not in self._factors:
            self._factors[key] = self._elementwise(node, slot)
        return self._factors[key]

    def _elementwise(self, node: Node, slot: int) -> Array | None:
        parent = node.parents[slot]
        if parent is None or parent.shape != node.shape or not node.shape:
            return None
        rule = rules_of(node)[slot]
        trial = np.cos(np.arange(1.0, 1 + math.prod(node.shape))).reshape(node.shape)
        with np.errstate(all="ignore"):
            factor = np.asarray(rule(np.ones(node.shape), node.saved))
            product = np.asarray(rule(trial, node.saved))
        same = factor.shape == node.shape and np.allclose(product, trial * factor, 1e-12, 1e-300)
        return factor if same else None

    # In words

    def rule_words(self, node: Node, slot: int) -> str:
        """A gradient rule in its own words, such as ``relu: dx = g * (out > 0)``."""
        op = OPS.get(node.op.name) if node.op else None
        if op is None:
            return node.op.name if node.op else ""
        name = op.variadic or op.inputs[slot]
        return f"{op.name}: d{name} = {op.formula(name)}"

    def rules_into(self, node: Node) -> str:
        """The rules that make a node's gradient, one for each use of it."""
        return "; ".join(dict.fromkeys(self.rule_words(*use) for use in self.users.get(node, ())))


def rules_of(node: Node) -> list[Rule]:
    """The rules of a node, one for each parent."""
    return list(itertools.islice(node.op.rules, len(node.parents))) if node.op else []


def _changed(rules: list[Rule], mistakes: list[Mistake]) -> list[Rule]:
    for mistake in mistakes:
        change = mistake.change
        if mistake.slot is not None:
            rules[mistake.slot] = change(rules[mistake.slot])
        else:
            rules = [_after(change, rule) for rule in rules]
    return rules


def _after(change: Callable[[Any], Any], rule: Rule) -> Rule:
    return lambda g, saved: rule(change(g), saved)


def _parts(returned: Any) -> tuple[Any, dict[str, Tensor]]:
    """What f returned, as the loss and the intermediate Tensors by name."""
    if not isinstance(returned, tuple) or not returned:
        return returned, {}
    loss, *rest = returned
    if len(rest) == 1 and isinstance(rest[0], Mapping):
        return loss, dict(rest[0])
    if len(rest) == 1 and isinstance(rest[0], list | tuple):
        rest = list(rest[0])
    return loss, {t.name: t for t in rest if isinstance(t, Tensor) and t.name}
