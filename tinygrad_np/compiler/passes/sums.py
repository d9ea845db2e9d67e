"""Sums along one axis of a matrix as products with ones: a bias's gradient, a softmax's total.

BLAS adds up the rows or columns of a matrix several times as fast as NumPy's reduction does.
"""

import numpy as np

from ..program import Call, Program, Value
from .algebra import as_view
from .facts import Facts


def run(program: Program) -> int:
    """Turn add.reduce(x, 0) into ones @ x, and add.reduce(x, 1) into x @ ones."""
    changed = 0
    facts = Facts(program)
    calls = []
    for call in program.calls:
        calls.append(call)
        if call.function != np.add.reduce or len(call.args) != 2 or call.out is None:
            continue
        if as_view(call, facts):
            changed += 1
            continue
        (x, axis), out = call.args, call.out
        axes = axis if isinstance(axis, tuple) else (axis,)
        if not isinstance(x, Value) or len(x.shape) != 2 or len(axes) != 1 or axes[0] is None:
            continue
        if x.dtype != out.dtype or x.dtype.char not in "fd" or not out.size or not x.size:
            continue
        along = axes[0] % 2
        array = np.ones(x.shape[along], x.dtype)
        array.setflags(write=False)
        ones = Value(array, "constant", array)
        call.function, call.args = np.dot, (x, ones) if along else (ones, x)
        if call.kwargs.get("keepdims"):
            call.out = Value(np.empty(x.shape[1 - along], x.dtype))
            shape = (call.out, out.shape)
            calls.append(Call("view", np.ndarray.reshape, shape, {}, out, call.line))
        call.kwargs = {}
        changed += 1
    program.calls = calls
    return changed
