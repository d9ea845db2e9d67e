"""Tracing: run a function once, for real, and write down every call that its arrays meet.

Tensors and gradients from outside are read and replaced through descriptors that stand in for three
slots while a trace runs (see ``watching``): the trace keeps what was assigned to itself until the
function has returned, so that nothing outside ever holds a traced array.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .. import graph, tracing
from ..random import default_generator, is_default
from ..tensor import Tensor, wrap
from . import CompileError
from .guard import unchanged
from .program import REDUCTIONS, Call, Function, Place, Program, Value, map_tree
from .surroundings import Surroundings
from .symbol import Symbol

LOCK = threading.RLock()
"""Held by whoever traces or replays: parameters and gradients have one writer at a time."""

_PACKAGE = __name__.rsplit(".", 2)[0]
_DATA_DEPENDENT = frozenset(
    [np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.compress, np.extract, np.trim_zeros]
)


class Trace:
    """One traced run, as it is written down. See ``tracing.Tracer`` for what it is told."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.inputs: list[Value] = []
        self.constants: dict[int, tuple[Any, Value]] = {}  # by id; the array is kept: the id holds
        self.around = Surroundings()
        self.tensors: dict[int, tuple[Tensor, Symbol]] = {}  # from outside, with what they hold now
        self.nodes: dict[int, tuple[Tensor, Any]] = {}  # the same with their nodes
        self.inside: set[int] = set()  # Tensors made by the function
        self.start = graph.tick()
        self.gradients: dict[graph.Node, Any] = {}  # of leaves outside, as they are now
        self.before: dict[graph.Node, Symbol | None] = {}  # what was read first, if anything was
        self.left: list[tuple[Any, str, Any]] = []  # what is to be found outside afterwards
        self.apart: set[Any] = set()  # pairs of them, taken to share no memory
        self.items_found: dict[tuple[int, int, int], Symbol] = {}
        self.outside: list[Symbol] = []  # what stands for arrays from outside
        self.computed: set[Value] = set()  # in memory of their own
        self.errors = np.geterr()

    # Arrays come in

    def input(self, leaf: Any) -> Any:
        """One leaf of the arguments, with a traced array in place of an array."""
        array = leaf._data if isinstance(leaf, Tensor) else leaf
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            return leaf
        if not isinstance(array, np.ndarray):
            self.around.meet(leaf)
            if hasattr(leaf, "__dict__") and not isinstance(leaf, type | types.FunctionType):
                self.depend(leaf)
            return leaf
        if array.dtype.kind not in "fiubc" or not array.dtype.isnative:
            self.refuse(f"an argument is an array of dtype {array.dtype}: only numbers are traced")
        symbol = Symbol(self, array, Value(array, "input", len(self.inputs)))
        self.inputs.append(symbol.variable)
        if not isinstance(leaf, Tensor):
            return symbol
        tensor = wrap(symbol, None)  # type: ignore[arg-type]
        tensor._name = leaf._name
        self.inside.add(id(tensor))
        for look in (lambda: tensor._data, lambda: tensor._node):
            self.around.fact("changes a Tensor among the arguments", look)
        return tensor

    def constant(self, array: Any) -> Value:
        """An ndarray that the function uses, but that no traced array led to."""
        found = self.constants.get(id(array))
        if found is None:
            if type(array) is not np.ndarray:
                self.refuse(f"arrays of type {type(array).__name__} are not traced: use ndarrays")
            found = self.constants[id(array)] = array, Value(array, "constant", array)
        return found[1]

    def external(self, array: Any, owner: Any, path: str, label: str) -> Symbol:
        """An array that lives outside: the program is bound to the place, whatever it will hold."""
        if type(array) is not np.ndarray:
            self.refuse(f"{label} holds a {type(array).__name__}: only ndarrays are traced")
        value = Value(array, "external", Place(owner, path, label))
        self.outside.append(Symbol(self, array, value))
        return self.outside[-1]

    def items(self, table: list[list[Any]], row: int) -> list[Any]:
        """See ``tracing.Tracer``."""
        found = []
        for column, array in enumerate(table[row]):
            key = id(table), row, column
            if key not in self.items_found:
                path = f"[{row}][{column}]"
                self.items_found[key] = self.external(array, table, path, f"state{path}")
            found.append(self.items_found[key])
        return found

    # Tensors and gradients from outside; what the descriptors below call

    def read(self, tensor: Tensor, array: Any) -> Any:
        """A Tensor's array is asked for."""
        if isinstance(array, Symbol) or id(tensor) in self.inside:
            return array
        if id(tensor) not in self.tensors:
            if not tensor.is_leaf:
                self.refuse(
                    "a Tensor computed outside takes part: its graph cannot be replayed. Compute "
                    "it inside, or use tensor.detach()"
                )
            symbol = self.external(array, tensor, "._data", tensor.name or "tensor")
            self.tensors[id(tensor)] = tensor, symbol
        return self.tensors[id(tensor)][1]

    def write(self, tensor: Tensor, old: Any, array: Any) -> bool:
        """A Tensor's array is replaced; True if the Tensor is from outside, and must not change."""
        if isinstance(old, Symbol) or id(tensor) in self.inside:
            return False
        if self.read(tensor, old) is not array:
            if not isinstance(array, Symbol):
                array = Symbol(self, array, self.constant(array))
            elif array.external is not None:
                self.refuse("two Tensors would share one array: assign array.copy()")
            self.tensors[id(tensor)] = tensor, array
        return True

    def node(self, tensor: Tensor, node: Any) -> Any:
        """A Tensor is asked whether it requires grad."""
        if id(tensor) not in self.inside:
            self.nodes[id(tensor)] = tensor, node
        return node

    def write_node(self, tensor: Tensor, old: Any, node: Any) -> bool:
        """A Tensor is told whether it requires grad."""
        if id(tensor) not in self.inside:
            self.refuse("requires_grad is switched, of a Tensor from outside: do it outside, too")
        return False

    def gradient(self, node: graph.Node, value: Any) -> Any:
        """A node's gradient is asked for."""
        if node.op is not None or node.tick > self.start:
            return value
        if node not in self.gradients:
            found = None
            if value is not None:
                found = self.external(value, node, ".grad", f"{node.name or 'tensor'}.grad")
            self.gradients[node] = self.before[node] = found
        return self.gradients[node]

    def write_gradient(self, node: graph.Node, old: Any, value: Any) -> bool:
        """A node's gradient is replaced; True if the node is from outside, and must not change."""
        outside = node.op is None and node.tick < self.start
        if outside:
            self.gradients[node] = value
        return outside

    # Calls

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do it, and write it down."""
        if tracing.active.get() is not self:
            self.refuse(
                "a traced array was kept from an earlier call, as an attribute perhaps: return it, "
                "or keep it in a Tensor's data"
            )
        if isinstance(function, np.ufunc) and all(map(_is_number, args)) and not kwargs:
            return self.host(_on_hosts(function, args))
        arguments, keywords = map_tree(_read_only, args), map_tree(_read_only, kwargs)
        if kwargs.get("out") is not None:
            self.refuse(f"out= makes {_name(function)} write into an array in place")
        if function in _DATA_DEPENDENT or (
            function is np.ndarray.__getitem__ and _has_mask(args[1])
        ):
            self.refuse(
                "the result's shape depends on the values of a traced array: use tg.where, or "
                "multiply by the mask"
            )
        try:
            result = function(*arguments, **keywords)
        except ValueError as error:
            if "read-only" in str(error):
                self.refuse(f"{_name(function)} writes into an array in place")
            raise
        if isinstance(result, np.generic):
            result = np.asarray(result)
        if type(result) is not np.ndarray:
            self.refuse(f"{_name(function)} returns {type(result).__name__}, not an array")
        first = next((a for a in arguments if isinstance(a, np.ndarray)), None)
        shares = not isinstance(function, np.ufunc) and any(
            isinstance(a, np.ndarray) and np.may_share_memory(a, result) for a in arguments
        )
        if shares and not np.may_share_memory(first, result):
            self.refuse(f"{_name(function)} returns a view of its second array")
        if function in REDUCTIONS and not shares:
            function, args, kwargs = _as_reduce(function, args, kwargs)
        out = Value(result)
        places = self._places(args, kwargs)
        kind = "view" if shares else "array"
        if not shares:
            self.computed.add(out)
        errors = {k: mode for k, mode in np.geterr().items() if mode != self.errors[k]}  # type: ignore[literal-required]
        self.calls.append(Call(kind, function, *places, out, _line(), errors))
        return Symbol(self, result, out, (function, args, kwargs, places) if shares else None)

    def _places(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return map_tree(self.place, args), map_tree(self.place, kwargs)

    def place(self, leaf: Any) -> Any:
        """An argument as the program has it."""
        if isinstance(leaf, Symbol):
            if leaf.trace is not self:
                leaf.trace.call(np.positive, (leaf,), {})  # refuses
            if leaf.view is not None:
                function, args, kwargs, then = leaf.view
                now = self._places(args, kwargs)
                if now != then:  # what it views has been stored to since, which shows in it
                    leaf.view, leaf.variable = (function, args, kwargs, now), Value(leaf.value)
                    self.calls.append(Call("view", function, *now, leaf.variable, _line()))
            return leaf.variable
        return self.constant(leaf) if isinstance(leaf, np.ndarray) else leaf

    def assign(self, target: Any, source: Any, casting: Any = "same_kind") -> Any:
        """``np.copyto(target, source)``, of an array that lives outside."""
        if not isinstance(target, Symbol) or target.external is None:
            self.refuse(
                "an array is written to in place that is no Tensor's: write a = a + b instead "
                "of a += b, or keep it as a Tensor's data"
            )
        if not isinstance(source, Symbol):
            array = np.asarray(source)
            source = Symbol(self, array, self.constant(array))
        if source.dtype != target.dtype:
            if not np.can_cast(source.dtype, target.dtype, casting):
                self.refuse(f"{source.dtype} cannot be written into an array of {target.dtype}")
            source = source.astype(target.dtype)
        if source.shape != target.shape:
            source = self.call(np.broadcast_to, (source, target.shape), {})
        if source.variable not in self.computed:
            source = source.copy()  # the new value must not change with where it came from
        np.copyto(target.value, source.value)
        pair = target.external, source.variable
        self.calls.append(Call("store", np.copyto, pair, line=_line()))
        # The value is read from now on, unless sums of it would come out in another order.
        alike = source.value.strides == target.value.strides
        target.variable = source.variable if alike else target.external
        for other in self.outside:
            if other is not target and other.variable is not other.external:
                if np.may_share_memory(other.value, target.value):
                    other.variable = other.external  # type: ignore[assignment]
                else:
                    self.apart.add((other.external, target.external))
        return target

    # What Python does at every run

    def host(self, function: Callable[[], float]) -> Any:
        """See ``tracing.Tracer``."""
        number = float(function())
        value = Value(np.asarray(number), "host", function)
        self.calls.append(Call("host", function, out=value, line=_line()))
        return Symbol(self, number, value)

    def draw(self, function: Callable[[Any], Any], rng: Any) -> Any:
        """See ``tracing.Tracer``."""
        named = None if is_default(rng) else rng  # it may be another one by then

        def drawn() -> Any:
            return function(default_generator() if named is None else named)

        array = np.asarray(self._again(drawn))
        value = Value(array)
        self.calls.append(Call("draw", drawn, out=value, line=_line()))
        return Symbol(self, array, value)

    def effect(self, function: Callable[[], None]) -> None:
        """See ``tracing.Tracer``."""
        self._again(function)
        self.calls.append(Call("effect", function, line=_line()))

    def check(self, function: Callable[..., None], *arrays: Any) -> None:
        """See ``tracing.Tracer``."""
        function(*map_tree(_concrete, arrays))
        self.calls.append(Call("check", function, map_tree(self.place, arrays), line=_line()))

    def depend(self, owner: Any, *besides: str) -> None:
        """See ``tracing.Tracer``."""
        self.around.depend(owner, besides)

    def _again(self, function: Callable[[], Any]) -> Any:
        """Do what a replay does as well."""
        self._check_facts()
        result = function()
        self.around.refresh()
        return result

    def _check_facts(self) -> None:
        for told, look, then in self.around.facts:
            if not unchanged(look(), then):
                self.refuse(
                    f"the function {told}, which a replay would not do: return the value, keep it "
                    "in a Tensor's data, or pass it as an argument"
                )

    def refuse(self, why: str) -> NoReturn:
        """Give up, naming the line of the user's code."""
        raise CompileError(f"{why}\n    at {_line()}")

    # The end

    def finish(self, result: Any) -> Program:
        """The program, with what the function left in Tensors and gradients outside put there."""
        self._check_facts()
        for tensor, symbol in self.tensors.values():
            if symbol.external is None or symbol.external.where.owner is not tensor:
                self._put(Place(tensor, "._data", tensor.name or "tensor"), symbol)
        for node, gradient in self.gradients.items():
            if node not in self.before or gradient is not self.before[node]:
                self._put(Place(node, ".grad", f"{node.name or 'tensor'}.grad"), gradient)
        return Program(self.calls, map_tree(self._leaving, result), self.inputs, self.apart)

    def _put(self, place: Place, symbol: Any) -> None:
        if symbol is not None and not isinstance(symbol, Symbol):
            symbol = Symbol(self, symbol, self.constant(symbol))
        value = None if symbol is None else symbol.variable
        array = None if value is None else np.array(symbol.value)
        target = Value(np.empty(0) if array is None else array, "external", place)
        self.calls.append(Call("put", np.array, (target, value)))
        self.left.append((place.owner, place.path[1:], array))

    def commit(self) -> None:
        """Leave outside what the function left there."""
        for owner, name, array in self.left:
            setattr(owner, name, array)

    def close(self) -> None:
        """Let go of the traced arrays, which hold the trace: no cycle stays."""
        vars(self).clear()

    def _leaving(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return Returned(self.place(leaf._data), leaf.name)
        return self.place(leaf)


class Returned(NamedTuple):
    """A Tensor among the results: its value and its name."""

    value: Any
    name: str | None


def concrete_result(leaf: Any) -> Any:
    """What the caller of a traced run gets for one leaf of the result: no traced array leaks."""
    if isinstance(leaf, Tensor):
        tensor = wrap(np.array(_concrete(leaf._data)), None)
        tensor.name = leaf.name
        return tensor
    if isinstance(leaf, Symbol | np.ndarray):
        array = np.array(_concrete(leaf))
        return array if array.ndim else array[()]
    return leaf


def _concrete(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Symbol) else leaf


def _read_only(leaf: Any) -> Any:
    """For functions that write into their arguments, which a replay would not see."""
    value = _concrete(leaf)
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def _is_number(argument: Any) -> bool:
    if isinstance(argument, Symbol):
        return argument.variable.source == "host"
    return type(argument) in (int, float)


def _has_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Symbol) and part.dtype.kind == "b" for part in parts)


def _name(function: Any) -> str:
    return f"np.{getattr(function, '__name__', function)}"


def _on_hosts(ufunc: np.ufunc, args: tuple[Any, ...]) -> Callable[[], float]:
    parts = tuple([a.variable.where if isinstance(a, Symbol) else a for a in args])
    return lambda: float(ufunc(*[part() if callable(part) else part for part in parts]))


def _as_reduce(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """sum(x, axis, keepdims=...) as add.reduce(x, axis, keepdims=...), if no more is asked."""
    if len(args) > 2 or not kwargs.keys() <= {"axis", "keepdims"}:
        return function, args, kwargs
    axis = args[1] if len(args) > 1 else kwargs.get("axis")
    return REDUCTIONS[function], (args[0], axis), {"keepdims": bool(kwargs.get("keepdims", False))}


def _line() -> str:
    """The innermost line of code that is not this package's: the user's, as file:line in name."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_globals.get("__name__", "").startswith((f"{_PACKAGE}.", "numpy"))
        or "_forward" in frame.f_globals
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


# Tensors and gradients from outside are noticed when their slots are read or written: while a
# trace runs (in any thread), these descriptors are in front. Nothing is paid for it at other times.


class _Watch:
    """A slot that tells the trace of this thread, if there is one."""

    def __init__(self, kind: type, name: str, read: Function, write: Function) -> None:
        self.kind, self.name, self.read, self.write = kind, name, read, write
        self.slot: Any = kind.__dict__[name]

    def __get__(self, owner: Any, kind: Any) -> Any:
        value = self.slot.__get__(owner)
        trace = tracing.active.get()
        return self.read(trace, owner, value) if isinstance(trace, Trace) else value

    def __set__(self, owner: Any, value: Any) -> None:
        trace = tracing.active.get()
        if isinstance(trace, Trace):
            try:
                old = self.slot.__get__(owner)
            except AttributeError:  # it is being made
                trace.inside.add(id(owner))
            else:
                if self.write(trace, owner, old, value):
                    return
        self.slot.__set__(owner, value)


_WATCHES = (
    _Watch(Tensor, "_data", Trace.read, Trace.write),
    _Watch(Tensor, "_node", Trace.node, Trace.write_node),
    _Watch(graph.Node, "grad", Trace.gradient, Trace.write_gradient),
)


@contextmanager
def watching(trace: Trace) -> Iterator[None]:
    """Inside, what Tensors meet is written down by ``trace``."""
    token = tracing.active.set(trace)
    for watch in _WATCHES:
        type.__setattr__(watch.kind, watch.name, watch)
    try:
        yield
    finally:
        for watch in _WATCHES:
            type.__setattr__(watch.kind, watch.name, watch.slot)
        tracing.active.reset(token)
