"""The state of a module by name (parameters, frozen parameters, buffers), and how it is loaded."""

from __future__ import annotations

from collections import UserDict, UserList, deque
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .tensor import Array, Tensor, plain

Part = tuple[str, Any, Any, Any]
"""A value inside a module: its name, the value, its holder, and its key in the holder."""

SEQUENCES = list, tuple, deque, UserList
MAPPINGS = dict, MappingProxyType, UserDict
CONTAINERS = *SEQUENCES, *MAPPINGS, set, frozenset
PARAMETERS = "parameter", "frozen"


def kind_of(value: Any, holder: Any = None) -> str:
    """``parameter``, ``frozen`` or ``buffer``; "" for values that are not state.

    A leaf that requires grad is a parameter. If its ``requires_grad`` was switched off, it is
    frozen. Other leaves, ndarrays and NumPy's numbers are buffers. Computed Tensors are not state.
    """
    if isinstance(value, Tensor):
        if not value.is_leaf:
            return ""
        return "parameter" if value.requires_grad else "frozen" if value.is_frozen else "buffer"
    is_number = isinstance(value, np.number | np.bool) and not isinstance(holder, tuple)
    return "buffer" if isinstance(value, np.ndarray) or is_number else ""


def walk(part: Part, above: tuple[Any, ...] = ()) -> Iterator[Part]:
    """A value and, if it is a container (list, tuple, dict, ...), everything in it, by name."""
    yield part
    name, value, _, _ = part
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, SEQUENCES):
        items = enumerate(value)
    elif isinstance(value, MAPPINGS):
        items = value.items()
    elif isinstance(value, set | frozenset) and any(map(_is_part, value)):
        raise TypeError(f"{name} is a set, so its elements have no names: use a list")
    if any(value is other for other in above):
        raise ValueError(f"{name} contains itself, so its elements have no unique names")
    for key, item in items:
        yield from walk((f"{name}.{key}", item, value, key), (*above, value))


class Held(NamedTuple):
    """A part of a module's state."""

    kind: str
    value: Any
    holder: Any
    key: Any

    @property
    def is_attribute(self) -> bool:
        """Whether the holder is the module itself, not a container."""
        return not isinstance(self.holder, CONTAINERS)

    def put(self, array: Array) -> None:
        """Write into the existing array, or replace a number."""
        if isinstance(self.value, Tensor | np.ndarray):
            target = plain(self.value)
            if target.flags.writeable:  # a read-only array has these values already: see ``load``
                target[...] = array
        elif self.is_attribute:
            setattr(self.holder, self.key, array[()])
        else:
            self.holder[self.key] = array[()]


def _is_part(value: Any) -> bool:
    return isinstance(value, Tensor) or hasattr(value, "named_modules")


class State:
    """All state of a module. A shared value counts once, under its first name."""

    def __init__(self, every: Iterable[Part]) -> None:
        self.held: list[tuple[str, Held]] = []
        self.numbers: dict[str, Held] = {}  # Python's
        self.aliases: dict[str, str] = {}  # from the other names of a shared value to its first
        first: dict[int, str] = {}
        for name, value, holder, key in every:
            kind = kind_of(value, holder)
            if not kind:
                if isinstance(value, int | float):
                    self.numbers[name] = Held("buffer", value, holder, key)
            elif isinstance(value, Tensor | np.ndarray) and id(value) in first:
                self.aliases[name] = first[id(value)]
            else:
                first[id(value)] = name
                self.held.append((name, Held(kind, value, holder, key)))

    def by_name(self) -> dict[str, Held]:
        """All state by name; ValueError if two different values have one name."""
        found: dict[str, Held] = {}
        firsts = {name: name for name, _ in self.held} | self.aliases
        for name, held in self.held:
            if name in found or firsts[name] != name:
                raise ValueError(
                    f"two parts of this module's state are both called {name!r}: one of them would "
                    "be lost in files. Rename one (dict keys 1 and '1', or 'a.b' and 'a' with 'b' "
                    "in it, make the same name)"
                )
            found[name] = held
        return found

    def of(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        """The names and values of these kinds."""
        return ((name, h.value) for name, h in self.by_name().items() if h.kind in kinds)

    def arrays(self) -> dict[str, Array]:
        """Copies of all arrays."""
        return {name: np.array(plain(held.value)) for name, held in self.by_name().items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Write arrays to the state of the same names: all of them, or none.

        Raises ValueError with a list of all names that are missing, unexpected or do not fit.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"a state is a dict of arrays by name, as state_dict gives it, "
                f"not a {type(state).__name__}"
            )
        places = self.by_name()
        given = {name: np.asarray(plain(value)) for name, value in state.items()}
        wrong = []
        for name, first in self.aliases.items():
            array = given.pop(name, None)
            if array is not None and not same(given.setdefault(first, array), array):
                wrong.append(f"{name}: differs from {first}, which is the same parameter here")
        places |= {n: h for n, h in self.numbers.items() if n in given and not given[n].shape}
        missing = {name: held.kind for name, held in places.items() if name not in given}
        wrong += [
            f"missing: {name}" + ("" if kind == "parameter" else f" ({kind})")
            for name, kind in missing.items()
        ]
        wrong += [f"unexpected: {name}" for name in given if name not in places]
        wrong += filter(None, [_misfit(n, h, given[n]) for n, h in places.items() if n in given])
        if wrong:
            hint = ""
            if missing and "parameter" not in missing.values():
                hint = (
                    "\nFiles of older versions hold neither buffers nor frozen parameters: to keep "
                    "this module's own, give load_state_dict({**module.state_dict(), **state}). "
                    "What is not state at all can be named in the class's `transient`"
                )
            lines = "\n  ".join(wrong)
            raise ValueError(f"the state does not fit this module:\n  {lines}{hint}")
        for name, held in places.items():
            held.put(given[name])


def same(one: Array, other: Array) -> bool:
    """Whether two arrays have the same shape and values; nan is equal to nan."""
    numeric = one.dtype.kind in "fc" and other.dtype.kind in "fc"
    return np.array_equal(one, other, equal_nan=numeric)


def _misfit(name: str, held: Held, array: Array) -> str:
    """Why an array cannot be written to a place; "" if it can."""
    own = plain(held.value)
    shape = np.shape(own)
    replaced = not isinstance(own, np.ndarray)  # a number: only its kind has to be the same
    dtype = getattr(own, "dtype", np.dtype(type(own)))
    fits = array.dtype.kind in "fiub" if replaced else array.dtype == dtype
    if array.shape != shape or not fits:
        got = f"{array.dtype} of shape {array.shape}"
        return f"{name}: expected {dtype} of shape {shape}, got {got}"
    if not replaced and not own.flags.writeable and not same(own, array):
        return f"{name}: is read-only in this module, and has other values"
    return ""
