"""Runs a program in NumPy: straight-line Python, one line a call, in memory that is laid out once.

A value dies after its last reader (a view keeps what it views alive); an elementwise result takes
over the buffer of an operand that dies with it, any other result a free buffer. What an array is
updated to is computed in that array itself where nobody can notice.
"""

from __future__ import annotations

import builtins
import itertools
from typing import Any

import numpy as np

from ..aligned import aligned_bytes
from . import CompileError
from .passes.use_def import UseDef
from .program import (
    REDUCTIONS,
    Call,
    Program,
    Value,
    expression,
    is_elementwise,
    map_tree,
    values_in,
)

GENERATED = "<tinygrad_np.compile>"
"""The file name of generated code, in tracebacks."""
_REDUCES = frozenset(REDUCTIONS.values())


class NumpyExecutor:
    """The program as one generated Python function.

    Without ``copies`` the outputs may be arrays that the next run writes to.
    """

    def __init__(self, program: Program, first_line: int = 0, copies: bool = True) -> None:
        self.program, self.first_line, self.copies = program, first_line, copies
        self.use_def = UseDef(program)
        self.names: dict[str, Any] = {
            "array": np.array,
            "copyto": np.copyto,
            "errstate": np.errstate,
            "fitting": _fitting,
        }
        self.words: dict[Value, str] = {}
        self.arrays: dict[Value, Any] = {}  # of the values that are the same at each run
        self.last = self._last_readers()
        self.homes = self._homes()
        self.scalars: dict[str, str] = {}  # numbers as 0-d arrays: their lines, by name
        self.buffers: list[Any] = []
        self.origin: dict[int, Call] = {}  # which line of the code came of which call
        self.text = self._text()
        exec(builtins.compile("\n" * first_line + self.text, GENERATED, "exec"), self.names)
        self.run = self.names.pop("run")

    def source(self) -> str:
        """The generated Python."""
        return self.text

    def __str__(self) -> str:
        calls = self.program.calls
        lines = [
            f"NumPy: {len(calls)} calls, {len(self.buffers)} buffers of "
            f"{sum(b.nbytes for b in self.buffers):,} bytes, {len(self.homes)} updates in place"
        ]
        lines += [f"  {call!r}  {call.out.dtype}{list(call.out.shape)}" for call in calls]
        return "\n".join(lines)

    # Memory

    def _last_readers(self) -> dict[Value, int]:
        last: dict[Value, int] = {}
        for i, call in enumerate(self.program.calls):
            for value in (*call.inputs, call.out):
                last[self.use_def.root_of(value)] = i
        for value in self.program.results:
            last[self.use_def.root_of(value)] = len(self.program.calls)
        return last

    def _homes(self) -> dict[Value, Value]:
        """The values that can be computed in the array that they are the update of."""
        found: dict[Value, Value] = {}
        calls = self.program.calls
        for place, value in self.program.updates:
            i = self.use_def.made.get(value)
            if i is None or value in found or place.strides != value.strides:
                continue
            later = calls[i + 1 :]
            if (
                is_elementwise(calls[i]) and not calls[i].view
                and self.last.get(place, -1) <= i
                and all(v is place or self.use_def.root_of(v) is not place
                        for v in calls[i].inputs)
                and all(isinstance(getattr(c.function, "__self__", c.function), np.ufunc) or c.view
                        for c in later)  # which do not raise: or half of the state would be new
                and not any(v is place for v in self.program.outputs)
            ):  # fmt: skip
                found[value] = place
        return found

    def _buffer(self, i: int, call: Call, owned: dict[Value, Any], free: list[Any]) -> Any:
        out = call.out
        if is_elementwise(call) and not call.kwargs:
            for value in call.inputs:
                if value in owned and self.last[value] == i and value.like(out):
                    return owned.pop(value)
        fitting = [b for b in free if out.nbytes <= b.nbytes <= max(2 * out.nbytes, 4096)]
        if fitting:
            best = min(fitting, key=lambda buffer: int(buffer.nbytes))
            free[:] = [buffer for buffer in free if buffer is not best]
            return best
        self.buffers.append(aligned_bytes(out.nbytes))
        return self.buffers[-1]

    # Text

    def _text(self) -> str:
        inputs = self.program.inputs
        self.words |= {value: f"a{i}" for i, value in enumerate(inputs)}
        self.words |= {value: f"n{i}" for i, value in enumerate(self.program.numbers)}
        head = [f"{''.join(f'a{i}, ' for i in range(len(inputs)))} = arrays"] if inputs else []
        count = len(self.program.numbers)
        head += [f"{''.join(f'n{i}, ' for i in range(count))} = numbers"] if count else []
        owned: dict[Value, Any] = {}
        free: list[Any] = []
        body: list[tuple[Call, str]] = []
        for i, call in enumerate(self.program.calls):
            line = self._line(i, call, owned, free)
            if line:
                body.append((call, line))
            for value in {self.use_def.root_of(v) for v in (*call.inputs, call.out)}:
                if self.last[value] <= i and value in owned:
                    free.append(owned.pop(value))
        head = ["def run(arrays, numbers):", *head, *self.scalars.values()]
        lines = "\n    ".join(head).split("\n")
        for errors, group in itertools.groupby(body, lambda item: item[0].errors):
            if errors:
                lines.append(f"    with errstate(**{self._name(errors)}):")
            for call, line in group:
                lines.append(("        " if errors else "    ") + line)
                self.origin[self.first_line + len(lines)] = call
        outputs = [self._word(value) for value in self.program.outputs]
        outputs = [f"array({word}, order='K')" for word in outputs] if self.copies else outputs
        lines += [f"    out = [{', '.join(outputs)}]"]
        moved = [(p, v) for p, v in self.program.updates if v not in self.homes]
        # What is read of one updated array by the update of another is read before it changes.
        early = [v for _, v in moved if self.use_def.root_of(v).source != "call"]
        lines += [f"    c{v.number} = array({self._word(v)})" for v in early]
        lines += [
            f"    copyto({self._word(p)}, {f'c{v.number}' if v in early else self._word(v)})"
            for p, v in moved
        ]
        return "\n".join([*lines, "    return out"])

    def _line(self, i: int, call: Call, owned: dict[Value, Any], free: list[Any]) -> str:
        """The line of one call; none for a view that is the same at each run."""
        out = call.out
        fixed = all(value in self.arrays for value in call.inputs)
        if call.view:
            if fixed:
                self.arrays[out] = self._evaluated(call)
                return ""
            return f"{self._local(out)} = {self._call(call)}"
        if out in self.homes:
            self.words[out] = self._word(self.homes[out])
            return self._call(call, out=True)
        into = self._takes_out(call)
        shaped = _shaped(out)
        if not into or shaped is None:
            return f"{self._local(out)} = fitting({self._call(call)}, {out.shape})"
        buffer = self._buffer(i, call, owned, free)
        owned[out] = buffer
        self.arrays[out] = np.ndarray(out.shape, out.dtype, buffer, strides=shaped)
        return self._call(call, out=True)

    def _takes_out(self, call: Call) -> bool:
        """Whether a function writes into a given array, and gives the same bits when it does."""
        if call.function is np.dot:
            return not call.kwargs and bool(call.out.shape)
        if isinstance(call.function, np.ufunc):
            return call.function.nout == 1 and call.kwargs.keys() <= {"order", "dtype"}
        if call.function in _REDUCES:
            return len(call.args) == 2 and set(call.kwargs) == {"keepdims"}
        return False

    def _call(self, call: Call, out: bool = False) -> str:
        words = [self._operand(arg, call) for arg in call.args]
        named = dict(call.kwargs)
        if out and call.function in _REDUCES:
            words += ["None", self._word(call.out), self._word(named.pop("keepdims"))]
        elif out:
            named.pop("order", None)
            extra = call.function in (np.maximum, np.minimum)  # which want it as a keyword
            words.append(f"{'out=' if extra else ''}{self._word(call.out)}")
        words += [f"{key}={self._word(value)}" for key, value in named.items()]
        return f"{self._name(call.function)}({', '.join(words)})"

    def _operand(self, arg: Any, call: Call) -> str:
        """A Python number costs an elementwise call 0.3 µs more than a 0-d array of its dtype."""
        number = isinstance(arg, Value) and arg.source == "number"
        plain = number or type(arg) in (int, float)
        if plain and is_elementwise(call) and call.function is not np.ldexp:
            dtypes = {v.dtype for v in call.inputs if v.source != "number"}
            if len(dtypes) == 1 and (dtype := dtypes.pop()).kind == "f":
                if not number:
                    return self._name(np.asarray(arg, dtype))
                word = f"{self._word(arg)}{dtype.char}"
                self.scalars[word] = f"{word} = array({self._word(arg)}, {dtype.char!r})"
                return word
        return self._word(arg)

    def _evaluated(self, call: Call) -> Any:
        def array(leaf: Any) -> Any:
            return self.arrays[leaf] if isinstance(leaf, Value) else leaf

        return call.function(*map_tree(array, call.args), **map_tree(array, call.kwargs))

    def _local(self, value: Value) -> str:
        return self.words.setdefault(value, f"v{value.number}")

    def _name(self, thing: Any) -> str:
        name = f"k{len(self.names)}"
        self.names[name] = thing
        return name

    def _word(self, tree: Any) -> str:
        if isinstance(tree, Value):
            if tree not in self.words:
                array = tree.array if tree.source == "constant" else self.arrays[tree]
                self.words[tree] = self._name(array)
            return self.words[tree]
        if tree is None or type(tree) in (bool, int):
            return repr(tree)
        if not any(True for _ in values_in(tree)):
            return self._name(tree)
        return expression(tree, self._word)


def _fitting(result: Any, shape: tuple[int, ...]) -> Any:
    """The result of a function that makes its own array."""
    if (now := np.shape(result)) != shape:
        raise CompileError(f"the shape of a result depends on values: {now} after {shape}")
    return np.asarray(result)


def _shaped(value: Value) -> tuple[int, ...] | None:
    """The strides for a value in a buffer of its own; None where they leave gaps or overlap."""
    expected = value.dtype.itemsize
    for stride, length in sorted(zip(value.strides, value.shape, strict=True)):
        if length > 1 and stride != expected:
            return None
        expected *= max(length, 1)
    return value.strides
