"""A common factor: C - r A B - s A D is C - A (r B + s D), one matrix product instead of many.

A weight that is updated a hundred times for the same activations then costs one large product:
a tenth of the time in the second seed document's table ``dropout_minibatch``.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ..program import Call, Program, Value
from .gemm import update_of
from .use_def import UseDef


def run(program: Program, alone: bool = False) -> None:
    """Join chains of updates with the same left factor, adding up their right factors.

    ``alone``: also scale the right factor of a single update where it is smaller than the product.
    """
    use_def = UseDef(program)
    updates = {call.out: u for call in program.calls if (u := update_of(call, use_def))}
    followed = {
        u.start for u in updates.values()
        if (before := updates.get(u.start)) and use_def.only_read(u.start)
        and (before.function, before.left) == (u.function, u.left)
    }  # fmt: skip
    sums: dict[Value, tuple[Value, Value]] = {}  # a chain's start and its sum so far
    calls: list[Call] = []

    def computed(function: Any, *args: Any, like: Value) -> Value:
        out = Value(np.empty(like.shape, like.dtype))
        calls.append(replace(call, function=function, args=args, out=out))
        return out

    for call in program.calls:
        update = updates.get(call.out)
        wanted = update and (
            {call.out, update.start} & followed or (alone and update.right.size < call.out.size)
        )
        if not (update and wanted):
            calls.append(call)
            continue
        start, so_far = sums.get(update.start, (update.start, None))
        total = computed(np.multiply, update.factor, update.right, like=update.right)
        if so_far is not None:
            total = computed(np.add, so_far, total, like=total)
        if call.out in followed:
            sums[call.out] = start, total
        else:
            product = computed(np.matmul, update.left, total, like=call.out)
            calls.append(replace(call, args=(start, product)))
    program.calls = calls
