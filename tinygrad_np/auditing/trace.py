"""A trace of f for an audit: its graph, its arrays, and the source lines of its ops."""

from __future__ import annotations

import linecache
import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .. import graph
from ..debugging import is_users_frame, location
from ..definition import Op
from ..graph import Node, Rule
from ..modes import enable_grad, observed
from ..recorder import originals
from ..shapes import unbroadcast
from ..tensor import Array, Tensor

Gradients = dict[Node, Array]
Given = Mapping[Node, Array]
"""The gradients that somebody gives."""
Function = Callable[..., Any]
Use = tuple[Node, int]
"""A node, and which of its inputs is meant."""
LONG = 80
"""A graph with more uses than this is long."""


class Observed(NamedTuple):
    """An array of the forward pass: its label, and the node that computed it (None: a constant)."""

    label: str
    array: Array
    node: Node | None


class Tape:
    """One run of f: the graph from the loss (``root``) to the ``targets``, from the loss down.

    ``targets`` maps names to nodes: f's inputs, and those intermediate Tensors that ``wanted``
    names. ``outputs`` holds what each node computed from its ``operands``, ``users`` the uses of
    each node, ``slots`` its uses of others, ``sites`` the calls in the source that made it. Raises
    ValueError for names that are not there.
    """

    def __init__(
        self, call: Function, inputs: Mapping[str, Array], wanted: Collection[str]
    ) -> None:
        self.call, self.inputs = call, inputs
        self.outputs: dict[Node, Array] = {}
        self.operands: dict[Node, tuple[Any, ...]] = {}
        self.sites: dict[Node, tuple[Any, ...]] = {}
        self.lines: dict[Node, tuple[str, int]] = {}
        tensors = {name: Tensor(array, True, name=name) for name, array in inputs.items()}
        with observed(self), np.errstate(all="ignore"):
            loss, named = parts(call(tensors))
        if loss.node is None:
            raise ValueError("audit: f's result depends on none of the inputs: does f use them?")
        self.root = loss.node
        self.leaves = {name: tensor.node for name, tensor in tensors.items() if tensor.node}
        found = graph.reachable([self.root])
        # Not what was there before f, such as weights that it closes over.
        own = {*self.outputs, *graph.leading_to(self.leaves.values(), found)}
        self.order = [node for node in found if node in own]
        self.rules: dict[Use, Rule] = {}
        self.users: dict[Node, list[Use]] = defaultdict(list)
        self.slots: dict[Node, list[tuple[Use, Node]]] = defaultdict(list)
        for node in self.order:
            rules = node.op.rules if node.op else ()
            for slot, (parent, rule) in enumerate(zip(node.parents, rules, strict=False)):
                if parent in own:
                    self.rules[node, slot] = rule
                    self.users[parent].append((node, slot))
                    self.slots[node].append(((node, slot), parent))
        targets = {**self.leaves, **self._intermediate(named, wanted)}
        self.targets = dict(sorted(targets.items(), key=lambda pair: -self._height(pair[1])))
        self.labels = self._labels()

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
        """Record the operands of a node, its output, and the source line."""
        self.outputs[node], self.operands[node] = np.asarray(output), operands
        if node.saved is not None:  # the arrays themselves, of which the graph saves copies
            saved = [*originals(node.saved, node.originals)]
            for place, array in enumerate((*operands, output)):
                if place < len(saved) and saved[place] is not None:
                    saved[place] = array
            node.saved = tuple(saved)
        calls, frame = [], sys._getframe(1)  # no other way leads from an op to the user's line
        while frame.f_back is not None and frame.f_code is not Tape.__init__.__code__:
            calls.append((id(frame.f_code), frame.f_lasti))
            if node not in self.lines and is_users_frame(frame):
                self.lines[node] = frame.f_code.co_filename, frame.f_lineno
            frame = frame.f_back
        self.sites[node] = tuple(calls)

    def _intermediate(
        self, named: Mapping[str, Tensor], wanted: Collection[str]
    ) -> dict[str, Node]:
        for name, tensor in named.items():
            if node := getattr(tensor, "node", None):
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
        """The source line that made a node; "" for inputs."""
        return source_line(*self.lines[node]) if node in self.lines else ""

    # What there is

    @property
    def is_long(self) -> bool:
        """Whether loops are so long that a mistake in one turn alone is hard to believe."""
        return len(self.rules) > LONG

    @cached_property
    def turn(self) -> dict[Node, int]:
        """In which turn of its loop each node was computed, from the last one back: −1, −2, ...

        Nodes of one call in the source are turns of a loop. The first turns may lack nodes, as what
        is computed from constants alone is not recorded.
        """
        loops: dict[tuple[Any, ...], list[Node]] = defaultdict(list)
        for node, site in self.sites.items():
            loops[site].append(node)
        return {n: i - len(ns) for ns in loops.values() if len(ns) > 1 for i, n in enumerate(ns)}

    def uses_of(self, node: Node) -> list[tuple[Use, ...]]:
        """A node's uses, those of one op together, as in b * b; in the forward pass's order."""
        found: dict[Node, list[Use]] = defaultdict(list)
        for user, slot in self.users[node]:
            found[user].append((user, slot))
        return [tuple(found[user]) for user in sorted(found, key=lambda n: n.tick)]

    @cached_property
    def values(self) -> list[Observed]:
        """Every array of the forward pass with at least one axis."""
        found: dict[int, Observed] = {}
        for node in reversed(self.order):
            for parent, operand in zip(node.parents, self.operands.get(node, ()), strict=False):
                label = f"a constant of {self.labels[node]}"
                if parent is not None:
                    label = self.labels.get(parent, "an outer Tensor")
                found.setdefault(id(operand), Observed(label, operand, parent))
            if node in self.outputs:
                out = self.outputs[node]
                found[id(out)] = Observed(self.labels[node], out, node)
        return [v for v in found.values() if np.ndim(v.array) and type(v.array) is np.ndarray]

    @cached_property
    def place_of(self) -> dict[int, int]:
        """Where an array stands among ``values``, by its id."""
        return {id(value.array): i for i, value in enumerate(self.values)}

    def label_of(self, array: Array) -> str:
        """What an array of the forward pass is called."""
        place = self.place_of.get(id(array))
        return "a saved array" if place is None else self.values[place].label

    @cached_property
    def factors(self) -> dict[Use, Array]:
        """The factor of each elementwise rule."""
        found: dict[Use, Array] = {}
        for (node, slot), rule in self.rules.items():
            trial = np.cos(np.arange(1.0, 1 + math.prod(node.shape))).reshape(node.shape)
            with np.errstate(all="ignore"):
                factor = np.asarray(rule(np.ones(node.shape), node.saved))
                if factor.shape != node.shape:
                    continue
                product = np.asarray(rule(trial, node.saved))
            if np.allclose(product, trial * factor, 1e-12, 1e-300):
                found[node, slot] = factor
        return found

    # Rules, and f once more

    def part(self, use: Use, g: Any) -> Any:
        """What one use of a node adds to its gradient."""
        return fitted(self.rules[use](g, use[0].saved or ()), parent_of(*use).shape)

    def again(self, node: Node, *operands: Any) -> tuple[Array, Any] | None:
        """The result of an op for other operands, and its saved arrays; None if that fails."""
        op = node.op
        if not isinstance(op, Op) or op.variadic:
            return None
        if op.name == "reshape":  # the graph has kept its input's shape alone
            return np.reshape(operands[0], node.shape), node.saved
        given = {name: self.argument(node, name) for name in op.parameters if name in op.extras}
        for name, parent, operand in zip(op.inputs, node.parents, operands, strict=False):
            given[name] = operand if parent is None else Tensor(operand, True)
        try:
            with np.errstate(all="ignore"), enable_grad():
                out = op.function(**given)
        except Exception:  # an op with an argument that the graph has not kept
            return None
        return (out.data, out.node.saved) if out.node and out.shape == node.shape else None

    def argument(self, node: Node, name: str) -> Any:
        """An argument of an op that the graph has kept, such as its axis; else None."""
        extras = getattr(node.op, "extras", ())
        return dict(zip(extras[::-1], (node.saved or ())[::-1], strict=False)).get(name)

    def rule_words(self, node: Node, slot: int | None) -> str:
        """A gradient rule in its own words, such as ``relu: dx = g * (out > 0)``.

        With ``slot=None``, the rules of all uses of the node.
        """
        if slot is None:
            rules = dict.fromkeys(self.rule_words(*use) for use in self.users[node])
            return "; ".join([*rules][:3]) + ("; …" if len(rules) > 3 else "")
        op = node.op
        if not isinstance(op, Op):
            return op.name if op else ""
        read = op.variadic or op.inputs[slot]
        return f"{op.name}: d{read} = {op.formula(read)}"


def source_line(path: str, number: int) -> str:
    """A line of code, as ``file.py:12: text``."""
    text = linecache.getline(path, number).strip()
    return os.path.basename(location(path, number)) + (f": {text}" if text else "")


def parent_of(node: Node, slot: int) -> Node:
    """The input node of a use."""
    parent = node.parents[slot]
    assert parent is not None
    return parent


def fitted(part: Any, shape: tuple[int, ...]) -> Any:
    """A part of a gradient, summed over the axes along which its Tensor was broadcast."""
    return part if part.shape == shape else unbroadcast(part, shape)


def parts(returned: Any) -> tuple[Any, dict[str, Tensor]]:
    """What f returned, as the loss and the intermediate Tensors by name."""
    named = isinstance(returned, tuple | list) and [*map(type, returned)][1:] == [dict]
    return tuple(returned) if named else (returned, {})
