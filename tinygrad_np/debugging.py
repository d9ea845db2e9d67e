"""Debug mode: checks that cost too much to run always."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from . import graph
from .changes import ChangedArrayError, checksum_of
from .graph import Node, Observer
from .modes import observed
from .tensor import plain

_OURS = (__name__.partition(".")[0], "numpy")


class _Debugger:
    """The observer of debug mode. It passes all on to ``outer``, another observer."""

    def __init__(self, outer: Observer | None) -> None:
        self.outer = outer
        # For each node, the line that made it, and checksums of its saved values.
        self.births: WeakKeyDictionary[Node, tuple[str, list[int]]] = WeakKeyDictionary()
        # For each leaf, the tick at which it last got a gradient.
        self.collected: WeakKeyDictionary[Node, int] = WeakKeyDictionary()

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
        """Check an op's result; remember its line and checksums of what it saved."""
        line = _line()
        self.births[node] = line, _checksums(node.saved)
        for parent in filter(None, node.parents):  # for leaves, the line that first used them
            self.births.setdefault(parent, (line, []))
        if self.outer is not None:
            self.outer.observe(node, operands, output)
        _refuse_nonfinite(f"the {_name(node)}", output, line, operands)

    def before_rules(self, node: Node, gradient: Any) -> None:
        """Check a node's gradient, and the values that its rules are about to read."""
        name = _name(node)
        line, checksums = self.births.get(node, ("(made outside debug mode)", []))
        if checksums and node.saved and checksums != _checksums(node.saved):
            raise ChangedArrayError(
                f"an array that the gradient of {name} reads was changed since the forward pass, "
                "so that the gradient would be wrong: update parameters after backward(), or work "
                f"on a copy\n    {name} was computed at {line}"
            )
        _refuse_nonfinite(f"the gradient that reaches the {name}", gradient, line)
        if node.op is None:
            self._watch_zero_grad(node)
        if (tell := getattr(self.outer, "before_rules", None)) is not None:
            tell(node, gradient)

    def _watch_zero_grad(self, leaf: Node) -> None:
        """Warn if a leaf still has a gradient from before its last update."""
        before, self.collected[leaf] = self.collected.get(leaf), graph.tick()
        if before is not None and leaf.grad is not None and getattr(leaf, "written", 0) > before:
            warnings.warn(
                f"{_name(leaf)} was updated, and its old gradient is still there: the new one is "
                "added to it. Call optimizer.zero_grad() before backward()",
                UserWarning,
                stacklevel=5,
            )


def _name(node: Node) -> str:
    return f"op {node.op.name!r}" if node.op else f"leaf {node.name!r}" if node.name else "leaf"


def _refuse_nonfinite(what: str, result: Any, line: str, operands: tuple[Any, ...] = ()) -> None:
    values = np.asarray(plain(result))
    if (finite := np.isfinite(values)).all():
        return
    found = "nan" if np.isnan(values).any() else "inf"
    given = "; its operands: " * bool(operands) + ", ".join(map(_told, operands))
    raise FloatingPointError(
        f"{what} is the first to hold {found} ({np.sum(~finite)} of {values.size} elements)"
        f"{given}\n    at {line}"
    )


def _told(operand: Any) -> str:
    if not isinstance(operand, np.ndarray) or not operand.size:
        return repr(operand)
    return f"{operand.dtype}{operand.shape} in [{operand.min():.4g}, {operand.max():.4g}]"


def _checksums(saved: Any) -> list[int]:
    """Checksums of the arrays that a node's rules will read, also of those in an index."""
    if isinstance(saved, np.ndarray):
        return [checksum_of(saved)]
    parts = saved if isinstance(saved, tuple | list) else ()
    return [checksum for part in parts for checksum in _checksums(part)]


def is_users_frame(frame: FrameType) -> bool:
    """Whether a frame runs the user's code, not this package's or NumPy's.

    Code that is generated for an op has no module.
    """
    return str(frame.f_globals.get("__name__", "numpy")).partition(".")[0] not in _OURS


def location(path: str, line: int) -> str:
    """A line of code for messages: ``/home/me/train.py:12``; ``cell, line 12`` in a notebook.

    >>> location("/tmp/ipykernel_71/757017836.py", 10)
    'cell, line 10'
    """
    is_cell = re.search(r"[/\\](ipykernel|xpython)_\w+[/\\][^/\\]+$|^<ipython-input-", path)
    return f"cell, line {line}" if is_cell else f"{path}:{line}"


def _line() -> str:
    """The innermost line of the user's code."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if is_users_frame(frame):
            code = frame.f_code
            return f"{location(code.co_filename, frame.f_lineno)} in {code.co_name}"
        frame = frame.f_back
    return "(unknown line)"


@contextmanager
def debug() -> Iterator[None]:
    """Context manager that checks every op and every gradient, at several times the cost.

    Raises FloatingPointError at the first nan or inf, with the op, the ranges of its operands and
    the line that called it; ChangedArrayError if an array that ``backward`` reads was written to
    since the forward pass (not for a checkpoint, which uses the current values). Both passes must
    run inside. Warns if a parameter was updated and its old gradient is still there: the next one
    is added to it, because ``zero_grad`` was forgotten.

    >>> import numpy as np, tinygrad_np as tg
    >>> x = tg.Tensor([1.0, 0.0], requires_grad=True)
    >>> with np.errstate(divide="ignore"), tg.debug():  # doctest: +IGNORE_EXCEPTION_DETAIL
    ...     tg.log(x)
    Traceback (most recent call last):
    FloatingPointError: the op 'log' is the first to hold inf (1 of 2 elements)
    """
    mode = graph.recording.get()
    with observed(_Debugger(None if isinstance(mode, bool) else mode)):
        yield
