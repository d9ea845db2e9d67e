"""Use-def chains: which call computes a value, which calls read it, and its memory's owner."""

from collections import defaultdict
from typing import Any

from ..program import Call, Program, Value, is_elementwise


class UseDef:
    """The use-def chains of a program. A changed program needs a new one."""

    def __init__(self, program: Program) -> None:
        self.made: dict[Value, int] = {}
        self.reads: dict[Value, list[int]] = defaultdict(list)
        self.root: dict[Value, Value] = {}
        self.calls = program.calls
        for i, call in enumerate(program.calls):
            self.made[call.out] = i
            for value in call.inputs:
                self.reads[value].append(i)
            if call.view:
                self.root[call.out] = self.root_of(call.inputs[0])
        self.kept = set(program.results)

    def root_of(self, value: Value) -> Value:
        """The value that owns a view's memory; any other value itself."""
        return self.root.get(value, value)

    def producer(self, value: Any) -> Call | None:
        """The call that computes a value."""
        return self.calls[self.made[value]] if value in self.made else None

    def only_read(self, value: Any) -> Call | None:
        """The call that computes a value, if the value has exactly one reader."""
        if value in self.kept or len(self.reads.get(value, ())) != 1:
            return None
        return self.producer(value)

    def meet(self, a: Value, b: Value) -> bool:
        """Whether a call that is not elementwise reads both: BLAS treats A @ Aᵀ specially."""
        a, b = self.root_of(a), self.root_of(b)
        return a is not b and any(
            {a, b} <= {self.root_of(value) for value in call.inputs}
            for call in self.calls
            if not is_elementwise(call)
        )
