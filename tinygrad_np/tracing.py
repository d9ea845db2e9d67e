"""Where a tracer listens: what plain NumPy would not show it.

``compile`` traces a function by handing it ``Traced`` arrays, through which it sees NumPy's calls.
Python's own doings it learns here: numbers computed on the host, random draws, side effects, and
what the result depends on. Without a tracer each of these costs one look at a ContextVar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


class Traced:
    """An array that a tracer hands out in place of an ndarray; see ``compiler/symbol.py``."""

    __slots__ = ()


class Tracer(Protocol):
    """Who listens. ``call`` is for pure functions; the others are for the functions below."""

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def host(self, function: Callable[[], float]) -> Any: ...
    def draw(self, function: Callable[[Any], np.ndarray[Any, Any]], rng: Any) -> Any: ...
    def effect(self, function: Callable[[], None]) -> None: ...
    def check(self, function: Callable[..., None], *arrays: Any) -> None: ...
    def items(self, table: list[list[Any]], row: int) -> list[Any]: ...
    def depend(self, owner: Any, *besides: str) -> None: ...


active: ContextVar[Tracer | None] = ContextVar("tracer", default=None)
_told: ContextVar[tuple[Callable[[Any], None], ...]] = ContextVar("told", default=())


def host(function: Callable[[], float]) -> Any:
    """The number that ``function`` computes; a traced program computes it again at each run."""
    tracer = active.get()
    return function() if tracer is None else tracer.host(function)


def draw(function: Callable[[Any], np.ndarray[Any, Any]], rng: Any) -> Any:
    """The array that ``function(rng)`` draws from a generator of NumPy's.

    A traced program draws anew at each run.
    """
    for tell in _told.get():
        tell(rng)
    tracer = active.get()
    return function(rng) if tracer is None else tracer.draw(function, rng)


@contextmanager
def telling(tell: Callable[[Any], None]) -> Iterator[None]:
    """Inside, ``tell`` is called with each generator that ``draw`` draws from, just before."""
    token = _told.set((*_told.get(), tell))
    try:
        yield
    finally:
        _told.reset(token)


def effect(function: Callable[[], None]) -> None:
    """Do it, and again at each run of a traced program."""
    tracer = active.get()
    if tracer is None:
        function()
    else:
        tracer.effect(function)


def items(table: list[list[Any]], row: int) -> list[Any]:
    """The arrays of one row of a table that outlives the call: a replay looks there at each run."""
    tracer = active.get()
    return table[row] if tracer is None else tracer.items(table, row)


def check(function: Callable[..., None], *arrays: Any) -> None:
    """Check values, by a function that raises; a traced program checks at each run."""
    tracer = active.get()
    if tracer is None:
        function(*arrays)
    else:
        tracer.check(function, *arrays)


def depend(owner: Any, *besides: str) -> None:
    """A traced program is traced anew when this object's attributes have changed (but for some)."""
    tracer = active.get()
    if tracer is not None:
        tracer.depend(owner, *besides)


def pure(function: F) -> F:
    """Decorator for a pure function that writes to arrays of its own: traced as a single call."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        tracer = active.get()
        return function(*args) if tracer is None else tracer.call(function, args, {})

    return call  # type: ignore[return-value]


def as_array(value: Any, dtype: Any = None) -> Any:
    """``np.asarray``, which leaves traced arrays traced."""
    if isinstance(value, Traced):
        return value if dtype is None else value.astype(dtype, copy=False)  # type: ignore[attr-defined]
    return np.asarray(value, dtype=dtype)
