"""Numbers as short text, for labels and tables."""

from __future__ import annotations

import math
import re
from itertools import zip_longest

import numpy as np

from ..shapes import Shape
from ..tensor import Array
from .walk import Vertex


def shape_text(shape: Shape) -> str:
    """``150 × 50``, or ``scalar``."""
    return " × ".join(map(str, shape)) or "scalar"


def bytes_text(count: int) -> str:
    """Bytes in decimal units.

    >>> bytes_text(999), bytes_text(470_400), bytes_text(3 * 10**9)
    ('999 B', '470 kB', '3 GB')
    """
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"


def range_text(first: str, last: str) -> str:
    """Two names as one.

    >>> range_text("layers.0.weight", "layers.11.weight"), range_text("W", "V")
    ('layers.0…11.weight', 'W … V')
    """
    words = [re.split(r"(\d+)", name) for name in (first, last)]
    pairs = [*zip_longest(*words, fillvalue="")]
    if any(a != b and not (a.isdigit() and b.isdigit()) for a, b in pairs):
        return f"{first} … {last}"
    return "".join(a if a == b else f"{a}…{b}" for a, b in pairs)


def title_text(vertex: Vertex) -> str:
    """What a vertex is called: an op by its own name, if it has one, and its op's."""
    title = range_text(vertex.title, vertex.last) if vertex.last else vertex.title
    return f"{vertex.name}: {title}" if vertex.is_op and vertex.name else title


def value_text(arrays: list[Array]) -> str:
    """The one number, or the smallest and the largest; nan and inf are counted beside."""
    flat = [array.ravel() for array in arrays if array.size]
    if not flat:
        return "empty"
    joined = np.concatenate(flat) if len(flat) > 1 else flat[0]
    finite = joined[np.isfinite(joined)] if joined.dtype.kind == "f" else joined
    strange = [
        f"{count} {name}"
        for name, count in (("nan", np.isnan(joined).sum()), ("inf", np.isinf(joined).sum()))
        if count
    ]
    if finite.size:
        low, high = number_text(finite.min()), number_text(finite.max())
        strange.insert(0, low if low == high else f"{low} … {high}")
    return ", ".join(strange)


def gradient_text(gradients: list[Array]) -> str:
    """The gradient's 2-norm, or the smallest and the largest of several."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = [float(np.linalg.norm(g.astype(np.float64).ravel())) for g in gradients]
    if any(map(math.isnan, norms)):
        return "|g| nan"
    low, high = number_text(min(norms)), number_text(max(norms))
    return f"|g| {low}" if low == high else f"|g| {low} … {high}"


def number_text(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e+").replace("-", "−")
