"""The graph as text, for the terminal."""

from __future__ import annotations

from .text import bytes_text, shape_text, title_text
from .walk import Vertex


def table(vertices: list[Vertex]) -> str:
    """A line per vertex, in their order, and one for the total."""
    line = {vertex: i for i, vertex in enumerate(vertices)}
    rows = [("line", "node", "inputs", "shape", "dtype", "kept", "time")]
    for vertex, i in line.items():
        used = ", ".join(str(line[edge.source]) for edge in vertex.inputs)
        rows.append(
            (
                str(i), _title(vertex), f"[{used}]" if used else "", shape_text(vertex.shape),
                vertex.dtype, bytes_text(vertex.kept) if vertex.kept else "",
                _time_text(vertex.seconds),
            )
        )  # fmt: skip
    ops = [vertex for vertex in vertices if vertex.is_op]
    times = [vertex.seconds for vertex in ops if vertex.seconds is not None]
    kept = sum(vertex.kept for vertex in ops)
    total = bytes_text(kept) if kept else ""
    rows.append(
        ("total", f"{len(ops):,} ops", "", "", "", total, _time_text(sum(times) if times else None))
    )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _title(vertex: Vertex) -> str:
    back = " (backward)" if vertex.backward else ""
    return "/".join([*vertex.scope, title_text(vertex)]) + back


def _time_text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"
