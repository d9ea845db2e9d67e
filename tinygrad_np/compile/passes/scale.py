"""Scale folding: a number times a product of matrices scales the smaller factor instead.

What BLAS can take as its alpha is left to ``gemm``; without BLAS the update's learning rate, say,
goes into the small delta and not through the large gradient.
"""

from .. import blas
from ..program import Call, Program, Value
from .match import is_scale, product_of, single_use


def run(program: Program) -> int:
    """Turn s * (A @ B) into A @ (s * B), or (s * A) @ B where A is the smaller one."""
    if blas.library() is not None:
        return 0
    uses, changed = program.uses(), 0
    producers = program.producers()
    for call in list(program.calls):
        found = product_of(call, producers)
        if found is None or call.out is None:
            continue
        number, matrix = found
        inner = producers.get(matrix)
        if inner is None or inner.function.__name__ != "matmul" or not single_use(matrix, uses):
            continue
        assert is_scale(number)
        left, right = inner.args
        small = left if left.size < right.size else right
        if small.size >= matrix.size or len(matrix.shape) != 2:
            continue
        scaled = Value(_Like(small))
        factor = Call("array", call.function, (number, small), {}, scaled, call.line)
        inner.args = (scaled, right) if small is left else (left, scaled)
        inner.out = call.out
        at = program.calls.index(call)
        program.calls[at : at + 1] = [factor, inner]
        program.calls.remove(inner)
        program.calls.insert(program.calls.index(factor) + 1, inner)
        producers = program.producers()
        changed += 1
    return changed


class _Like:
    """The shape and dtype of a value still to be computed."""

    def __init__(self, value: Value) -> None:
        self.shape, self.dtype = value.shape, value.dtype
