"""Runs a program as native code: one C function, with calls of NumPy between where C cannot.

Every result has NumPy's bits: elementwise calls are fused only where C computes the same, and all
else goes through NumPy's own inner loops; but for calls that a pass has marked, such as
convolutions and small products, which C adds up in an order of its own. What C does not know runs
in NumPy, between two C functions; such values and all others that have memory lie in one workspace.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import native, tracing
from .c_code import c_type
from .c_program import CProgram
from .fusion import Group
from .memory import Memory
from .numpy_executor import NumpyExecutor
from .passes.use_def import UseDef
from .program import Call, Program, values_in
from .schedule import Segment, part_of, prepared, schedule


class NoLibraryError(Exception):
    """There is no compiler (one warning has been given), or the arrays are none of C's."""


class NativeExecutor:
    """The program as C functions and what NumPy does between them."""

    def __init__(self, program: Program) -> None:
        self.program = program = prepared(program)
        self.use_def = UseDef(program)
        self.origin: dict[int, Call] = {}
        arrays = [*program.inputs, *program.results, *[v for c in program.calls for v in c.inputs]]
        if any(c_type(v.dtype) is None for v in (*program.inputs, *program.results)) or any(
            stride % v.dtype.itemsize for v in arrays if v.dtype.itemsize for stride in v.strides
        ):
            raise NoLibraryError
        self.kernels, self.made = schedule(program, self.use_def)
        calls = [(call.inputs, call.out) for call in program.calls]
        everything = [program.inputs, program.numbers, calls, program.results, [*self.made]]
        for number, value in enumerate(dict.fromkeys(values_in(everything))):
            value.number = number  # so that equal programs are equal texts, and compiled once
        self.memory = Memory(program, self.use_def, self.kernels, self.made)
        writer = CProgram(program, self.use_def, self.kernels, self.memory)
        self.text = writer.text
        library = native.library(
            f"#define BLAS_INT {native.blas_integer()}\n{native.RUNTIME}\n{self.text}"
        )
        if library is None:
            raise NoLibraryError
        for name, address in writer.loops.items():
            (ctypes.c_void_p * 2).in_dll(library, name)[:] = list(address)
        self.constants = [value.array for value in self.memory.constants]
        self._fix()
        self.buffers = [self.memory.work]
        self.whole: NumpyExecutor | None = None
        self.parts = [self._part(library, part) for part in writer.parts]

    def source(self) -> str:
        """The generated C."""
        return self.text

    def __str__(self) -> str:
        cut = sum(isinstance(kernel, Segment) for kernel in self.kernels)
        functions = len(self.parts) - cut
        one = "one C function" if functions == 1 else f"{functions} C functions"
        between = f" and {cut} stretches in NumPy, whose bits C has no way to get" if cut else ""
        lines = [
            f"Native: {len(self.program.calls)} calls as {one}{between}; workspace of "
            f"{self.memory.work.nbytes:,} bytes, {len(self.memory.homes)} updates in place"
        ]
        for kernel in self.kernels:
            fused = isinstance(kernel, Group) and len(kernel.calls) > 1
            how = "in NumPy" if isinstance(kernel, Segment) else "in one loop" if fused else "in C"
            lines.append(f"  {how}:")
            lines += [f"    {c!r}  {c.out.dtype}{list(c.out.shape)}" for c in kernel.calls]
        return "\n".join(lines)

    # Running

    def run(self, arrays: Any, numbers: Any) -> Any:
        """The outputs, in arrays of their own; the updates are written to the inputs."""
        out = tuple([np.empty_like(template) for template in self.memory.templates])
        for part in self.parts:
            if code := part(arrays, numbers, self.fixed, out):
                self._resolve(code, part, arrays, numbers, out)
        return out

    def _fix(self) -> None:
        self.fixed = self.memory.work, 1.0, *self.constants
        self.unchecked = self.memory.work, 0.0, *self.constants

    def _part(self, library: Any, part: str | Segment) -> Callable[..., int | None]:
        if isinstance(part, str):
            function = library[part]
            function.argtypes, function.restype = [ctypes.py_object] * 4, ctypes.c_int
            return function  # type: ignore[no-any-return]
        program, memory = self.program, self.memory
        made = [call.out for call in part.calls]
        targets, lent = ([v for v in made if v in known] for known in (memory.offsets, memory.lent))
        inner = part_of(program, self.use_def, part.calls, targets, lent)
        executor = NumpyExecutor(inner, 1000 * (1 + len(self.origin)), part=True)
        self.origin |= executor.origin
        places = [memory.constants.index(value) for value in lent]
        roots = inner.inputs[: len(inner.inputs) - len(targets)]
        inputs: Any = [program.inputs.index(v) if v.source == "input"
                       else memory.constants.index(v) + len(program.inputs) if v in memory.lent
                       else memory.array(v) for v in (*roots, *targets)]  # fmt: skip
        numbers = [program.numbers.index(v) for v in inner.numbers]

        def run(arrays: Any, given: Any, fixed: Any, out: Any) -> None:
            if memory.lent:
                arrays = *arrays, *self.constants
            found = executor.run(tuple([arrays[i] if type(i) is int else i for i in inputs]),
                                 tuple([given[i] for i in numbers]))  # fmt: skip
            for i, array in zip(places, found, strict=True):
                self.constants[i] = array
            if places:
                self._fix()

        return run

    def _resolve(self, code: int, part: Any, arrays: Any, numbers: Any, out: Any) -> None:
        """Let NumPy warn or raise: of what the processor noticed, or an index out of bounds.

        No state has changed yet, but for what an update makes infinite.
        """
        if code == -2:  # nobody can compute it again, but what has overflowed can be seen
            found = [arrays[self.program.inputs.index(place)] for place, _ in self.program.updates]
            if not all(np.isfinite(array).all() for array in found):
                np.multiply(np.finfo(float).max, 2.0)  # warns, as it is set by np.errstate
            return
        if code > 0 or set(np.geterr().values()) != {"ignore"}:
            if self.whole is None:
                program = self.program
                results = [value for _, value in program.updates]
                program = Program(program.inputs, program.numbers, program.calls,
                                  [*program.outputs, *results], [])  # fmt: skip
                self.whole = NumpyExecutor(program, first_line=10**6)
                self.origin |= self.whole.origin
            token = tracing.again.set(True)
            try:
                self.whole.run(arrays, numbers)
            finally:
                tracing.again.reset(token)
        if code > 0:
            raise AssertionError(f"no index is out of bounds: {self.program.calls[code - 1]!r}")
        part(arrays, numbers, self.unchecked, out)
