"""Tracing: run a function once, for real, and write down every call that its arrays meet."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .. import graph, tracing
from ..tensor import Tensor, wrap
from .program import REDUCTIONS, Call, Program, Value, map_tree
from .symbol import Symbol

_VIEWS: frozenset[Any] = frozenset(
    [np.ndarray.reshape, np.ndarray.transpose, np.ndarray.swapaxes, np.ndarray.squeeze,
     np.ndarray.__getitem__, np.broadcast_to, np.moveaxis, np.expand_dims, np.squeeze, np.flip,
     np.transpose, np.swapaxes, np.reshape]
)  # fmt: skip

_PACKAGE = __name__.rsplit(".", 2)[0]


class CompileError(RuntimeError):
    """A function does something that cannot be replayed; the message names the line."""


class Trace:
    """One traced run, as it is written down. See ``tracing.Tracer`` for what it is told."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.known: dict[Any, tuple[Any, Symbol]] = {}  # by id; the object is kept, so the id holds
        self.tensors: list[tuple[Tensor, bool]] = []
        self.leaves: dict[graph.Node, Any] = {}
        self.owners: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.lines: dict[Value, str] = {}
        self.errors = np.geterr()
        self.ignored: dict[str, str] = {}  # floating-point warnings that some op switched off

    # Arrays come in

    def symbol(self, array: Any, source: str, where: Any, owner: Any = None) -> Symbol:
        """A new value of the program that comes from outside."""
        value = Value(array, source, where)
        self.lines[value] = _line()
        return Symbol(self, array, value, owner)

    def constant(self, array: Any) -> Value:
        """An ndarray that the function uses, but that no traced array led to."""
        if id(array) not in self.known:
            self.known[id(array)] = (array, self.symbol(array, "constant", array))
        return self.known[id(array)][1].variable

    def tensor(self, tensor: Tensor, array: Any) -> Symbol:
        """A Tensor from outside is read: bind the program to it, whatever array it will hold."""
        if id(tensor) not in self.known:
            holder = Holder(tensor)
            self.known[id(tensor)] = (tensor, self.symbol(array, "external", holder, holder))
            self.tensors.append((tensor, tensor.requires_grad))
            node = tensor._node
            if node is not None and node.op is None and node not in self.leaves:
                self.leaves[node] = node.grad
                if node.grad is not None:
                    gradient = GradientHolder(node)
                    node.grad = self.symbol(node.grad, "external", gradient, gradient)
        return self.known[id(tensor)][1]

    def item(self, items: list[Any], index: int) -> Symbol:
        """An array in a list from outside (an optimiser's state): bind the program to the place."""
        key = id(items), index
        if key not in self.known:
            holder = ItemHolder(items, index)
            self.known[key] = (items, self.symbol(items[index], "external", holder, holder))
        return self.known[key][1]

    # Calls

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do it, and write it down."""
        concrete = map_tree(_concrete, args), map_tree(_concrete, kwargs)
        if all(isinstance(a, Symbol) and a.variable.source == "host" or type(a) in (int, float)
               for a in args) and isinstance(function, np.ufunc):  # fmt: skip
            return self.host(_on_hosts(function, args))
        result = function(*concrete[0], **concrete[1])
        for kind, mode in np.geterr().items():
            if mode == "ignore" and self.errors[kind] != "ignore":
                self.ignored[kind] = "ignore"
        if isinstance(result, np.generic):
            result = np.asarray(result)
        if not isinstance(result, np.ndarray):
            self.refuse(f"np.{function.__name__} returns {type(result).__name__}, not an array")
        shares = function in _VIEWS and any(
            isinstance(a, np.ndarray) and np.may_share_memory(a, result) for a in concrete[0][:1]
        )
        if function in REDUCTIONS:
            function, args, kwargs = _as_reduce(function, args, kwargs)
        out = Value(result)
        self.lines[out] = _line()
        self.calls.append(
            Call("view" if shares else "array", function, map_tree(self.place, args),
                 map_tree(self.place, kwargs), out, self.lines[out])
        )  # fmt: skip
        return Symbol(self, result, out)

    def place(self, leaf: Any) -> Any:
        """An argument as the program has it."""
        if isinstance(leaf, Symbol):
            return leaf.variable
        return self.constant(leaf) if isinstance(leaf, np.ndarray) else leaf

    def assign(self, target: Any, source: Any, casting: str = "same_kind") -> Any:
        """``np.copyto(target, source)``, of an array that lives outside."""
        if not isinstance(target, Symbol) or target.owner is None:
            self.refuse(
                "an array is written to in place that is no Tensor's: write a = a + b instead "
                "of a += b, or keep it as a Tensor's data"
            )
        if not isinstance(source, Symbol):
            source = self.call(np.positive, (np.asarray(source),), {})
        if source.shape != target.shape:
            source = self.call(np.broadcast_to, (source, target.shape), {})
        if source.dtype != target.dtype:
            if not np.can_cast(source.dtype, target.dtype, casting):  # type: ignore[arg-type]
                self.refuse(f"{source.dtype} cannot be written into an array of {target.dtype}")
            source = source.astype(target.dtype)
        np.copyto(target.value, source.value)
        external = self.external(target)
        self.calls.append(Call("store", np.copyto, (external, source.variable), line=_line()))
        target.variable = source.variable
        return target

    def external(self, target: Symbol) -> Value:
        """The value with which an array from outside came in."""
        return next(v for v in self.lines if v.source == "external" and v.where is target.owner)

    # What Python does at every run

    def host(self, function: Callable[[], float]) -> Any:
        """See ``tracing.Tracer``."""
        number = float(function())
        value = Value(np.asarray(number), "host", function)
        self.calls.append(Call("host", function, out=value, line=_line()))
        return Symbol(self, number, value)

    def draw(self, function: Callable[[], Any]) -> Any:
        """See ``tracing.Tracer``."""
        array = np.asarray(function())
        value = Value(array)
        self.calls.append(Call("draw", function, out=value, line=_line()))
        return Symbol(self, array, value)

    def effect(self, function: Callable[[], None]) -> None:
        """See ``tracing.Tracer``."""
        function()
        self.calls.append(Call("effect", function, line=_line()))

    def check(self, function: Callable[..., None], *arrays: Any) -> None:
        """See ``tracing.Tracer``."""
        function(*map_tree(_concrete, arrays))
        self.calls.append(Call("check", function, map_tree(self.place, arrays), line=_line()))

    def depend(self, owner: Any) -> None:
        """See ``tracing.Tracer``."""
        self.owners.setdefault(id(owner), (owner, plain_attributes(owner)))

    def refuse(self, why: str) -> NoReturn:
        """Give up, naming the line of the user's code."""
        raise CompileError(f"{why}\n    at {_line()}")

    # The end

    def finish(self, result: Any, inputs: list[Value]) -> Program:
        """The program, with the gradients that the function left behind stored as well."""
        for node, before in self.leaves.items():
            if isinstance(node.grad, Symbol):
                symbol = node.grad
                if symbol.owner is None or symbol.variable.source != "external":
                    holder = GradientHolder(node)
                    value = Value(symbol.value, "external", holder)
                    args = (value, symbol.variable)
                    self.calls.append(Call("store", np.copyto, args, line=symbol.trace.lines.get(
                        symbol.variable, "")))  # fmt: skip
                node.grad = np.array(symbol.value)
            elif before is not None:
                self.calls.append(Call("effect", _forget(node)))
        return Program(self.calls, map_tree(self._leaving, result), inputs, self.ignored)

    def _leaving(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return Returned(self.place(leaf._data), leaf.name)
        if isinstance(leaf, np.ndarray):
            return self.constant(leaf)
        return leaf.variable if isinstance(leaf, Symbol) else leaf


class Returned(NamedTuple):
    """A Tensor among the results: its value and its name."""

    value: Any
    name: str | None


def concrete_result(leaf: Any) -> Any:
    """What the caller of a traced run gets for one leaf of the result: no traced array leaks."""
    if isinstance(leaf, Tensor) and isinstance(leaf._data, Symbol):
        return wrap(np.array(leaf._data.value), None)
    return np.array(leaf.value) if isinstance(leaf, Symbol) else leaf


# Where arrays from outside live: how to find the array again, and whether it is still the same


class Holder:
    """A Tensor's array; ``get`` gives the one it has now."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

        self.get = functools.partial(_slot.__get__, tensor)

    def same(self, other: Any) -> bool:
        """Whether this is the same place."""
        return isinstance(other, Holder) and other.tensor is self.tensor

    def __repr__(self) -> str:
        return self.tensor.name or "tensor"


class GradientHolder:
    """A leaf's gradient; an array of its own is made for it at each run."""

    def __init__(self, node: graph.Node) -> None:
        self.node = node

    def get(self) -> Any:
        """The array, now."""
        return self.node.grad

    def same(self, other: Any) -> bool:
        """Whether this is the same place."""
        return isinstance(other, GradientHolder) and other.node is self.node

    def __repr__(self) -> str:
        return f"{self.node.name or 'tensor'}.grad"


class ItemHolder:
    """An array in a list."""

    def __init__(self, items: list[Any], index: int) -> None:
        self.items, self.index = items, index

    def get(self) -> Any:
        """The array, now."""
        return self.items[self.index]

    def same(self, other: Any) -> bool:
        """Whether this is the same place."""
        return (
            isinstance(other, ItemHolder)
            and other.items is self.items
            and other.index == self.index
        )

    def __repr__(self) -> str:
        return f"state[{self.index}]"


def _forget(node: graph.Node) -> Callable[[], None]:
    def forget() -> None:
        node.grad = None

    return forget


def plain_attributes(owner: Any) -> dict[str, Any]:
    """The numbers, flags and words among an object's attributes: what a trace has taken as given."""
    return {
        name: value
        for name, value in vars(owner).items()
        if isinstance(value, bool | int | float | str | tuple) and name not in ("updates", "lr")
    }


def _concrete(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Symbol) else leaf


def _on_hosts(ufunc: np.ufunc, args: tuple[Any, ...]) -> Callable[[], float]:
    parts = [a.variable.where if isinstance(a, Symbol) else a for a in args]
    return lambda: float(ufunc(*[part() if callable(part) else part for part in parts]))


def _as_reduce(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """sum(x, axis, keepdims=...) as add.reduce(x, axis, None, None, keepdims)."""
    axis = args[1] if len(args) > 1 else kwargs.get("axis")
    if isinstance(axis, list):
        axis = tuple(axis)
    return REDUCTIONS[function], (args[0], axis), {"keepdims": bool(kwargs.get("keepdims", False))}


def _line() -> str:
    """The innermost line of code that is not this package's: the user's, as file:line: text."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_globals.get("__name__", "").startswith((_PACKAGE, "numpy"))
        or "_forward" in frame.f_globals
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


# Tensors from outside are noticed when an op reads their array: while a trace runs (in any
# thread), the slot is behind this descriptor. Nothing is paid for it at other times.

_slot: Any = Tensor.__dict__["_data"]
_tracing = threading.RLock()


class _Watch:
    def __get__(self, tensor: Any, owner: Any) -> Any:
        array = _slot.__get__(tensor)
        trace = tracing.active.get()
        if isinstance(array, tracing.Traced) or not isinstance(trace, Trace):
            return array
        return trace.tensor(tensor, array)

    def __set__(self, tensor: Any, array: Any) -> None:
        trace = tracing.active.get()
        if isinstance(array, Symbol) and isinstance(trace, Trace) and id(tensor) in trace.known:
            symbol = trace.known[id(tensor)][1]
            if array is not symbol:
                trace.assign(symbol, array)
            return
        _slot.__set__(tensor, array)


@contextmanager
def watching(trace: Trace) -> Iterator[None]:
    """Inside, ops on Tensors are written down by ``trace``."""
    with _tracing:
        Tensor._data = _Watch()  # type: ignore[assignment]
        token = tracing.active.set(trace)
        try:
            yield
        finally:
            tracing.active.reset(token)
            Tensor._data = _slot
