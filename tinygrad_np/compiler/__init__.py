"""``compile``: a training step traced once, and replayed as one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # imported when something is compiled: import tinygrad_np is to stay quick
    from .compiled import Compiled

__all__ = ["CompileError", "compile"]


class CompileError(RuntimeError):
    """A step does something that cannot be replayed; the message names the line."""


def compile(
    function: Callable[..., Any],
    *,
    exact: bool = False,
    backend: Literal["numpy", "native"] | None = None,
    verify: bool | int = True,
) -> Compiled:
    """Trace ``function`` once, replay it ever after."""
    from .compiled import Compiled

    return Compiled(function, exact, backend, verify)
