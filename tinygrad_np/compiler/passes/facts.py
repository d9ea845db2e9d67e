"""What passes ask of a program: who computes a value, who reads it, whether it stays as it is."""

from typing import Any, TypeGuard

import numpy as np

from ..program import Call, Program, Value, is_ufunc


class Facts:
    """A program's values as they are when the facts are gathered."""

    def __init__(self, program: Program) -> None:
        self.made: dict[Value, int] = {}
        self.root: dict[Value, Value] = {}
        self.readers: dict[Value, int] = {}
        self.stores: list[int] = []
        self.together: list[tuple[Value, Value]] = []  # what one call reads, but no elementwise one
        self.calls = program.calls
        for i, call in enumerate(program.calls):
            for value in call.inputs:
                self.readers[value] = self.readers.get(value, 0) + 1
            if call.out is not None:
                self.made[call.out] = i
                self.root[call.out] = call.out
            if call.kind == "view" and call.out is not None:
                self.root[call.out] = self.root.get(call.inputs[0], call.inputs[0])
            elif call.kind == "store":
                self.stores.append(i)
            if call.kind == "array" and not is_ufunc(call):
                roots = [self.root.get(value, value) for value in call.inputs]
                self.together += [(x, y) for x in roots for y in roots if x is not y]
        for value in program.outputs:
            self.readers[value] = self.readers.get(value, 0) + 1

    def producer(self, value: Any) -> Call | None:
        """The call that computes a value."""
        return self.calls[self.made[value]] if value in self.made else None

    def is_changeable(self, value: Any) -> bool:
        """Whether a value lives in an array outside, which a store may change under it."""
        root: Value = self.root.get(value, value)
        return root.source == "external"

    def stays(self, operands: Any, since: int, until: int) -> bool:
        """Whether operands that one call reads could be read by a later one just as well."""
        if not any(since < i < until for i in self.stores):
            return True
        return not any(isinstance(v, Value) and self.is_changeable(v) for v in operands)

    def are_apart(self, a: Value, b: Value, same: dict[Value, Value]) -> bool:
        """Whether two must not become one: BLAS multiplies a matrix by itself in its own way."""
        pair = {self.root.get(a, a), self.root.get(b, b)}
        return any({same.get(x, x), same.get(y, y)} == pair for x, y in self.together)

    def only_here(self, value: Any) -> Call | None:
        """The call that computes a value, if one place alone reads it."""
        if not isinstance(value, Value) or self.readers.get(value) != 1:
            return None
        return self.producer(value)

    def scaled(self, call: Call | None) -> tuple[Any, Value] | None:
        """The number and the array, where a call multiplies one by the other."""
        if call is None or not is_ufunc(call, np.multiply) or call.kwargs or call.out is None:
            return None
        for number, array in (call.args, call.args[::-1]):
            if not is_number(number) or not isinstance(array, Value) or is_number(array):
                continue
            if (array.dtype, array.shape) == (call.out.dtype, call.out.shape):
                return number, array
        return None


def is_number(operand: Any) -> bool:
    """Whether an operand is a number: Python's, the host's, or a 0-d constant."""
    if isinstance(operand, Value):
        return operand.source == "host" or (operand.source == "constant" and operand.shape == ())
    return type(operand) in (int, float) or isinstance(operand, np.floating)


def is_product(call: Call | None) -> TypeGuard[Call]:
    """Whether a call multiplies two matrices (or a vector and a matrix) as BLAS can."""
    if call is None or call.out is None or call.kind != "array" or call.kwargs:
        return False
    if len(call.args) != 2 or not all(isinstance(a, Value) for a in call.args):
        return False
    left, right = call.args
    if call.out.dtype.char not in "fd" or not left.dtype == right.dtype == call.out.dtype:
        return False
    dims = len(left.shape), len(right.shape)
    if call.function is np.matmul or call.function is np.dot:
        return dims in ((2, 2), (1, 2))
    outer = is_ufunc(call, np.multiply) and dims == (2, 2) and min(call.out.shape) > 1
    return outer and left.shape[1] == 1 and right.shape[0] == 1
