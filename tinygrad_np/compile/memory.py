"""Where values live: whose array a result may be written into, and which buffers serve again.

One walk over the program in order. A value dies after its last reader (a view keeps what it views
alive); an elementwise result takes over the buffer of an operand that dies with it, and any other
result a free buffer of the right size. The new value of an external array is computed right there
when nobody needs the old one any more: an update costs no copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import blas
from .program import Call, Program, Value, is_ufunc


@dataclass
class Layout:
    """The array of every value of a program that does not come in with the call itself."""

    arrays: dict[Value, Any]
    homes: dict[Value, Value]  # computed values that live in an external's own array
    buffers: list[Any] = field(default_factory=list)
    in_place: int = 0

    @property
    def nbytes(self) -> int:
        """The bytes of all buffers."""
        return sum(buffer.nbytes for buffer in self.buffers)


def roots(program: Program) -> dict[Value, Value]:
    """For each view, the value whose memory it shares; all others for themselves."""
    found: dict[Value, Value] = {}
    for call in program.calls:
        if call.out is not None:
            base = call.inputs[0] if call.kind == "view" else None
            found[call.out] = call.out if base is None else found.get(base, base)
    return found


def last_uses(program: Program, root: dict[Value, Value]) -> dict[Value, int]:
    """The number of the last call that reads a value or a view of it."""
    last: dict[Value, int] = {}
    for i, call in enumerate(program.calls):
        for value in call.inputs:
            last[root.get(value, value)] = i
    for value in program.outputs:
        last[root.get(value, value)] = len(program.calls)
    return last


def homes(program: Program, root: dict[Value, Value], last: dict[Value, int]) -> dict[Value, Value]:
    """Which computed values can be computed in the external array that they are stored in."""
    producers = {call.out: i for i, call in enumerate(program.calls) if call.out is not None}
    found: dict[Value, Value] = {}
    final: dict[Value, Value] = {}
    for call in program.calls:
        if call.kind == "store":
            final[call.args[0]] = call.args[1]
    reads: dict[Value, int] = {}
    for i, call in enumerate(program.calls):
        if call.kind != "store":
            for value in call.inputs:
                reads[root.get(value, value)] = i
    for external, value in final.items():
        made = producers.get(value)
        if made is None or root.get(value, value) is not value or value in found:
            continue
        call = program.calls[made]
        if reads.get(external, -1) > made or external in map(root_of(root), program.outputs):
            continue
        if reads.get(external, -1) == made and not _may_overwrite(call, external):
            continue
        if (
            call.kind in ("array", "draw")
            and call.out is value
            and getattr(external.where, "get", None)
        ):
            found[value] = external
    return found


def root_of(root: dict[Value, Value]) -> Any:
    """The root of a value as a function."""
    return lambda value: root.get(value, value)


def _may_overwrite(call: Call, value: Value) -> bool:
    """Whether a call may write its result over this operand while it reads it."""
    if call.out is None or value.shape != call.out.shape or value.dtype != call.out.dtype:
        return False
    if call.function is blas.gemm:
        return call.args[0] is value and value not in call.args[1:]
    return is_ufunc(call) and any(arg is value for arg in call.args) and not call.kwargs


def lay_out(program: Program, externals: dict[Value, Any]) -> Layout:
    """An array for every computed value; ``externals`` are the arrays from outside."""
    root = roots(program)
    last = last_uses(program, root)
    home = homes(program, root, last)
    arrays: dict[Value, Any] = dict(externals)
    layout = Layout(arrays, home)
    free: list[Any] = []
    owner: dict[Value, Any] = {}
    outputs = {root.get(value, value) for value in program.outputs}
    for i, call in enumerate(program.calls):
        out = call.out
        if out is not None and call.kind in ("array", "draw", "host"):
            if out in home:
                arrays[out] = externals[home[out]]
            else:
                buffer = None
                for value in call.inputs:
                    if (
                        value in owner and last[value] == i and value not in outputs
                        and value.fortran == out.fortran and _may_overwrite(call, value)
                    ):  # fmt: skip
                        buffer = owner.pop(value)
                        layout.in_place += 1
                        break
                if buffer is None:
                    buffer = _take(free, out.nbytes, layout)
                owner[out] = buffer
                arrays[out] = _shaped(buffer, out)
        for value in {root.get(v, v) for v in (*call.inputs, *([out] if out else []))}:
            if last.get(value, i) <= i and value in owner:
                free.append(owner.pop(value))
    return layout


def _take(free: list[Any], nbytes: int, layout: Layout) -> Any:
    fitting = [buffer for buffer in free if nbytes <= buffer.nbytes <= max(2 * nbytes, 4096)]
    if fitting:
        best = min(fitting, key=lambda buffer: buffer.nbytes)
        free[:] = [buffer for buffer in free if buffer is not best]
        return best
    buffer = np.empty(max(nbytes, 64), np.uint8)
    layout.buffers.append(buffer)
    return buffer


def _shaped(buffer: Any, value: Value) -> Any:
    flat = buffer[: value.nbytes].view(value.dtype)
    return flat.reshape(value.shape, order="F" if value.fortran else "C")
