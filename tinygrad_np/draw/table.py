"""The graph as text, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from ..tensor import Tensor
from .text import bytes_text, shape_text, title_text
from .walk import Names, Vertex, walk


def trace_table(tensors: Tensor | Iterable[Tensor], names: Names = None) -> str:
    """The graph that leads to one or several Tensors: a line per node, in order of execution.

    Numbers in brackets are the lines of an op's inputs. ``kept`` are the bytes that the graph keeps
    for the op's rules; ``time`` is the time since the op before, which is known of ops that were
    run inside ``with tg.record():``. Raises TypeError and ValueError as ``draw`` does.

    >>> import tinygrad_np as tg
    >>> W = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="W")
    >>> print(tg.trace_table(tg.tanh(W).sum()))
    line  node     inputs  shape   dtype    kept  time
    0     W                1 × 2   float64
    1     tanh     [0]     1 × 2   float64  16 B
    2     sum      [1]     scalar  float64
    total 2 ops                             16 B
    """
    vertices = walk(tensors, names, gradients=False, rules=False)
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
