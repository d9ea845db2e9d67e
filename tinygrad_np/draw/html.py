"""The drawing as one self-contained page, with all that is known of each node."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np

from ..tensor import Array
from .render import Drawing
from .text import facts, number_text, time_text, title_text
from .walk import Vertex

BINS = 24


def page(drawing: Drawing) -> str:
    """The page's text: the SVG, the figures as JSON, and the script that shows them."""
    data = {vertex.key: _data(vertex) for vertex in drawing.vertices}
    for vertex in drawing.vertices:
        for edge in vertex.inputs:
            users = data[edge.source.key]["users"]
            if vertex.key not in users:
                users.append(vertex.key)
    svg = str(drawing.pipe("svg", encoding="utf-8"))
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")  # no </script> inside
    return template.replace("<!--svg-->", svg[svg.index("<svg") :]).replace("<!--data-->", text)


def _data(vertex: Vertex) -> dict[str, Any]:
    title = title_text(vertex)
    told = {
        "kind": vertex.kind + " of a backward pass" * vertex.backward,
        "scope": " / ".join(vertex.scope),
        "stands for": f"{vertex.count:,}" * (vertex.count > 1),
        "trouble": vertex.trouble,
        **facts(vertex),
        "time": time_text(vertex.seconds),
    }
    histograms = [_histogram("Values", vertex.values), _histogram("Gradient", vertex.gradients)]
    return {
        "title": title,
        "kind": vertex.kind,
        "words": " ".join([title, vertex.kind, *vertex.scope, *(e.rule for e in vertex.inputs)]),
        "facts": [item for item in told.items() if item[1]],
        "histograms": [histogram for histogram in histograms if histogram],
        "inputs": [{"key": e.source.key, "input": e.input, "rule": e.rule} for e in vertex.inputs],
        "users": [],
    }


def _histogram(title: str, arrays: list[Array]) -> dict[str, Any] | None:
    """How often values occur between the smallest and the largest; None where these are one."""
    values = np.concatenate([np.empty(0), *(array.ravel() for array in arrays)])
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return None
    counts, edges = np.histogram(values, BINS)
    ends = {"low": number_text(edges[0]), "high": number_text(edges[-1])}
    return {"title": title, "counts": counts.tolist(), **ends}
