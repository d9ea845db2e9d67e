"""What a function can get at, and what of it a trace takes as given: the conditions of its replays.

Beside arguments a function depends on the variables it refers to, on what these hold, on the
attributes it names of them, on modules and optimisers.
"""

from __future__ import annotations

import collections
import functools
import inspect
import pickle
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from random import Random
from typing import Any

import numpy as np

from .. import random
from ..nn import Module
from ..tensor import Tensor
from .guard import PLAIN, Condition
from .references import ClassName, is_foreign, references

_SMALL = 1 << 18
"""Arrays outside of at most so many bytes are compared with what they were when traced."""

_CONTAINERS = (list, tuple, set, frozenset, dict, types.MappingProxyType, collections.deque)
_DICTS = [ClassName("collections", kind) for kind in ("UserDict", "UserList", "ChainMap")]
_ASKED = {"__getattr__", "__getattribute__"}
_BOUND = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)
_WRAPPERS = (
    *_BOUND, functools.partial, functools.cached_property, staticmethod, classmethod, property,
    types.FunctionType, type(functools.cache(len)), functools.partialmethod,
)  # fmt: skip


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
        names = {"forward", "function", "rule", "training", "__getattr__"}
        self._names: dict[Any, set[str]] = {None: names, **{k: {"data", "maps"} for k in _DICTS}}
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
        foreign = is_foreign(type(thing).__module__)
        if id(thing) in self._seen or (isinstance(thing, PLAIN | Tensor | None) and not foreign):
            return
        self._seen[id(thing)] = thing
        if isinstance(thing, _WRAPPERS):
            for part in ("__self__", "__func__", "__wrapped__", "fget", "func", "args", "keywords"):
                self.meet(getattr(thing, part, None))
            if isinstance(thing, types.FunctionType):
                self._holders.append((thing, vars(thing)))
                self._function(thing)
        elif isinstance(thing, _CONTAINERS):
            self._items("{0}", thing, thing)
            if isinstance(thing, dict | types.MappingProxyType):
                self._items("{0}.values()", thing, thing.values())
            if foreign:
                self._holder(thing)
        elif isinstance(thing, np.ndarray | memoryview):
            if thing.nbytes <= _SMALL:
                self.conditions.append(("{0}.tobytes() == {1}", (thing, thing.tobytes())))
        elif isinstance(thing, ContextVar):
            self._still("{0}.get(None)", (thing,), thing.get(None))
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
        known = None
        while known != (now := (len(self._seen), len(self._names[None]))):
            known = now
            for holder, namespace in list(self._holders):
                kinds = _kinds(holder)
                keys = None, id(holder), *[ClassName(k.__module__, k.__qualname__) for k in kinds]
                names = set().union(*[self._names.get(key, ()) for key in keys])
                if any(is_foreign(k.__module__) and not _ASKED.isdisjoint(vars(k)) for k in kinds):
                    self._names[None] |= names  # it may ask others for them
                is_object = type(namespace) is dict and not isinstance(holder, types.ModuleType)
                if is_object and "*" in names:
                    names |= namespace.keys()
                for name in names & namespace.keys():
                    self._attribute(holder, namespace, name)

    def _holder(self, thing: Any) -> None:
        """Something with attributes: a module, a class, or an object and its classes."""
        own: Any = None
        with suppress(Exception):  # it has none, and may have a __getattr__ that says so in its way
            own = vars(thing)
        if isinstance(own, dict):
            self._holders.append((thing, own))
            if not isinstance(thing, types.ModuleType):
                self.conditions.append(("len({0}) == {1}", (own, len(own))))
        if isinstance(thing, Module):
            self.depend(thing)
        for kind in _kinds(thing):
            if is_foreign(kind.__module__):
                own = self._classes.setdefault(kind, vars(kind))
                self._holders.append((thing, own))
                self.conditions.append(("len({0}) == {1}", (own, len(own))))
                for name, value in vars(kind).items():
                    if name.startswith("__") and _is_written(value):
                        self.meet(value)  # an operator, whose name no code needs to mention

    def _attribute(self, holder: Any, namespace: Any, name: str) -> None:
        key = id(holder), id(namespace), name
        if key in self._found:
            return
        self._found.add(key)
        value = namespace[name]
        if isinstance(holder, types.ModuleType) and not is_foreign(holder.__name__):
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
            if isinstance(value, PLAIN):
                text = f"({text} or unchanged({now}, {then}))"
            self.conditions.append((text, (*where, value)))
        self.meet(value)

    def _items(self, text: str, container: Any, items: Any) -> None:
        items = list(items)
        if not isinstance(container, tuple | frozenset):
            ids = list(map(id, items))
            self.conditions.append((f"[*map(id, {text})] == {{1}}", (container, ids, items)))
        for item in items:
            self.meet(item)

    def _function(self, function: types.FunctionType) -> None:
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.meet(default)
        op: Any = function.__globals__.get("_op")
        if getattr(op, "function", None) is function:  # generated: what was written is the op's
            for written in (op.forward, *op.gradients.values()):
                self.meet(written)
            return
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # a variable that has no value yet
                self._still("{0}.cell_contents", (cell,), cell.cell_contents)
        if not is_foreign(function.__module__):
            return
        for what, owner, name in references(function):
            if what == "variable":
                self._still("{0}.get({1})", (owner, name), owner.get(name))
            elif what == "attribute":
                self._names.setdefault(owner, set()).add(name)
            else:
                self.meet(sys.modules.get(name))


def _kinds(thing: Any) -> tuple[type, ...]:
    """The classes in which an object's attributes are looked up, its own first."""
    return (*(thing.__mro__ if isinstance(thing, type) else ()), *type(thing).__mro__)


def _sets(holder: Any, name: str) -> str:
    return f"sets {(holder if isinstance(holder, type) else type(holder)).__name__}.{name}"


def _is_written(method: Any) -> bool:
    """Whether it is a function of some file: what dataclasses make reads the object's own alone."""
    if not isinstance(method, types.FunctionType):
        return False
    return not inspect.unwrap(method).__code__.co_filename.startswith("<")
