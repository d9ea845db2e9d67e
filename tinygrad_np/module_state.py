"""What a module holds, by name: parameters, frozen parameters, buffers; and how it is loaded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .tensor import Array, Tensor, plain


class Held(NamedTuple):
    """A value inside a module: its name there, and the object or container that refers to it."""

    name: str
    value: Any
    holder: Any
    key: Any

    @property
    def kind(self) -> str:
        """``parameter``, ``frozen`` or ``buffer``; "" for what is no state.

        A leaf that requires grad is a parameter; one that did until it was switched off is frozen;
        other leaves, ndarrays and NumPy's numbers are buffers. A computed Tensor is no state.
        """
        value = self.value
        if isinstance(value, Tensor):
            if not value.is_leaf:
                return ""
            return "parameter" if value.requires_grad else "frozen" if value.is_frozen else "buffer"
        is_number = isinstance(value, np.number | np.bool) and not isinstance(self.holder, tuple)
        return "buffer" if isinstance(value, np.ndarray) or is_number else ""

    def inside(self, name: str) -> Held:
        """The same under a longer name."""
        return self._replace(name=f"{name}.{self.name}") if name else self

    def put(self, array: Array) -> None:
        """Write into the array that is there; a number is replaced."""
        if isinstance(self.value, Tensor | np.ndarray):
            target = plain(self.value)
            if target.flags.writeable:  # a read-only one has these values: see ``load``
                target[...] = array
        elif isinstance(self.holder, dict | list | deque):
            self.holder[self.key] = array[()]
        else:
            setattr(self.holder, self.key, array[()])


def walk(held: Held, above: tuple[Any, ...] = ()) -> Iterator[Held]:
    """A value and, if it is a list, tuple or dict (or the like), everything in it, by name."""
    yield held
    value = held.value
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, list | tuple | deque):
        items = enumerate(value)
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, set | frozenset) and any(map(_is_part, value)):
        raise TypeError(f"{held.name} is a set, which gives what is in it no names: use a list")
    if any(value is other for other in above):
        raise ValueError(f"{held.name} contains itself: what is in it has no one name")
    for key, item in items:
        yield from walk(Held(f"{held.name}.{key}", item, value, key), (*above, value))


def _is_part(value: Any) -> bool:
    return isinstance(value, Tensor) or hasattr(value, "named_modules")


class State:
    """All state of a module, of which what is shared counts once, under its first name."""

    def __init__(self, every: Iterable[Held]) -> None:
        self.held: list[Held] = []
        self.numbers: dict[str, Held] = {}  # Python's
        self.aliases: dict[str, str] = {}  # further names of what is shared, with the first
        first: dict[int, str] = {}
        for held in every:
            name, value = held.name, held.value
            if not held.kind:
                if isinstance(value, int | float):
                    self.numbers[name] = held
                continue
            is_shared = isinstance(value, Tensor | np.ndarray) and id(value) in first
            if is_shared:
                self.aliases[name] = first[id(value)]
            else:
                first[id(value)] = name
                self.held.append(held)

    def by_name(self) -> dict[str, Held]:
        """All of it; ValueError where two different values have one name."""
        found: dict[str, Held] = {}
        firsts = {held.name: held.name for held in self.held} | self.aliases
        for held in self.held:
            name = held.name
            if name in found or firsts[name] != name:
                raise ValueError(
                    f"two parts of this module's state are both called {name!r}: one of them would "
                    "be lost in files. Rename one (dict keys 1 and '1', or 'a.b' and 'a' with 'b' "
                    "in it, make the same name)"
                )
            found[name] = held
        return found

    def of(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        """Names and values of these kinds."""
        return ((name, h.value) for name, h in self.by_name().items() if h.kind in kinds)

    def arrays(self) -> dict[str, Array]:
        """Copies of all arrays."""
        return {name: np.array(plain(held.value)) for name, held in self.by_name().items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Write arrays into the places of their names: all of them, or none.

        Raises ValueError that lists every missing, unexpected or ill-fitting name.
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
        wrong += filter(None, [_misfit(h, given[n]) for n, h in places.items() if n in given])
        if wrong:
            hint = ""
            if missing and "parameter" not in missing.values():
                hint = (
                    "\nFiles of older versions hold neither buffers nor frozen parameters: to keep "
                    "this module's own, give load_state_dict({**module.state_dict(), **state}). "
                    "What is no state at all can be named in the class's `transient`"
                )
            lines = "\n  ".join(wrong)
            raise ValueError(f"the state does not fit this module:\n  {lines}{hint}")
        for name, held in places.items():
            held.put(given[name])


def same(one: Array, other: Array) -> bool:
    """Whether two arrays have the same shape and values; nan is equal to nan."""
    numeric = one.dtype.kind in "fc" and other.dtype.kind in "fc"
    return np.array_equal(one, other, equal_nan=numeric)


def _misfit(held: Held, array: Array) -> str:
    """Why an array cannot be written there; "" if it can."""
    own = plain(held.value)
    name, shape = held.name, np.shape(own)
    replaced = not isinstance(own, np.ndarray)  # a number: only its kind has to be the same
    dtype = getattr(own, "dtype", np.dtype(type(own)))
    fits = array.dtype.kind in "fiub" if replaced else array.dtype == dtype
    if array.shape != shape or not fits:
        got = f"{array.dtype} of shape {array.shape}"
        return f"{name}: expected {dtype} of shape {shape}, got {got}"
    if not replaced and not own.flags.writeable and not same(own, array):
        return f"{name}: is read-only in this module, and has other values"
    return ""
