"""C for tasks that run in parts on several threads, and the headers that such tasks need."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .. import native
from .fusion import Names

EACH_NANOSECOND = 50
"""Multiplications of a matrix product that a core does in a nanosecond, about."""


def headers(names: Names, type_: str, *texts: str) -> None:
    """Put C texts of ``native`` before the functions, for one type of numbers."""
    for text in (native.PARALLEL, native.VECTORS, *texts):
        names.head(text.replace("REAL", type_))


def shared(lines: Sequence[str], variable: str) -> tuple[list[str], int]:
    """The lines with one loop restricted to the runs of a part, and the number of all its runs."""
    head = rf"for \(isize {variable} = 0; {variable} < (\d+); {variable} ?\+[+=] ?(\d*)\) {{"
    at, found = next((i, m) for i, line in enumerate(lines) if (m := re.fullmatch(head, line)))
    step = int(found[2] or 1)
    runs, times = -(-int(found[1]) // step), f" * {step}" * (step > 1)
    cut = (f"for (isize {variable} = FROM({runs}){times}; {variable} < TO({runs}){times}; "
           f"{variable} += {step}) {{")  # fmt: skip
    return [*lines[:at], cut, *lines[at + 1 :]], runs
