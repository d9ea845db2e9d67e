"""C for products of small matrices: the sizes that ``native/product.h`` needs."""

from __future__ import annotations

import math
from dataclasses import replace

from .. import native
from .c_code import CArray, c_type, index, loops, nest, numbered
from .fusion import Emit, Names, placed
from .parts import EACH_NANOSECOND, headers, shared
from .passes.tiles import tiled
from .program import Call


def by_tiles(call: Call) -> Emit | None:
    """A product of small matrices, batched or not, with its sums in registers."""
    if call.function is not tiled:
        return None
    return lambda names: [_multiply(names, *placed(names, *call.args, call.out))]


def _multiply(names: Names, *places: CArray) -> str:
    """The C call for ``out = a @ b``; ``places`` are those of a, b and out."""
    a, _, out = places
    type_ = c_type(out.dtype) or ""
    headers(names, type_, native.PRODUCT)
    (n, m), k, batch = out.shape[-2:], a.shape[-1], out.shape[:-2]
    (a_row, a_step), (b_row, b_step), (row, _) = [p.steps[-2:] for p in places]
    outer = [
        replace(p, shape=p.shape[:-2], strides=p.strides[:-2]).broadcast(batch) for p in places
    ]
    axes = nest(batch, *[p.steps for p in outer])
    inner = numbered(len(axes))
    at_a, at_b, at_out = [
        f"({type_} *)operands[{i}] + {index(inner, [steps[i] for _, steps in axes])}"
        for i in range(3)
    ]  # fmt: skip
    work = (
        f"{type_}_multiply({n}, {k}, {m}, {at_a}, {a_row}, {a_step}, {at_b}, {b_row}, {b_step}, "
        f"{at_out}, {row}, 0, 0, copy[part], {'0, 1' if axes else 'part, parts'});"
    )
    text, runs = loops(axes, inner, [work]), n
    if axes:
        text, runs = shared(text, "j0")
    width = f"VECTORS({m}, {type_}_lanes) * {type_}_lanes"
    memory = f"static _Alignas(64) {type_} copy[THREADS][{k} * {width}];"
    text = ["FUSED", "TASK(NAME)", "{", memory, *text, "}", "FUSED_END"]
    name = names.function("product", "\n".join(text))
    pointers = [f"(void *){place.pointer}" for place in places]
    return names.in_parts(name, math.prod((*out.shape, k)) / EACH_NANOSECOND, runs, *pointers)
