"""The graph as plain records: a vertex for every op, parameter and constant, in order of use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import graph
from ..graph import Node
from ..nn import Module
from ..op import Op
from ..record import Record, array_name, record_of
from ..shapes import Shape
from ..tensor import Array, Tensor

Names = Module | Mapping[str, Any] | None
FOLDED = ("collapsed scope", "left out")


@dataclass(eq=False)
class Edge:
    """A use of ``source`` as an op's input, and the rule by which its gradient comes back."""

    source: Vertex
    input: str = ""
    rule: str = ""


@dataclass(eq=False)
class Vertex:
    """One thing to draw; ``count`` says for how many of the graph's it stands, once folded.

    ``kind`` is parameter, input, constant, op, output or loss, or one of ``FOLDED``.
    ``values`` and ``gradients`` hold the arrays that are known; ``kept`` counts the bytes that the
    graph keeps for this op's rules; ``bad`` says that nan or inf is among the values or gradients,
    and ``trouble`` that it came up here.
    """

    kind: str
    title: str
    name: str = ""
    shape: Shape = ()
    dtype: str = ""
    inputs: list[Edge] = field(default_factory=list)
    scope: tuple[str, ...] = ()
    backward: bool = False
    values: list[Array] = field(default_factory=list)
    gradients: list[Array] = field(default_factory=list)
    kept: int = 0
    seconds: float | None = None
    count: int = 1
    last: str = ""
    bad: bool = False
    trouble: str = ""
    key: str = ""

    @property
    def is_op(self) -> bool:
        """Whether it was computed, not given."""
        return self.kind not in ("parameter", "input", "constant")


def walk(
    tensors: Tensor | Iterable[Tensor],
    names: Names = None,
    gradients: bool = True,
    rules: bool = True,
) -> list[Vertex]:
    """All vertices that lead to the Tensors: ops as they were run, the rest at its first use.

    Gradients of computed Tensors are worked out anew, where a backward pass has been run and the
    arrays it needs are still there: kept by ``tg.record()``, or by ``retain_graph``.

    Raises TypeError for what is no Tensor, ValueError for Tensors without a graph.
    """
    roots = _roots(tensors)
    nodes = graph.reachable(roots)[::-1]
    walker = _Walker(names, rules)
    for node in nodes:
        walker.visit(node)
    for node, tensor in roots.items():
        vertex = walker.vertices[node]
        _learn(vertex, tensor.data)
        if node.op is not None:
            vertex.kind = "output" if tensor.ndim else "loss"
    if gradients:
        for node, gradient in _gradients(roots, nodes).items():
            walker.vertices[node].gradients.append(gradient)
    order: dict[Vertex, None] = {}
    for vertex in sorted((walker.vertices[node] for node in nodes), key=lambda v: not v.is_op):
        for edge in vertex.inputs:
            order.setdefault(edge.source)
        order.setdefault(vertex)
    _find_trouble(list(order))
    return list(order)


def _roots(tensors: Tensor | Iterable[Tensor]) -> dict[Node, Tensor]:
    roots: dict[Node, Tensor] = {}
    for tensor in [tensors] if isinstance(tensors, Tensor) else tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"only Tensors can be drawn, got {type(tensor).__name__}")
        if tensor._node is None:
            raise ValueError(
                f"no graph leads to this {tensor._label()}: nothing that it was computed from "
                "requires grad, or it was computed inside no_grad()"
            )
        roots.setdefault(tensor._node, tensor)
    if not roots:
        raise ValueError("there is no Tensor to draw")
    return roots


class _Walker:
    """Makes the vertices, and knows the names."""

    def __init__(self, names: Names, rules: bool) -> None:
        self.vertices: dict[Node, Vertex] = {}
        self.constants: dict[int, Vertex] = {}
        self.counted: set[int] = set()  # arrays whose bytes have been counted
        self.names: dict[int, str] = {}
        given = names.named_parameters() if isinstance(names, Module) else (names or {}).items()
        for name, value in given:
            if isinstance(value, Tensor) and value._node is not None:
                vertex = self.vertices.setdefault(value._node, Vertex("parameter", name, name))
                _learn(vertex, value.data)
            self.names[id(value.data if isinstance(value, Tensor) else value)] = name
        self.rules = rules
        self.words: dict[tuple[Any, ...], str] = {}

    def visit(self, node: Node) -> None:
        """Make the node's vertex, and those of the constants it used."""
        vertex = self.vertices.setdefault(node, Vertex("parameter", ""))
        vertex.name = vertex.name or node.name or ""
        vertex.title = vertex.name or "parameter"
        vertex.shape, vertex.dtype = node.shape, str(node.dtype)
        if node.op is not None:
            seen = record_of(node)
            vertex.kind, vertex.title, vertex.scope = "op", node.op.name, seen.scope
            vertex.backward, vertex.seconds = seen.backward, seen.seconds
            _learn(vertex, seen.output)
            self.connect(node, vertex, seen)

    def connect(self, node: Node, vertex: Vertex, seen: Record) -> None:
        """Add the node's inputs, and learn what its saved values tell."""
        saved, count = _saved(node) or (), len(node.parents)
        operands = (*(seen.operands or saved[:count]), *(None,) * count)[:count]
        op = node.op if isinstance(node.op, Op) else None  # a checkpoint has no rules to show
        names = ("",) * count if op is None else op.inputs * (count if op.variadic else 1)
        extras = dict(zip(op.extras, saved[count + 1 :], strict=False)) if op else {}
        inputs = enumerate(zip(node.parents, operands, names, strict=True))
        for i, (parent, operand, name) in inputs:
            if parent is not None:
                _learn(self.vertices[parent], operand)
                rule = self.rule(op, i, node, operands, extras) if op and self.rules else ""
                vertex.inputs.append(Edge(self.vertices[parent], name, rule))
            elif operand is not None:
                vertex.inputs.append(Edge(self.constant(operand, name), name))
        if saved:
            _learn(vertex, saved[count])
        residual = op.residual[0] if op and op.residual else None
        for name, value in extras.items():
            if isinstance(value, np.ndarray) and name != residual:  # labels, indices, masks
                vertex.inputs.append(Edge(self.constant(value, name), name))
        # Parameters are there anyway: it is not the graph that keeps them.
        for parent, operand in zip(node.parents, operands, strict=True):
            if parent is not None and parent.op is None:
                self.counted.add(_owner(operand))
        vertex.kept = self.bytes_of(saved)

    def rule(
        self, op: Op, i: int, node: Node, operands: tuple[Any, ...], extras: dict[str, Any]
    ) -> str:
        """The rule in its own words; where it has several cases, the one that holds here."""
        name = op.variadic or op.inputs[i]
        # What is no longer there is replaced by zeros of its shape: cases differ by shape.
        given = [
            _zeros(parent) if value is None and parent else value
            for value, parent in zip(operands, node.parents, strict=True)
        ]
        key: tuple[Any, ...] = (op, name)
        if op.gradients[name].__name__ != "<lambda>":
            key += tuple(_outline(value) for value in (i, *given, *extras.values()))
        if key not in self.words:
            out = _zeros(node)
            values: dict[str, Any] = {"g": out, "out": out, "i": i}
            if op.variadic:
                values[op.variadic] = given
            else:
                for word, value in zip(op.inputs, given, strict=True):
                    values |= {word: value, f"{word}_shape": np.shape(value)}
            self.words[key] = op.formula(name, values | extras)
        return self.words[key]

    def constant(self, value: Any, hint: str) -> Vertex:
        """The vertex of what needs no gradient: data (an input), or a mere number (a constant)."""
        if id(value) in self.constants:
            return self.constants[id(value)]
        array = np.asarray(value)
        name = self.names.get(id(value)) or array_name(value)
        hint = hint if len(hint) > 1 else "input"  # x and y say nothing
        title = name or (hint if array.ndim else f"{array.item():.4g}")
        kind = "input" if name or array.ndim else "constant"
        vertex = Vertex(kind, title, name, array.shape, str(array.dtype), values=[array])
        if isinstance(value, np.ndarray):
            self.constants[id(value)] = vertex
        return vertex

    def bytes_of(self, saved: Iterable[Any]) -> int:
        """The bytes of the arrays in saved values, each counted where it is first met."""
        total = 0
        for value in saved:
            if isinstance(value, tuple | list):
                total += self.bytes_of(value)
            elif isinstance(value, np.ndarray):
                total += value.nbytes if _owner(value) not in self.counted else 0
                self.counted.add(_owner(value))
        return total


def _owner(value: Any) -> int:
    base = getattr(value, "base", None)
    return id(value if base is None else base)


def _zeros(node: Node) -> Array:
    return np.broadcast_to(np.zeros((), node.dtype), node.shape)


def _outline(value: Any) -> str:
    """What cases are told apart by: shapes of arrays, values of the rest."""
    return str(getattr(value, "shape", value))


def _learn(vertex: Vertex, value: Any) -> None:
    if value is not None and not vertex.values:
        vertex.values.append(np.asarray(value))


def _saved(node: Node) -> tuple[Any, ...] | None:
    return record_of(node).saved if node.saved is None else node.saved


def _gradients(roots: Mapping[Node, Tensor], nodes: list[Node]) -> dict[Node, Array]:
    """The leaves' own, and those of the nodes between if they can be worked out."""
    found = {node: node.grad for node in nodes if node.op is None and node.grad is not None}
    ops = [node for node in nodes if node.op is not None]
    seeds = {
        node: np.ones(node.shape, node.dtype)
        for node, tensor in roots.items()
        if tensor.size == 1 and node.op is not None and not record_of(node).backward
    }
    if not found or not seeds or any(_saved(n) is None or not isinstance(n.op, Op) for n in ops):
        return found
    released = [node for node in ops if node.saved is None]
    try:
        for node in released:
            node.saved = _saved(node)
        with np.errstate(all="ignore"):
            return {**graph.backward(seeds, ops, retain=True), **found}
    finally:
        for node in released:
            node.saved = None


def _find_trouble(order: list[Vertex]) -> None:
    """Mark nan and inf, and where they came up: on the way forward, and else on the way back."""
    values = {v: what for v in order if (what := _not_finite(v.values))}
    gradients = {v: what for v in order if (what := _not_finite(v.gradients))}
    for vertex in (*values, *gradients):
        vertex.bad = True
    if values:
        first = next(iter(values))
        known = all(v.values for v in order[: order.index(first)])
        first.trouble = f"first {values[first]}" + ("" if known else " seen")
    elif gradients:
        last = [*gradients][-1]
        last.trouble = f"first {gradients[last]} gradient"


def _not_finite(arrays: list[Array]) -> str:
    """``nan`` or ``inf`` where the arrays hold any, else nothing."""
    bad = [array for array in arrays if not np.isfinite(array).all()]
    return ("nan" if np.isnan(bad[0]).any() else "inf") if bad else ""
