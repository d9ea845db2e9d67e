"""Convolutions without columns: other sums, in another order, and several times as fast."""

import math
from typing import Any

import numpy as np

from ...ops import convolution
from ..program import Program, Value

_MAPS: frozenset[Any] = frozenset(
    [function.__wrapped__ for function in
     (convolution.convolve, convolution.transpose_convolve, convolution.correlate)]
)  # fmt: skip
_LEAST = 0.3
"""Of the numbers in vector registers so many must be outputs: else columns are faster."""


def direct(function: Any, *args: Any) -> Any:
    """One of the three maps of a convolution."""
    return function(*args)


def run(program: Program) -> None:
    """Mark the convolutions that C computes itself."""
    for call in program.calls:
        if call.function in _MAPS and _fits(call.args, call.out):
            call.function, call.args = direct, (call.function, *call.args)


def _fits(args: tuple[Any, ...], out: Value) -> bool:
    arrays = [a for a in args if isinstance(a, Value)]
    if {a.dtype for a in arrays} != {out.dtype} or out.dtype.char not in "fd":
        return False
    if not 3 <= len(out.shape) <= 5 or not all(a.size for a in (*arrays, out)):
        return False
    return True
