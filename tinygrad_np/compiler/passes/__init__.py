"""Passes that make a program smaller and faster, one transformation a file."""

from collections.abc import Callable
from functools import partial

from ..program import Program
from . import cse, dce, direct, factor, gemm, ones, pool_back, rows, split, tiles

Pass = Callable[[Program], None]
"""Changes the program in place."""

EXACT: tuple[Pass, ...] = (dce.run, cse.run)
"""Passes that keep the bits of every result."""

EXACT_NATIVE: tuple[Pass, ...] = (pool_back.run, dce.run)
"""The same for native code."""

REORDERING: tuple[Pass, ...] = (
    factor.run, dce.run, gemm.run, rows.run, tiles.run, split.run, direct.run, dce.run,
)  # fmt: skip
"""Passes for native code that change the order of additions, and so the last digits."""

REORDERING_NUMPY: tuple[Pass, ...] = (partial(factor.run, alone=True), ones.run, dce.run)
"""The same for NumPy."""
