"""A function with its plans: which of them a call may use, and when to trace anew."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import graph, tracing
from ..tensor import Tensor
from . import CompileError
from .guard import Condition, guard
from .passes import EXACT, REORDERING
from .plan import Plan
from .program import Program, map_tree
from .same import difference
from .trace import LOCK, Trace, concrete_result, watching

if TYPE_CHECKING:  # imported when something is drawn
    from ..drawing.render import Drawing

_MOST = 32
"""So many plans are kept: who needs more calls with something that always differs."""


class Compiled:
    """A function with the plans made for it, one for each signature it was called with."""

    def __init__(self, function: Callable[..., Any], exact: bool = False) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.passes = EXACT if exact else (*EXACT, *REORDERING)
        self.entries: dict[Any, list[_Entry]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function, or its replay."""
        mode = graph.recording.get()
        # Inside another trace it is part of that program; and whoever observes sees each op.
        if tracing.active.get() is not None or type(mode) is not bool:
            return self.function(*args, **kwargs)
        arrays: list[Any] = []
        key: Any = mode, *[_signature(arg, arrays) for arg in args]
        if kwargs:
            key = key, _signature(kwargs, arrays)
        with LOCK:
            for found in self.entries.get(key, ()):
                if not found.holds():
                    continue
                plan = found.plan
                if plan is None or not plan.ready(arrays):
                    return self._trace(key, args, kwargs, found)
                if plan.owners and plan.clashes(arrays):
                    return self.function(*args, **kwargs)
                return plan.run(arrays)
            return self._trace(key, args, kwargs, None)

    def _trace(self, key: Any, args: Any, kwargs: Any, entry: _Entry | None) -> Any:
        """Run for real and write it down; the second time, compare and make the plan."""
        trace = Trace()
        trace.around.meet(self.function)
        owner = getattr(self.function, "__self__", None)
        if hasattr(owner, "__dict__"):
            trace.depend(owner)
        try:
            traced = map_tree(trace.input, (args, kwargs))
            trace.around.complete()
            given = map_tree(lambda leaf: leaf, traced)
            with watching(trace):
                result = self.function(*traced[0], **traced[1])
                if map_tree(id, traced) != map_tree(id, given):
                    trace.refuse("a list or dict among the arguments is changed: return a new one")
                program = trace.finish(result)
            conditions = _conditions(trace)
            outside = [symbol.external for symbol in trace.outside if symbol.external is not None]
            fitting = {v: v.fitting() for v in outside if v.where.path != ".grad"}
            trace.commit()
        finally:
            trace.close()
        if entry is not None and entry.plan is None:
            entry.confirm(program, conditions, fitting, self.passes)
        else:
            if entry is not None:
                self.entries[key].remove(entry)
            self._make_room()
            made = _Entry(program, [*conditions, *fitting.values()], (args, kwargs))
            self.entries.setdefault(key, []).append(made)
        return map_tree(concrete_result, result)

    def _make_room(self) -> None:
        if sum(map(len, self.entries.values())) <= _MOST:
            return
        warnings.warn(
            f"{self!r} has been traced for {_MOST} signatures or states, and forgets the oldest. "
            "Is it called with a number or an object that is another one each time? Pass numbers "
            "that change as arrays",
            RuntimeWarning,
            stacklevel=4,
        )
        key, entries = next((key, found) for key, found in self.entries.items() if found)
        entries.pop(0)
        if not entries:
            del self.entries[key]

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.function, '__qualname__', self.function)}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def plans(self) -> list[Plan]:
        """The plans made so far."""
        return [e.plan for entries in self.entries.values() for e in entries if e.plan is not None]

    def draw(self, number: int = 0) -> Drawing:
        """One of the plans (the first) as a ``graphviz.Digraph``.

        >>> import tinygrad_np as tg
        >>> compiled = tg.compile(lambda x: np.tanh(x) * 2)
        >>> for _ in range(2):
        ...     result = compiled(np.ones(3))
        >>> "multiply" in compiled.draw().source
        True
        """
        from .drawing import drawing

        return drawing(self.plans()[number])

    def plan(self) -> str:
        """The plans as text: calls, buffers and their bytes, what was fused."""
        none = "no plan yet: the function has to be called twice with the same signature"
        return "\n\n".join(map(str, self.plans())) or none


class _Entry:
    """One traced signature: the program, what it depends on, and its plan once it is confirmed."""

    def __init__(self, program: Program, conditions: list[Condition], kept: Any) -> None:
        self.program, self.holds = program, guard(conditions)
        self.kept = map_tree(_kept, kept)
        self.plan: Plan | None = None

    def confirm(self, program: Program, conditions: Any, fitting: Any, passes: Any) -> None:
        """A second run with the same signature: CompileError if it did anything else."""
        found = difference(self.program, program)
        if found is not None:
            raise CompileError(found)
        for run in passes:
            run(program)
        self.plan = Plan(program)
        for value in (*self.plan.externals, *self.plan.moving):  # which the plan looks at itself
            fitting.pop(value, None)
        self.holds = guard([*conditions, *fitting.values()])


def _kept(leaf: Any) -> Any:
    """What is told apart by its id lives on; arrays do not."""
    return None if isinstance(leaf, np.ndarray) or getattr(leaf, "_node", 0) is None else leaf


def _conditions(trace: Trace) -> list[Condition]:
    """What a trace took as given."""
    found = list(trace.around.conditions)
    if not guard(found)():
        found = [("False", ())]  # the function changes them itself, and may have to each time
    for tensor, node in trace.nodes.values():
        found.append(("{0}._node is {1}", (tensor, node)))
    for node, before in trace.before.items():
        none = "{0}.grad is None", (node,)
        found.append(none if before is None else before.external.fitting())  # type: ignore[union-attr]
    return found


_PLAIN = frozenset([int, bool, str, type(None)])


def _signature(tree: Any, arrays: list[Any]) -> Any:
    """What two calls must have in common to share a plan; collects the arrays on the way."""
    kind = type(tree)
    if kind is np.ndarray:
        arrays.append(tree)
        return tree.shape, tree.strides, tree.dtype
    if kind is Tensor:
        if tree._node is None:
            return kind, tree._name, _signature(tree._data, arrays)
        return kind, id(tree)
    if isinstance(tree, tuple | list):
        return (kind, *[_signature(item, arrays) for item in tree])
    if isinstance(tree, dict):
        return (kind, *[(key, _signature(item, arrays)) for key, item in tree.items()])
    if kind in _PLAIN:
        return kind, tree
    if isinstance(tree, float | complex | np.generic):
        return kind, repr(tree)  # 0.0 and -0.0 are equal, but not the same
    if isinstance(tree, np.ndarray):
        raise CompileError(f"an argument is a {kind.__name__}: pass np.asarray(it)")
    return kind, id(tree)
