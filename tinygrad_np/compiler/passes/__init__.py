"""What makes a program smaller and faster, one transformation a file."""

from collections.abc import Callable

from ..program import Program
from . import cse, dce, direct, gemm, pool_back, rows, simplify

Pass = Callable[[Program], None]
"""Changes the program in place."""

EXACT: tuple[Pass, ...] = (dce.run, simplify.run, cse.run, dce.run)
"""Passes after which every result is the same to the last bit."""

NATIVE: tuple[Pass, ...] = (pool_back.run, dce.run)
"""Passes that pay in native code only. The bits stay."""

REORDERING: tuple[Pass, ...] = (gemm.run, rows.run, direct.run, dce.run)
"""Passes that change the order of additions and multiplications, and so the last digits.

They pay in native code only."""
