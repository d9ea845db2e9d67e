"""Replay: a function traced once, optimised, and run again as one flat list of NumPy calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported when something is compiled: import tinygrad_np is to stay quick
    from .compiled import Compiled

__all__ = ["CompileError", "compile"]


class CompileError(RuntimeError):
    """A function does something that cannot be replayed; the message names the line."""


def compile(function: Callable[..., Any], *, exact: bool = False) -> Compiled:
    """Trace ``function`` at its first calls, replay it ever after: eager's results, much faster.

    The function takes and returns arrays, Tensors, numbers, and tuples, lists and dicts of them. It
    may read and update parameters, call ``backward`` and an optimiser, draw dropout masks: the
    whole training step. For each signature (shapes and dtypes of arrays, values of anything else)
    it runs twice as it is, and both runs are written down; from the third call on the program is
    replayed in preallocated memory. Results are copies, and the caller's to keep.

    What a replay cannot repeat is an error, ``CompileError``, that names the line: a branch on a
    traced value, ``.item()`` inside, a write into a plain array, an assignment to an attribute or
    to a global variable, random numbers that are not drawn by ``tg.dropout``, arrays or numbers
    that differ from the first to the second run. What the code refers to by name is looked at
    before each replay, and where it has changed the function is traced anew: variables, attributes,
    what is in lists, sets and dicts, modules and optimisers, plain arrays of up to 256 KB. What it
    gets elsewhere (files, the environment, the clock; what NumPy alone computes of larger arrays)
    is taken to stay. Printing and appending to lists are not repeated. Returned Tensors are
    constants: differentiate inside. An argument that shares memory with an array that the function
    updates is no case for replay: the function then runs as it is, as under ``tg.record`` and
    ``tg.debug``.

    ``exact=True`` leaves out the passes that change the order of additions (``compiler/passes``):
    the results are then eager's to the last bit.

    >>> import numpy as np, tinygrad_np as tg
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> opt = tg.optim.SGD([w], lr=0.1)
    >>> @tg.compile
    ... def step(x):
    ...     loss = ((w * x) ** 2).sum()
    ...     loss.backward()
    ...     opt.step()
    ...     opt.zero_grad()
    ...     return loss
    >>> [round(step(np.array([1.0, 1.0])).item(), 4) for _ in range(4)]
    [5.0, 3.2, 2.048, 1.3107]
    """
    from .compiled import Compiled

    return Compiled(function, exact)
