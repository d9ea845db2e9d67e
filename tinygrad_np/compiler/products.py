"""C for matrix products: NumPy's own loop, BLAS that accumulates, plain loops at batch 1."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from .. import native
from .c_code import (
    CArray,
    assign,
    at,
    c_type,
    element,
    indented,
    literal,
    loops,
    nest,
    numbered,
)
from .fusion import Emit, Names, placed
from .parts import EACH_NANOSECOND
from .passes.gemm import gemm, layout
from .passes.rows import small_product
from .passes.split import BLAS_ALONE, in_parts
from .program import Call, Value


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


def shares_threads(call: Call) -> bool:
    """Whether BLAS computes a call in parts, on the threads of the pool."""
    if call.function not in (in_parts, gemm):
        return False
    k = call.args[call.function is gemm].shape[-1]
    return bool(k > 1 and call.out.size * k > BLAS_ALONE)


def uses_blas(call: Call) -> bool:
    """Whether BLAS computes a call on its own threads."""
    if call.function not in (np.matmul, np.dot, np.ndarray.dot):
        return False
    shape = getattr(call.args[0], "shape", ()) or (1,)
    return call.out.size * shape[-1] > BLAS_ALONE


def product(call: Call) -> Emit | None:
    """A product, batched or not, by the inner loop of ``np.matmul``."""
    if call.function not in (np.matmul, np.dot, np.ndarray.dot, in_parts) or call.kwargs:
        return None
    (a, b), out = call.args, call.out
    if not isinstance(a, Value) or not isinstance(b, Value) or {a.dtype, b.dtype} != {out.dtype}:
        return None
    if native.loop(np.matmul, (out.dtype,) * 3) is None or any(
        s % v.dtype.itemsize for v in (a, b, out) for s in v.strides
    ):
        return None
    if call.function not in (np.matmul, in_parts) and (
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
        batched = loops(axes, inner, [text])
        if call.function is not in_parts or not axes:
            return batched
        return names.shared(batched, inner[0], out.size * k / EACH_NANOSECOND)

    return lines


def split(call: Call) -> Emit | None:
    """A large product of two matrices, by BLAS on the threads of the pool."""
    if call.function is not in_parts or len(call.out.shape) > 2 or not _gemm_of(call):
        return None
    return lambda names: [_by_parts(names, call, placed(names, *call.args, call.out))]


def accumulated(call: Call) -> Emit | None:
    """C + alpha * (A @ B), where C's memory holds the result: the update of a weight."""
    if call.function is not gemm:
        return None
    c, a, b, sign, factor = call.args
    out, (n, k), m = call.out, a.shape, b.shape[1]
    dtype, type_ = out.dtype, c_type(out.dtype)
    if k > 1 and not _gemm_of(call):
        return None

    def lines(names: Names) -> list[str]:
        old, left, right, target = placed(names, c, a, b, out)
        word = literal(factor, dtype) if not isinstance(factor, Value) else names.number(factor)
        text = [f"{type_} alpha = {'-' if sign < 0 else ''}({type_}){word};"]
        if old.pointer != target.pointer:
            text += assign(target, old)
        if k == 1:
            column, row = f"{left.pointer}, {left.steps[0]}", f"{right.pointer}, {right.steps[1]}"
            text.append(f"outer_{type_}({n}, {m}, alpha, {column}, {row}, {target.pointer});")
        else:
            text.append(_by_parts(names, call, [left, right, target], "&alpha"))
        return ["{", *text, "}"]

    return lines


def _gemm_of(call: Call) -> int | None:
    return native.blas(f"cblas_{'s' if call.out.dtype.char == 'f' else 'd'}gemm")


def _by_parts(names: Names, call: Call, places: list[CArray], *alpha: str) -> str:
    """The C call for ``out = a @ b``, or ``out += alpha * a @ b``; ``places``: of a, b and out.

    Each part computes some of the rows of ``out``, or of its columns where these are more.
    """
    (n, k), m, type_ = places[0].shape, places[1].shape[1], c_type(call.out.dtype)
    axis, runs = int(n < m), max(n, m)
    lengths = [f"TO({runs}) - FROM({runs})" if i == axis else str(x) for i, x in enumerate((n, m))]
    moved = [(1 - axis) * places[0].steps[0], axis * places[1].steps[1], places[2].steps[axis]]
    words = [names.address(f"blas_gemm_{type_}", _gemm_of(call) or 0), *lengths, str(k)]
    words.append(f"*({type_} *)operands[3]" if alpha else "1")
    *factors, onto = [f"({type_} *)operands[{i}] + FROM({runs}) * {moved[i]}" for i in range(3)]
    first = int(call.function is gemm)
    for value, word in zip(call.args[first : first + 2], factors, strict=True):
        turned, leading = layout(value) or (False, 0)
        words += ["TRANSPOSED" if turned else "PLAIN", word, str(leading)]
    whole = f"whole + FROM({runs}) * {moved[2]}" if alpha else "NULL"
    words += [str(len(alpha)), onto, str(m), whole]
    memory = [f"static {type_} whole[{n * m}];"] * len(alpha)
    names.head(native.PARALLEL)
    task = indented(["TASK(NAME)", "{", *memory, f"gemm_{type_}({', '.join(words)});", "}"])
    pointers = [f"(void *){word}" for word in (*[place.pointer for place in places], *alpha)]
    work = n * k * m / EACH_NANOSECOND
    return names.in_parts(names.function("product", task), work, runs, *pointers)


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
