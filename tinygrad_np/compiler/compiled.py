"""A compiled function: its plans, which of them a call can use, and when to trace again."""

from __future__ import annotations

import copy
import functools
import html
import threading
import time
import types
import warnings
from collections.abc import Callable
from typing import Any, Literal

from .. import graph, native, tracing
from . import CompileError
from .compare import difference, entries
from .given import CompiledFunction
from .native_executor import NativeExecutor, NoLibraryError
from .numpy_executor import NumpyExecutor
from .passes import EXACT, EXACT_NATIVE, REORDERING, REORDERING_NUMPY
from .program import Program
from .replay import CLASH, MISS, Executor, replay
from .trace import Trace

_LOCK = threading.RLock()
"""Held while tracing or replaying, so that parameters and gradients have one writer at a time."""
_MOST = 32
"""The number of plans kept; more than this means that an argument changes on every call."""
_TRIES = 3
"""Attempts to trace: another thread may change the step's state during one."""
_DENSE = 1024
"""Up to this call the trace is repeated at each power of two; later, as often as costs 1%."""

Backend = Literal["numpy", "native"]


class Compiled(CompiledFunction):
    """A function and its plans, one for each signature that it was called with."""

    def __init__(
        self,
        function: Callable[..., Any],
        exact: bool = False,
        backend: Backend | None = None,
        verify: bool | int = True,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.exact, self.backend, self.verify = exact, backend, verify
        self.made: list[Plan] = []  # most recently used first

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Replay the function, tracing it first where no plan fits."""
        mode = graph.recording.get()
        # Inside another trace this call is part of that program; an observer must see every op.
        if tracing.active.get() is not None or type(mode) is not bool:
            return self.function(*args, **kwargs)
        with _LOCK:
            clash = False
            for i, plan in enumerate(self.made):
                if plan.mode is not mode:
                    continue
                if plan.is_due(self.verify) and plan.call(args, kwargs, True) is True:
                    plan.repeat(self.function, args, kwargs)
                result = plan.call(args, kwargs)
                if result is MISS or result is CLASH:
                    clash |= result is CLASH
                    continue
                plan.calls += 1
                if i:
                    self.made.insert(0, self.made.pop(i))
                return result
            if clash:
                return self.function(*args, **kwargs)
            for _ in range(_TRIES):
                plan = Plan(self, args, kwargs, mode)
                result = plan.call(args, kwargs)
                if result is not MISS:
                    self._make_room()
                    self.made.insert(0, plan)
                    return self.function(*args, **kwargs) if result is CLASH else result
            raise CompileError(
                f"{self!r} cannot be replayed: an argument or its state changes while it is "
                "traced, or does not compare equal to itself"
            )

    def _make_room(self) -> None:
        if len(self.made) < _MOST:
            return
        self.made.pop()
        warnings.warn(
            f"{self!r} has been traced for {_MOST} different signatures or states; the oldest is "
            "dropped. Does an argument change on every call? Pass a number that changes as an "
            "array: np.array(number)",
            RuntimeWarning,
            stacklevel=3,
        )

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.function, '__qualname__', self.function)}>"

    def _repr_html_(self) -> str:
        text = "\n\n".join([repr(self), self.plan()])
        return f"<pre>{html.escape(text)}</pre>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def plans(self) -> list[Plan]:
        """The plans made so far, most recently used first."""
        return list(self.made)

    def plan(self) -> str:
        """The plans as text: the calls, where each one runs, and what was fused."""
        return "\n\n".join(map(str, self.plans())) or "no plan yet: call the function first"

    def source(self) -> str:
        """The generated C (or Python, for the NumPy executor) of the most recent plan."""
        return self.made[0].executor.source() if self.made else self.plan()


class Plan:
    """A trace with its executor, and the schedule of its repeated traces."""

    def __init__(self, compiled: Compiled, args: Any, kwargs: Any, mode: bool) -> None:
        self.mode = mode
        trace, self.seconds = self._trace(compiled.function, args, kwargs)
        self.entries = entries(trace)
        for run in EXACT:
            run(trace.program)
        self.executor = _executor(trace.program, compiled.exact, compiled.backend)
        self.call = replay(trace, self.executor)
        self.calls, self.next = 1, 2
        self.since = time.perf_counter()

    @staticmethod
    def _trace(function: Any, args: Any, kwargs: Any) -> tuple[Trace, float]:
        start = time.perf_counter()
        return Trace(function, args, kwargs), time.perf_counter() - start

    def __str__(self) -> str:
        return str(self.executor)

    def is_due(self, verify: bool | int) -> bool:
        """Whether this call must repeat the trace."""
        if verify is True:
            return self.calls + 1 >= self.next
        return bool(verify) and (self.calls + 1) % verify == 0

    def repeat(self, function: Any, args: Any, kwargs: Any) -> None:
        """Trace again; raise CompileError where the step now does something else."""
        with native.one_blas_thread():  # the program's own threads need the cores right afterwards
            trace, self.seconds = self._trace(function, args, kwargs)
        found = difference(self.entries, entries(trace))
        if found is not None:
            raise CompileError(found)
        now, number = time.perf_counter(), self.calls + 1
        apart = number
        if number >= _DENSE:
            apart = max(_DENSE, int(100 * self.seconds * number / (now - self.since)))
        self.next = number + apart


def _executor(program: Program, exact: bool, backend: Backend | None) -> Executor:
    """The requested executor; by default the native one where a C compiler is available."""
    if backend != "numpy" and (backend == "native" or native.unavailable() is None):
        before = program.inputs, program.numbers, [copy.copy(call) for call in program.calls]
        try:
            for run in EXACT_NATIVE if exact else (*EXACT_NATIVE, *REORDERING):
                run(program)
            return NativeExecutor(program)
        except NoLibraryError:  # a warning has said why
            program.inputs, program.numbers, program.calls = before
    for run in () if exact else REORDERING_NUMPY:
        run(program)
    return NumpyExecutor(program)
