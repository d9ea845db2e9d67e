"""The graph as text: labels, numbers, and a table for the terminal."""

from __future__ import annotations

import re

import numpy as np

from ..shapes import Shape
from ..tables import Table
from ..tensor import Array
from .formulas import equation, variables
from .walk import Edge, Vertex


def table(vertices: list[Vertex]) -> Table:
    """A line per vertex, in their order, and one for the total."""
    line = {vertex: i for i, vertex in enumerate(vertices)}
    rows = [("line", "node", "inputs", "shape", "dtype", "kept", "time")]
    for vertex, i in line.items():
        title = "/".join([*vertex.scope, title_text(vertex)]) + " (backward)" * vertex.backward
        title = re.sub(r"\s", " ", title)
        used = ", ".join(str(line[edge.source]) for edge in vertex.inputs)
        known = shape_text(vertex.shape), vertex.dtype, bytes_text(vertex.kept)
        rows.append((str(i), title, used and f"[{used}]", *known, time_text(vertex.seconds)))
    ops, kept = sum(v.is_op for v in vertices), bytes_text(sum(v.kept for v in vertices))
    seconds = sum(vertex.seconds or 0 for vertex in vertices) or None
    rows.append(("total", f"{ops:,} ops", "", "", "", kept, time_text(seconds)))
    return Table(rows)


def shape_text(shape: Shape) -> str:
    """``150 × 50``, or ``scalar``."""
    return " × ".join(map(str, shape)) or "scalar"


def bytes_text(count: int) -> str:
    """Bytes in decimal units; empty for 0.

    >>> bytes_text(999), bytes_text(470_400), bytes_text(3 * 10**9), bytes_text(0)
    ('999 B', '470 kB', '3 GB', '')
    """
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.3g} {units[0]}" if count else ""


def time_text(seconds: float | None) -> str:
    """Milliseconds or microseconds; empty if no time is known."""
    if seconds is None:
        return ""
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def title_text(vertex: Vertex) -> str:
    """The title of a vertex: its own name, and the name of its op."""
    title = range_text(vertex.title, vertex.last or vertex.title)
    named = f"{vertex.name}: {title}" if vertex.is_op and vertex.name else title
    return named if vertex.line is None else f"({vertex.line}) {named}"


def range_text(first: str, last: str) -> str:
    """Two names as one.

    >>> range_text("layers.0.weight", "layers.11.weight"), range_text("W", "V")
    ('layers.0…11.weight', 'W … V')
    """
    a, b = (re.split(r"(\d+)", name) for name in (first, last))  # words, with numbers between
    if a[::2] != b[::2]:
        return f"{first} … {last}"
    return "".join(x if x == y else f"{x}…{y}" for x, y in zip(a, b, strict=True))


def rule_text(vertex: Vertex, edge: Edge) -> str:
    """The formula for the gradient of an input; empty for a constant."""
    if not edge.rule:
        return ""
    named = [
        (e.input, "" if e.source.last else e.source.name)
        for e in vertex.inputs
        if e is edge or e.input != edge.input  # a variadic op has several of one name
    ]
    if vertex.name and not vertex.last:
        named.append(("out", vertex.name))
    text = equation(edge.rule, edge.input, edge.axes, tuple(variables(named).items()))
    return text if edge.line is None else f"({edge.line}) {text}"


def facts(vertex: Vertex) -> dict[str, str]:
    """The facts about a vertex, by the words of ``show``; empty where unknown."""
    return {
        "shape": f"{shape_text(vertex.shape)} {vertex.dtype}".strip(),
        "value": value_text(vertex.values) if vertex.values else "",
        "grad": gradient_text(vertex.gradients) if vertex.gradients else "",
        "bytes": f"keeps {bytes_text(vertex.kept)}" if vertex.kept else "",
    }


def value_text(arrays: list[Array]) -> str:
    """The number, or the smallest and the largest; nan and inf are counted."""
    values = np.concatenate([array.ravel() for array in arrays])
    finite = values[np.isfinite(values)]
    counts = {"nan": np.isnan(values).sum(), "inf": np.isinf(values).sum()}
    words = [_range(finite)] if finite.size else []
    words += [f"{count} {name}" for name, count in counts.items() if count]
    return ", ".join(words) or "empty"


def gradient_text(gradients: list[Array]) -> str:
    """The 2-norm of the gradient, or the smallest and the largest of several."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = [np.linalg.norm(gradient.astype(np.float64).ravel()) for gradient in gradients]
    return f"|g| {_range(np.array(norms))}"


def _range(values: Array) -> str:
    low, high = number_text(values.min()), number_text(values.max())
    return low if low == high else f"{low} … {high}"


def number_text(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e+").replace("-", "−")
