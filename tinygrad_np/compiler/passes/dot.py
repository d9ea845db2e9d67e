"""Small matrix products by ``np.dot``, which starts in half of ``np.matmul``'s time."""

import numpy as np

from ..program import Program, is_ufunc
from .facts import is_product


def run(program: Program) -> int:
    """Turn matmul of two matrices into dot."""
    changed = 0
    for call in program.calls:
        if is_ufunc(call, np.matmul) and is_product(call):
            call.function = np.dot
            changed += 1
    return changed
