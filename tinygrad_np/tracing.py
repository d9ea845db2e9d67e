"""Where a tracer listens: what plain NumPy would not show it.

``compile`` traces a step by handing it ``Traced`` arrays, through which it sees NumPy's calls.
What Python does besides it learns here: numbers that Python computes, random draws, checks of
values. Without a tracer each of these costs one look at a ContextVar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])
Draw = Callable[[Callable[[Any], Any], Any], Any]
"""``draw(function, rng)``: the random array ``function(rng)``."""


class Traced:
    """An array that a tracer hands out in place of an ndarray; see ``compiler/symbol.py``."""

    __slots__ = ()


class Listener(Protocol):
    """Who listens. ``call`` is for pure functions; the others are for the functions below."""

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def host(self, function: Callable[..., float], *args: Any) -> Any: ...
    def draw(self, function: Callable[[Any], Any], rng: np.random.Generator) -> Any: ...
    def check(self, function: Callable[..., None], *arrays: Any) -> None: ...


active: ContextVar[Listener | None] = ContextVar("tracer", default=None)
again: ContextVar[bool] = ContextVar("again", default=False)
"""Set while calls are made a second time, for NumPy's warnings alone."""


def is_rehearsal() -> bool:
    """Whether nobody will get the results of what runs now: other processes are not to notice."""
    return again.get() or active.get() is not None


def host(function: Callable[..., float], *args: Any) -> Any:
    """The number ``function(*args)``; a traced program computes it anew before each run."""
    tracer = active.get()
    return function(*args) if tracer is None else tracer.host(function, *args)


def draw(function: Callable[[Any], Any], rng: Any) -> Any:
    """The random array ``function(rng)``, drawn from a generator of NumPy's.

    A traced program draws anew before each run.
    """
    return _draw.get()(function, rng)


def _drawn(function: Callable[[Any], Any], rng: Any) -> Any:
    tracer = active.get()
    return function(rng) if tracer is None else tracer.draw(function, rng)


_draw: ContextVar[Draw] = ContextVar("draw", default=_drawn)


@contextmanager
def drawing(handler: Callable[[Draw, Callable[[Any], Any], Any], Any]) -> Iterator[None]:
    """Inside, ``handler(draw, function, rng)`` draws in place of ``draw(function, rng)``."""
    token = _draw.set(functools.partial(handler, _draw.get()))
    try:
        yield
    finally:
        _draw.reset(token)


def check(function: Callable[..., None], *arrays: Any) -> None:
    """Check values, by a function that raises; a traced program checks before each run."""
    tracer = active.get()
    if tracer is None:
        function(*arrays)
    else:
        tracer.check(function, *arrays)


def pure(function: F) -> F:
    """Decorator for a pure function that writes to arrays of its own: traced as a single call."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        tracer = active.get()
        return function(*args) if tracer is None else tracer.call(function, args, {})

    return call  # type: ignore[return-value]


def item(array: Any, index: Any) -> Any:
    """``array[index]``, also of a plain array at a traced index."""
    tracer, parts = active.get(), index if isinstance(index, tuple) else (index,)
    if tracer is None or isinstance(array, Traced):
        return array[index]
    if not any(isinstance(part, Traced) for part in parts):
        return array[index]
    return tracer.call(np.ndarray.__getitem__, (array, index), {})


def as_array(value: Any, dtype: Any = None) -> Any:
    """``np.asarray``, which leaves traced arrays traced."""
    if isinstance(value, Traced):
        return value if dtype is None else value.astype(dtype, copy=False)  # type: ignore[attr-defined]
    return np.asarray(value, dtype=dtype)
