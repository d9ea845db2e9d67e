"""C for products of small matrices: the sizes that ``native/product.h`` needs."""

from __future__ import annotations

import math
from dataclasses import replace

from .. import native
from .c_code import c_type, index, loops, nest, numbered
from .fusion import Emit, Names, placed
from .parts import headers, in_parts
from .passes.tiles import tiled
from .program import Call


def by_tiles(call: Call) -> Emit | None:
    """A product of small matrices, batched or not, with its sums in registers."""
    if call.function is not tiled:
        return None
    (a, b), out = call.args, call.out
    type_ = c_type(out.dtype) or ""

    def lines(names: Names) -> list[str]:
        headers(names, type_, native.PRODUCT)
        places = placed(names, a, b, out)
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
        width = f"VECTORS({m}, {type_}_lanes) * {type_}_lanes"
        copied = f"{int(b_step != 1)} || {m} % {type_}_lanes"
        share = "0, 1" if axes else "part, parts"
        work = [
            f"const {type_} *from = {at_b};",
            f"isize step = {b_row};",
            f"if ({copied}) {{",
            f"{type_}_packed({k}, {m}, from, {b_row}, {b_step}, copy[part]);",
            f"from = copy[part], step = {width};",
            "}",
            f"{type_}_multiply({n}, {k}, {m}, {at_a}, {a_row}, {a_step}, from, "
            f"{copied} ? {width} : {b_row}, {at_out}, {row}, 0, 0, {share});",
        ]
        text = loops(axes, inner, work)
        if axes:
            text[0] = (f"for (isize j0 = part * {axes[0][0]} / parts; "
                       f"j0 < (part + 1) * {axes[0][0]} / parts; j0++) {{")  # fmt: skip
        head = "static void NAME(void **operands, isize part, isize parts)"
        memory = f"static _Alignas(64) {type_} copy[THREADS][{k} * {width}];"
        text = ["FUSED", head, "{", memory, *text, "}", "FUSED_END"]
        name = names.function("product", "\n".join(text))
        rows = axes[0][0] if axes else n
        return [in_parts(names, name, math.prod((*out.shape, k)), rows, *places)]

    return lines
