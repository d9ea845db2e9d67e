"""The products of matrices in a program."""

from collections.abc import Iterator

import numpy as np

from ..program import Call, Program, Value


def products(program: Program) -> Iterator[tuple[Call, Value, Value]]:
    """The products of real matrices of one dtype, and of batches of them, with both factors."""
    for call in program.calls:
        if call.function not in (np.matmul, np.dot, np.ndarray.dot) or call.kwargs:
            continue
        (a, b), out = call.args, call.out
        if not (isinstance(a, Value) and isinstance(b, Value)) or out.dtype.char not in "fd":
            continue
        ranks = {len(a.shape), len(b.shape)}
        matrices = ranks == {2} or (call.function is np.matmul and min(ranks) > 1)
        if matrices and {a.dtype, b.dtype} == {out.dtype} and a.size and out.size:
            yield call, a, b
