"""Kernels of one call each, for calls that are not elementwise."""

from __future__ import annotations

from dataclasses import dataclass

from . import along, convolutions, moves, pools, products, small_products, sums
from .c_code import c_type
from .fusion import Emit
from .passes.gemm import gemm
from .program import Call, Value


@dataclass(eq=False)
class Single:
    """A kernel of one call."""

    call: Call
    lines: Emit
    raises: bool = False
    onto: Value | None = None
    """An operand in whose memory the result may be."""

    @property
    def calls(self) -> list[Call]:
        """The one call."""
        return [self.call]


def single(call: Call) -> Single | None:
    """The kernel of a call; None where C cannot give NumPy's bits."""
    if not call.out.size or any(c_type(v.dtype) is None for v in _arrays(call)):
        return None
    if not all(v.size for v in _arrays(call)):
        return None
    for rule in (
        sums.reduction,
        products.split,
        products.product,
        products.accumulated,
        products.by_loops,
        small_products.by_tiles,
        convolutions.convolved,
        pools.pooled,
        moves.reshaped,
        moves.joined,
        moves.padded,
        along.along,
    ):
        if (emit := rule(call)) is not None:
            return Single(call, emit, onto=call.args[0] if call.function is gemm else None)
    for rule in (moves.gathered, moves.scattered, moves.set_item):
        if (emit := rule(call)) is not None:
            return Single(call, emit, raises=True)
    return None


def _arrays(call: Call) -> list[Value]:
    return [call.out, *[value for value in call.inputs if value.source != "number"]]
