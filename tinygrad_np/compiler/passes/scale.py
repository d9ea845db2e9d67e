"""Scale folding: a number times a product of matrices scales the smaller factor instead.

What BLAS can take as its alpha, ``accumulate`` has taken already.
"""

from ..program import Call, Program, Value
from .facts import Facts, is_product


def run(program: Program) -> int:
    """Turn s * (A @ B) into A @ (s * B), or (s * A) @ B where A is the smaller one."""
    facts = Facts(program)
    changed = 0
    calls = []
    for i, call in enumerate(program.calls):
        number, matrix = facts.scaled(call) or (None, None)
        product = facts.only_here(matrix)
        if matrix is not None and is_product(product):
            small = min(product.args, key=lambda factor: factor.size)
            if small.size < matrix.size and facts.stays(product.args, facts.made[matrix], i):
                scaled = Value(small)
                calls.append(Call("array", call.function, (number, small), {}, scaled, call.line))
                call.function = product.function
                call.args = tuple([scaled if v is small else v for v in product.args])
                changed += 1
        calls.append(call)
    program.calls = calls
    return changed
