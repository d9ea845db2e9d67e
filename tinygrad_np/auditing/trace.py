"""f, traced for an audit: its graph, the arrays it met, backward passes with mistakes, tangents.

A backward pass with a mistake in it gives the gradients of somebody who makes that mistake. A
tangent says how the loss's gradient at a target depends on the gradient that arrives at any node,
so that one multiplication tells what a mistake there does to the target.
"""

from __future__ import annotations

import linecache
import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from .. import graph
from ..changes import originals
from ..definition import Op
from ..graph import Node, Rule
from ..shapes import unbroadcast
from ..tensor import Array, Tensor

Gradients = dict[Node, Array]
Change = Callable[[Rule, Any, Any], Any]
"""What stands in the place of a rule: ``change(rule, gradient, saved)``."""
Use = tuple[Node, Any]
"""A node and which of its inputs is meant; None means the gradient that arrives at the node."""
Edits = Mapping[Use, Change]
LONG = 80
"""From how many uses on a graph counts as long."""
LARGE = 4096
"""Rules of more elements than this are not transposed one by one."""
PACKAGE = __name__.partition(".")[0]


class Value(NamedTuple):
    """An array of the forward pass: its label, and the node that computed it (None: a constant)."""

    label: str
    array: Any
    node: Node | None


class Trace:
    """One run of f: the graph from the loss (``root``) to the ``targets``, from the loss down.

    ``targets`` maps names to nodes: f's inputs, and those intermediate Tensors that ``wanted``
    names. ``outputs`` holds what each node computed, ``links`` its inputs that are nodes of f
    themselves, ``users`` the places where each node is read, ``sites`` the calls in the source
    that made it. Raises ValueError for names that are not there.
    """

    def __init__(
        self,
        call: Callable[[dict[str, Tensor]], Any],
        inputs: Mapping[str, Array],
        wanted: Collection[str],
    ) -> None:
        self.call, self.inputs = call, inputs
        self.outputs: dict[Node, Array] = {}
        self.operands: dict[Node, tuple[Any, ...]] = {}
        self.sites: dict[Node, tuple[Any, ...]] = {}
        self.lines: dict[Node, tuple[str, int]] = {}
        tensors = {name: Tensor(array, True, name=name) for name, array in inputs.items()}
        with graph.observed(self), np.errstate(all="ignore"):
            loss, named = parts(call(tensors))
        if loss._node is None:
            raise ValueError("audit: f's result depends on none of the inputs: does f use them?")
        self.root = loss._node
        self.leaves = {name: tensor._node for name, tensor in tensors.items() if tensor._node}
        found = graph.reachable([self.root])
        # Not what was there before f, such as weights that it closes over.
        own = {*self.outputs, *graph.leading_to(self.leaves.values(), found)}
        self.order = [node for node in found if node in own]
        self.place = {node: i for i, node in enumerate(reversed(self.order))}
        self.links = {n: _links(n, own) for n in self.order}
        self.uses = [(n, i) for n in self.order for i, _, _ in self.links[n]]
        self.rules = {(n, i): rule for n in self.order for i, _, rule in self.links[n]}
        self.users: dict[Node, list[tuple[Node, int]]] = defaultdict(list)
        for node, slot in self.uses:
            self.users[parent_of(node, slot)].append((node, slot))
        targets = {**self.leaves, **self._intermediate(named, wanted)}
        self.targets = dict(sorted(targets.items(), key=lambda pair: -self._height(pair[1])))
        self.labels = self._labels()

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
        """Remember what a node was computed from, what it gave, and the source line."""
        self.outputs[node], self.operands[node] = np.asarray(output), operands
        if node.saved is not None:  # the arrays themselves, of which the graph saves copies
            saved = [*originals(node.saved, node.originals)]
            for place, array in enumerate((*operands, output)):
                if place < len(saved) and saved[place] is not None:
                    saved[place] = array
            node.saved = tuple(saved)
        calls, frame = [], sys._getframe(1)  # no other way leads from an op to the user's line
        while frame.f_back is not None and frame.f_code is not Trace.__init__.__code__:
            calls.append((id(frame.f_code), frame.f_lasti))
            if node not in self.lines and not _is_ours(frame.f_globals):
                self.lines[node] = frame.f_code.co_filename, frame.f_lineno
            frame = frame.f_back
        self.sites[node] = tuple(calls)

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

    def _labels(self) -> dict[Node, str]:
        """A name for every node: its own, or its op's, numbered in the forward pass's order."""
        counts = Counter(node.op.name for node in self.order if node.op)
        numbers = Counter[str]()
        labels = {node: name for name, node in self.leaves.items()}
        for node in reversed(self.order):
            if node.op:
                name = node.op.name
                numbers[name] += 1
                number = f" {numbers[name]}" if counts[name] > 1 else ""
                labels[node] = node.name or name + number
        return labels

    def line(self, node: Node) -> str:
        """The source line that made a node, as ``file.py:12: text``; "" for inputs."""
        if node not in self.lines:
            return ""
        path, number = self.lines[node]
        text = linecache.getline(path, number).strip()
        return f"{os.path.basename(path)}:{number}" + (f": {text}" if text else "")

    # Loops: nodes that one call in the source made again and again

    @cached_property
    def turn(self) -> dict[Node, int]:
        """In which turn of its loop each node was computed, from the last one back: −1, −2, ...

        The first turns may lack nodes, as what is computed from constants alone is not recorded.
        """
        loops: dict[tuple[Any, ...], list[Node]] = defaultdict(list)
        for node, site in self.sites.items():
            loops[site].append(node)
        return {n: i - len(ns) for ns in loops.values() if len(ns) > 1 for i, n in enumerate(ns)}

    @property
    def is_long(self) -> bool:
        """Whether loops are so long that a mistake in one turn alone is hard to believe."""
        return len(self.uses) > LONG

    # Arrays

    @cached_property
    def values(self) -> list[Value]:
        """Every array of at least one axis that the forward pass met."""
        found: dict[int, Value] = {}
        for node in reversed(self.order):
            for parent, operand in zip(node.parents, self.operands.get(node, ()), strict=False):
                label = f"a constant of {self.labels[node]}"
                if parent is not None:
                    label = self.labels.get(parent, "an outer Tensor")
                found.setdefault(id(operand), Value(label, operand, parent))
            if node in self.outputs:
                out = self.outputs[node]
                found[id(out)] = Value(self.labels[node], out, node)
        return [v for v in found.values() if isinstance(v.array, np.ndarray) and v.array.ndim]

    @cached_property
    def value_at(self) -> dict[int, int]:
        """Where an array stands among ``values``, by its id."""
        return {id(value.array): i for i, value in enumerate(self.values)}

    def label_of(self, array: Array) -> str:
        """What an array of the forward pass is called."""
        at = self.value_at.get(id(array))
        return "a saved array" if at is None else self.values[at].label

    @cached_property
    def factors(self) -> dict[Use, Array]:
        """What the elementwise among the rules multiply with."""
        found: dict[Use, Array] = {}
        for node, slot in self.uses:
            rule = self.rules[node, slot]
            trial = np.cos(np.arange(1.0, 1 + math.prod(node.shape))).reshape(node.shape)
            with np.errstate(all="ignore"):
                factor = np.asarray(rule(np.ones(node.shape), node.saved))
                if factor.shape != node.shape:
                    continue
                product = np.asarray(rule(trial, node.saved))
            if np.allclose(product, trial * factor, 1e-12, 1e-300):
                found[node, slot] = factor
        return found

    # Backward passes and tangents

    def adopt(self, edits: Edits) -> None:
        """Change rules for good: another subgradient at kinks."""
        self.rules |= {
            (n, i): partial(c, self.rules[n, i]) for (n, i), c in edits.items() if i is not None
        }
        for node, links in self.links.items():
            self.links[node] = [(i, parent, self.rules[node, i]) for i, parent, _ in links]
        self.__dict__.pop("factors", None)

    def run(self, edits: Edits | None = None) -> Gradients:
        """The gradient of every node, with some rules changed. Errors of a rule are let through."""
        edits = edits or {}
        found: Gradients = {self.root: np.ones(self.root.shape)}
        with np.errstate(all="ignore"):
            for node in self.order:
                if node not in found:
                    found[node] = np.zeros(node.shape)
                    continue
                if change := edits.get((node, None)):
                    found[node] = np.asarray(change(unchanged, found[node], ()))
                g = found[node]
                for slot, parent, rule in self.links[node]:
                    change = edits.get((node, slot))
                    part = change(rule, g, node.saved) if change else rule(g, node.saved)
                    part = part if part.shape == parent.shape else unbroadcast(part, parent.shape)
                    found[parent] = found[parent] + part if parent in found else part
        # Targets that f does not use
        return {**{n: np.zeros(n.shape) for n in self.targets.values()}, **found}

    def again(self, changed: Mapping[str, Array]) -> Gradients:
        """The gradients of f's inputs where some of these have other values."""
        values = {**self.inputs, **changed}
        tensors = {name: Tensor(array, True) for name, array in values.items()}
        with np.errstate(all="ignore"):
            loss, _ = parts(self.call(tensors))
            found = graph.backward({loss._node: np.ones(loss.shape)}, retain=True)
        return {self.leaves[n]: found[t._node] for n, t in tensors.items() if t._node in found}

    def part(self, use: tuple[Node, int], g: Array, change: Change | None = None) -> Array:
        """What one use of a node adds to the gradient of that node."""
        node, slot = use
        rule, shape = self.rules[use], parent_of(node, slot).shape
        part = change(rule, g, node.saved) if change else rule(g, node.saved)
        return np.asarray(part if part.shape == shape else unbroadcast(part, shape))

    def tangent(self, target: Node, direction: Array, edits: Edits | None = None) -> Gradients:
        """For each node the array T with ⟨T, change of its gradient⟩ = ⟨direction, target's⟩."""
        edits = edits or {}
        found: Gradients = {target: direction}
        for node in reversed(self.order):
            parts = [
                self._transposed(node, rule, edits.get((node, slot)), found[parent], slot)
                for slot, parent, rule in self.links[node]
                if parent in found and node is not target
            ]
            if parts:
                found[node] = sum(parts[1:], parts[0])
            if node in found and (change := edits.get((node, None))):
                found[node] = self._transposed(node, unchanged, change, found[node])
        return found

    def _transposed(
        self, node: Node, rule: Rule, change: Change | None, tangent: Array, slot: int = -1
    ) -> Array:
        """The transpose of a rule, which is linear in the gradient, applied to a tangent."""
        if change is None and (factor := self.factors.get((node, slot))) is not None:
            return np.asarray(factor * tangent)
        rule = partial(change, rule) if change else rule
        try:
            g = Tensor(np.ones(node.shape), True)
            assert g._node is not None
            part = rule(g, node.saved)
            if part is g:
                return np.broadcast_to(tangent, node.shape)
            seed = {part._node: np.broadcast_to(tangent, part.shape)}
            found = graph.backward(seed, [g._node], retain=True)
            return np.asarray(found.get(g._node, np.zeros(node.shape)))
        except Exception:  # a rule that is none of our ops, such as a checkpoint's
            size = math.prod(node.shape)
            if size > LARGE:
                return np.zeros(node.shape)
            units = np.eye(size).reshape(size, *node.shape)
            each = [rule(unit, node.saved) for unit in units]
            rows = [np.vdot(part, np.broadcast_to(tangent, part.shape)) for part in each]
            return np.reshape(rows, node.shape)

    def rule_words(self, node: Node, slot: int | None) -> str:
        """A gradient rule in its own words, such as ``relu: dx = g * (out > 0)``.

        With ``slot=None`` those that make the node's gradient, one for each use of it.
        """
        if slot is None:
            rules = dict.fromkeys(self.rule_words(*use) for use in self.users[node])
            return "; ".join([*rules][:3]) + ("; …" if len(rules) > 3 else "")
        op = node.op
        if not isinstance(op, Op):
            return op.name if op else ""
        read = op.variadic or op.inputs[slot]
        return f"{op.name}: d{read} = {op.formula(read)}"


def unchanged(g: Any, saved: Any) -> Any:
    """The rule that hands the gradient on."""
    return g


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


def _links(node: Node, own: Collection[Node]) -> list[tuple[int, Node, Rule]]:
    rules = node.op.rules if node.op else ()
    pairs = enumerate(zip(node.parents, rules, strict=False))
    return [(i, parent, rule) for i, (parent, rule) in pairs if parent and parent in own]


def _is_ours(names: Mapping[str, Any]) -> bool:
    module = str(names.get("__name__", PACKAGE))  # what is generated for an op has no name
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")
