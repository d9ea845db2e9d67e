"""C for pooling: the sizes that ``native/pooling.h`` needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import native
from ..ops import pooling
from .c_code import CArray, assign, c_type, expression
from .fusion import Emit, Names, placed
from .passes.pool_back import pool_back
from .program import Call

_LARGEST: Any = pooling.largest.__wrapped__  # type: ignore[attr-defined]
_SUMS: Any = pooling.sums.__wrapped__  # type: ignore[attr-defined]
_SPREAD: Any = pooling.spread_sums.__wrapped__  # type: ignore[attr-defined]


def pooled(call: Call) -> Emit | None:
    """The maximum or sum of each window, and their gradients."""
    out = call.out
    if out.dtype.char not in "fd" or any(v.dtype != out.dtype for v in call.inputs):
        return None
    if max([len(v.shape) for v in (*call.inputs, out)]) > 5:
        return None
    dtypes = (out.dtype,) * 3
    if call.function is _LARGEST and expression(np.maximum, dtypes):
        x, *sizes, _ = call.args
        return lambda names: _pool(names, 0, *placed(names, x, out), *sizes)
    if call.function is _SUMS:
        x, kernel, stride, padding, _ = call.args
        return lambda names: _pool(names, 1, *placed(names, x, out), kernel, stride, padding)
    if call.function is _SPREAD:
        y, kernel, stride, padding, _ = call.args
        return lambda names: _spread(names, *placed(names, out, y), kernel, stride, padding)
    if call.function is pool_back:
        g, x, y, *sizes = call.args
        return lambda names: _back(names, *placed(names, g, x, y, out), *sizes)
    return None


def _five(place: CArray) -> str:
    steps = place.steps
    return f"{{{', '.join(map(str, (*steps[:2], *[0] * (5 - len(steps)), *steps[2:])))}}}"


def _text(names: Names, x: CArray, y: CArray, *sizes: tuple[int, ...]) -> tuple[str, bool]:
    """The description of the windows, and whether they do not overlap."""
    type_ = c_type(x.dtype) or ""
    names.head(native.POOLING.replace("REAL", type_))
    kernel, stride, padding, dilation = (*sizes, (1,) * len(sizes[0]))[:4]
    missing = 3 - len(kernel)

    def three(numbers: tuple[int, ...], fill: int) -> str:
        return f"{{{', '.join(map(str, (fill,) * missing + tuple(numbers)))}}}"

    fields = {
        "images": x.shape[0], "channels": x.shape[1], "size": three(x.shape[2:], 1),
        "out": three(y.shape[2:], 1), "kernel": three(kernel, 1), "stride": three(stride, 1),
        "before": three(padding, 0), "dilation": three(dilation, 1),
        "x": _five(x), "y": _five(y),
    }  # fmt: skip
    words = ", ".join(f".{key} = {value}" for key, value in fields.items())
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    apart = all(r <= s for r, s in zip(reach, stride, strict=True))
    return f"&(const Pooling){{{words}}}", apart


def _pool(names: Names, sums: int, x: CArray, y: CArray, *sizes: Any) -> list[str]:
    text, _ = _text(names, x, y, *sizes)
    return [f"{c_type(x.dtype)}_pool({text}, {sums}, {x.pointer}, {y.pointer});"]


def _spread(names: Names, x: CArray, y: CArray, *sizes: Any) -> list[str]:
    text, apart = _text(names, x, y, *sizes)
    zeros = assign(x, "0") if apart else []
    return [*zeros, f"{c_type(x.dtype)}_spread({text}, {int(apart)}, {y.pointer}, {x.pointer});"]


def _back(names: Names, g: CArray, x: CArray, y: CArray, out: CArray, *sizes: Any) -> list[str]:
    text, apart = _text(names, x, y, *sizes)
    kernel, stride, padding = sizes[:3]
    tiled = [n * s for n, s in zip(y.shape[2:], stride, strict=True)]
    covers = apart and kernel == stride and tuple(tiled) == x.shape[2:]
    strides = ", ".join(f"(const isize[]){_five(place)}" for place in (g, out))
    return [
        *([] if covers and not any(padding) else assign(out, "0")),
        f"{c_type(x.dtype)}_pool_back({text}, {int(apart and not any(padding))}, {x.pointer}, "
        f"{y.pointer}, {g.pointer}, {out.pointer}, {strides});",
    ]  # fmt: skip
