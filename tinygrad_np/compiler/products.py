"""C for matrix products: NumPy's own loop, BLAS that accumulates, plain loops at batch 1."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from .. import native
from .c_code import (
    assign,
    at,
    c_type,
    element,
    literal,
    loops,
    nest,
    numbered,
)
from .fusion import Emit, Names, placed
from .passes.gemm import gemm, layout
from .passes.rows import small_product
from .program import Call, Value

_BLAS_ALONE = 1 << 18
"""Multiplications up to which OpenBLAS uses one thread."""


@functools.lru_cache(1000)
def _dot_is_matmul(a: Any, b: Any, char: str) -> bool:
    """Whether ``np.dot`` and ``np.matmul`` give the same bits for these shapes and strides."""
    rng, arrays = np.random.default_rng(0), []
    for shape, strides in (a, b):
        size = np.dtype(char).itemsize
        low = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s < 0)
        high = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s > 0)
        memory = np.resize(rng.standard_normal(1009).astype(char), (high - low) // size + 1)
        arrays.append(np.ndarray(shape, char, memory, -low, strides))
    one, other = np.dot(*arrays), np.matmul(*arrays)
    return one.tobytes() == other.tobytes()


def uses_blas(call: Call) -> bool:
    """Whether BLAS computes a call on its own threads."""
    if call.function is gemm:
        return bool(call.args[1].shape[1] > 1)
    if call.function not in (np.matmul, np.dot, np.ndarray.dot):
        return False
    shape = getattr(call.args[0], "shape", ()) or (1,)
    return call.out.size * shape[-1] > _BLAS_ALONE


def product(call: Call) -> Emit | None:
    """A product, batched or not, by the inner loop of ``np.matmul``."""
    if call.function not in (np.matmul, np.dot, np.ndarray.dot) or call.kwargs:
        return None
    (a, b), out = call.args, call.out
    if not isinstance(a, Value) or not isinstance(b, Value) or {a.dtype, b.dtype} != {out.dtype}:
        return None
    if native.loop(np.matmul, (out.dtype,) * 3) is None or any(
        s % v.dtype.itemsize for v in (a, b, out) for s in v.strides
    ):
        return None
    if call.function is not np.matmul and (
        not {len(a.shape), len(b.shape)} <= {1, 2} or out.dtype.char not in "fd"
        or not _dot_is_matmul((a.shape, a.strides), (b.shape, b.strides), out.dtype.char)
    ):  # fmt: skip
        return None

    def lines(names: Names) -> list[str]:
        left, right, target = placed(names, a, b, out)
        shape, strides = target.shape, target.strides
        if len(a.shape) == 1:
            left = replace(left, shape=(1, *a.shape), strides=(0, *a.strides))
            at_row = len(shape) - (len(b.shape) > 1)
            shape = (*shape[:at_row], 1, *shape[at_row:])
            strides = (*strides[:at_row], 0, *strides[at_row:])
        if len(b.shape) == 1:
            right = replace(right, shape=(*b.shape, 1), strides=(*b.strides, 0))
            shape, strides = (*shape, 1), (*strides, 0)
        target = replace(target, shape=shape, strides=strides)
        (n, m), k, batch = shape[-2:], left.shape[-1], shape[:-2]
        places = [left, right, target]
        outer = [replace(p, shape=p.shape[:-2], strides=p.strides[:-2]) for p in places]
        axes = nest(batch, *[p.broadcast(batch).steps for p in outer])
        inner = numbered(len(axes))
        words = [f"&{element(p, inner, axes, i)}" for i, p in enumerate(places)]
        steps = ", ".join(str(s) for p in places for s in p.strides[-2:])
        text = (f"product({names.loop(np.matmul, (out.dtype,) * 3)}, {n}, {k}, {m}, "
                f"(isize[]){{{steps}}}, {', '.join(words)});")  # fmt: skip
        return loops(axes, inner, [text])

    return lines


def accumulated(call: Call) -> Emit | None:
    """C + alpha * (A @ B), where C's memory holds the result: the update of a weight."""
    if call.function is not gemm:
        return None
    c, a, b, sign, factor = call.args
    out, (n, k), m = call.out, a.shape, b.shape[1]
    dtype, type_ = out.dtype, c_type(out.dtype)
    blas = native.blas(f"cblas_{'s' if dtype.char == 'f' else 'd'}gemm") or 0
    if k > 1 and not blas:
        return None

    def lines(names: Names) -> list[str]:
        old, left, right, target = placed(names, c, a, b, out)
        word = literal(factor, dtype) if not isinstance(factor, Value) else names.number(factor)
        text = [f"const {type_} alpha = {'-' if sign < 0 else ''}({type_}){word};"]
        if old.pointer != target.pointer:
            text += assign(target, old)
        if k == 1:
            column, row = f"{left.pointer}, {left.steps[0]}", f"{right.pointer}, {right.steps[1]}"
            text.append(f"outer_{type_}({n}, {m}, alpha, {column}, {row}, {target.pointer});")
        else:
            words = [names.address(f"blas_gemm_{type_}", blas), f"{n}, {m}, {k}, alpha"]
            for v, place in ((a, left), (b, right)):
                turned, leading = layout(v) or (False, 0)
                words.append(f"{'TRANSPOSED' if turned else 'PLAIN'}, {place.pointer}, {leading}")
            text.append(f"static {type_} whole[{n * m}];")
            text.append(f"gemm_{type_}({', '.join(words)}, {target.pointer}, whole);")
        return ["{", *text, "}"]

    return lines


def by_loops(call: Call) -> Emit | None:
    """A product at batch 1, as plain loops."""
    if call.function is not small_product:
        return None
    (a, b), out = call.args, call.out
    (n, k), m = a.shape, b.shape[1]

    def lines(names: Names) -> list[str]:
        left, right, target = placed(names, a, b, out)
        x, y = at(left, "ik", left.steps), at(right, "kj", right.steps)
        z = at(target, "ij", target.steps)
        if m > 1 and b.strides[1] == b.dtype.itemsize:
            # In an array of C's own the sums stay in registers.
            body = [f"{c_type(out.dtype)} sums[{m}] = {{0}};",
                    *loops([(k, ()), (m, ())], "kj", [f"sums[j] += {x} * {y};"], True),
                    *loops([(m, ())], "j", [f"{z} = sums[j];"], True)]  # fmt: skip
            return loops([(n, ())], "i", body)
        body = loops([(k, ())], "k", [f"sum += {x} * {y};"])
        body = [f"{c_type(out.dtype)} sum = 0;", *body, f"{z} = sum;"]
        return loops([(n, ()), (m, ())], "ij", body)

    return lines
