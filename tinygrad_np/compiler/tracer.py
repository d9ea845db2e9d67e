"""The tracer: it notes every call on a traced array, and what Python does before the program."""

from __future__ import annotations

import copy
import operator
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from .. import tracing
from ..generators import reachable, restore, state_of
from ..graph import Node, tick
from ..random import default_generator, set_default_generator
from . import CompileError
from .program import REDUCTIONS, Call, Value, map_tree
from .symbol import Symbol, with_item

_PACKAGE = __name__.rsplit(".", 2)[0]
_SHAPE_DEPENDS_ON_VALUES = frozenset(
    [np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.compress, np.extract, np.trim_zeros]
)

_PYTHONS: dict[Any, Any] = {
    np.power: operator.pow, np.divide: operator.truediv, np.floor_divide: operator.floordiv
}  # fmt: skip
"""Where Python's operator on its own numbers differs: in the last digit, or an error for 1 / 0."""


@dataclass(eq=False)
class Step:
    """A call that Python makes before each run: a host number, a random draw or a check.

    ``out`` is the Value that ``function(*args)`` computes: a number, an input, or None for a check.
    ``position`` is the number of the program's calls that came before it in the trace.
    """

    kind: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    out: Value | None
    line: str
    position: int


class Tracer:
    """The record of one traced run. ``tracing.Tracer`` describes its methods."""

    for_people = False

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.steps: list[Step] = []
        self.constants: dict[int, Value] = {}
        self.start = tick()
        self.originals: dict[int, Any] = {}  # the original of each shadow, by the shadow's id
        self.generators: dict[int, tuple[Any, Any]] = {}  # shadow and state, by the original's id
        self.given: set[Value] = set()  # the arrays of the state
        self.fixed_arrays: dict[Value, Any] = {}
        self.numbers: dict[Any, Value] = {}  # by function and arguments
        self.errors: Any = np.geterr()
        self.common = [(rng, _state(rng)) for rng in reachable()]  # the default one first
        self.op, self.attributed = "", 0

    # Arrays come in

    def input(self, array: np.ndarray[Any, Any], name: str, argument: bool) -> Symbol:
        """The symbol of an array that each run receives."""
        symbol = Symbol(self, array, Value(array, "input", name), writable=array.flags.writeable)
        if not argument:
            self.given.add(symbol.variable)
        return symbol

    def constant(self, array: np.ndarray[Any, Any]) -> Value:
        """The Value of an array that the step uses but is not given; each run reads it anew."""
        if id(array) not in self.constants:
            if type(array) is not np.ndarray:
                self.refuse(f"arrays of type {type(array).__name__} are not traced: use ndarrays")
            self.constants[id(array)] = Value(array, "constant")  # keeps the array, and so its id
        return self.constants[id(array)]

    def place(self, leaf: Any) -> Any:
        """An argument of a call in the program's terms: a Value for an array."""
        if type(leaf) is not Symbol:
            return self.constant(leaf) if isinstance(leaf, np.ndarray) else leaf
        leaf.tracer.expect_to_be(self)
        if leaf.view is not None:
            base, then, call = leaf.view
            if self.place(base) is not then:  # written to since: view it again
                fresh = self.call(*call)
                leaf.value, leaf.variable, leaf.view = fresh.value, fresh.variable, fresh.view
        return leaf.variable

    def is_fixed(self, leaf: Symbol) -> bool:
        """Whether the trace may read an array's values: state that the step does not write to."""
        return leaf.variable in self.given and leaf.view is None

    def fixed(self, leaf: Any) -> Any:
        """The values of an array on which a shape depends; a replay requires the same values."""
        if type(leaf) is not Symbol:
            return leaf
        if not self.is_fixed(leaf):
            self.refuse(
                "the result's shape depends on the values of a traced array: use tg.where, or "
                "multiply by the mask"
            )
        return self.fixed_arrays.setdefault(leaf.variable, np.array(leaf.value))

    def expect_to_be(self, other: Any) -> None:
        """Raise CompileError unless this tracer is the active one."""
        if other is not self:
            self.refuse(
                "the step uses an array that an earlier trace left in a place that the step is "
                "not given: return the array, or keep it in an attribute of an object that the "
                "step is given"
            )

    # Calls

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call, and note it."""
        self.expect_to_be(tracing.active.get())
        if isinstance(function, np.ufunc) and all(map(_is_number, args)) and not kwargs:
            return self.host(_PYTHONS.get(function, function), *args)
        if kwargs.get("out") is not None:
            self.refuse(f"out= makes np.{function.__name__} write to an array in place")
        if function in _SHAPE_DEPENDS_ON_VALUES:
            return function(*map_tree(self.fixed, args), **kwargs)
        if function in (np.mean, np.ndarray.mean) and _is_summed(args, kwargs):
            total = self.call(np.sum, args, kwargs)
            return self.call(np.divide, (total, args[0].size // total.size), {})
        if function in (np.ndarray.__getitem__, with_item) and _has_mask(args[1]):
            args = args[0], map_tree(self.fixed, args[1]), *args[2:]
        given = map_tree(_read_only, args)
        try:
            result = function(*given, **map_tree(_read_only, kwargs))
        except ValueError as error:
            if "read-only" in str(error):
                self.refuse(f"{function.__name__} writes to an array in place")
            raise
        if isinstance(result, tuple):
            parts = [self.call(Item(function, i), args, kwargs) for i in range(len(result))]
            return tuple(parts)
        if isinstance(result, np.generic):
            result = np.asarray(result)
        if type(result) is not np.ndarray:
            self.refuse(f"{function.__name__} returns {type(result).__name__}, not an array")
        views = not isinstance(function, np.ufunc) and any(
            isinstance(a, np.ndarray) and np.may_share_memory(a, result) for a in given
        )
        viewed = next((a for a in args if type(a) is Symbol), None)
        if views and not (viewed is not None and np.may_share_memory(viewed.value, result)):
            self.refuse(f"{function.__name__} returns a view of another array than its first one")
        if views and viewed is not None and _is_whole(result, viewed.value):
            return viewed
        placed = map_tree(self.place, args), map_tree(self.place, kwargs)
        out = Symbol(self, result, Value(result))
        if views:
            out.view = viewed, self.place(viewed), (function, args, kwargs)
        elif function in REDUCTIONS:
            function, *placed = _as_reduce(function, *placed)
        now: Any = np.geterr()
        errors = {k: mode for k, mode in now.items() if mode != self.errors[k]}
        self.calls.append(
            Call(function, *placed, out.variable, views, self.op, user_line(), errors)
        )
        return out

    def assign(self, target: Any, source: Any, casting: Any = "same_kind") -> Any:
        """``target[...] = source``: from here on, the target stands for another Value."""
        if type(target) is not Symbol or target.view is not None:
            self.refuse(
                "the step writes in place to a view, or to an array that it is not given: "
                "write a = a + b instead of a += b, or give the whole array to the step"
            )
        if target.variable.source == "input" and not target.writable:
            raise ValueError("assignment destination is read-only")
        if type(source) is not Symbol:
            source = self._symbol(np.asarray(source))
        if source.dtype != target.dtype:
            if not np.can_cast(source.dtype, target.dtype, casting):
                raise TypeError(
                    f"cannot write {source.dtype} into an array of {target.dtype} in place"
                )
            source = source.astype(target.dtype)
        if source.shape != target.shape or source.strides != target.strides:
            source = self.call(laid_out, (source, target), {})
        target.value, target.variable = source.value, self.place(source)
        return target

    def _symbol(self, array: np.ndarray[Any, Any]) -> Symbol:
        return Symbol(self, array, self.constant(array))

    # What Python does before every run

    def host(self, function: Callable[..., float], *args: Any) -> Any:
        """See ``tracing.host``."""
        number = float(function(*map_tree(self._real, args)))
        given = map_tree(self._given, args)
        known = (Value, float, int)  # 1 and 1.0 are equal, but of two types
        key = function, *[(type(a), a if isinstance(a, known) else id(a)) for a in given]
        if key not in self.numbers:  # each parameter asks for the same learning rate
            self.numbers[key] = Value(np.asarray(number), "number")
            self._step("number", function, args, self.numbers[key])
        return Symbol(self, number, self.numbers[key])

    def draw(self, function: Callable[[Any], Any], rng: Any) -> Any:
        """See ``tracing.draw``. The trace draws from a copy, so the generator does not advance."""
        real = self.originals.get(id(rng), rng)
        if id(real) not in self.generators:
            self.watch(real, copy.deepcopy(rng))
        shadow, state = self.generators[id(real)]
        self._unmoved(shadow, state)
        array = np.asarray(function(shadow))
        self.watch(real, shadow)
        out = Value(array, "input")
        # manual_seed replaces the default generator, so each run looks it up.
        default = real is default_generator()
        self._step("draw", function, (default_generator if default else real,), out)
        return Symbol(self, array, out)

    def watch(self, real: Any, shadow: Any) -> None:
        """Note a generator's state, so that draws behind the tracer's back are found."""
        self.generators[id(real)] = shadow, _state(shadow)

    def _unmoved(self, shadow: Any, state: Any) -> None:
        if _state(shadow) != state:
            self.refuse(_DRAWS)

    def check(self, function: Callable[..., None], *arrays: Any) -> None:
        """See ``tracing.check``."""
        function(*map_tree(self._real, arrays))
        self._step("check", function, arrays, None)

    def _real(self, leaf: Any) -> Any:
        """What a host function receives: values for symbols, originals for shadows."""
        return leaf.value if type(leaf) is Symbol else self.originals.get(id(leaf), leaf)

    def _given(self, leaf: Any) -> Any:
        """The same in the program's terms: Values for symbols, originals for shadows."""
        shadow = type(leaf) is not Symbol and id(leaf) in self.originals
        return self.originals[id(leaf)] if shadow else self.place(leaf)

    def _step(self, kind: str, function: Any, args: tuple[Any, ...], out: Value | None) -> None:
        given = map_tree(self._given, args)
        self.steps.append(Step(kind, function, given, out, user_line(), len(self.calls)))

    # Nodes: the op that each call belongs to, and the parameters in use

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
        """Called after each op of the forward pass."""
        for parent in [p for p in node.parents if p is not None and p.tick < self.start]:
            if parent.op is not None:
                self.refuse(
                    "the step uses a Tensor that was computed outside it, whose graph cannot be "
                    "replayed: compute it inside the step, or use tensor.detach()"
                )
            self.refuse(
                f"the step uses the Tensor {parent.name!r}, which requires grad, but is not given "
                "it: pass it (or its module) as an argument, or use a variable that the step's own "
                "code names"
            )
        if node.saved is not None:  # the values of now, whatever is written later
            node.saved = tuple([self._snapshot(value) for value in node.saved])
        self._attribute(node.op.name if node.op else "")

    def _snapshot(self, value: Any) -> Any:
        if type(value) is not Symbol:
            return value
        variable = self.place(value)
        return Symbol(self, value.value, variable)

    def before_rules(self, node: Node, gradient: Any) -> None:
        """Called before the rules of each node in the backward pass."""
        self._attribute("")
        self.op = f"gradient of {node.op.name}" if node.op else ""

    def _attribute(self, name: str) -> None:
        for call in self.calls[self.attributed :]:
            call.op = call.op or name
        self.attributed, self.op = len(self.calls), ""

    def finish(self) -> None:
        """Check that the step drew no random numbers behind the tracer's back."""
        for shadow, state in self.generators.values():
            self._unmoved(shadow, state)
        for rng, state in self.common:
            if _state(rng) != state:
                restore(rng, pickle.loads(state))
                self.refuse(_DRAWS)
        if default_generator() is not self.common[0][0]:
            set_default_generator(self.common[0][0])
            self.refuse(_DRAWS)
        self._attribute("")

    def refuse(self, why: str) -> NoReturn:
        """Raise a CompileError that names the line of the user's code."""
        raise CompileError(f"{why}\n    at {user_line()}")


_DRAWS = (
    "the step draws random numbers directly, or seeds a generator; a replay would do neither: "
    "use tg.dropout, or draw outside the step and pass the array as an argument"
)


def _state(rng: Any) -> bytes:
    return pickle.dumps(state_of(rng))


class Item:
    """One item of the tuple that a function returns."""

    def __init__(self, function: Any, index: int) -> None:
        self.function, self.index = function, index
        self.__name__ = f"{function.__name__}[{index}]"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The item."""
        return self.function(*args, **kwargs)[self.index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.function, self.index))


def laid_out(array: Any, like: Any) -> Any:
    """A copy of an array in the shape and memory layout of another."""
    out = np.empty_like(like)
    out[...] = array
    return out


def user_line() -> str:
    """The innermost line outside this package and NumPy, as "file:line in name"."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_globals.get("__name__", _PACKAGE).startswith((f"{_PACKAGE}.", "numpy"))
        or "_forward" in frame.f_globals
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def _concrete(leaf: Any) -> Any:
    return leaf.value if type(leaf) is Symbol else leaf


def _read_only(leaf: Any) -> Any:
    """A read-only view, so that a function that writes to its arguments fails in the trace."""
    value = _concrete(leaf)
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def _is_whole(view: Any, array: Any) -> bool:
    """Whether a view has the address, shape, strides and dtype of the array itself."""
    facts = [(a.ctypes.data, a.shape, a.strides, a.dtype) for a in (view, array)]
    return facts[0] == facts[1]


def _is_number(argument: Any) -> bool:
    if type(argument) is Symbol:
        return argument.variable.source == "number"
    return type(argument) in (int, float)


def _has_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(type(part) is Symbol and part.dtype.kind == "b" for part in parts)


def _is_summed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the mean equals NumPy's sum divided by a count that its dtype holds exactly."""
    x = args[0]
    known = len(args) <= 2 and kwargs.keys() <= {"axis", "keepdims"} and type(x) is Symbol
    return known and x.dtype.char in "fd" and 0 < x.size < 2**24


def _as_reduce(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``sum(x, axis, keepdims)`` as ``add.reduce``, unless there are further arguments."""
    if len(args) > 2 or not kwargs.keys() <= {"axis", "keepdims", "initial"}:
        return function, args, kwargs
    if function in (np.any, np.all, np.ndarray.any, np.ndarray.all) and args[0].dtype != bool:
        return function, args, kwargs
    axis = args[1] if len(args) > 1 else kwargs.get("axis")
    rest = {key: kwargs[key] for key in kwargs.keys() & {"initial"}}
    rest["keepdims"] = bool(kwargs.get("keepdims", False))
    return REDUCTIONS[function], (args[0], axis), rest
