"""What a tracer must know besides NumPy's calls: numbers, random draws and checks.

``compile`` traces a step by calling it with ``Traced`` arrays, which see NumPy's calls. The
functions here tell the tracer of numbers that Python computes, of random draws, and of checks of
values. Without a tracer, each of them costs one look at a ContextVar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import numpy as np

from .arrays import Traced

F = TypeVar("F", bound=Callable[..., Any])
Draw = Callable[[Callable[[Any], Any], Any], Any]
"""``draw(function, rng)``: the random array ``function(rng)``."""


class Listener(Protocol):
    """What a tracer provides: ``call`` for pure functions, one method for each function below.

    ``for_people`` says that the program is made to be read: ops then leave out guards against
    overflow.
    """

    for_people: bool

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def host(self, function: Callable[..., float], *args: Any) -> Any: ...
    def draw(self, function: Callable[[Any], Any], rng: np.random.Generator) -> Any: ...
    def check(self, function: Callable[..., None], *arrays: Any) -> None: ...


active: ContextVar[Listener | None] = ContextVar("tracer", default=None)
again: ContextVar[bool] = ContextVar("again", default=False)
"""True while calls are made a second time, only for NumPy's warnings."""


def is_rehearsal() -> bool:
    """Whether nobody gets the results of this run, so that other processes must not notice it."""
    return again.get() or active.get() is not None


def host(function: Callable[..., float], *args: Any) -> Any:
    """The number ``function(*args)``; a traced program computes it again before each run."""
    tracer = active.get()
    return function(*args) if tracer is None else tracer.host(function, *args)


def draw(function: Callable[[Any], Any], rng: Any) -> Any:
    """The random array ``function(rng)``; a traced program draws a new one before each run."""
    return _draw.get()(function, rng)


def _drawn(function: Callable[[Any], Any], rng: Any) -> Any:
    tracer = active.get()
    return function(rng) if tracer is None else tracer.draw(function, rng)


_draw: ContextVar[Draw] = ContextVar("draw", default=_drawn)


@contextmanager
def drawing(handler: Callable[[Draw, Callable[[Any], Any], Any], Any]) -> Iterator[None]:
    """Inside, ``handler(draw, function, rng)`` replaces ``draw(function, rng)``."""
    token = _draw.set(functools.partial(handler, _draw.get()))
    try:
        yield
    finally:
        _draw.reset(token)


def check(function: Callable[..., None], *arrays: Any) -> None:
    """Check values with a function that raises; a traced program checks before each run."""
    tracer = active.get()
    if tracer is None:
        function(*arrays)
    else:
        tracer.check(function, *arrays)


def pure(function: F) -> F:
    """Decorator for a pure function that writes to its own arrays: it is traced as one call."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        tracer = active.get()
        return function(*args) if tracer is None else tracer.call(function, args, {})

    return call  # type: ignore[return-value]


def item(array: Any, index: Any) -> Any:
    """``array[index]``, also for a plain array with a traced index."""
    tracer, parts = active.get(), index if isinstance(index, tuple) else (index,)
    if tracer is None or isinstance(array, Traced):
        return array[index]
    if not any(isinstance(part, Traced) for part in parts):
        return array[index]
    return tracer.call(np.ndarray.__getitem__, (array, index), {})
