"""The graph as plain records: a vertex for every op, parameter and constant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .. import graph
from ..arrays import array_name
from ..definition import Op
from ..graph import Node
from ..nn import Module
from ..recorder import Record, originals, record_of
from ..shapes import Shape
from ..tensor import Array, Tensor
from .formulas import summed_axes
from .names import Names, legible, named

FOLDED = ("collapsed scope", "left out")


class LineNumbers(Protocol):
    """A derivation: the graph's forward and backward pass in numbered lines."""

    def numpy(self) -> str: ...
    def line_of(self, tensor: Node, gradient: bool = False) -> int | None: ...
    def name_of(self, node: Node) -> str: ...


@dataclass(eq=False)
class Edge:
    """A use of ``source`` as an op's input, and the rule for its gradient.

    The rule uses the op's own names. ``axes`` are those along which the input was broadcast: its
    gradient is summed over them. ``line`` is the line of a derivation.
    """

    source: Vertex
    input: str = ""
    rule: str = ""
    axes: tuple[int, ...] = ()
    line: int | None = None


@dataclass(eq=False)
class Vertex:
    """One node of the drawing; after folding, it stands for ``count`` nodes of the graph.

    ``kind`` is parameter, input, constant, op, output or loss, or one of ``FOLDED``. ``values`` and
    ``gradients`` are the known arrays, ``kept`` is the number of bytes that the graph keeps for the
    op's rules. ``bad`` says that an array holds nan or inf, ``trouble`` that this is the first one.
    ``line`` is the line of a derivation that computes it.
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
    line: int | None = None

    @property
    def is_op(self) -> bool:
        """Whether this vertex is computed: an op, not a parameter, input or constant."""
        return self.kind not in ("parameter", "input", "constant")


def walk(
    tensors: Tensor | Iterable[Tensor], names: Names = None, lines: LineNumbers | None = None
) -> list[Vertex]:
    """All vertices that lead to the Tensors: ops in order of execution, others at their first use.

    Raises TypeError for anything but Tensors, ValueError for Tensors without a graph.
    """
    roots: dict[Node, Tensor] = {}
    for tensor in _listed(tensors):
        if tensor.node is None:
            raise ValueError(
                f"no graph leads to this {tensor.label()}: nothing that it was computed from "
                "requires grad, or it was computed inside no_grad()"
            )
        roots.setdefault(tensor.node, tensor)
    if not roots:
        raise ValueError("there is no Tensor to draw")
    walker = _Walker(names, lines)
    vertices = [walker.visit(node) for node in reversed(graph.reachable(roots))]
    for node, tensor in roots.items():
        vertex = walker.vertices[node]
        _learn(vertex.values, tensor.data)
        if node.op is not None:
            vertex.kind = "output" if tensor.ndim else "loss"
    found: dict[Vertex, None] = {}
    for vertex in sorted(vertices, key=lambda v: not v.is_op):
        found |= dict.fromkeys([*(edge.source for edge in vertex.inputs), vertex])
    order = list(found)
    _find_trouble(order)
    return order


def _listed(tensors: Any) -> list[Tensor]:
    """The Tensors as a list; TypeError for anything else."""
    single = isinstance(tensors, Tensor | Module | Mapping | np.ndarray | str)
    single = single or not isinstance(tensors, Iterable)
    found: list[Any] = [tensors] if single else list(tensors)
    wrong = [value for value in found if not isinstance(value, Tensor)]
    if wrong:
        advice = "give the Tensor that a computation returned, such as a loss, or a list of them"
        if isinstance(wrong[0], Module):
            advice = "give what the module returns, such as tg.draw(model(x), names=model)"
        raise TypeError(f"only Tensors can be drawn, got {type(wrong[0]).__name__}: {advice}")
    return found


class _Walker:
    """Makes the vertices. Arrays are identified by their ``id``."""

    def __init__(self, names: Names, lines: LineNumbers | None) -> None:
        self.lines = lines
        self.vertices: dict[Node, Vertex] = {}
        self.constants: dict[int, Vertex] = {}
        self.left: dict[Any, int] = {}  # bytes not counted yet: of arrays' owners, and of views
        self.names: dict[int, str] = {}
        for name, value in named(names):
            if isinstance(value, Tensor) and value.node is not None:
                vertex = self.vertices.setdefault(value.node, Vertex("parameter", name, name))
                _learn(vertex.values, value.data)
            self.names[id(value.data if isinstance(value, Tensor) else value)] = name

    def visit(self, node: Node) -> Vertex:
        """Make the node's vertex, and those of its constants."""
        vertex, seen = self.vertices.setdefault(node, Vertex("parameter", "")), record_of(node)
        vertex.name = vertex.name or legible(node.name or "")
        if self.lines is not None:
            vertex.name = vertex.name or self.lines.name_of(node)
            vertex.line = self.lines.line_of(node)
        vertex.title = vertex.name or "parameter"
        vertex.shape, vertex.dtype = node.shape, str(node.dtype)
        _learn(vertex.gradients, seen.gradient if node.op else node.grad)
        if node.op is not None:
            vertex.kind, vertex.title = "op", legible(node.op.name)
            vertex.scope = tuple(map(legible, seen.scope))
            vertex.seconds = seen.seconds
            vertex.backward = getattr(node, "in_backward", False)
            _learn(vertex.values, seen.output)
            self.connect(node, vertex, seen)
        return vertex

    def connect(self, node: Node, vertex: Vertex, seen: Record) -> None:
        """Add the node's inputs, and the values that it has saved."""
        kept, count = node.saved or seen.saved or (), len(node.parents)
        op = node.op if isinstance(node.op, Op) else None  # a checkpoint has no rules to show
        size = count + 1 + (len(op.extras) if op else 0)
        # A backward pass releases saved arrays, except those that something else holds.
        saved = originals(kept or (None,) * size, node.originals)
        operands = seen.operands or saved[:count]
        names = ("",) * count if op is None else op.inputs * (count if op.variadic else 1)
        extras = dict(zip(op.extras, saved[count + 1 :], strict=False)) if op else {}
        for parent, operand, name in zip(node.parents, operands, names, strict=True):
            if parent is not None:
                _learn(self.vertices[parent].values, operand)
                edge = Edge(self.vertices[parent], name)
                if op is not None:
                    edge.rule = op.formula(op.variadic or name)
                    edge.axes = summed_axes(edge.rule, parent.shape, node.shape)
                if self.lines is not None:
                    edge.line = self.lines.line_of(parent, gradient=True)
                vertex.inputs.append(edge)
                if parent.op is None:  # a parameter: the graph does not own its memory
                    self.left[id(_owner(operand))] = 0
            elif operand is not None:
                vertex.inputs.append(Edge(self.constant(operand, name), name))
        _learn(vertex.values, saved[count])
        residual = op.residual[0] if op and op.residual else None
        for name, value in extras.items():
            if isinstance(value, np.ndarray) and name != residual:  # labels, indices, masks
                vertex.inputs.append(Edge(self.constant(value, name), name))
        vertex.kept = self.bytes_of(kept)

    def constant(self, value: Any, hint: str) -> Vertex:
        """The vertex of an array without a gradient (an input) or of a number (a constant)."""
        if id(value) in self.constants:
            return self.constants[id(value)]
        array = np.asarray(value)
        name = self.names.get(id(value)) or legible(array_name(value))
        kind = "input" if name or array.ndim else "constant"
        word = hint if len(hint) > 1 else "input"  # names of one letter say nothing
        title = name or (word if kind == "input" else f"{array.item():.4g}")
        vertex = Vertex(kind, title, name, array.shape, str(array.dtype), values=[array])
        if isinstance(value, np.ndarray):
            self.constants[id(value)] = vertex
        return vertex

    def bytes_of(self, value: Any) -> int:
        """The bytes of the arrays in a saved value, each counted once.

        Views of one array are counted one by one, but together no more than the array.
        """
        if isinstance(value, tuple | list):
            return sum(map(self.bytes_of, value))
        if not isinstance(value, np.ndarray):
            return 0
        owner, where = _owner(value), (value.__array_interface__["data"][0], value.nbytes)
        left = self.left.setdefault(id(owner), getattr(owner, "nbytes", value.nbytes))
        size = 0 if where in self.left else min(value.nbytes, left)  # less, if broadcast
        self.left |= {id(owner): left - size, where: 0}
        return size


def _owner(value: Any) -> Any:
    base = getattr(value, "base", None)
    return value if base is None else base


def _learn(known: list[Array], value: Any) -> None:
    if value is not None and not known:
        known.append(np.asarray(value))


def _find_trouble(order: list[Vertex]) -> None:
    """Mark nan and inf, and the first of them: in the forward or else in the backward pass."""
    values = [v for v in order if _not_finite(v.values)]
    gradients = [v for v in order if _not_finite(v.gradients)]
    for vertex in values + gradients:
        vertex.bad = True
    if values:
        first = values[0]
        known = all(v.values for v in order[: order.index(first)])
        first.trouble = f"first {_not_finite(first.values)}{'' if known else ' seen'}"
    elif gradients:
        gradients[-1].trouble = f"first {_not_finite(gradients[-1].gradients)} gradient"


def _not_finite(arrays: list[Array]) -> str:
    """``nan`` or ``inf`` if the arrays hold any, else empty."""
    bad = [array for array in arrays if not np.isfinite(array).all()]
    return ("nan" if np.isnan(bad[0]).any() else "inf") if bad else ""
