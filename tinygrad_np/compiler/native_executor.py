"""Runs a program as native code: one C function, with calls of NumPy between where C cannot.

Every result has NumPy's bits: elementwise calls are fused only where C computes the same, and all
else goes through NumPy's own inner loops. What C does not know runs in NumPy, between two C
functions; such values and all others that have memory lie in one workspace.
"""

from __future__ import annotations

import ctypes
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import native
from ..aligned import LINE, aligned_bytes
from .c_code import Place, c_type, extent, indented
from .fusion import Group, items_of
from .kernels import Single, assign, single
from .numpy_executor import NumpyExecutor
from .passes.use_def import UseDef
from .program import Call, Program, Value, map_tree


class NoLibraryError(Exception):
    """There is no compiler, or it failed: one warning has been given."""


@dataclass(eq=False)
class Segment:
    """Calls that run in NumPy, between two functions of C."""

    calls: list[Call] = field(default_factory=list)


Kernel = Group | Single | Segment


class NativeExecutor:
    """The program as C functions and what NumPy does between them."""

    def __init__(self, program: Program) -> None:
        self.program = program = _prepared(program)
        self.use_def = UseDef(program)
        self.origin: dict[int, Call] = {}
        if any(c_type(v.dtype) is None for v in (*program.inputs, *program.results)):
            raise NoLibraryError
        self.kernels, self.made = _schedule(program, self.use_def)
        self.memory = _Memory(program, self.use_def, self.kernels, self.made)
        writer = _Writer(self)
        self.text = writer.text
        library = native.library(f"#define BLAS_INT {native.blas_integer()}\n{native.RUNTIME}\n{self.text}")
        if library is None:
            raise NoLibraryError
        for name, address in writer.addresses():
            (ctypes.c_void_p * 2).in_dll(library, name)[:] = address
        constants = [value.array for value in self.memory.constants]
        self.fixed = self.memory.work, 1.0, *constants
        self.unchecked = self.memory.work, 0.0, *constants
        self.buffers = [self.memory.work]
        self.whole: NumpyExecutor | None = None
        makers = [np.empty_like(t) for t in self.memory.templates]
        self.parts = [self._part(library, part) for part in writer.parts]
        self.run = self._run(makers)

    def source(self) -> str:
        """The generated C."""
        return self.text

    def __str__(self) -> str:
        segments = [kernel for kernel in self.kernels if isinstance(kernel, Segment)]
        groups = sum(isinstance(kernel, Group) for kernel in self.kernels)
        lines = [
            f"C: {len(self.program.calls)} calls in {len(self.kernels) - len(segments)} kernels "
            f"({groups} of them fused) and {len(segments)} stretches of NumPy, "
            f"{self.memory.work.nbytes:,} bytes, {len(self.memory.homes)} updates in place"
        ]
        for kernel in self.kernels:
            if isinstance(kernel, Segment):
                lines.append("  NumPy, as C knows no way with its bits:")
            elif len(kernel.calls) > 1:
                lines.append("  C, one loop:")
            lead = "    " if isinstance(kernel, Segment) or len(kernel.calls) > 1 else "  C: "
            lines += [f"{lead}{c!r}  {c.out.dtype}{list(c.out.shape)}" for c in kernel.calls]
        return "\n".join(lines)

    # Running

    def _run(self, templates: list[Any]) -> Callable[[Any, Any], Any]:
        fixed, parts, empty_like = self.fixed, self.parts, np.empty_like
        (part,), (template,) = parts[:1] or [None], templates[:1] or [None]

        def run_one(arrays: Any, numbers: Any) -> Any:
            out = (empty_like(template),)
            if code := part(arrays, numbers, fixed, out):
                self._resolve(code, part, arrays, numbers, out)
            return out

        def run(arrays: Any, numbers: Any) -> Any:
            out = tuple([empty_like(template) for template in templates])
            for part in parts:
                if code := part(arrays, numbers, fixed, out):
                    self._resolve(code, part, arrays, numbers, out)
            return out

        return run_one if len(parts) == len(templates) == 1 else run

    def _part(self, library: Any, part: str | Segment) -> Callable[..., int | None]:
        if isinstance(part, str):
            function = library[part]
            function.argtypes, function.restype = [ctypes.py_object] * 4, ctypes.c_int
            return function  # type: ignore[no-any-return]
        program, targets = self.program, [c.out for c in part.calls if c.out in self.memory.offsets]
        inner = _part_of(program, self.use_def, part.calls, targets)
        executor = NumpyExecutor(inner, first_line=1000 * (1 + len(self.origin)))
        self.origin |= executor.origin
        inputs: Any = [program.inputs.index(v) if v.source == "input" else self.memory.array(v)
                       for v in inner.inputs]  # fmt: skip
        numbers = [program.numbers.index(v) for v in inner.numbers]
        places = [self.memory.array(value) for value in targets]

        def run(arrays: Any, given: Any, fixed: Any, out: Any) -> None:
            found = executor.run(tuple([arrays[i] if type(i) is int else i for i in inputs]),
                                 tuple([given[i] for i in numbers]))  # fmt: skip
            for place, array in zip(places, found, strict=True):
                np.copyto(place, array)

        return run

    def _resolve(self, code: int, part: Any, arrays: Any, numbers: Any, out: Any) -> None:
        """Let NumPy warn or raise: of what the processor noticed, or an index out of bounds.

        No state has changed yet.
        """
        if code > 0 or set(np.geterr().values()) != {"ignore"}:
            if self.whole is None:
                program = self.program
                results = [value for _, value in program.updates]
                program = Program(program.inputs, program.numbers, program.calls,
                                  [*program.outputs, *results], [])  # fmt: skip
                self.whole = NumpyExecutor(program, first_line=10**6)
                self.origin |= self.whole.origin
            self.whole.run(arrays, numbers)
        if code > 0:
            raise AssertionError(f"no index is out of bounds: {self.program.calls[code - 1]!r}")
        part(arrays, numbers, self.unchecked, out)


def _prepared(program: Program) -> Program:
    """With copies of what one updated array is to hold of another."""
    use_def, calls, updates = UseDef(program), list(program.calls), []
    for place, value in program.updates:
        if use_def.root_of(value).source == "input" and value.size:
            copied = Value(np.empty(value.shape, value.dtype))
            calls.append(Call(np.ndarray.copy, (value, "C"), {}, copied))
            value = copied  # noqa: PLW2901
        updates.append((place, value))
    return Program(program.inputs, program.numbers, calls, program.outputs, updates)


def _part_of(program: Program, use_def: UseDef, calls: list[Call], out: list[Value]) -> Program:
    """Some calls of a program, with the views that they read, as a program of its own."""
    own = {call.out for call in calls}
    needed, views, roots = [v for c in calls for v in c.inputs], dict[Value, Call](), dict[Value, None]()
    while needed:
        value = needed.pop()
        call = use_def.producer(value)
        if value in own or value.source in ("constant", "number"):
            continue
        if call is not None and call.view:
            views[value] = call
            needed += call.inputs
        else:
            roots[value] = None
    chosen = own | views.keys()
    numbers = [n for n in program.numbers if any(n in call.inputs for call in calls)]
    return Program(list(roots), numbers, [c for c in program.calls if c.out in chosen], out, [])


def _schedule(program: Program, use_def: UseDef) -> tuple[list[Kernel], dict[Value, int]]:
    """The kernels in order, and which one makes each value. What fits in joins the latest."""
    kernels: list[Kernel] = []
    made: dict[Value, int] = {}

    def maker(value: Value) -> Any:
        i = made.get(use_def.root_of(value))
        return None if i is None else kernels[i]

    for call in program.calls:
        if call.view:
            continue
        after = max([made.get(use_def.root_of(v), -1) for v in call.inputs], default=-1)
        items = items_of(call)
        alone = single(call) if items is None else None
        at = None
        for i in range(len(kernels) - 1, max(after, 0) - 1, -1):
            kernel = kernels[i]
            if (
                (items and isinstance(kernel, Group) and kernel.accepts(items, maker))
                or (not items and alone is None and isinstance(kernel, Segment))
            ):  # fmt: skip
                at = i
                break
        if at is None:
            at = len(kernels)
            kernels.append(Group(call.out.shape) if items else alone or Segment())
        kernel = kernels[at]
        if isinstance(kernel, Group):
            kernel.add(items or [])
        elif isinstance(kernel, Segment):
            kernel.calls.append(call)
        for value in [item.out for item in items] if items else [call.out]:
            made[value] = at
    return kernels, made


class _Memory:
    """Where each value lies: in an input's array, a constant, a result's array or the workspace."""

    def __init__(self, program: Program, use_def: UseDef, kernels: list[Kernel], made: dict[Value, int]) -> None:
        self.program, self.use_def, self.kernels, self.made = program, use_def, kernels, made
        self.constants: list[Value] = []
        self.read: dict[Value, list[int]] = {}
        for i, kernel in enumerate(kernels):
            for call in kernel.calls:
                for value in call.inputs:
                    self.read.setdefault(use_def.root_of(value), []).append(i)
        for value in program.results:
            self.read.setdefault(use_def.root_of(value), []).append(len(kernels))
        self.segmented = {
            use_def.root_of(v) for kernel in kernels if isinstance(kernel, Segment)
            for call in kernel.calls for v in (*call.inputs, call.out)
        }  # fmt: skip
        self.homes = self._homes()
        self.templates = [np.array(_dummy(value), order="K") for value in program.outputs]
        self.results: dict[Value, int] = {}
        for i, value in enumerate(program.outputs):
            computed = value in made and value not in self.homes and value not in self.segmented
            if computed and self.templates[i].strides == value.strides and value.size:
                self.results.setdefault(value, i)
        self.offsets: dict[Value, int] = {}
        self.work = aligned_bytes(self._lay_out())

    def _homes(self) -> dict[Value, Value]:
        """The values that can be computed in the array that they are the update of."""
        found: dict[Value, Value] = {}
        raising = [i for i, k in enumerate(self.kernels)
                   if isinstance(k, Segment) or (isinstance(k, Single) and k.raises)]  # fmt: skip
        for place, value in self.program.updates:
            i = self.made.get(value, -1)
            if i <= max(raising, default=-1) or value in found or place.strides != value.strides:
                continue
            kernel, readers = self.kernels[i], self.read.get(place, [])
            if max(readers, default=-1) > i or value in self.segmented:
                continue
            if i in readers and not self._in_step(kernel, place, value):
                continue
            found[value] = place
        return found

    def _in_step(self, group: Kernel, place: Value, value: Value) -> bool:
        """Whether each element of the place is read before its new value is written."""
        if not isinstance(group, Group):
            roots = [self.use_def.root_of(v) for v in group.calls[0].inputs]
            return isinstance(group, Single) and group.onto is place and roots.count(place) == 1
        (written,) = [item.level for item in group.items if item.out is value]
        return all(
            self.use_def.root_of(v) is not place or (v is place and item.level <= written)
            for item in group.items for v in item.values
        )  # fmt: skip

    def has_memory(self, value: Value) -> bool:
        """Whether a value is more than a local variable of a group's loops."""
        readers = self.read.get(value, [])
        kernel = self.kernels[self.made[value]]
        return not isinstance(kernel, Group) or any(i != self.made[value] for i in readers)

    def _lay_out(self) -> int:
        """Give each value an offset; memory whose value is dead is used again."""
        free: list[tuple[int, int]] = []  # offset, size
        ending: dict[int, list[tuple[int, int]]] = {}
        total = 0
        by_kernel: dict[int, list[Value]] = {}
        cuts = [isinstance(kernel, Segment) for kernel in self.kernels]
        part = [2 * n - cut for n, cut in zip(itertools.accumulate(cuts), cuts, strict=True)]
        for value, i in self.made.items():
            by_kernel.setdefault(i, []).append(value)
        for i in range(len(self.kernels)):
            for value in by_kernel.get(i, ()):
                if value in self.homes or value in self.results or not self.has_memory(value):
                    continue
                if not self.read.get(value) and isinstance(self.kernels[i], Group):
                    continue
                low, high = extent(value.shape, value.strides, value.dtype.itemsize)
                size = -(-(high - low) // LINE) * LINE
                fitting = min([f for f in free if size <= f[1] <= 2 * size + 4096], default=None, key=lambda f: f[1])
                if fitting:
                    free.remove(fitting)
                else:
                    fitting = total, size
                    total += size
                self.offsets[value] = fitting[0] - low
                last = max(self.read.get(value, [i]))
                while last < len(self.kernels) and part[last] != part[i] and part[last] == part[min(last + 1, len(part) - 1)]:
                    last += 1  # what is read in another function stays, should that be run again
                ending.setdefault(last, []).append(fitting)
            free += ending.pop(i, [])
        return total

    def array(self, value: Value) -> Any:
        """The array of a value in the workspace."""
        return np.ndarray(value.shape, value.dtype, self.work, self.offsets[value], value.strides)


def _dummy(value: Value) -> Any:
    low, high = extent(value.shape, value.strides, value.dtype.itemsize)
    return np.ndarray(value.shape, value.dtype, np.zeros(high - low, np.uint8), -low, value.strides)


class _Writer:
    """Writes the C text: the functions, and what they need at the head."""

    def __init__(self, executor: NativeExecutor) -> None:
        self.memory, self.program, self.use_def = executor.memory, executor.program, executor.use_def
        self.loops: dict[str, tuple[int, int]] = {}
        self.words: dict[Value, str] = {}
        self.declared: dict[str, str] = {}
        self.parts: list[str | Segment] = []
        self.places: dict[Value, Place | None] = {}
        functions: list[str] = []
        kernels = executor.kernels
        position = {call: i for i, call in enumerate(self.program.calls)}
        body: list[str] = []

        def close(ending: list[str]) -> None:
            lines = [*body, *([] if checked else [_CHECK]), *ending]
            if body or ending:
                name = f"tg_part{len(functions)}"
                functions.append(indented([
                    f"int {name}(Tuple *arrays, Tuple *numbers, Tuple *fixed, Tuple *out)", "{",
                    *self.declared.values(), "set_flags(0);", *lines, "return 0;", "}"]))  # fmt: skip
                self.parts.append(name)
            body.clear(), self.declared.clear()

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
                lines = [line.replace("CODE", code) for line in lines]
                if ignored := [_FLAGS[key] for key, how in calls[0].errors.items() if how == "ignore"]:
                    lines = ["{", "const int before = flags();", *lines,
                             f"set_flags(before | (flags() & ~({' | '.join(ignored)})));", "}"]  # fmt: skip
                body += lines
        close(self._ending())
        tables = [f"Loop {name};" for name in self.loops]
        self.text = "\n".join([*tables, "", *functions, ""])

    def addresses(self) -> list[tuple[str, tuple[int, int]]]:
        """The names of the loops, and what they are to hold."""
        return list(self.loops.items())

    # What kernels ask for

    def place(self, value: Value) -> Place | None:
        """Where a value lies."""
        if value not in self.places:
            self.places[value] = self._place(value)
        found = self.places[value]
        if found is not None:
            self._declare(self.use_def.root_of(value))
        return found

    def loop(self, ufunc: np.ufunc, types: tuple[np.dtype[Any], ...]) -> str:
        """The name of one of NumPy's loops."""
        name = f"{ufunc.__name__.strip('_')}_{''.join(t.char if t.char != '?' else 'b_' for t in types)}"
        found = native.loop(ufunc, types)
        assert found is not None
        self.loops["np_" + name] = found
        return "np_" + name

    def address(self, name: str, address: int) -> str:
        """The name under which C finds another function."""
        self.loops[name] = address, 0
        return name

    def number(self, value: Value) -> str:
        """The name of a number."""
        i = self.program.numbers.index(value)
        self.declared[f"n{i}"] = f"const double n{i} = NUMBER(numbers, {i});"
        return f"n{i}"

    def _place(self, value: Value) -> Place | None:
        call = self.use_def.producer(value)
        if call is not None and call.view:
            source = self.place(call.inputs[0])
            assert source is not None
            first = call.inputs[0]
            return source.view(lambda array: call.function(
                *map_tree(lambda leaf: array if leaf is first else leaf, call.args), **call.kwargs))  # fmt: skip
        known = (
            value.source != "call" or value in self.memory.homes
            or value in self.memory.results or value in self.memory.offsets
        )  # fmt: skip
        if not known:
            return None
        return Place(self._word(value), value.dtype, 0, value.dtype, value.shape, value.strides)

    def _word(self, value: Value) -> str:
        if value not in self.words:
            word = re.sub(r"\W+", "_", value.name or repr(value)).strip("_")
            word = f"p_{word}" if word[:1].isdigit() or word in _TAKEN else word
            taken = set(self.words.values())
            free = (f"{word}{i or ''}" for i in itertools.count())
            self.words[value] = next(w for w in free if w not in taken)
        return self.words[value]

    def _declare(self, value: Value) -> None:
        memory, type_ = self.memory, c_type(value.dtype)
        home = memory.homes.get(value, value)
        if home.source == "input":
            where = f"DATA({type_}, arrays, {self.program.inputs.index(home)})"
        elif value.source == "constant":
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
                template = self.memory.templates[i]
                target = Place(f"o{i}", value.dtype, 0, value.dtype, value.shape, template.strides)
                self.declared[f"o{i}"] = f"{c_type(value.dtype)} *const o{i} = DATA({c_type(value.dtype)}, out, {i});"
                lines += assign(target, self._known(value))
        moved = [(p, v) for p, v in self.program.updates if v not in self.memory.homes or self.memory.homes[v] is not p]
        for place, value in moved:
            if place.size:
                lines += assign(self._known(place), self._known(value))
        return ["", "/* results */", *lines] if lines else []

    def _known(self, value: Value) -> Place:
        found = self.place(value)
        assert found is not None
        return found


_FLAGS = {"invalid": "INVALID", "divide": "DIVIDE", "over": "OVER", "under": "UNDER"}
_CHECK = "if (flags() && NUMBER(fixed, 1)) return -1; /* NumPy may have to warn, or to raise */"
_TAKEN = {"alpha", "before", "flags", "arrays", "numbers", "fixed", "out", "row", "at", "n", "r", "c", "int", "float", "double",
          "step", "call", "product", "place", "copy", "sum", "each", "nest", "union", "default"}  # fmt: skip
