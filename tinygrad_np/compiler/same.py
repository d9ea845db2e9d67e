"""Whether two traced runs did the same: what differs cannot be replayed."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from .blas import address
from .program import Call, Place, Program, Value


def difference(first: Program, second: Program) -> str | None:
    """What the second run did otherwise, with its line; None if both are the same.

    An array that both runs used, or the same part of one, lives outside: the second program looks
    at it again at each run. One that was made anew with the same values is a constant.
    """
    pairs: dict[Value, Value] = dict(zip(first.inputs, second.inputs, strict=True))
    for a, b in zip(first.calls, second.calls, strict=False):
        if a.kind != b.kind or not _same_function(a.function, b.function):
            return _told(b, f"the second run calls {b.name} where the first called {a.name}")
        found = _compare((a.args, a.kwargs), (b.args, b.kwargs), pairs)
        if found:
            return _told(b, found)
        if a.out is not None and b.out is not None:
            pairs[a.out] = b.out
    if len(first.calls) != len(second.calls):
        longer = max(first.calls, second.calls, key=len)
        last = longer[min(len(first.calls), len(second.calls))]
        return _told(last, f"one run makes {len(first.calls)} calls, the other {len(second.calls)}")
    found = _compare(first.result, second.result, pairs)
    return None if found is None else _told(None, f"it returns something else: {found}")


def _told(call: Call | None, what: str) -> str:
    return (
        f"this function cannot be replayed, because it does not do the same at each call: {what}. "
        "Pass what changes as an array argument, and draw random numbers by tg.dropout"
    ) + (f"\n    at {call.line}" if call else "")


def _same_function(a: Any, b: Any) -> bool:
    return bool(a == b) or (identity(a) is not None and identity(a) == identity(b))


def identity(function: Any) -> Any:
    """What functions made at different times have in common, if they do the same; None: nothing."""
    code, own = getattr(function, "__code__", None), getattr(function, "__self__", None)
    if code is None or own is not None:
        return None
    return code, *[_known(cell.cell_contents) for cell in function.__closure__ or ()]


def _known(thing: Any) -> Any:
    if isinstance(thing, tuple):
        return tuple(map(_known, thing))
    if thing is None or isinstance(thing, bool | int | float | str):
        return type(thing), repr(thing)
    return thing if isinstance(thing, types.MethodType) else identity(thing) or id(thing)


def _compare(a: Any, b: Any, pairs: dict[Value, Value]) -> str | None:
    if isinstance(a, Value) and isinstance(b, Value):
        return _compare_values(a, b, pairs)
    if type(a) is not type(b):
        return f"{type(a).__name__} became {type(b).__name__}"
    if isinstance(a, tuple | list):
        if len(a) != len(b):
            return f"{len(a)} items became {len(b)}"
        return next((f for x, y in zip(a, b, strict=True) if (f := _compare(x, y, pairs))), None)
    if isinstance(a, dict):
        return _compare(list(a.items()), list(b.items()), pairs)
    equal = a is b or a == b or (isinstance(a, float) and a != a and b != b)
    return None if equal else f"{a!r} became {b!r}"


def _compare_values(a: Value, b: Value, pairs: dict[Value, Value]) -> str | None:
    if a in pairs:
        return None if pairs[a] is b else "another array is used"
    if (a.source, a.shape, a.strides, a.dtype) != (b.source, b.shape, b.strides, b.dtype):
        return f"{a!r} of {a.dtype}{a.shape} became {b!r} of {b.dtype}{b.shape}"
    if a.source == "external" and not a.where.same(b.where):
        return f"{b.where!r} takes the place of {a.where!r}"
    if a.source == "constant" and (a.where is b.where or _same_memory(a.where, b.where)):
        b.source, b.where = "external", Place(b.where, "", "array")
    elif a.source == "constant" and not _equal(a.where, b.where):
        return "an array that is no argument is made anew in each call, with other values"
    pairs[a] = b
    return None


def _same_memory(a: Any, b: Any) -> bool:
    """Whether both are the same view of an array outside."""
    return bool(a.base is b.base is not None and address(a) == address(b))


def _equal(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
