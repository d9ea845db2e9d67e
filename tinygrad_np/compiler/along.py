"""C for scans along one axis: running sums and products, and the places of extremes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .c_code import CArray, at, element, expression, loops, nest, numbered, substituted
from .fusion import Emit, placed
from .program import Call, Value

_RUNNING: dict[Any, Any] = {
    np.cumsum: np.add, np.ndarray.cumsum: np.add,
    np.cumprod: np.multiply, np.ndarray.cumprod: np.multiply,
}  # fmt: skip
_SIGNS: dict[Any, str] = {
    np.argmax: ">", np.ndarray.argmax: ">", np.argmin: "<", np.ndarray.argmin: "<"
}  # fmt: skip


def along(call: Call) -> Emit | None:
    """``cumsum``, ``cumprod``, ``argmax`` and ``argmin`` of an array of real numbers."""
    function, (x, *rest), out = call.function, call.args or (None,), call.out
    axis = rest[0] if rest else call.kwargs.get("axis")
    if not isinstance(x, Value) or len(rest) > 1 or not call.kwargs.keys() <= {"axis", "keepdims"}:
        return None
    if axis is None and len(x.shape) == 1:
        axis = 0
    if type(axis) is not int or not x.shape or x.dtype.char not in "fd":
        return None
    axis %= len(x.shape)
    if function in _RUNNING and x.dtype == out.dtype:
        text = expression(_RUNNING[function], (x.dtype,) * 3) or ""
        return lambda names: _running(placed(names, x, out), axis, text)
    if function in _SIGNS:
        keeps = bool(call.kwargs.get("keepdims"))
        return lambda names: _place(placed(names, x, out), axis, _SIGNS[function], keeps)
    return None


def _running(places: list[CArray], axis: int, text: str) -> list[str]:
    x, out = places
    n, step, onto = x.shape[axis], x.steps[axis], out.steps[axis]
    axes = nest(*[_without(items, axis) for items in (x.shape, x.steps, out.steps)])
    names, axes = numbered(len(axes)), [*axes, (n, (step, onto))]
    here, there = (element(p, [*names, "k"], axes, i) for i, p in enumerate((x, out)))
    before = element(out, [*names, "(k - 1)"], axes, 1)
    body = [f"{there} = k ? {substituted(text, a=before, b=here)} : {here};"]
    return loops(axes, [*names, "k"], body)


def _place(places: list[CArray], axis: int, sign: str, keeps: bool) -> list[str]:
    x, out = places
    if keeps:
        out = replace(out, shape=_without(out.shape, axis), strides=_without(out.strides, axis))
    axes = nest(*[_without(items, axis) for items in (x.shape, x.steps)], out.steps)
    names = numbered(len(axes))
    steps = [*[s[0] for _, s in axes], x.steps[axis]]
    new, best = (at(x, [*names, k], steps) for k in ("k", "best"))
    # The first of equal elements; the first nan, if there is one.
    better = f"{new} {sign} {best} || ({new} != {new} && {best} == {best})"
    body = ["isize best = 0;",
            *loops([(x.shape[axis], ())], ["k"], [f"if ({better})", "best = k;"]),
            f"{element(out, names, axes, 1)} = best;"]  # fmt: skip
    return loops(axes, names, body)


def _without(items: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*items[:axis], *items[axis + 1 :])
