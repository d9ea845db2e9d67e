"""C for sums, products, maxima and minima along axes, in NumPy's order of additions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import native
from .c_code import (
    assign,
    element,
    expression,
    literal,
    loop_call,
    loops,
    nest,
    numbered,
    substituted,
)
from .fusion import Emit, Names, placed
from .program import Call

_STARTS = {
    np.add: 0, np.multiply: 1, np.maximum: None, np.minimum: None,
    np.logical_or: 0, np.logical_and: 1,
}  # fmt: skip


def reduction(call: Call) -> Emit | None:
    """``add.reduce`` and other reductions, where NumPy's order is known."""
    ufunc: Any = getattr(call.function, "__self__", None)
    if ufunc not in _STARTS or call.function.__name__ != "reduce" or len(call.args) != 2:
        return None
    (x, axis), out = call.args, call.out
    if not x.shape:
        return None
    types = (out.dtype,) * 3
    # NumPy adds in another order where the sum starts at a given number.
    known = {"keepdims", "initial"} if _STARTS[ufunc] is None else {"keepdims"}
    start = call.kwargs.get("initial", _STARTS[ufunc])
    if not call.kwargs.keys() <= known or not isinstance(start, int | float | None):
        return None
    if x.dtype != out.dtype or x.dtype.char not in "efd?":
        return None
    every = range(len(x.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    summed = {k % len(x.shape) for k in every}
    repeats = any(not s and n > 1 for s, n in zip(x.strides, x.shape, strict=True))
    if repeats or not native.sums_alike(x, summed) or native.loop(ufunc, types) is None:
        return None

    def lines(names: Names) -> list[str]:
        source, target = placed(names, x, out)
        steps = list(target.strides)
        for k in () if call.kwargs["keepdims"] else sorted(summed):
            steps.insert(k, 0)
        kept = tuple([0 if k in summed else step for k, step in enumerate(steps)])
        whole = replace(target, shape=x.shape, strides=kept)
        if start is None:
            picked = tuple(slice(0, 1) if k in summed else slice(None) for k in range(len(x.shape)))
            first = source.view(lambda a: a[picked])
            before = assign(replace(whole, shape=first.shape), first)
        else:
            before = assign(target, literal(start, out.dtype))
        axes = nest(x.shape, source.steps, whole.steps)
        if not axes and "initial" not in call.kwargs:
            return assign(target, source.view(lambda a: a.reshape(out.shape)))
        axes = axes or [(1, (0, 0))]
        *outer, (n, (step, onto)) = axes
        text = expression(ufunc, types)
        few = n < 8 and ufunc is np.add and all(kept for _, (_, kept) in outer)
        in_c = text and (onto or few)
        used = axes if in_c else outer
        inner = numbered(len(used))
        a, b = element(whole, inner, used, 1), element(source, inner, used, 0)
        if in_c:
            text = substituted(text or "", a=a, b=b)
            body = [f"{a} += {b};" if ufunc is np.add else f"{a} = {text};"]
        else:
            along = [str(stride * x.dtype.itemsize) for stride in (onto, step, onto)]
            words = [f"&{word}" for word in (a, b, a)]
            body = [loop_call(names.loop(ufunc, types), str(n), along, words)]
            if not onto and all(kept for _, (_, kept) in outer):  # a call adds up all of a sum
                begin = b if start is None else literal(start, out.dtype)
                before, body = [], [f"{a} = {begin};", *body]
        body = loops(used, inner, body, independent=bool(in_c and onto))
        apart = [v for v, (_, (_, to)) in zip(inner, used, strict=True) if to]
        if apart:  # loops whose runs add to different elements
            ns = 0.1 * x.size + (0 if in_c else 12 * x.size // n)
            body = names.shared(body, apart[0], ns)
        return [*before, *body]

    return lines
