"""A recorded graph as a function again: the ops' own functions, run on other values."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import graph
from ..arrays import array_name
from ..compiler.program import map_tree
from ..definition import OPS, Op
from ..drawing.names import Names, named
from ..graph import Node
from ..recorder import originals, record_of
from ..tensor import Tensor
from .literals import array_text
from .naming import Namer, input_word, shortened
from .problem import DerivationError


@dataclass(frozen=True)
class Input:
    """Stands for an argument of the function, or for a part of one, transposed or not."""

    name: str
    index: tuple[Any, ...] = ()
    turned: bool = False

    def of(self, given: Mapping[str, Any]) -> Any:
        """The array, given the arguments."""
        array = given[self.name]
        array = array[self.index] if self.index else array
        return array.T if self.turned else array


class OpCall(NamedTuple):
    """One op call of the graph; Nodes stand for results, Inputs for arrays."""

    node: Node
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Replay:
    """The graph that leads to a Tensor, as a function of its leaves and constants.

    ``parameters`` maps names to the leaves. ``arrays`` holds the known values of these and of the
    other inputs. The values of a leaf that no rule reads are known only from ``names``, or if the
    forward pass ran inside ``tg.record()``.
    """

    def __init__(self, output: Tensor, names: Names = None) -> None:
        assert output.node is not None
        self.tensor, self.output = output, output.node
        self.namer = Namer()
        self.arrays: dict[str, Any] = {}
        self.calls: list[OpCall] = []
        self.as_recorded = True
        self._given: dict[Any, tuple[str, Any]] = {}  # names by the node or the array's id
        self._constants: dict[int, tuple[Input, Any]] = {}
        pairs = list(named(names))
        short = shortened([name for name, _ in pairs])
        for name, value in pairs:
            array, node = (value.data, value.node) if isinstance(value, Tensor) else (value, None)
            self._given[node or id(array)] = short[name], array
        order = graph.reachable([self.output])[::-1]
        self._inputs = self._leaf_inputs(order)
        self.parameters = {place.name: node for node, place in self._inputs.items()}
        for node in order:
            if node.op is not None:
                self._add(node)

    @property
    def known(self) -> bool:
        """Whether the values of all inputs are known."""
        return self.parameters.keys() <= self.arrays.keys()

    def run(self, given: Mapping[str, Any]) -> dict[Node, Tensor]:
        """Call the ops on these values, by name; the result for each node of the graph."""
        made: dict[Node, Any] = {node: given[name] for name, node in self.parameters.items()}

        def now(leaf: Any) -> Any:
            if isinstance(leaf, Node):
                return made[leaf]
            return leaf.of(given) if isinstance(leaf, Input) else leaf

        for call in self.calls:
            args, kwargs = map_tree(now, call.args), map_tree(now, call.kwargs)
            made[call.node] = call.function(*args, **kwargs)
        return made

    def __call__(self, **parameters: Any) -> Tensor:
        """The output for other values of the parameters, with the other inputs as they were."""
        return self.run(self.arrays | parameters)[self.output]

    def with_arrays(self, arrays: Mapping[str, Any]) -> Replay:
        """The same function with other inputs; nothing is recorded for them."""
        other = copy.copy(self)
        other.arrays, other.as_recorded = {**self.arrays, **arrays}, False
        return other

    # How it is made

    def _leaf_inputs(self, order: list[Node]) -> dict[Node, Input]:
        """The leaves in the order of their first use, with their names."""
        found: dict[Node, Input] = {}
        for node in order:
            for i, parent in enumerate(node.parents):
                if parent is None or parent.op is not None or parent in found:
                    continue
                given, array = self._given.get(parent, (parent.name, None))
                hint = input_word(node, i) or ("W" if len(parent.shape) > 1 else "b")
                name = self.namer.free(given or hint, numbered=not given)
                found[parent] = Input(name)
                if array is not None:
                    self.arrays[name] = array
        if self.output.op is None:
            found[self.output] = Input(self.namer.free(self.output.name or "x"))
        return found

    def _add(self, node: Node) -> None:
        op, seen = node.op, record_of(node)
        if not isinstance(op, Op):
            name, advice = getattr(op, "name", op), "give the op one rule per input"
            if name == "checkpoint":
                advice = "run the function without tg.checkpoint"
            raise DerivationError(f"op {name!r} has no gradient rules to write out: {advice}")
        saved = seen.saved if node.saved is None else node.saved
        if saved is None:
            raise DerivationError(
                f"a backward pass has released the arrays of op {op.name!r}: derive before "
                "loss.backward(), or run both inside `with tg.record():`"
            )
        count = len(node.parents)
        saved = originals(saved, node.originals)
        values = (seen.operands or saved)[:count]
        operands = [self._operand(node, i, value) for i, value in enumerate(values)]
        params = dict(zip(op.extras, saved[count + 1 :], strict=False))
        params = {k: v for k, v in params.items() if k in op.parameters}
        self.calls.append(OpCall(node, *self._arguments(op, node, operands, params)))

    def _operand(self, node: Node, i: int, value: Any) -> Any:
        parent = node.parents[i]
        if parent is not None:
            if parent in self._inputs and value is not None:
                self.arrays.setdefault(self._inputs[parent].name, np.asarray(value))
            return self._inputs.get(parent, parent)
        if value is None and record_of(node).operands is None:
            assert node.op is not None
            raise DerivationError(
                f"the graph does not keep the constant {input_word(node, i) or i!r} of op "
                f"{node.op.name!r}, since no rule reads it: run the forward pass inside "
                "`with tg.record():`"
            )
        return self._constant(value, input_word(node, i) or "x")

    def _constant(self, value: Any, hint: str) -> Any:
        """An array as an Input; a number as it is."""
        if not isinstance(value, np.ndarray) or not value.ndim:
            return value.item() if isinstance(value, np.ndarray) else value
        name = self._given.get(id(value), (array_name(value), None))[0]
        if not name and value.dtype.kind in "fb" and array_text(value, 0):
            return value  # zeros or ones, such as a first state, or the triangle of a causal mask
        if not name and (view := self._view(value)) is not None:
            return view
        if id(value) not in self._constants:
            hint = "mask" if hint == "x" and _is_mask(value) else hint
            place = Input(self.namer.free(name or hint))
            self._constants[id(value)] = place, value  # which keeps it: the id holds
            self.arrays[place.name] = value
        return self._constants[id(value)][0]

    def _view(self, value: Any) -> Input | None:
        """An array as a part of one that has a name, if it is a view of it."""
        for name, whole in self._given.values():
            real = isinstance(whole, np.ndarray) and whole.flags.c_contiguous
            for turned in (False, True) if real and np.may_share_memory(value, whole) else ():
                index = _index_of(value.T if turned else value, whole)
                if index is not None:
                    return Input(self._constant(whole, name).name, index, turned)
        return None

    def _arguments(
        self, op: Op, node: Node, operands: list[Any], kept: dict[str, Any]
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The function to call and its arguments, from what the graph keeps and from shapes."""
        for name, value in kept.items():
            if name != "index" or not _has_mask(value):  # a mask decides shapes: it is not an input
                kept[name] = map_tree(functools.partial(self._constant, hint=name), value)
        if op.name in ("expand_dims", "squeeze"):  # whose axes the graph does not keep
            return OPS["reshape"].function, (operands[0], node.shape), {}
        if op.variadic:
            code = op.forward.__code__
            names = code.co_varnames[: code.co_argcount]
            first = [kept.pop(name) for name in names if name in kept]
            return op.function, (*first, *operands), kept
        given = dict(zip(op.inputs, operands, strict=True)) | kept
        for name in op.parameters:
            if name not in given and name not in ("copy", "where"):
                given[name] = self._not_kept(op, node, name, kept)
        return op.function, (), given

    def _not_kept(self, op: Op, node: Node, name: str, kept: dict[str, Any]) -> Any:
        """An argument that no rule reads: known from the output, or a default to be checked."""
        if name in ("shape", "dtype"):
            return getattr(node, name)
        if _SIZES.get(op.name) == name:
            return node.shape[2:]
        if name == "keepdims":
            [parent] = [parent for parent in node.parents if parent is not None]
            return 0 < len(parent.shape) == len(node.shape)
        default = inspect.signature(op.forward).parameters[name].default
        output = record_of(node).output
        if output is None or default is inspect.Parameter.empty:
            advice = "run the forward pass inside `with tg.record():`"
            raise DerivationError(
                f"the graph does not keep the argument {name!r} of op {op.name!r}, since no rule "
                f"reads it: {advice if output is None else 'let the rule of the op name it'}"
            )
        return default


_SIZES = {
    "window_sum": "out", "window_spread": "size", "windows_folded": "size",
    "convolution_input": "size", "convolution_weight": "kernel",
}  # fmt: skip
"""The parameters that are the size of the result."""


def _index_of(part: Any, whole: Any) -> tuple[Any, ...] | None:
    """The index for which ``whole[index]`` is the same memory as ``part``; None if none is."""
    start = part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    if part.dtype != whole.dtype or not part.size or not 0 <= start < whole.nbytes:
        return None
    starts = np.unravel_index(start // whole.itemsize, whole.shape)
    axes = list(zip(part.shape, part.strides, strict=True))
    index: list[Any] = []
    for first, length, stride in zip(map(int, starts), whole.shape, whole.strides, strict=True):
        count, step = axes[0] if axes else (0, 0)
        if axes and stride and step % stride == 0 and first + (count - 1) * step // stride < length:
            axes.pop(0)
            step //= stride
            every = (first, count, step) == (0, length, 1)
            index.append(
                slice(None) if every else slice(first, first + (count - 1) * step + 1,
                                                None if step == 1 else step)
            )  # fmt: skip
        else:
            index.append(first)
    while index and index[-1] == slice(None):
        index.pop()
    found = whole[tuple(index)]
    same = not axes and (found.shape, found.strides) == (part.shape, part.strides)
    return tuple(index) if same else None


def _is_mask(array: Any) -> bool:
    """Whether an array consists of two numbers, one of which is 0."""
    found = np.unique(array) if array.size < 1e6 else array.ravel()[:3]
    return bool(array.ndim and len(found) == 2 and 0 in found)


def _has_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, np.ndarray) and part.dtype == bool for part in parts)
