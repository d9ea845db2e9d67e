"""f, traced for an audit: its graph, every array it met, and backward passes with mistakes in them.

A backward pass with a mistake shows what somebody gets who makes it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from .. import graph
from ..definition import Op
from ..graph import Node, Rule
from ..tensor import Array, Tensor

Gradients = dict[Node, Array]
Change = Callable[[Rule, Any, Any], Any]
"""What stands in the place of a rule: ``change(rule, gradient, saved)``."""
Use = tuple[Node, int]
"""A node, and which of its inputs is meant."""


class Mistake(NamedTuple):
    """One change of the backward pass, and what to call it.

    ``change`` replaces the rule of ``node`` for its input ``slot``; with None it is made to the
    gradient that arrives at the node. ``cost`` says how hard it is to believe, 1 being a mere slip.
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

    def rules(self) -> list[Rule]:
        """The rules of the node, with the mistake."""
        rules = rules_of(self.node)
        if self.slot is None:
            return [functools.partial(self._before, rule) for rule in rules]
        rules[self.slot] = functools.partial(self.change, rules[self.slot])
        return rules

    def _before(self, rule: Rule, g: Any, saved: Any) -> Any:
        return rule(self.arriving(g), saved)

    def arriving(self, g: Any) -> Any:
        """The gradient that arrives at the node, with the mistake."""
        return self.change(lambda g, saved: g, g, ())


class Trace:
    """One run of f: the graph from the loss (``root``) to the ``targets``, from the loss down.

    ``targets`` maps names to nodes: f's inputs, and those intermediate Tensors that ``wanted``
    names. ``outputs`` holds what each node computed, ``uses`` all inputs of nodes that are nodes
    of f themselves, ``users`` those of each node. Raises ValueError for names that are not there.
    """

    def __init__(
        self,
        call: Callable[[dict[str, Tensor]], Any],
        inputs: Mapping[str, Array],
        wanted: Collection[str],
    ) -> None:
        self.outputs: dict[Node, Array] = {}
        self.operands: dict[Node, tuple[Any, ...]] = {}
        tensors = {name: Tensor(array, True, name=name) for name, array in inputs.items()}
        with graph.observed(self), np.errstate(all="ignore"):
            loss, named = parts(call(tensors))
        if loss._node is None:
            raise ValueError("audit: f's result depends on none of the inputs: does f use them?")
        self.root = loss._node
        leaves = {name: tensor._node for name, tensor in tensors.items() if tensor._node}
        found = graph.reachable([self.root])
        # Not what was there before f, such as weights that it closes over.
        own = {*self.outputs, *graph._leading_to(leaves.values(), found)}
        self.order = [node for node in found if node in own]
        self.uses = [(n, i) for n in self.order for i, p in enumerate(n.parents) if p in own]
        self.users: dict[Node, list[Use]] = defaultdict(list)
        for use in self.uses:
            self.users[parent_of(*use)].append(use)
        targets = {**leaves, **self._intermediate(named, wanted)}
        self.targets = dict(sorted(targets.items(), key=lambda pair: -self._height(pair[1])))
        self.labels = self._labels(leaves)

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
        """Remember what a node was computed from, and what it gave."""
        self.outputs[node], self.operands[node] = np.asarray(output), operands

    def _intermediate(
        self, named: Mapping[str, Tensor], wanted: Collection[str]
    ) -> dict[str, Node]:
        for name, tensor in named.items():
            if node := getattr(tensor, "_node", None):
                node.name = name
        found: dict[str, list[Node]] = defaultdict(list)
        for node in self.order:
            if node.name and node in self.outputs:
                found[node.name].append(node)
        names = ", ".join(found) or "none"
        for name in wanted:
            if (count := len(found[name])) != 1:
                raise ValueError(
                    f"audit: {count or 'no'} Tensors between the inputs and the loss are called "
                    f"{name!r}; there are: {names}. Name one by tensor.name = ..., or return "
                    "(loss, {name: tensor}) from f"
                )
        return {name: found[name][0] for name in wanted}

    def _height(self, node: Node) -> float:
        """A leaf's gradient is complete after the lowest of its users, a node's before itself."""
        if node in self.outputs:
            return node.tick
        return min([user.tick for user, _ in self.users[node]], default=0) - 0.5

    def _labels(self, leaves: Mapping[str, Node]) -> dict[Node, str]:
        """A name for every node: its own, or its op's, numbered in the forward pass's order."""
        counts = Counter(node.op.name for node in self.order if node.op)
        numbers = Counter[str]()
        labels = {node: name for name, node in leaves.items()}
        for node in reversed(self.order):
            if node.op:
                name = node.op.name
                numbers[name] += 1
                number = f" {numbers[name]}" if counts[name] > 1 else ""
                labels[node] = node.name or name + number
        return labels

    @cached_property
    def values(self) -> list[tuple[str, Array]]:
        """Every array of at least one axis that the forward pass met, with a label."""
        found: dict[int, tuple[str, Any]] = {}
        for node in reversed(self.order):
            for parent, operand in zip(node.parents, self.operands.get(node, ()), strict=False):
                label = f"a constant of {self.labels[node]}"
                label = self.labels.get(parent, "an outer Tensor") if parent else label
                found.setdefault(id(operand), (label, operand))
            if node in self.outputs:
                found[id(self.outputs[node])] = (self.labels[node], self.outputs[node])
        return [(name, a) for name, a in found.values() if isinstance(a, np.ndarray) and a.ndim]

    def label_of(self, array: Array) -> str:
        """What an array of the forward pass is called."""
        same = (
            label
            for label, value in self.values  # the graph saves copies of small arrays
            if value is array or (value.shape == array.shape and np.array_equal(value, array, True))
        )
        return next(same, "a saved array")

    @cached_property
    def factors(self) -> dict[Use, tuple[Array, Array]]:
        """What the elementwise among the rules multiply with, and the distinct values of that."""
        found = {}
        for node, slot in self.uses:
            if parent_of(node, slot).shape != node.shape or not node.shape:
                continue
            rule = rules_of(node)[slot]
            trial = np.cos(np.arange(1.0, 1 + math.prod(node.shape))).reshape(node.shape)
            with np.errstate(all="ignore"):
                factor = np.asarray(rule(np.ones(node.shape), node.saved))
                product = np.asarray(rule(trial, node.saved))
            if factor.shape == node.shape and np.allclose(product, trial * factor, 1e-12, 1e-300):
                found[node, slot] = factor, np.unique(factor)
        return found

    @cached_property
    def true(self) -> Gradients:
        """The targets' gradients."""
        return self.gradients()

    def gradients(self, mistakes: Iterable[Mistake] = ()) -> Gradients:
        """The targets' gradients with these mistakes made."""
        made, targets = list(mistakes), self.targets.values()
        kept = {mistake.node: mistake.node.op for mistake in made}
        try:
            for mistake in made:
                if op := mistake.node.op:
                    mistake.node.op = SimpleNamespace(name=op.name, rules=mistake.rules())
            with np.errstate(all="ignore"):
                start = {self.root: np.ones(self.root.shape, self.root.dtype)}
                found = graph.backward(start, targets, retain=True)
                result = {n: np.asarray(found.get(n, np.zeros(n.shape))) for n in targets}
                for mistake in made:
                    if mistake.slot is None and mistake.node in result:
                        result[mistake.node] = mistake.arriving(result[mistake.node])
        finally:
            for node, op in kept.items():
                node.op = op
        return result

    def attempt(self, mistakes: Iterable[Mistake]) -> Gradients | None:
        """The same; None where the mistakes make a rule fail."""
        try:
            return self.gradients(mistakes)
        except Exception:  # a rule that is given what it was not made for may raise anything
            return None

    def rule_words(self, node: Node, slot: int | None) -> str:
        """A gradient rule in its own words, such as ``relu: dx = g * (out > 0)``.

        With ``slot=None`` those that make the node's gradient, one for each use of it.
        """
        if slot is None:
            return "; ".join(dict.fromkeys(self.rule_words(*use) for use in self.users[node]))
        op = node.op
        if not isinstance(op, Op):
            return op.name if op else ""
        read = op.variadic or op.inputs[slot]
        return f"{op.name}: d{read} = {op.formula(read)}"


def rules_of(node: Node) -> list[Rule]:
    """The rules of a node, one for each parent."""
    return list(itertools.islice(node.op.rules, len(node.parents))) if node.op else []


def parent_of(node: Node, slot: int) -> Node:
    """The node that is an input which gets a gradient."""
    parent = node.parents[slot]
    assert parent is not None
    return parent


def parts(returned: Any) -> tuple[Any, dict[str, Tensor]]:
    """What f returned, as the loss and the intermediate Tensors by name."""
    match returned:
        case (loss, dict(named)):
            return loss, named
    return returned, {}
