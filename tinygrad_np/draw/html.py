"""The drawing as one self-contained page, with all that is known of each node."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np

from ..tensor import Array
from .render import Drawing
from .text import bytes_text, gradient_text, number_text, shape_text, title_text, value_text
from .walk import Vertex

BINS = 24


def page(drawing: Drawing) -> str:
    """The page's text: the SVG, the figures as JSON, and the script that shows them."""
    users: dict[Vertex, list[str]] = {}
    for vertex in drawing.vertices:
        for edge in vertex.inputs:
            users.setdefault(edge.source, []).append(vertex.key)
    data = {v.key: _facts(v, list(dict.fromkeys(users.get(v, [])))) for v in drawing.vertices}
    svg = str(drawing.pipe("svg", encoding="utf-8"))
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")  # no </script> inside
    return template.replace("<!--svg-->", svg[svg.index("<svg") :]).replace("<!--data-->", text)


def _facts(vertex: Vertex, users: list[str]) -> dict[str, Any]:
    title = title_text(vertex)
    facts = {
        "kind": vertex.kind + (" of a backward pass" if vertex.backward else ""),
        "scope": " / ".join(vertex.scope),
        "stands for": f"{vertex.count:,}" if vertex.count > 1 else "",
        "shape": shape_text(vertex.shape),
        "dtype": vertex.dtype,
        "trouble": vertex.trouble,
        "values": value_text(vertex.values) if vertex.values else "",
        "gradient": gradient_text(vertex.gradients) if vertex.gradients else "",
        "keeps": bytes_text(vertex.kept) if vertex.kept else "",
        "time": f"{vertex.seconds * 1e3:.3g} ms" if vertex.seconds is not None else "",
    }
    histograms = [_histogram("Values", vertex.values), _histogram("Gradient", vertex.gradients)]
    return {
        "title": title,
        "kind": vertex.kind,
        "words": " ".join([title, vertex.kind, *vertex.scope, *(e.rule for e in vertex.inputs)]),
        "facts": [(name, text) for name, text in facts.items() if text],
        "histograms": [histogram for histogram in histograms if histogram],
        "inputs": [
            {"key": edge.source.key, "input": edge.input, "rule": edge.rule}
            for edge in vertex.inputs
        ],
        "users": users,
    }


def _histogram(title: str, arrays: list[Array]) -> dict[str, Any] | None:
    """How often values occur between the smallest and the largest; None for fewer than two."""
    values = np.concatenate([np.empty(0), *(array.ravel() for array in arrays)])
    values = values[np.isfinite(values)]
    if values.size < 2:
        return None
    low, high = values.min(), values.max()
    if low == high:
        return None
    counts, _ = np.histogram(values, BINS, (low, high))
    ends = {"low": number_text(low), "high": number_text(high)}
    return {"title": title, "counts": counts.tolist(), **ends}
