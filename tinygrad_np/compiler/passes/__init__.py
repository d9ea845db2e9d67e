"""What makes a program faster, one transformation a file: each takes a Program and changes it."""

from collections.abc import Callable

from ..program import Program
from . import accumulate, algebra, common, dead, dot, factor, scale, sums

Pass = Callable[[Program], int]
"""Changes the program in place; returns how many calls it changed or removed."""

EXACT: tuple[Pass, ...] = (dead.run, algebra.run, common.run, dead.run)
"""Passes after which every result is the same to the last bit."""

REORDERING: tuple[Pass, ...] = (
    sums.run, accumulate.run, dead.run, factor.run, dead.run, scale.run, dot.run, dead.run,
)  # fmt: skip
"""Passes that change the order of additions and multiplications, and so the last digits."""
