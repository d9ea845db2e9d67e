"""The graph as text, for the terminal."""

from __future__ import annotations

from .text import bytes_text, shape_text, time_text, title_text
from .walk import Vertex


def table(vertices: list[Vertex]) -> str:
    """A line per vertex, in their order, and one for the total."""
    line = {vertex: i for i, vertex in enumerate(vertices)}
    rows = [("line", "node", "inputs", "shape", "dtype", "kept", "time")]
    for vertex, i in line.items():
        title = "/".join([*vertex.scope, title_text(vertex)]) + " (backward)" * vertex.backward
        used = ", ".join(str(line[edge.source]) for edge in vertex.inputs)
        rows.append(
            (
                str(i), title, f"[{used}]" * bool(used), shape_text(vertex.shape), vertex.dtype,
                bytes_text(vertex.kept), time_text(vertex.seconds),
            )
        )  # fmt: skip
    times = [vertex.seconds for vertex in vertices if vertex.seconds is not None]
    ops, kept = sum(v.is_op for v in vertices), bytes_text(sum(v.kept for v in vertices))
    seconds = sum(times) if times else None
    rows.append(("total", f"{ops:,} ops", "", "", "", kept, time_text(seconds)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
