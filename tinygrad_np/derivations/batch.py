"""The size of the batch as n: a derivation for 150 images holds for any number of images.

The numbers that depend on the batch are not guessed: the graph is traced once more with one row
less. If both programs are equal except for numbers that change with the size, these are written in
terms of ``n``; otherwise all numbers stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ..compiler.program import Value
from .literals import Size, counts, filled, full_text
from .replay import Replay
from .writer import Written

K = TypeVar("K")


def size(arrays: Mapping[Any, Any]) -> int:
    """The size of the batch: the length of the first array; 0 if there is none."""
    found = [array for array in arrays.values() if np.ndim(array)]
    return len(found[0]) if found else 0


def one_less(arrays: Mapping[K, Any]) -> dict[K, Any]:
    """The arrays that have a row for each sample, without their last row."""
    n = size(arrays)
    return {name: a[: n - 1] for name, a in arrays.items() if np.ndim(a) and len(a) == n}


def generalise(written: Written, make: Callable[[], Replay]) -> Written | None:
    """Write the program's numbers in terms of n, if it is the same for another size of the batch.

    ``make`` returns the graph for one row less. Returns the program for that, or None if the
    numbers stay.
    """
    n = size(_inputs(written))
    if n < 3:  # 1 may mean anything
        return None
    try:
        other = Written(make())
        changes = _differences(written, other, n)
    except Exception:  # the function may refuse one row less for any reason: the numbers stay
        written.shapes, written.texts = {}, {}
        return None
    for call, (args, kwargs) in zip(written.program.calls, changes, strict=True):
        call.args, call.kwargs = args, kwargs
    written.batch = next(iter(one_less(_inputs(written))))
    return other


def _inputs(written: Written) -> dict[str, Any]:
    """Arrays of the shapes of the inputs that are not parameters."""
    return {
        name: np.broadcast_to(0, value.shape)
        for name, value in written.inputs.items()
        if name not in written.parameters
    }


class _Differ(ValueError):
    """Two programs differ by more than the size of the batch."""


class _Pairs:
    """Two trees of arguments side by side."""

    def __init__(self, written: Written, n: int) -> None:
        self.written, self.n = written, n
        self.same: dict[Value, Value] = {}

    def merged(self, one: Any, other: Any) -> Any:
        """The first tree with its numbers in terms of n; raises _Differ if that is impossible."""
        if isinstance(one, Value):
            return self.value(one, other)
        if isinstance(one, tuple | list):
            if type(one) is not type(other) or len(one) != len(other):
                raise _Differ
            return type(one)([self.merged(a, b) for a, b in zip(one, other, strict=True)])
        if isinstance(one, dict):
            return {key: self.merged(item, other[key]) for key, item in one.items()}
        if isinstance(one, slice):
            return slice(*[self.merged(getattr(one, k), getattr(other, k)) for k in _ENDS])
        if isinstance(one, np.ndarray):
            if not np.array_equal(one, other):
                raise _Differ
            return one
        return one if one == other or one != one else self.number(one, other)

    def value(self, one: Value, other: Any) -> Value:
        """The first value, which must correspond to the second one."""
        if one.source != "constant":
            if not isinstance(other, Value) or self.same.setdefault(one, other) is not other:
                raise _Differ
        elif one.shape == other.shape:
            if not np.array_equal(one.array, other.array):  # type: ignore[arg-type]
                raise _Differ
        elif counts(one.array) and counts(other.array):
            self.written.texts[one] = f"np.arange({self.number(one.size, other.size).text})"
        elif (number := filled(one.array)) in (0, 1) and number == filled(other.array):
            shape = self.merged(one.shape, other.shape)
            self.written.texts[one] = full_text(number, shape, one.dtype)
        else:
            raise _Differ
        return one

    def number(self, one: Any, other: Any) -> Size:
        """A number as a multiple of n, or of n squared."""
        n = self.n
        if isinstance(one, str | bool | None) or one != int(one):
            raise _Differ
        for power in (1, 2, 3):
            factor, left = divmod(int(one), n**power)
            if not left and other == factor * (n - 1) ** power:
                return Size(n, factor, power)
        raise _Differ


_ENDS = ("start", "stop", "step")


def _differences(written: Written, other: Written, n: int) -> list[tuple[Any, Any]]:
    """The arguments of all calls, with numbers in terms of n."""
    pairs = _Pairs(written, n)
    pairs.same = {value: other.inputs[name] for name, value in written.inputs.items()}
    for name, value in written.inputs.items():
        written.shapes[value] = pairs.merged(value.shape, other.inputs[name].shape)
    calls, others = written.program.calls, other.program.calls
    if [call.function for call in calls] != [call.function for call in others]:
        raise _Differ
    changes = []
    for call, twin in zip(calls, others, strict=True):
        changes.append(pairs.merged((call.args, call.kwargs), (twin.args, twin.kwargs)))
        pairs.same[call.out] = twin.out
        written.shapes[call.out] = pairs.merged(call.out.shape, twin.out.shape)
    pairs.merged(written.program.outputs, other.program.outputs)
    return changes
