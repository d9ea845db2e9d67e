"""Where values live: whose array a result may be written into, and which buffers serve again.

One walk over the program in order. A value dies after its last reader (a view keeps what it views
alive); an elementwise result takes over the buffer of an operand that dies with it, and any other
result a free buffer of the right size. The new value of an external array is computed right there
where nobody can notice: an update costs no copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..aligned import aligned_bytes
from . import CompileError, blas
from .passes.facts import Facts
from .program import Call, Program, Value, is_ufunc


@dataclass
class Layout:
    """The array of every value that has one before the program runs."""

    arrays: dict[Value, Any]
    homes: dict[Value, Value] = field(default_factory=dict)  # results in an external's own array
    buffers: list[Any] = field(default_factory=list)
    in_place: int = 0

    @property
    def nbytes(self) -> int:
        """The bytes of all buffers."""
        return sum(buffer.nbytes for buffer in self.buffers)


def lay_out(program: Program, arrays: dict[Value, Any], fixed: set[Value]) -> Layout:
    """An array for every computed value; ``arrays`` are those from outside.

    The ``fixed`` ones among them are the same arrays at each run.
    """
    for one, other in program.apart:
        if np.may_share_memory(one.where.get(), other.where.get()):
            raise CompileError(
                f"{one.where!r} and {other.where!r} share memory, which they did not when the "
                "function was traced: compile it anew"
            )
    memory = _Memory(program, arrays, fixed)
    layout = Layout(dict(arrays), memory.homes())
    free: list[Any] = []
    owned: dict[Value, Any] = {}
    for i, call in enumerate(program.calls):
        out = call.out
        if out is not None and call.kind in ("array", "draw"):
            if out in layout.homes:
                layout.arrays[out] = arrays[layout.homes[out]]
            else:
                buffer = None
                for value in call.inputs:
                    dies = value in owned and memory.last[value] == i
                    if dies and value.strides == out.strides and memory.may_overwrite(call, value):
                        buffer = owned.pop(value)
                        layout.in_place += 1
                        break
                if buffer is None:
                    buffer = _take(free, out.nbytes, layout)
                owned[out] = buffer
                layout.arrays[out] = _shaped(buffer, out)
        for value in {memory.root.get(v, v) for v in (*call.inputs, *([out] if out else []))}:
            if memory.last.get(value, i) <= i and value in owned:
                free.append(owned.pop(value))
    return layout


class _Memory:
    """Which values share memory, and when each piece of it is read for the last time."""

    def __init__(self, program: Program, arrays: dict[Value, Any], fixed: set[Value]) -> None:
        self.calls, self.arrays, self.fixed = program.calls, arrays, fixed
        self.root = Facts(program).root
        self.found: dict[Value, Value] = {}  # the homes so far
        self.last: dict[Value, int] = {}
        for i, call in enumerate(program.calls):
            for value in call.inputs:
                self.last[self.root.get(value, value)] = i
        for value in program.outputs:
            self.last[self.root.get(value, value)] = len(program.calls)

    def homes(self) -> dict[Value, Value]:
        """Which computed values can be computed in the external array that they are stored in."""
        made = {call.out: i for i, call in enumerate(self.calls)}
        for i, call in [(i, c) for i, c in enumerate(self.calls) if c.kind == "store"]:
            target, value = call.args
            start = made.get(value)
            if start is None or value in self.found or target not in self.fixed:
                continue
            if self.calls[start].kind != "array":
                continue
            if target.strides == value.strides and self._unnoticed(target, value, start, i):
                self.found[value] = target
        return self.found

    def _unnoticed(self, target: Value, value: Value, made: int, stored: int) -> bool:
        """Whether an array can change at ``made`` already instead of at ``stored``.

        Nobody may look at it in between, nor at the value once the array is stored to again.
        """
        call = self.calls[made]
        if not all(self.may_overwrite(call, found) for found in self._touched(call, target)):
            return False
        between = self.calls[made + 1 : stored]
        if any(c.kind == "check" or self._touched(c, target) for c in between):
            return False
        later = [
            c.args[0] for c in self.calls[stored + 1 : self.last[value] + 1] if c.kind == "store"
        ]
        return not any(self._overlap(other, target) for other in later)

    def _touched(self, call: Call, target: Value) -> list[Value]:
        """What a call reads or writes that lies in the memory of an array from outside."""
        values = [*call.inputs, *(call.args[:1] if call.kind == "store" else ())]
        roots = [self.root.get(value, value) for value in values]
        return [root for root in roots if self._overlap(self.found.get(root, root), target)]

    def _overlap(self, value: Value, target: Value) -> bool:
        if value is target:
            return True
        if value.source in ("call", "constant", "host", "input"):
            return False  # inputs that overlap what is stored to are not replayed; see ``plan``
        known = value in self.fixed and target in self.fixed
        return not known or bool(np.may_share_memory(self.arrays[value], self.arrays[target]))

    def may_overwrite(self, call: Call, value: Value) -> bool:
        """Whether a call may write its result over this operand while it reads it."""
        if call.out is None or (value.shape, value.dtype) != (call.out.shape, call.out.dtype):
            return False
        if call.function in (blas.gemm, blas.axpy):
            others = [self.root.get(v, v) for v in call.inputs[1:]]
            home = self.root.get(value, value)
            return call.args[0] is value and not any(
                other is home or (home.source == "external" and self._overlap(other, home))
                for other in others
            )
        # NumPy's ufuncs see to it themselves where operands overlap in other ways.
        return is_ufunc(call) and not call.kwargs and any(arg is value for arg in call.args)


def _take(free: list[Any], nbytes: int, layout: Layout) -> Any:
    fitting = [buffer for buffer in free if nbytes <= buffer.nbytes <= max(2 * nbytes, 4096)]
    if fitting:
        best = min(fitting, key=lambda buffer: int(buffer.nbytes))
        free[:] = [buffer for buffer in free if buffer is not best]
        return best
    layout.buffers.append(aligned_bytes(nbytes))
    return layout.buffers[-1]


def _shaped(buffer: Any, value: Value) -> Any:
    """A buffer as the value's array: with the strides of the traced one, if these leave no gaps."""
    steps = sorted(zip(value.strides, value.shape, strict=True))
    expected = value.dtype.itemsize
    for stride, length in steps:
        if length > 1 and stride != expected:
            return buffer[: value.nbytes].view(value.dtype).reshape(value.shape)
        expected *= max(length, 1)
    return np.ndarray(value.shape, value.dtype, buffer, strides=value.strides)
