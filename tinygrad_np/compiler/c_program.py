"""The text of a native program: its functions, and what they need at the head."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import native
from .c_code import CArray, assign, c_type, indented
from .fusion import Group, placed, without_flags
from .memory import Memory
from .parts import shared
from .passes.use_def import UseDef
from .products import shares_threads, uses_blas
from .program import Program, Value, map_tree
from .schedule import Kernel, Segment


class CProgram:
    """Writes the C text: the functions, and what they need at the head."""

    def __init__(
        self, program: Program, use_def: UseDef, kernels: list[Kernel], memory: Memory
    ) -> None:
        self.program, self.use_def, self.memory = program, use_def, memory
        self.loops: dict[str, tuple[int, int]] = {}
        self.words: dict[Value, str] = {}
        self.declared: dict[str, str] = {}
        self.heads: dict[str, None] = {}
        self.named: dict[str, str] = {}
        self.parts: list[str | Segment] = []
        calls = [call for kernel in kernels for call in kernel.calls]
        self.shares = any(map(shares_threads, calls))
        self.by_blas = not self.shares and any(map(uses_blas, calls))
        self.places: dict[Value, CArray | None] = {}
        functions: list[str] = []
        position = {call: i for i, call in enumerate(self.program.calls)}
        body: list[str] = []

        def close(ending: list[str]) -> None:
            lines = [*body, *ending, _CHECK_UPDATES] if checked else [*body, _CHECK, *ending]
            if body or ending:
                name = f"tg_part{len(functions)}"
                text = [*self._declarations(lines), "set_flags(0);", *lines, "return 0;"]
                functions.append(self._function(name, text))
                self.parts.append(name)
            body.clear()
            self.declared.clear()

        checked = False
        homes = {self.memory.made[value] for value in self.memory.homes}
        for i, kernel in enumerate(kernels):
            if isinstance(kernel, Segment):
                close([])
                self.parts.append(kernel)
                continue
            lines = kernel.lines(self)
            if i in homes and not checked:
                body.append(_CHECK)
                checked = True
            if lines:
                calls = kernel.calls
                ops = dict.fromkeys(call.op or "update" for call in calls)
                body += ["", f"/* {', '.join(ops)}: {', '.join(call.name for call in calls)} */"]
                code = str(position[calls[0]] + 1)
                lines = [re.sub(r"\bCODE\b", code, line) for line in lines]
                if not isinstance(kernel, Group):
                    lines = without_flags(calls, lines)
                body += lines
        close(self._ending())
        tables = [f"Loop {name};" for name in self.loops]
        self.text = "\n".join([*tables, "", *self.heads, *functions, ""])

    def _function(self, name: str, lines: list[str]) -> str:
        """The C function of a part of the program. Beside shared products, BLAS has one thread."""
        if not self.shares:
            return indented([f"int {name}{_GIVEN}", "{", *lines, "}"])
        self.head(native.PARALLEL)
        beside = self.address("beside_blas", native.pool("run_beside_blas"))
        part = name.removeprefix("tg_")
        inner = [f"static int {part}{_GIVEN}", "{", *lines, "}", ""]
        call = f"return run({beside}, {part}, arrays, numbers, fixed, out);"
        return indented([*inner, f"int {name}{_GIVEN}", "{", call, "}"])

    # What kernels ask for

    def place(self, value: Value) -> CArray | None:
        """Where a value lies."""
        if value not in self.places:
            self.places[value] = self._place(value)
        found = self.places[value]
        if found is not None:
            self._declare(self.use_def.root_of(value))
        return found

    def loop(self, ufunc: np.ufunc, types: tuple[np.dtype[Any], ...]) -> str:
        """The name of one of NumPy's loops."""
        chars = "".join(["b_" if dtype.char == "?" else dtype.char for dtype in types])
        found = native.loop(ufunc, types)
        assert found is not None
        self.loops[name := f"np_{ufunc.__name__}_{chars}"] = found
        return name

    def address(self, name: str, address: int) -> str:
        """The name under which C finds another function."""
        self.loops[name] = address, 0
        return name

    def number(self, value: Value) -> str:
        """The name of a number."""
        i = self.program.numbers.index(value)
        self.declared[f"n{i}"] = f"const double n{i} = NUMBER(numbers, {i});"
        return f"n{i}"

    def shared(self, lines: list[str], variable: str, work: float) -> list[str]:
        """The lines; where it pays, several threads share a loop with independent runs."""
        if self._parts(work) == 1:
            return lines
        lines, runs = shared(lines, variable)
        self.head(native.PARALLEL)
        text = ["TASK(NAME)", "{", "TUPLES", *self._declarations(lines), *lines, "}"]
        return [self.in_parts(self.function("task", indented(text)), work, runs, "GIVEN")]

    def in_parts(self, task: str, work: float, most: int, *pointers: str) -> str:
        """The C call that runs a task in at most ``most`` parts; its value is their number."""
        pool, words = self.address("pool", native.pool("run_in_parts")), ", ".join(pointers)
        parts = min(self._parts(work), most)
        return f"parallel({pool}, {parts}, {task}, (void *[]){{{words}}});"

    def _parts(self, work: float) -> int:
        return 1 + int(work / (_BESIDE_BLAS if self.by_blas else _ALONE))

    def _declarations(self, lines: Iterable[str]) -> list[str]:
        """The declarations of the arrays and numbers that the lines use."""
        words = {*re.findall(r"\w+", " ".join(lines))}
        return [text for word, text in self.declared.items() if word in words]

    def head(self, text: str) -> None:
        """Text that stands before the functions, once."""
        self.heads[text] = None

    def function(self, kind: str, text: str) -> str:
        """The name of a function of its own, which stands before the others."""
        if text not in self.named:
            self.named[text] = f"{kind}{len(self.named)}"
            self.head(re.sub(r"\bNAME", self.named[text], text))
        return self.named[text]

    def _place(self, value: Value) -> CArray | None:
        call = self.use_def.producer(value)
        if call is not None and call.view:
            source = self.place(call.inputs[0])
            assert source is not None
            first, args, kwargs = call.inputs[0], call.args, call.kwargs
            return source.view(
                lambda array: call.function(
                    *map_tree(lambda leaf: array if leaf is first else leaf, args), **kwargs
                )
            )
        known = (
            value.source != "call" or value in self.memory.homes
            or value in self.memory.results or value in self.memory.offsets
            or value in self.memory.lent
        )  # fmt: skip
        if not known:
            return None
        return CArray(self._word(value), value.dtype, 0, value.dtype, value.shape, value.strides)

    def _word(self, value: Value) -> str:
        value = self.memory.homes.get(value, value)
        if value not in self.words:
            word = re.sub(r"\W+", "_", value.name or repr(value)).strip("_")
            ours = word in _TAKEN or (value.name and _OURS.fullmatch(word))
            word = f"p_{word}" if ours else word
            taken = set(self.words.values())
            free = (f"{word}{i or ''}" for i in itertools.count())
            self.words[value] = next(w for w in free if w not in taken)
        return self.words[value]

    def _declare(self, value: Value) -> None:
        memory, type_ = self.memory, c_type(value.dtype)
        home = memory.homes.get(value, value)
        if home.source == "input":
            where = f"DATA({type_}, arrays, {self.program.inputs.index(home)})"
        elif value.source == "constant" or value in memory.lent:
            if value not in memory.constants:
                memory.constants.append(value)
            where = f"DATA({type_}, fixed, {memory.constants.index(value) + 2})"
        elif value in memory.results:
            where = f"DATA({type_}, out, {memory.results[value]})"
        else:
            where = f"({type_} *)(DATA(char, fixed, 0) + {memory.offsets[value]})"
        word = self._word(value)
        self.declared[word] = f"{type_} *const {word} = {where};"

    def _ending(self) -> list[str]:
        """Hand over the outputs, then write the updates that are not in place yet."""
        lines: list[str] = []
        for i, value in enumerate(self.program.outputs):
            if self.memory.results.get(value) != i and value.size:
                type_, strides = c_type(value.dtype), self.memory.templates[i].strides
                target = CArray(f"o{i}", value.dtype, 0, value.dtype, value.shape, strides)
                self.declared[f"o{i}"] = f"{type_} *const o{i} = DATA({type_}, out, {i});"
                lines += assign(target, placed(self, value)[0])
        for place, value in self.program.updates:
            if self.memory.homes.get(value) is not place and place.size:
                lines += assign(placed(self, place)[0], placed(self, value)[0])
        return ["", "/* results */", *lines] if lines else []


_GIVEN = "(Tuple *arrays, Tuple *numbers, Tuple *fixed, Tuple *out)"
_ALONE = 5_000
"""Nanoseconds of work for which a second thread pays; handing a part to it takes 140."""
_BESIDE_BLAS = 160_000
"""The same in a program that uses BLAS, whose threads occupy the cores while they wait for work:
with more tasks for the pool, a step of 0.3 ms took 3 ms."""

_CHECK = "if (flags() && NUMBER(fixed, 1)) return -1; /* NumPy may have to warn, or to raise */"
_CHECK_UPDATES = "if (flags() && NUMBER(fixed, 1)) return -2; /* the same, of an update */"
_TAKEN = frozenset(re.findall(r"\w+", f"{native.RUNTIME} {native.PARALLEL} {native.VECTORS}" """
    auto best break case code copy default do double elif enum exp extern fabs fabsf fmax fmin goto
    int linux log long main memmove pow register restrict short signed sqrt sqrtf sum sums switch
    typeof union unix unsigned volatile while"""))  # fmt: skip
_OURS = re.compile(r"""
    [a-z]\d* | \d.* | _.*  # loops' variables, and what C keeps for itself
    | [A-Z][A-Z_]+\d* | NAME.*  # macros
    | (task|product|convolution|part)\d+  # functions
    | (tg|np|blas|gemm|outer|float|double|u?int\d*)_.*
    """, re.VERBOSE)  # fmt: skip
"""The user's names that would mean something else in the program: they get a ``p_``."""
