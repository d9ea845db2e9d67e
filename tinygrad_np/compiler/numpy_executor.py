"""The NumPy executor: a program as straight-line Python, one line a call, in preallocated memory.

A value is live until its last reader (a view keeps its base live). An elementwise result takes
over the buffer of an operand that dies with it; any other result takes a free buffer. The new
value of an array is computed in the array itself where no later call reads the old one.
"""

from __future__ import annotations

import builtins
import itertools
from typing import Any

import numpy as np

from . import CompileError
from .memory import Memory
from .passes.use_def import UseDef
from .program import (
    REDUCTIONS,
    Call,
    Program,
    Value,
    expression,
    has_out,
    is_elementwise,
    map_tree,
    values_in,
)
from .schedule import NumpyCall

GENERATED = "<tinygrad_np.compile>"
"""The file name of generated code, in tracebacks."""
_REDUCES = frozenset(REDUCTIONS.values())


class NumpyExecutor:
    """The program as one generated Python function.

    As a part of a native program it returns its outputs where they lie, without copies.
    """

    def __init__(self, program: Program, first_line: int = 0, part: bool = False) -> None:
        self.program, self.first_line, self.part = program, first_line, part
        self.use_def = UseDef(program)
        self.names: dict[str, Any] = {
            "array": np.array,
            "copyto": np.copyto,
            "empty_like": np.empty_like,
            "errstate": np.errstate,
            "fitting": _fitting,
        }
        kernels = [NumpyCall(c, _takes_out(c)) for c in program.calls if not c.view]
        made = {kernel.call.out: i for i, kernel in enumerate(kernels)}
        self.memory = Memory(program, self.use_def, kernels, made)
        self.words = {value: f"o{i}" for value, i in self.memory.results.items()}
        # The same at each run
        self.arrays = {value: self.memory.array(value) for value in self.memory.offsets}
        self.scalars: dict[str, str] = {}  # lines that make 0-d arrays of numbers
        self.buffers = [self.memory.work]
        self.origin: dict[int, Call] = {}  # the call of each generated line
        self.text = self._text()
        exec(builtins.compile("\n" * first_line + self.text, GENERATED, "exec"), self.names)
        self.run = self.names.pop("run")

    def source(self) -> str:
        """The generated Python."""
        return self.text

    def __str__(self) -> str:
        calls = self.program.calls
        lines = [
            f"NumPy: {len(calls)} calls; workspace of {self.memory.work.nbytes:,} bytes, "
            f"{len(self.memory.homes)} updates in place"
        ]
        lines += [f"  {call!r}  {call.out.dtype}{list(call.out.shape)}" for call in calls]
        return "\n".join(lines)

    # Text

    def _text(self) -> str:
        inputs = self.program.inputs
        self.words |= {value: f"a{i}" for i, value in enumerate(inputs)}
        self.words |= {value: f"n{i}" for i, value in enumerate(self.program.numbers)}
        head = [f"{''.join(f'a{i}, ' for i in range(len(inputs)))} = arrays"] if inputs else []
        count = len(self.program.numbers)
        head += [f"{''.join(f'n{i}, ' for i in range(count))} = numbers"] if count else []
        self.words |= {value: self.words[place] for value, place in self.memory.homes.items()}
        body = [(call, self._line(call)) for call in self.program.calls]
        body = [(call, line) for call, line in body if line]
        made = [f"o{i} = empty_like({self._name(self.memory.templates[i])})"
                for i in self.memory.results.values()]  # fmt: skip
        head = ["def run(arrays, numbers):", *head, *self.scalars.values(), *made]
        lines = "\n    ".join(head).split("\n")
        for errors, group in itertools.groupby(body, lambda item: item[0].errors):
            if errors:
                lines.append(f"    with errstate(**{self._name(errors)}):")
            for call, line in group:
                lines.append(("        " if errors else "    ") + line)
                self.origin[self.first_line + len(lines)] = call
        results = self.memory.results
        copied = "{}" if self.part else "array({}, order='K')"
        outputs = [f"o{i}" if results.get(v) == i else copied.format(self._word(v))
                   for i, v in enumerate(self.program.outputs)]  # fmt: skip
        lines += [f"    out = [{', '.join(outputs)}]"]
        homes = self.memory.homes
        moved = [(p, v) for p, v in self.program.updates if homes.get(v) is not p]
        # An update that reads another updated array reads it before that one changes.
        early = [v for _, v in moved if self.use_def.root_of(v).source != "call"]
        lines += [f"    c{v.number} = array({self._word(v)})" for v in early]
        lines += [
            f"    copyto({self._word(p)}, {f'c{v.number}' if v in early else self._word(v)})"
            for p, v in moved
        ]
        return "\n".join([*lines, "    return out"])

    def _line(self, call: Call) -> str:
        """The line of one call; empty for a view that is the same at each run."""
        out = call.out
        if call.view and all(value in self.arrays for value in call.inputs):
            self.arrays[out] = self._evaluated(call)
            return ""
        if call.view:
            return f"{self._local(out)} = {self._call(call)}"
        if _takes_out(call):
            return self._call(call, out=True)
        return f"{self._local(out)} = fitting({self._call(call)}, {out.shape})"

    def _call(self, call: Call, out: bool = False) -> str:
        words = [self._operand(arg, call) for arg in call.args]
        named = dict(call.kwargs)
        if out and call.function in _REDUCES:
            words += ["None", self._word(call.out), self._word(named.pop("keepdims"))]
        elif out:
            named.pop("order", None)
            keyword = call.function in (np.maximum, np.minimum) or has_out(call.function)
            words.append(f"{'out=' if keyword else ''}{self._word(call.out)}")
        words += [f"{key}={self._word(value)}" for key, value in named.items()]
        return f"{self._name(call.function)}({', '.join(words)})"

    def _operand(self, arg: Any, call: Call) -> str:
        """An operand. A 0-d array saves an elementwise call 0.3 µs over a Python number."""
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


def _takes_out(call: Call) -> bool:
    """Whether a function takes ``out=`` and gives the same bits with it."""
    if _has_gaps(call.out):
        return False
    if call.function is np.dot:
        return not call.kwargs and bool(call.out.shape)
    if has_out(call.function):
        return True
    if isinstance(call.function, np.ufunc):
        return call.function.nout == 1 and call.kwargs.keys() <= {"order", "dtype"}
    reduces = call.function in _REDUCES and len(call.args) == 2
    return reduces and call.kwargs.keys() - {"initial"} == {"keepdims"}


def _fitting(result: Any, shape: tuple[int, ...]) -> Any:
    """The result of a function without ``out=``; an error if its shape differs from the trace's."""
    if (now := np.shape(result)) != shape:
        raise CompileError(f"the shape of a result depends on values: {now}, in the trace {shape}")
    return np.asarray(result)


def _has_gaps(value: Value) -> bool:
    """Whether there are gaps between the elements of a value, or overlaps."""
    expected = value.dtype.itemsize
    for stride, length in sorted(zip(value.strides, value.shape, strict=True)):
        if length > 1 and stride != expected:
            return True
        expected *= max(length, 1)
    return False
