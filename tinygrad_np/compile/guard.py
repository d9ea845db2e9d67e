"""What a trace took as given, checked before each replay by one generated function.

Beside arguments a function depends on the variables it refers to, on what these hold, on modules
and optimisers, and on which parameters have gradients. Each such fact is a condition in Python's
own words; one function that checks them all costs 30 ns a condition.
"""

from __future__ import annotations

import builtins
import collections
import dis
import functools
import inspect
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

import numpy as np

from .. import random
from ..nn import Module
from ..tensor import Tensor
from . import CompileError

_SMALL = 1 << 18
"""Arrays outside of at most so many bytes are compared with what they were when traced."""

Condition = tuple[str, tuple[Any, ...]]
"""An expression with {0}, {1}, ... for objects, and these objects."""

_KNOWN = {__name__.partition(".")[0], "numpy", *sys.stdlib_module_names}
_PLAIN = bool | int | float | complex | str | bytes | np.generic
_BY_STRING = {"getattr", "hasattr", "setattr", "attrgetter", "methodcaller", "vars", "__dict__"}
_CONTAINERS = (list, tuple, set, frozenset, dict, collections.deque)
_BOUND = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)
_WRAPPERS = (
    *_BOUND, functools.partial, functools.cached_property, staticmethod, classmethod, property,
    types.FunctionType, type(functools.cache(len)),
)  # fmt: skip


def guard(conditions: list[Condition]) -> Callable[[], bool]:
    """A function that tells whether all the conditions hold."""
    namespace: dict[str, Any] = {"unchanged": unchanged}
    texts = []
    once = {(text, *map(id, things)): (text, things) for text, things in conditions}
    for text, things in once.values():
        names = [f"k{len(namespace) + i}" for i in range(len(things))]
        namespace.update(zip(names, things, strict=True))
        texts.append(text.format(*names))
    exec(f"def check(): return {' and '.join(texts) or True}", namespace)
    check: Callable[[], bool] = namespace.pop("check")
    return check


def unchanged(now: Any, then: Any) -> bool:
    """Whether a variable is what it was: an equal number or word, or the very same object."""
    alike = isinstance(then, _PLAIN) and type(now) is type(then)
    return now is then or (alike and repr(now) == repr(then))  # 0.0 and -0.0 are equal


class Surroundings:
    """What a function can get at, as far as its code names it: ``conditions`` for replays.

    The functions it refers to are looked at as well, but for this package's, NumPy's and Python's
    own; CompileError for one that assigns to a variable outside. ``facts`` are what the function
    itself must leave alone: words for what it does otherwise, how to look, and what was there.
    """

    def __init__(self) -> None:
        self.conditions: list[Condition] = []
        self.facts: list[tuple[str, Callable[[], Any], Any]] = []
        # The attributes that code names, by what it names them of: an object's id, a class, or None
        # where that is not known. These are what this package asks for.
        self._names: dict[Any, set[str]] = {None: {"forward", "function", "rule", "training"}}
        self._seen: dict[int, Any] = {}
        self._holders: list[tuple[Any, Any]] = []  # with one of the places of their attributes
        self._classes: dict[type, Any] = {}
        self._found: set[tuple[int, int, str]] = set()
        self.fact("seeds the default generator", lambda: str(random._default))

    def fact(self, told: str, look: Callable[[], Any]) -> None:
        """What is there now is to be there afterwards."""
        self.facts.append((told, look, look()))

    def refresh(self) -> None:
        """Something has been done that a replay does as well: take what is there now as given."""
        self.facts = [(told, look, look()) for told, look, _ in self.facts]

    def meet(self, thing: Any) -> None:
        """Something that the function can get at."""
        if id(thing) in self._seen or thing is None or isinstance(thing, _PLAIN | Tensor):
            return
        self._seen[id(thing)] = thing
        if isinstance(thing, _WRAPPERS):
            for part in ("__self__", "__func__", "__wrapped__", "fget", "func", "args", "keywords"):
                self.meet(getattr(thing, part, None))
            if isinstance(thing, types.FunctionType):
                self._function(thing)
        elif isinstance(thing, _CONTAINERS):
            self._items("{0}", thing, thing)
            if isinstance(thing, dict):
                self._items("{0}.values()", thing, thing.values())
        elif isinstance(thing, np.ndarray):
            if thing.nbytes <= _SMALL:
                self.conditions.append(("{0}.tobytes() == {1}", (thing, thing.tobytes())))
        elif isinstance(thing, Random | np.random.Generator | np.random.RandomState):
            self.fact("draws random numbers", functools.partial(pickle.dumps, thing))
        elif hasattr(type(thing), "__next__") and not hasattr(thing, "read"):
            self.conditions.append(("False", ()))  # an iterator: it gives something else each time
        else:
            self._holder(thing)

    def depend(self, owner: Any, besides: tuple[str, ...] = ()) -> None:
        """All attributes of an object; those ``besides`` may be others, but not set inside."""
        self.meet(owner)
        attributes = vars(owner)
        for name, value in list(attributes.items()):
            if name not in besides:
                self._attribute(owner, attributes, name)
                continue
            self.fact(_sets(owner, name), functools.partial(attributes.get, name))
            if isinstance(value, list):
                self.conditions.append(("{0}.get({1}) is {2}", (attributes, name, value)))
        self.complete()

    def complete(self) -> None:
        """Look at every attribute that the code met so far names, until nothing new turns up."""
        known = -1
        while known != len(self._seen):
            known = len(self._seen)
            for holder, namespace in list(self._holders):
                kinds = (holder if isinstance(holder, type) else type(holder)).__mro__
                keys = None, id(holder), *[_Class(k.__module__, k.__qualname__) for k in kinds]
                names = set().union(*[self._names.get(key, ()) for key in keys])
                for name in names & namespace.keys():
                    self._attribute(holder, namespace, name)

    def _holder(self, thing: Any) -> None:
        """Something with attributes: a module, a class, or an object and its classes."""
        try:
            own = vars(thing)
        except Exception:  # it has none, and may have a __getattr__ that says so in its own way
            own = None
        if isinstance(thing, types.ModuleType):
            self._holders.append((thing, own))
            return
        if not isinstance(thing, type) and isinstance(own, dict):
            self._holders.append((thing, own))
            self.conditions.append(("len({0}) == {1}", (own, len(own))))
        if isinstance(thing, Module):
            self.depend(thing)
        for kind in (thing if isinstance(thing, type) else type(thing)).__mro__:
            if _is_foreign(kind.__module__):
                self._holders.append((thing, self._classes.setdefault(kind, vars(kind))))
                for name, value in vars(kind).items():
                    if name.startswith("__") and _is_written(value):
                        self.meet(value)  # an operator, whose name no code needs to mention

    def _attribute(self, holder: Any, namespace: Any, name: str) -> None:
        key = id(holder), id(namespace), name
        if key in self._found:
            return
        self._found.add(key)
        value = namespace[name]
        if isinstance(holder, types.ModuleType) and not _is_foreign(holder.__name__):
            if isinstance(value, (types.ModuleType, *_BOUND)):  # np.random.normal, say
                self.meet(value)
        elif isinstance(value, types.MemberDescriptorType):  # a slot
            look = functools.partial(getattr, holder, name, None)
            self._still(f"getattr({{0}}, {name!r}, None)", (holder,), look())
            self.fact(_sets(holder, name), look)
        else:
            self._still("{0}.get({1})", (namespace, name), value)
            self.fact(_sets(holder, name), functools.partial(namespace.get, name))

    def _still(self, now: str, where: tuple[Any, ...], value: Any) -> None:
        """A variable has its value: the very same, or an equal number or word."""
        if not isinstance(value, types.ModuleType):
            then = f"{{{len(where)}}}"
            text = f"{now} is {then}"
            if isinstance(value, _PLAIN):
                text = f"({text} or unchanged({now}, {then}))"
            self.conditions.append((text, (*where, value)))
        self.meet(value)

    def _items(self, text: str, container: Any, items: Any) -> None:
        items = list(items)
        if isinstance(container, list) and len(items) <= 32:  # 0.1 µs less than by ids
            same = "".join([f" and {{0}}[{i}] is {{{i + 1}}}" for i in range(len(items))])
            self.conditions.append((f"len({{0}}) == {len(items)}{same}", (container, *items)))
        elif not isinstance(container, tuple | frozenset):
            ids = list(map(id, items))
            self.conditions.append((f"[*map(id, {text})] == {{1}}", (container, ids, items)))
        for item in items:
            self.meet(item)

    def _function(self, function: types.FunctionType) -> None:
        cells, free = {}, function.__code__.co_freevars
        for name, cell in zip(free, function.__closure__ or (), strict=True):
            try:
                cells[name] = cell.cell_contents
            except ValueError:  # a variable that has no value yet
                continue
            self._still("{0}.cell_contents", (cell,), cells[name])
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.meet(default)
        variables = function.__globals__
        op: Any = variables.get("_op")
        if getattr(op, "function", None) is function:  # generated: what was written is the op's
            for written in (op.forward, *op.gradients.values()):
                self.meet(written)
            return
        own = _Class(function.__module__, function.__qualname__.rpartition(".")[0])
        for code in _codes(function.__code__) if _is_foreign(function.__module__) else ():
            if not _BY_STRING.isdisjoint(code.co_names):
                self._names[None].update([c for c in code.co_consts if type(c) is str])
            found: Any = None  # what an instruction puts on the stack, if that is known
            for instruction in dis.get_instructions(code):
                what, name = instruction.opname, instruction.argval
                owner, found = found, None
                if what in ("LOAD_GLOBAL", "LOAD_NAME"):
                    found = variables.get(name)
                    if name in variables or not hasattr(builtins, name):
                        self._still("{0}.get({1})", (variables, name), found)
                elif what == "LOAD_DEREF":
                    found = cells.get(name)
                elif what.startswith("LOAD_FAST") and name == "self" and own.name.isidentifier():
                    found = own
                elif what in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "IMPORT_FROM"):
                    key = owner if owner is None or isinstance(owner, _Class) else id(owner)
                    self._names.setdefault(key, set()).add(name)
                    with suppress(TypeError):
                        found = vars(owner).get(name)
                elif what == "IMPORT_NAME":
                    self.meet(sys.modules.get(name))
                elif what == "STORE_GLOBAL" or (what == "STORE_DEREF" and name in code.co_freevars):
                    line = instruction.positions.lineno if instruction.positions else 0
                    raise CompileError(
                        f"a replay would not assign to {name}, as the function does: return it\n"
                        f"    at {code.co_filename}:{line} in {code.co_name}"
                    )


class _Class(NamedTuple):
    """A class by its name, as the functions written in it know it."""

    module: str
    name: str


def _sets(holder: Any, name: str) -> str:
    return f"sets {getattr(holder, '__name__', type(holder).__name__)}.{name}"


def _is_written(method: Any) -> bool:
    """Whether it is a function of some file: what dataclasses make reads the object's own alone."""
    if not isinstance(method, types.FunctionType):
        return False
    return not inspect.unwrap(method).__code__.co_filename.startswith("<")


def _is_foreign(module: str | None) -> bool:
    """Whether code may do anything: it is neither this package's nor NumPy's nor Python's own."""
    return (module or "").partition(".")[0] not in _KNOWN


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function and of the functions written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
