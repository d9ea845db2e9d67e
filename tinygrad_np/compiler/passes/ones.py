"""Sums over the rows of a matrix as a product with ones, in a third of the time of NumPy's sum."""

import numpy as np

from ..program import Program, Value
from .gemm import layout


def run(program: Program) -> None:
    """Replace ``x.sum(axis=0)`` by ``ones @ x``. (For the NumPy executor: C has a fast loop.)"""
    for call in program.calls:
        if call.function != np.add.reduce or call.kwargs != {"keepdims": False}:
            continue
        x, axis = call.args
        if axis in (0, (0,)) and x.dtype == call.out.dtype and x.dtype.char in "fd" and layout(x):
            ones = Value(np.ones(x.shape[0], x.dtype), "constant")
            call.function, call.args, call.kwargs = np.dot, (ones, x), {}
