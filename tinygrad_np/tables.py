"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, their columns as wide as need be.

    >>> aligned([("name", "size"), ("x", "3")])
    ['name  size', 'x     3']
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
