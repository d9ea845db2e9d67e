"""Debug mode: checks that would cost too much to be made always.

It finds the first nan or inf, in the forward pass and in gradients, and arrays that were changed
between the forward pass that saved them and the backward pass that reads them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from . import graph
from .graph import Node, Observer


class ChangedArrayError(RuntimeError):
    """An array that a backward pass needs is not what it was in the forward pass."""


class _Birth(NamedTuple):
    """Where a node was made, and checksums of the arrays it saved."""

    line: str
    checksums: tuple[int | None, ...]


class _Debugger:
    """The observer of debug mode; ``outer`` is somebody else's, who is told as well."""

    def __init__(self, outer: Observer | None) -> None:
        self.outer = outer
        self.births: WeakKeyDictionary[Node, _Birth] = WeakKeyDictionary()

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
        """Check an op's result; remember where it was made and what it saved."""
        line = _line()
        self.births[node] = _Birth(line, tuple(map(_checksum, node.saved or ())))
        if self.outer is not None:
            self.outer.observe(node, operands, output)
        _refuse_nonfinite(
            f"the op {node.op.name!r}" if node.op else "a leaf", output, operands, line
        )

    def before_rules(self, node: Node, gradient: Any) -> None:
        """Check what a node's rules are about to read."""
        birth = self.births.get(node)
        name = node.op.name if node.op else "leaf"
        line = birth.line if birth else "(made outside debug mode)"
        if birth is not None and birth.checksums != tuple(map(_checksum, node.saved or ())):
            raise ChangedArrayError(
                f"an array that the gradient of {name!r} reads was changed since the forward pass, "
                "so that the gradient would be wrong: update parameters after backward(), or work "
                f"on a copy\n    {name} was computed at {line}"
            )
        _refuse_nonfinite(f"the gradient that reaches the op {name!r}", gradient, (), line)


def _refuse_nonfinite(what: str, array: Any, operands: tuple[Any, ...], line: str) -> None:
    values = getattr(array, "data", array) if not isinstance(array, np.ndarray) else array
    if np.isfinite(values).all():
        return
    found = "nan" if np.isnan(values).any() else "inf"
    given = ", ".join(_told(operand) for operand in operands)
    raise FloatingPointError(
        f"{what} is the first to hold {found} ({int((~np.isfinite(values)).sum())} of "
        f"{np.size(values)} elements){f'; its operands: {given}' if given else ''}\n    at {line}"
    )


def _told(operand: Any) -> str:
    if not isinstance(operand, np.ndarray) or not operand.size:
        return repr(operand)
    return f"{operand.dtype}{operand.shape} in [{operand.min():.4g}, {operand.max():.4g}]"


def _checksum(value: Any) -> int | None:
    import zlib

    if not isinstance(value, np.ndarray):
        return None
    return zlib.crc32(np.ascontiguousarray(value).view(np.uint8).reshape(-1).data)


def _line() -> str:
    """The innermost line that is not this package's own."""
    package = __name__.rpartition(".")[0]
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name and not name.startswith((package + ".", "numpy.")) and name != "numpy":
            return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return "(unknown line)"


@contextmanager
def debug() -> Iterator[None]:
    """Inside, every op and every gradient is checked, at several times the cost.

    Raises FloatingPointError at the first nan or inf, with the op, the ranges of its operands and
    the line that called it; ChangedArrayError where a saved array was written to before
    ``backward``. Forward and backward pass both have to run inside.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor([1.0, 0.0], requires_grad=True)
    >>> with np.errstate(divide="ignore"), tg.debug():  # doctest: +IGNORE_EXCEPTION_DETAIL
    ...     tg.log(x)
    Traceback (most recent call last):
    FloatingPointError: the op 'log' is the first to hold inf (1 of 2 elements)
    """
    mode = graph.recording.get()
    with graph.observed(_Debugger(None if isinstance(mode, bool) else mode)):
        yield
