"""Whether ops are recorded, and who watches: ``no_grad``, ``enable_grad`` and observers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import Token
from typing import Any, ParamSpec, TypeVar, overload

from .graph import Observer, recording

Mode = bool | Observer
P = ParamSpec("P")
R = TypeVar("R")


class Recording:
    """Context manager and decorator that replaces the mode of recording by ``choose(mode)``.

    Around a generator or a coroutine it holds while the body runs, not while the body waits.
    """

    def __init__(self, choose: Callable[[Mode], Mode]) -> None:
        self.choose = choose
        self._tokens: list[Token[Mode]] = []

    def __enter__(self) -> None:
        self._tokens.append(recording.set(self.choose(recording.get())))

    def __exit__(self, *error: object) -> None:
        recording.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, run in this mode."""
        if inspect.isgeneratorfunction(function):
            run = _generator(function, self.choose)
        elif inspect.iscoroutinefunction(function):
            run = _coroutine(function, self.choose)
        elif inspect.isasyncgenfunction(function):
            run = _async_generator(function, self.choose)
        else:
            run = _plain(function, self.choose)
        return functools.wraps(function)(run)


def _plain(function: Callable[..., Any], choose: Callable[[Mode], Mode]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with Recording(choose):
            return function(*args, **kwargs)

    return run


def _generator(function: Callable[..., Any], choose: Callable[[Mode], Mode]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        return (yield from _Resumed(function(*args, **kwargs), choose))

    return run


def _coroutine(function: Callable[..., Any], choose: Callable[[Mode], Mode]) -> Callable[..., Any]:
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await _Resumed(function(*args, **kwargs), choose)

    return run


def _async_generator(
    function: Callable[..., Any], choose: Callable[[Mode], Mode]
) -> Callable[..., Any]:
    async def run(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        step = generator.asend(None)
        while True:
            try:
                value = await _Resumed(step, choose)
            except StopAsyncIteration:
                return
            try:
                step = generator.asend((yield value))
            except GeneratorExit:
                await _Resumed(generator.aclose(), choose)
                raise
            except BaseException as error:
                step = generator.athrow(error)

    return run


class _Resumed:
    """A generator or coroutine that sets the mode each time it is resumed."""

    def __init__(self, inner: Any, choose: Callable[[Mode], Mode]) -> None:
        self.inner, self.choose = inner, choose
        self.left: Mode | None = None  # the mode of its own ``with`` block, if it waits inside one

    def __iter__(self) -> _Resumed:
        return self

    __await__ = __iter__

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        return self._run(self.inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._run(self.inner.throw, *error)

    def close(self) -> None:
        self._run(self.inner.close)

    def _run(self, resume: Callable[..., Any], *args: Any) -> Any:
        mode = self.choose(recording.get()) if self.left is None else self.left
        token = recording.set(mode)
        try:
            return resume(*args)
        finally:
            left = recording.get()
            self.left = None if left is mode and self.left is None else left
            recording.reset(token)


@overload
def no_grad() -> Recording: ...
@overload
def no_grad(function: Callable[P, R]) -> Callable[P, R]: ...
def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """Context manager and decorator inside which this thread records no graph.

    The decorator, ``@tg.no_grad()`` or ``@tg.no_grad``, accepts functions, generator functions and
    coroutine functions.

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor(2.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     print((w * w).requires_grad)
    False
    """
    recording_off = Recording(lambda mode: False)
    return recording_off if function is None else recording_off(function)


def enable_grad() -> Recording:
    """Context manager and decorator that turns recording on again inside ``no_grad``.

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor(2.0, requires_grad=True)
    >>> with tg.no_grad(), tg.enable_grad():
    ...     (w * w).requires_grad
    True
    """
    return Recording(lambda mode: True if mode is False else mode)  # an observer stays


def observed(observer: Observer) -> Recording:
    """Context manager that records and shows each new node to ``observer``."""
    return Recording(lambda mode: observer)
