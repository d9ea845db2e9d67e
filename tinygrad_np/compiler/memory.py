"""Memory planning: where each value of a program is stored, and which memory is reused."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import LINE, aligned_bytes
from ..shared_memory import allocate, lends
from .c_code import extent
from .fusion import Group
from .kernels import Single
from .passes.use_def import UseDef
from .program import Program, Value, is_elementwise
from .schedule import Kernel, NumpyCall, Segment


class Memory:
    """The place of each value: an input's array, a constant, an output's array or the workspace.

    A lent value lies where its function says at each run.
    """

    def __init__(
        self, program: Program, use_def: UseDef, kernels: Sequence[Kernel | NumpyCall],
        made: dict[Value, int],
    ) -> None:  # fmt: skip
        self.program, self.use_def, self.kernels, self.made = program, use_def, kernels, made
        self.lent = [call.out for call in program.calls if lends(call.function)]
        self.constants = [*self.lent]
        self.read: dict[Value, list[int]] = {}
        for i, kernel in enumerate(kernels):
            for call in kernel.calls:
                for value in call.inputs:
                    self.read.setdefault(use_def.root_of(value), []).append(i)
        # What is lent is an exchange: the other process may read the operand until the end.
        given = [v for call in program.calls if lends(call.function) for v in call.inputs]
        for value in (*program.results, *given):
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
            alike = self.templates[i].strides == value.strides and value.size
            if computed and alike and self.has_memory(value):
                self.results.setdefault(value, i)
        self.offsets: dict[Value, int] = {}
        self.work = (allocate if self.lent else aligned_bytes)(self._lay_out())

    def _homes(self) -> dict[Value, Value]:
        """Updates computed in place: for each such value, the input whose array it updates."""
        found: dict[Value, Value] = {}
        raising = [i for i, kernel in enumerate(self.kernels) if kernel.raises]
        for place, value in self.program.updates:
            i = self.made.get(value, -1)
            if i <= max(raising, default=-1) or value in found or place.strides != value.strides:
                continue
            kernel, readers = self.kernels[i], self.read.get(place, [])
            if max(readers, default=-1) > i or value in self.segmented:
                continue
            if not self.has_memory(value):
                continue
            if i in readers and not self._in_step(kernel, place, value):
                continue
            found[value] = place
        return found

    def _in_step(self, group: Kernel | NumpyCall, place: Value, value: Value) -> bool:
        """Whether a kernel reads each element of an array before it writes the new one there."""
        if isinstance(group, NumpyCall):
            return is_elementwise(group.call) and all(
                v is place or self.use_def.root_of(v) is not place for v in group.call.inputs
            )
        if not isinstance(group, Group):
            roots = [self.use_def.root_of(v) for v in group.calls[0].inputs]
            return isinstance(group, Single) and group.onto is place and roots.count(place) == 1
        (written,) = [item.level for item in group.items if item.out is value]
        return all(
            self.use_def.root_of(v) is not place or (v is place and item.level <= written)
            for item in group.items for v in item.values
        )  # fmt: skip

    def has_memory(self, value: Value) -> bool:
        """Whether a value needs memory; others are local variables of a group's loops."""
        readers = self.read.get(value, [])
        kernel = self.kernels[self.made[value]]
        if value in self.lent:
            return False
        if isinstance(kernel, NumpyCall):
            return kernel.takes_out
        return not isinstance(kernel, Group) or any(i != self.made[value] for i in readers)

    def _lay_out(self) -> int:
        """Give each value an offset in the workspace, reusing the memory of dead values."""
        free: list[tuple[int, int]] = []  # offset, size
        ending: dict[int, list[tuple[Value, tuple[int, int]]]] = {}
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
                low, high = extent(value.shape, value.strides, value.dtype.itemsize)
                size = -(-(high - low) // LINE) * LINE
                fits = [f for f in free if size <= f[1] <= 2 * size + 4096]
                fitting = min(fits, default=None, key=lambda f: f[1])
                taken = self._takes_over(i, value, ending.get(i, []))
                if taken:
                    ending[i].remove(taken)
                    fitting = taken[1]
                elif fitting:
                    free.remove(fitting)
                else:
                    fitting = total, size
                    total += size
                self.offsets[value] = fitting[0] - low
                last = max(self.read.get(value, [i]))
                while (
                    last < len(self.kernels)
                    and part[last] != part[i]
                    and part[last] == part[min(last + 1, len(part) - 1)]
                ):
                    last += 1  # another function may run again, so what it reads stays
                ending.setdefault(last, []).append((value, fitting))
            free += [block for _, block in ending.pop(i, [])]
        return total

    def _takes_over(self, i: int, value: Value, dying: list[Any]) -> Any:
        """A dying operand that an elementwise NumPy call may overwrite."""
        kernel = self.kernels[i]
        if not isinstance(kernel, NumpyCall):
            return None
        found = [d for d in dying if d[0].like(value) and self._in_step(kernel, d[0], value)]
        return found[0] if found else None

    def array(self, value: Value) -> Any:
        """The array of a value in the workspace."""
        return np.ndarray(value.shape, value.dtype, self.work, self.offsets[value], value.strides)


def _dummy(value: Value) -> Any:
    low, high = extent(value.shape, value.strides, value.dtype.itemsize)
    return np.ndarray(value.shape, value.dtype, np.zeros(high - low, np.uint8), -low, value.strides)
