"""Objects of existing code: the arrays in them, their places, and the random generators."""

from __future__ import annotations

import gc
import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.random import Generator, RandomState

from ..tensor import Array

DEPTH = 4
OPAQUE = (type, np.ndarray, ModuleType)
Place = tuple[str | int, ...]
"""The path to an array in an object: attributes (written ``.name``), keys and indices."""


def arrays_in(owner: Any, depth: int = DEPTH) -> Iterator[tuple[Place, Array]]:
    """The arrays of an object, in its attributes, dicts and lists; they are not copied."""
    if isinstance(owner, Mapping):
        items: Iterable[tuple[Any, Any]] = owner.items()
    elif isinstance(owner, list):
        items = enumerate(owner)
    else:
        items = [(f".{name}", value) for name, value in getattr(owner, "__dict__", {}).items()]
    for step, value in items:
        if isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f":
            yield (step,), np.asarray(value)
        elif depth and not (isinstance(value, OPAQUE) or inspect.isroutine(value)):
            yield from (((step, *at), array) for at, array in arrays_in(value, depth - 1))


def put(owner: Any, place: Place, value: Any) -> None:
    """Write to a place in an object."""
    *steps, last = place
    for step in steps:
        owner = getattr(owner, str(step)[1:]) if _is_attribute(step) else owner[step]
    if _is_attribute(last):
        setattr(owner, str(last)[1:], value)
    else:
        owner[last] = value


def _is_attribute(step: Any) -> bool:
    return isinstance(step, str) and step.startswith(".")


def dotted(place: Place) -> str:
    """A place in words: params.W, layers.0.b."""
    return ".".join(str(step).lstrip(".") for step in place)


def short_names(places: Iterable[Place]) -> dict[Place, str]:
    """A name for each place: its last word, or the whole path if that is ambiguous."""
    words = {place: dotted(place) for place in places}
    last = [name.rpartition(".")[2] for name in words.values()]
    clear = {n for n in last if last.count(n) == 1 and not n.isdigit()}
    return {p: n if (n := name.rpartition(".")[2]) in clear else name for p, name in words.items()}


@contextmanager
def repeatable_randomness() -> Iterator[Callable[[], None]]:
    """A function that resets every random generator there is; the exit resets them, too."""
    states: list[tuple[Callable[[Any], None], Any]] = [(random.setstate, random.getstate())]
    for found in gc.get_objects():
        if type(found) is RandomState:  # NumPy's own, too
            states.append((found.set_state, found.get_state()))
        elif type(found) is Generator:
            bits = found.bit_generator
            states.append((partial(setattr, bits, "state"), bits.state))

    def again() -> None:
        for put_back, state in states:
            put_back(state)

    try:
        yield again
    finally:
        again()


def needs(function: Callable[..., Any]) -> list[str]:
    """The names of a function's required arguments."""
    try:
        kinds = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in kinds if p.kind in places and p.default is p.empty]
