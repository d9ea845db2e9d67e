"""What drawings show besides the graph: scopes, values, gradients, times.

Only ``scope`` and ``record`` keep any of it, and it is freed with its node.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from . import graph
from .graph import Node, Observer
from .modes import observed


class Record(NamedTuple):
    """What is recorded of a node: ``seconds`` since the node before it, its latest gradient, ..."""

    scope: tuple[str, ...] = ()
    operands: tuple[Any, ...] | None = None
    output: Any = None
    saved: tuple[Any, ...] | None = None
    seconds: float | None = None
    gradient: Any = None


_NOTHING = Record()


def record_of(node: Node) -> Record:
    """The record of a node; an empty one if nothing was recorded."""
    found: Record = getattr(node, "record", _NOTHING)
    return found


def originals(saved: tuple[Any, ...], constants: tuple[tuple[int, Any], ...]) -> tuple[Any, ...]:
    """The saved values, with the constants themselves (if they still exist) in place of copies."""
    values = list(saved)
    for place, constant in constants:
        found = constant() if isinstance(constant, weakref.ref) else constant
        if found is not None:
            values[place] = found
    return tuple(values)


class _Recorder(NamedTuple):
    """The observer of ``record`` and ``scope``. It passes all on to ``outer``, another observer."""

    outer: Observer | None = None
    scope: tuple[str, ...] = ()
    owner: Any = None
    clock: list[float] | None = None  # when the previous node was recorded

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
        """Remember the node."""
        known: tuple[Any, ...] = ()
        if self.clock is not None:
            known = operands, output, node.saved, time.perf_counter() - self.clock[0]
            self.clock[0] = time.perf_counter()
        if self.outer is not None:
            self.outer.observe(node, operands, output)
        told = record_of(node)  # by an outer recorder
        node.record = Record(told.scope + self.scope, *(known or told[1:]))

    def before_rules(self, node: Node, gradient: Any) -> None:
        """Remember the gradient of the node's output."""
        if self.clock is not None and node.op is not None:  # a leaf outlives its graph
            array = gradient if isinstance(gradient, np.ndarray | np.generic) else gradient.data
            node.record = record_of(node)._replace(gradient=array)
        if (tell := getattr(self.outer, "before_rules", None)) is not None:
            tell(node, gradient)


def _current() -> _Recorder:
    """The current recorder, or a new one without a clock around the current observer."""
    mode = graph.recording.get()
    if isinstance(mode, _Recorder):
        return mode
    return _Recorder(None if isinstance(mode, bool) else mode)


@contextmanager
def record() -> Iterator[None]:
    """Record values, gradients, times and scopes of the ops inside, for ``tg.draw``.

    Every intermediate array lives as long as the graph, so use this to look, not to train. Each
    module that is called inside is a scope.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> with tg.record():
    ...     loss = (x * x).sum()
    ...     loss.backward()
    >>> "1 … 4" in tg.draw(loss).source
    True
    """
    with observed(_current()._replace(clock=[time.perf_counter()])):
        yield


@contextmanager
def scope(name: str, owner: Any = None) -> Iterator[None]:
    """Name a part of the network: the ops inside are drawn as a cluster that can be collapsed.

    Scopes can be nested and used again. ``owner`` is the module whose scope this is.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.scope("encoder"):
    ...     h = (x * 2).tanh()
    >>> "encoder" in tg.draw(h.sum()).source
    True
    """
    if not graph.is_recording():
        yield
        return
    outer = _current()
    owner = outer.owner if owner is None else owner
    with observed(outer._replace(scope=(*outer.scope, str(name)), owner=owner)):
        yield


def is_recorded() -> bool:
    """Whether scopes are recorded at this point."""
    return isinstance(graph.recording.get(), _Recorder)


def scope_owner() -> Any:
    """The module of the innermost scope, or None."""
    return _current().owner
