"""Replay: a function traced once, optimised, and run again as one flat list of NumPy calls."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tracing
from ..tensor import Tensor, wrap
from .passes import EXACT, REORDERING
from .plan import Plan
from .program import Program, Value, map_tree
from .same import difference
from .trace import CompileError, Trace, concrete_result, watching

__all__ = ["CompileError", "Compiled", "compile"]


def compile(function: Callable[..., Any], *, exact: bool = False) -> Compiled:
    """Trace ``function`` at its first calls, replay it ever after: eager's results, much faster.

    The function takes and returns arrays, Tensors, numbers, and tuples, lists and dicts of them. It
    may read and update parameters, call ``backward`` and an optimiser, draw dropout masks: the
    whole training step. For each signature (shapes and dtypes of arrays, values of anything else)
    it runs twice as it is, and both runs are written down; from the third call on the program is
    replayed in preallocated memory. Results are copies, and the caller's to keep.

    What a replay cannot repeat is an error, ``CompileError``, that names the line: a branch on a
    traced value, ``.item()`` inside, a write into a plain array, arrays or numbers that differ from
    the first to the second run. What NumPy and this package do not see is not repeated: printing,
    appending to lists, attributes set by hand. Returned Tensors are constants: differentiate inside.

    ``exact=True`` leaves out the passes that change the order of additions (see ``compile/passes``):
    the results are then eager's to the last bit.

    >>> import tinygrad_np as tg
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
    return Compiled(function, exact)


class Compiled:
    """A function with the plans made for it, one for each signature it was called with."""

    def __init__(self, function: Callable[..., Any], exact: bool = False) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.passes = EXACT if exact else (*EXACT, *REORDERING)
        self.entries: dict[Any, list[_Entry]] = {}
        self.lock = threading.RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function, or its replay."""
        if tracing.active.get() is not None:  # inside another trace: part of that program
            return self.function(*args, **kwargs)
        arrays: list[Any] = []
        key = _signature((args, kwargs), arrays)
        for entry in self.entries.get(key, ()):
            if entry.holds():
                if entry.plan is not None:
                    return entry.plan.run(arrays)
                break
        return self._trace(key, args, kwargs)

    def _trace(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run for real and write it down; the second time, compare and make the plan."""
        with self.lock:
            trace = Trace()
            inputs: list[Value] = []

            def enter(leaf: Any) -> Any:
                array = leaf._data if isinstance(leaf, Tensor) else leaf
                if not isinstance(array, np.ndarray) or (
                    isinstance(leaf, Tensor) and leaf.requires_grad
                ):
                    return leaf
                symbol = trace.symbol(array, "input", len(inputs))
                inputs.append(symbol.variable)
                return wrap(symbol, None) if isinstance(leaf, Tensor) else symbol

            traced = map_tree(enter, (args, kwargs))
            with watching(trace):
                result = self.function(*traced[0], **traced[1])
                program = trace.finish(result, inputs)
            entries = self.entries.setdefault(key, [])
            entry = next((e for e in entries if e.holds()), None)
            if entry is None or entry.plan is not None:
                entries.append(_Entry(trace, program))
            else:
                entry.confirm(trace, program, self.passes)
            return map_tree(concrete_result, result)

    def plan(self) -> str:
        """The plans as text: calls, buffers and their bytes, what was fused."""
        plans = [e.plan for entries in self.entries.values() for e in entries if e.plan is not None]
        if not plans:
            return "no plan yet: the function has to be called twice with the same signature"
        return "\n\n".join(map(str, plans))


class _Entry:
    """One traced signature: the program, what it depends on, and its plan once it is confirmed."""

    def __init__(self, trace: Trace, program: Program) -> None:
        self.keep(trace, program)
        self.plan: Plan | None = None

    def keep(self, trace: Trace, program: Program) -> None:
        """Remember a trace and what it took as given."""
        self.program = program
        self.tensors = trace.tensors
        self.attributes = [
            (vars(owner), name, value)
            for owner, given in trace.owners.values()
            for name, value in given.items()
        ]
        self.leaves = [(node, before is None) for node, before in trace.leaves.items()]

    def holds(self) -> bool:
        """Whether what the trace took as given is still so."""
        for tensor, required in self.tensors:
            if (tensor._node is not None) is not required:
                return False
        for node, empty in self.leaves:
            if (node.grad is None) is not empty:
                return False
        for attributes, name, value in self.attributes:
            if attributes.get(name) != value:
                return False
        return True

    def confirm(self, trace: Trace, program: Program, passes: Any) -> None:
        """A second run with the same signature: CompileError if it did anything else."""
        found = difference(self.program, program)
        if found is not None:
            raise CompileError(found)
        self.keep(trace, program)
        for run in passes:
            run(program)
        self.plan = Plan(program)


def _signature(tree: Any, arrays: list[Any]) -> Any:
    """What two calls must have in common to share a plan; collects the arrays on the way."""
    if isinstance(tree, np.ndarray):
        arrays.append(tree)
        return (tree.shape, tree.strides, tree.dtype)
    if isinstance(tree, Tensor):
        if tree.requires_grad:
            return ("parameter", id(tree))
        return ("tensor", _signature(tree._data, arrays))
    if isinstance(tree, tuple | list):
        return (type(tree), *[_signature(item, arrays) for item in tree])
    if isinstance(tree, dict):
        return (dict, *[(key, _signature(item, arrays)) for key, item in tree.items()])
    if isinstance(tree, int | float | str | bool | complex | None | np.generic | np.dtype):
        return (type(tree), tree)
    return (type(tree), id(tree))
