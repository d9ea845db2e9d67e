"""The gradient of a split: its slices side by side, in place of a sum of arrays of zeros."""

from typing import Any

import numpy as np

from ...ops import indexing
from ..program import Program, Value, is_elementwise, values_in
from .use_def import UseDef

SCATTERED: Any = indexing.scattered.__wrapped__  # type: ignore[attr-defined]


_BASIC = frozenset([int, np.int64, slice, type(None), type(Ellipsis)])


def is_basic(index: Any) -> bool:
    """Whether an index consists of numbers and slices, so that it picks no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return _BASIC.issuperset(map(type, parts)) and not any(True for _ in values_in(index))


def assembled(shape: Any, indices: Any, *slices: Any) -> Any:
    """Zeros, with each slice at its index; -0.0 becomes 0.0, as it does in the sum."""
    out = np.zeros(shape, slices[0].dtype)
    for index, part in zip(indices, slices, strict=True):
        out[index] = part + 0
    return out


def run(program: Program) -> None:
    """Assemble what is added up of slices that do not overlap; the bits stay."""
    use_def = UseDef(program)

    def slices_of(value: Any) -> tuple[list[Any], list[Any]]:
        call = use_def.only_read(value)
        if call is not None and call.function is assembled:
            return list(call.args[1]), list(call.args[2:])
        if call is not None and call.function is SCATTERED and is_basic(call.args[1]):
            return [call.args[1]], [call.args[0]]
        return [], []

    for call in program.calls:
        if not is_elementwise(call, np.add) or call.kwargs or call.out.dtype.kind != "f":
            continue
        sides = [slices_of(v) for v in call.args]
        alike = all(isinstance(v, Value) and v.like(call.out) for v in call.args)
        if alike and all(indices for indices, _ in sides):
            indices, slices = ([*a, *b] for a, b in zip(*sides, strict=True))
            if _apart(call.out.shape, indices):
                call.function, call.args = assembled, (call.out.shape, tuple(indices), *slices)


def _apart(shape: tuple[int, ...], indices: list[Any]) -> bool:
    used = np.zeros(shape, np.uint8)
    for index in indices:
        if used[index].any():
            return False
        used[index] = 1
    return True
