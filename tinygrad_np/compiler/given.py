"""What a step is given: found, checked before each replay, and shadowed during the trace.

The walk starts at the arguments and at the variables that the step's code names. It goes through
tuples, lists, dicts, objects and the user's own functions. The holders of arrays and Tensors get
shadow copies with traced arrays inside; everything else is static and becomes a condition. The
traced run writes to the shadows alone: what they hold afterwards, a replay writes back.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import functools
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from ..graph import Node
from ..nn import Module
from ..optim import Optimizer
from ..tensor import Tensor, wrap
from .places import Condition, Holder, Place, attribute, held, itself, like
from .program import Value
from .symbol import Symbol
from .tracer import Tracer
from .user_code import is_users, names_in

_PLAIN = (
    type(None), bool, int, float, complex, str, bytes, range, slice, np.generic, np.dtype, Enum
)  # fmt: skip
"""Types of immutable values, which are compared by value."""
_MANY = 32


class CompiledFunction:
    """What ``compile`` returns; inside another compiled step, its own function stands for it."""

    function: Any


class Array(NamedTuple):
    """An array that a step is given: its place, its symbol, and the symbol's first Value."""

    place: Place
    array: Any
    symbol: Symbol
    value: Value


class Given:
    """The shadows of everything that one call of a step is given, and the replay's conditions."""

    def __init__(self, tracer: Tracer, step: Any) -> None:
        self.tracer, self.step = tracer, step
        self.conditions: list[Condition] = []
        self.arrays: list[Array] = []
        self.holders: list[Holder] = []
        self.shadows: dict[int, tuple[Any, Any, Place]] = {}  # by the original's id
        self.spaces: dict[int, types.ModuleType] = {}  # shadows of namespaces, by the dict's id
        self.seen: set[tuple[int, str]] = set()  # names looked up so far, with their dict's id
        self.cells: list[types.CellType] = []
        self.methods: set[tuple[int, str]] = set()  # shadowed methods, with their dict's id

    def close(self) -> None:
        """Break the reference cycles between the shadows of functions and of their variables."""
        for space in self.spaces.values():
            vars(space).clear()
        for cell in self.cells:
            cell.cell_contents = None

    def shadow(self, value: Any, place: Place) -> Any:
        """What stands for ``value`` in the traced run. Notes the conditions of a replay."""
        if id(value) in self.shadows:
            _, shadow, first = self.shadows[id(value)]
            if type(shadow) is Symbol:  # one array in two places
                self._same_array(place, first)
            else:
                self._stays(place, "{0} is {1}", value)
            return shadow
        if is_traceable(value):
            return self.traced(value, place)
        if isinstance(value, _PLAIN):
            if value is None or isinstance(value, bool):
                self._stays(place, "{0} is {1}", value)
            elif type(value) in (int, str):
                self._stays(place, "{0} == {1} and type({0}) is {2}", value, type(value))
            else:
                self._stays(place, "({0} is {1} or same({0}, {1}))", value)
            return value
        if isinstance(value, types.ModuleType) and not is_users(value):
            return value
        self._stays(place, "{0} is {1}", value)
        return self._walk(value, itself(value, place.label))

    def traced(self, array: Any, place: Place) -> Any:
        """The symbol that stands for an array."""
        if id(array) in self.shadows:
            _, symbol, first = self.shadows[id(array)]
            self._same_array(place, first)
            return symbol
        symbol = self.tracer.input(array, place.label, place.is_argument)
        self.arrays.append(Array(place, array, symbol, symbol.variable))
        return self._remember(array, symbol, place)

    def _same_array(self, place: Place, first: Place) -> None:
        numbers = range(len(place.objects), len(place.objects) + len(first.objects))
        text = first.text.format(*[f"{{{i}}}" for i in numbers])
        self.conditions.append((f"{place.text} is {text}", (*place.objects, *first.objects)))

    def require(self, place: Place, text: str, *objects: Any) -> None:
        """Note a condition on the object at a place."""
        self.conditions.append(place.condition(text, *objects))

    def _stays(self, place: Place, text: str, *objects: Any) -> None:
        if not place.is_fixed:
            self.require(place, text, *objects)

    def _remember(self, value: Any, shadow: Any, place: Place) -> Any:
        self.shadows[id(value)] = value, shadow, place
        self.tracer.originals[id(shadow)] = value
        return shadow

    def hold(self, original: Any, shadow: Any, label: str, *names: str) -> None:
        """Note a shadow's contents, so that changes can be found after the traced run."""
        before = Holder.contents(shadow, names)
        self.holders.append(Holder(original, shadow, names, label, before))

    # By kind

    def _walk(self, value: Any, place: Place) -> Any:
        kind, label = type(value), place.label
        if kind is Tensor:
            return self._tensor(value, place)
        if isinstance(value, CompiledFunction):
            return self.shadow(value.function, attribute(value, "function", label))
        if isinstance(value, types.FunctionType):
            return self._function(value, place)
        if isinstance(value, types.MethodType):
            owner = self.shadow(value.__self__, attribute(value, "__self__", label))
            function = self.shadow(value.__func__, attribute(value, "__func__", label))
            return self._remember(value, types.MethodType(function, owner), place)
        if isinstance(value, functools.partial):
            names = ("func", "args", "keywords")
            parts = [self.shadow(getattr(value, n), attribute(value, n, label)) for n in names]
            made = functools.partial(parts[0], *parts[1], **parts[2])
            return self._remember(value, made, place)
        if isinstance(value, types.ModuleType):
            return self._space(vars(value))
        if isinstance(value, type):
            if is_users(value):
                self._class(value, None)
            return value
        if isinstance(value, types.BuiltinMethodType) and not isinstance(
            value.__self__, types.ModuleType | type | None
        ):
            owner = self.shadow(value.__self__, attribute(value, "__self__", label))
            return self._remember(value, getattr(owner, value.__name__), place)
        if isinstance(value, np.random.Generator | np.random.RandomState):
            shadow = self._remember(value, copy.deepcopy(value), place)
            self.tracer.watch(value, shadow)
            return shadow
        if isinstance(value, collections.abc.Iterator) and not hasattr(value, "write"):
            self.tracer.refuse(
                f"{label} is an iterator, which yields another item on every call: call next() "
                "outside the step, and pass the item as an argument"
            )
        if isinstance(value, dict | list | tuple | collections.deque):
            return self._container(value, place)
        if isinstance(value, np.ndarray):  # of objects or text: not traced
            return value
        if is_users(kind) or isinstance(value, Module | Optimizer | types.SimpleNamespace):
            return self._object(value, place)
        equal: Any = kind.__eq__
        if equal is not object.__eq__:  # sets, array.array, dates, decimals ...
            with contextlib.suppress(Exception):  # what cannot be copied is compared by identity
                if (copied := copy.deepcopy(value)) == value:
                    self.require(place, "{0} == {1}", copied)
        return value

    def _tensor(self, value: Tensor, place: Place) -> Tensor:
        """The shadow of a leaf. (A computed Tensor is refused where an op uses it.)"""
        label = value.name or place.label
        if not value.is_leaf:
            return value
        array: Any = self.traced(value.array, attribute(value, "array", label))
        shadow = wrap(array, None)
        self._remember(value, shadow, place)
        shadow.name = value.name
        self.require(place, "{0}.node is {1}", value.node)
        if value.node is None:
            self.require(place, "{0}.is_frozen is {1}", value.is_frozen)
        node = value.own_node()
        if node is not None:
            leaf = shadow.node = Node(None, (), (), node.shape, node.dtype)
            leaf.name, leaf.memory = node.name, 0
            shadow.requires_grad = not value.is_frozen
            leaf.grad = self.shadow(node.grad, attribute(node, "grad", f"{label}.grad"))
            self.hold(node, leaf, f"{label}.grad", "grad")
        self.hold(value, shadow, f"{label}.{{}}", "array", "node")
        return shadow

    def _container(self, value: Any, place: Place) -> Any:
        label = place.label
        items = dict(value.items() if isinstance(value, dict) else enumerate(value))

        def part(key: Any) -> Any:
            return self.shadow(items[key], held(value, key, f"{label}[{key!r}]"))

        if isinstance(value, tuple):
            return self._remember(value, like(value, {key: part(key) for key in items}), place)
        self.require(place, "len({0}) == {1}", len(value))
        shadow = self._remember(value, copy.copy(value), place)
        if len(value) > _MANY and all(isinstance(item, _PLAIN) for item in items.values()):
            self.require(place, "same_items({0}, {1})", copy.copy(value))
        else:
            for key in items:
                shadow[key] = part(key)
        if hasattr(value, "__dict__"):
            self._attributes(value, shadow, label)
        self.hold(value, shadow, f"{label}[{{!r}}]")
        return shadow

    def _object(self, value: Any, place: Place) -> Any:
        kind, label = type(value), place.label
        try:
            shadow: Any = object.__new__(kind)
        except TypeError:  # its class has a base written in C
            shadow = copy.copy(value)
            if shadow is value:
                return value
        self._remember(value, shadow, place)
        if hasattr(value, "__dict__"):
            self._attributes(value, shadow, label)
        slots = tuple(dict.fromkeys(n for n in _slots(kind) if hasattr(value, n)))
        for name in slots:
            here = attribute(value, name, f"{label}.{name}")
            object.__setattr__(shadow, name, self.shadow(getattr(value, name), here))
        if is_users(kind):
            self._class(kind, shadow)
        if slots:
            self.hold(value, shadow, f"{label}.{{}}", *slots)
        return shadow

    def _attributes(self, value: Any, shadow: Any, label: str) -> None:
        mine, its = vars(value), vars(shadow)
        self.conditions.append(("len({0}) == {1}", (mine, len(mine))))
        live = getattr(type(value), "read_before_each_run", ())
        for name, item in mine.items():
            here = held(mine, name, f"{label}.{name}")
            its[name] = self._live(value, name, here) if name in live else self.shadow(item, here)
        self.hold(mine, its, f"{label}.{{}}")

    def _live(self, owner: Any, name: str, place: Place) -> Any:
        """An attribute read before each run: a number such as a learning rate, or a function."""
        value = getattr(owner, name)
        if callable(value):
            self.require(place, "callable({0})")
            return value
        self.require(place, "type({0}) is {1}", type(value))
        return self.tracer.host(getattr, owner, name)

    def _class(self, kind: type, shadow: Any) -> None:
        """A user's class: plain attributes are static; methods name further variables."""
        for base in filter(is_users, kind.__mro__):
            self.conditions.append(("len({0}) == {1}", (vars(base), len(vars(base)))))
            for name, item in vars(base).items():
                here = held(vars(base), name, f"{base.__name__}.{name}")
                for part in ("fget", "__func__", "func"):  # of properties, static methods, partials
                    function = getattr(item, part, None)
                    if isinstance(function, types.FunctionType):
                        self._function(function, here)
                if not isinstance(item, types.FunctionType):
                    if not name.startswith("__") and not hasattr(item, "__objclass__"):
                        self.shadow(item, here)
                elif hasattr(shadow, "__dict__") and getattr(kind, name) is item:
                    self.require(here, "{0} is {1}", item)
                    made = self._function(item, here)
                    if _differs(made, item):
                        vars(shadow).setdefault(name, types.MethodType(made, shadow))
                        self.methods.add((id(vars(shadow)), name))

    def _function(self, function: types.FunctionType, place: Place) -> Any:
        if id(function) in self.shadows:
            return self.shadows[id(function)][1]
        if function is not self.step and not is_users(function):
            return function
        code, cells = function.__code__, function.__closure__ or ()
        fresh = tuple([types.CellType() for _ in cells])
        space = self._space(function.__globals__)
        shadow = types.FunctionType(code, vars(space), function.__name__, None, fresh)
        self._remember(function, shadow, place)
        given = {"__defaults__": code.co_argcount, "__kwdefaults__": code.co_kwonlyargcount}
        for name in [name for name, count in given.items() if count]:
            default = self.shadow(getattr(function, name), attribute(function, name, place.label))
            setattr(shadow, name, default)
        if vars(function):
            self._attributes(function, shadow, place.label)
        for name, cell, made in zip(code.co_freevars, cells, fresh, strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            made.cell_contents = self.shadow(content, attribute(cell, "cell_contents", name))
            self.cells.append(made)
            self.hold(cell, made, name, "cell_contents")
        self._look_up(function.__globals__, set(names_in(code)))
        return shadow

    def _space(self, real: dict[str, Any]) -> types.ModuleType:
        """The shadow of a namespace: a module's variables are its functions' globals."""
        if id(real) not in self.spaces:
            space = self.spaces[id(real)] = types.ModuleType(str(real.get("__name__")))
            vars(space).update(real)
            self.hold(real, vars(space), "{}")
        return self.spaces[id(real)]

    def _look_up(self, real: dict[str, Any], names: set[str]) -> None:
        """Shadow the variables of these names and, where one is a user's module, its attributes."""
        shadows = vars(self._space(real))
        [holder] = [h for h in self.holders if h.shadow is shadows]
        for name in sorted(names & real.keys()):
            if (id(real), name) in self.seen:
                if isinstance(real[name], types.ModuleType) and is_users(real[name]):
                    self._look_up(vars(real[name]), names)
                continue
            self.seen.add((id(real), name))
            value = real[name]
            shadows[name] = holder.before[name] = self.shadow(value, held(real, name, name))
            if isinstance(value, types.ModuleType) and is_users(value):
                self._look_up(vars(value), names)


def is_traceable(value: Any) -> bool:
    """Whether calls on an array can be traced."""
    return type(value) is np.ndarray and value.dtype.kind in "fiubc" and value.dtype.isnative


def _differs(made: types.FunctionType, function: types.FunctionType) -> bool:
    """Whether a method's shadow reads another variable than the method itself."""
    mine, its = made.__globals__, function.__globals__
    if any(mine.get(n) is not its.get(n) for n in names_in(function.__code__)):
        return True
    cells = zip(made.__closure__ or (), function.__closure__ or (), strict=True)
    return any(_content(a) is not _content(b) for a, b in cells)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        yield from (s for s in ([slots] if isinstance(slots, str) else slots) if s[:2] != "__")
