"""Tables for terminals and notebooks, in characters that the terminal can print."""

from __future__ import annotations

import codecs
import html
import sys
from collections.abc import Iterable, Sequence

PLAIN = {
    "×": "x", "−": "-", "·": "*", "±": "+-", "½": "1/2", "²": "^2", "³": "^3", "√": "sqrt",
    "ᵀ": ".T", "⁻": "^-", "µ": "u", "μ": "mu", "λ": "lambda", "σ": "sigma", "Σ": "sum ", "π": "pi",
    "Δ": "Delta ", "∂": "d", "…": "...", "←": "<-", "→": "->", "↦": "->", "≤": "<=", "≥": ">=",
    "≠": "!=", "–": "-", "≈": "~", "∞": "inf",
}  # fmt: skip
"""Replacements for characters that a terminal lacks; others become ``\\u`` escapes."""


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """The error handler ``ERRORS``, for ``str.encode`` and ``stream.reconfigure``."""
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] in PLAIN:
        return PLAIN[error.object[error.start]], error.start + 1
    if isinstance(error, UnicodeEncodeError):
        escape = error.object[error.start].encode("ascii", "backslashreplace")
        return escape.decode("ascii"), error.start + 1
    raise error


_TABLE = str.maketrans(PLAIN)
ERRORS = "tinygrad_np.plain"
"""The handler's name: ``sys.stdout.reconfigure(errors=ERRORS)``."""
codecs.register_error(ERRORS, _plain)


def printable(text: str) -> str:
    """The text as standard output can show it: in plain characters, unless that takes Unicode.

    Signs like × are replaced for every other encoding, even if it has them, because pipes and files
    are often written in one encoding and read in another.

    >>> "2 × 3".encode("ascii", ERRORS)
    b'2 x 3'
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        if text.isascii() or codecs.lookup(encoding).name.startswith("utf"):
            return text
        return text.translate(_TABLE).encode(encoding, ERRORS).decode(encoding)
    except (LookupError, UnicodeError):  # an unknown encoding, or half of a surrogate pair
        return text


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, with aligned columns.

    >>> columns([("name", "size"), ("x", "3")])
    ['name  size', 'x     3']
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


class Table(str):
    """A table: text in terminals, HTML in notebooks.

    ``rows`` are rows of cells, the heads first; ``before`` and ``after`` are lines around them.

    >>> Table([("name", "size"), ("x", "3")], before=["two columns"])
    two columns
    name  size
    x     3
    """

    rows: Sequence[Sequence[str]]
    before: Sequence[str]
    after: Sequence[str]

    def __new__(
        cls, rows: Sequence[Sequence[str]], before: Sequence[str] = (), after: Sequence[str] = ()
    ) -> Table:
        around = [list(map(printable, lines)) for lines in (before, after)]
        table = super().__new__(cls, "\n".join([*around[0], *columns(rows), *around[1]]))
        table.rows, table.before, table.after = rows, before, after
        return table

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_table(self.rows, self.before, self.after)


def html_table(
    rows: Sequence[Sequence[str]], before: Sequence[str] = (), after: Sequence[str] = ()
) -> str:
    """The table as HTML. If it is wider than the page, it scrolls by itself."""
    head, *body = [[html.escape(cell) for cell in row] for row in rows]
    lines = ["".join([f"<td style='text-align:left'>{cell}</td>" for cell in row]) for row in body]
    parts = [
        *[f"<p>{html.escape(line)}</p>" for line in before],
        "<div style='overflow-x:auto'><table><thead><tr>",
        *[f"<th style='text-align:left'>{cell}</th>" for cell in head],
        "</tr></thead><tbody>",
        *[f"<tr>{line}</tr>" for line in lines],
        "</tbody></table></div>",
        *[f"<p>{html.escape(line)}</p>" for line in after],
    ]
    return "".join(parts)
