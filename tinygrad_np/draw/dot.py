"""The drawing itself: vertices as a graphviz.Digraph."""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from typing import Any

import graphviz

from .fold import Path, common
from .render import Drawing
from .text import bytes_text, gradient_text, shape_text, value_text
from .walk import Edge, Vertex, not_finite

# Okabe and Ito's colours, which the colour-blind can tell apart, lightened to different greys;
# the shapes tell the kinds apart once more.
STYLES: dict[str, dict[str, str]] = {
    "parameter": {"shape": "box", "fillcolor": "#f5c46b", "penwidth": "1.6"},
    "input": {"shape": "cds", "fillcolor": "#d9f2e6"},
    "constant": {"shape": "plaintext", "fillcolor": "white"},
    "op": {"shape": "box", "style": "rounded,filled", "fillcolor": "#e3f1fb"},
    "backward op": {"shape": "box", "style": "rounded,filled,dashed", "fillcolor": "#ecd0e0"},
    "output": {"shape": "hexagon", "fillcolor": "#7fbde6"},
    "loss": {"shape": "octagon", "fillcolor": "#0072b2", "fontcolor": "white"},
    "scope": {"shape": "box3d", "fillcolor": "#f4f4f4"},
    "rest": {"shape": "box", "style": "dashed"},
    "nan or inf": {"fillcolor": "#c02000", "fontcolor": "white", "color": "black"},
}
GRAPH = {
    "fontname": "Helvetica", "fontsize": "10", "labelloc": "b", "nodesep": "0.15",
    "ranksep": "0.3", "tooltip": " ",
}  # fmt: skip
NODE = {
    "fontname": "Helvetica", "fontsize": "10", "style": "filled", "margin": "0.08,0.04",
    "height": "0.3", "width": "0.4", "color": "#404040",
}  # fmt: skip
EDGE = {"fontname": "Helvetica", "fontsize": "9", "fontcolor": "#0060a0", "arrowsize": "0.6", "color": "#606060"}


def digraph(
    vertices: list[Vertex], show: Collection[str], rankdir: str, notes: list[str]
) -> Drawing:
    """The vertices as DOT, in their order, with clusters for the scopes and a legend."""
    drawing = Drawing(
        "graph", graph_attr={**GRAPH, "rankdir": rankdir}, node_attr=NODE, edge_attr=EDGE
    )
    drawing.vertices = vertices
    for i, vertex in enumerate(vertices):
        vertex.key = f"n{i}"
    paths = _places(vertices)
    clusters: dict[Path, graphviz.Digraph] = {(): drawing}
    for path in paths.values():
        for depth in range(1, len(path) + 1):
            if path[:depth] not in clusters:
                attributes = {"label": path[depth - 1], "style": "rounded", "color": "#a0a0a0", "labelloc": "t", "margin": "6"}
                clusters[path[:depth]] = graphviz.Digraph(
                    f"cluster_{len(clusters)}", graph_attr=attributes
                )
    for vertex in vertices:
        path = paths[vertex]
        hidden = "" if not vertex.is_op else " · ".join(vertex.scope[len(path) :])
        clusters[path].node(vertex.key, _label(vertex, show, hidden), **_style(vertex))
    for path, cluster in reversed(clusters.items()):
        if path:
            clusters[path[:-1]].subgraph(cluster)
    for vertex in vertices:
        for edge in vertex.inputs:
            drawing.edge(edge.source.key, vertex.key, **_edge(vertex, edge, show))
    _legend(drawing, vertices, show, notes)
    return drawing


def _places(vertices: list[Vertex]) -> dict[Vertex, Path]:
    """In which cluster each vertex stands. One around a single op would say no more than the op."""
    ops: dict[Path, int] = {}
    scopes: dict[Vertex, list[Path]] = {}
    for vertex in vertices:
        if vertex.is_op:
            for depth in range(1, len(vertex.scope) + 1):
                ops[vertex.scope[:depth]] = ops.get(vertex.scope[:depth], 0) + 1
        for edge in vertex.inputs:
            scopes.setdefault(edge.source, []).append(vertex.scope)
    places = {}
    for vertex in vertices:
        path = vertex.scope if vertex.is_op else common(scopes.get(vertex, [()]))
        while path and ops[path] < 2:
            path = path[:-1]
        places[vertex] = path
    return places


def _style(vertex: Vertex) -> dict[str, str]:
    kind = "backward op" if vertex.backward and vertex.kind == "op" else vertex.kind
    style = STYLES[kind]
    if not_finite(vertex.values) or not_finite(vertex.gradients):
        style = {**style, **STYLES["nan or inf"]}
        if vertex.trouble:
            style["penwidth"] = "4"
    return style


def _label(vertex: Vertex, show: Collection[str], scope: str) -> str:
    title = vertex.title if vertex.last in ("", vertex.title) else f"{vertex.title} … {vertex.last}"
    if vertex.is_op and vertex.name:
        title = f"{vertex.name}: {title}"
    lines = [f"{scope} · {title}" if scope else title]
    if vertex.trouble:
        lines.insert(0, vertex.trouble.upper())
    if "shape" in show and vertex.kind != "constant":
        lines.append(f"{shape_text(vertex.shape)} {vertex.dtype}".strip())
    if "value" in show and vertex.values and vertex.kind != "constant":
        lines.append(value_text(vertex.values))
    if "grad" in show and vertex.gradients:
        lines.append(gradient_text(vertex.gradients))
    if "bytes" in show and vertex.kept:
        lines.append(f"keeps {bytes_text(vertex.kept)}")
    return str(graphviz.escape("\n".join(lines))).replace("\n", "\\n")


def _edge(vertex: Vertex, edge: Edge, show: Collection[str]) -> dict[str, str]:
    style: dict[str, str] = {}
    if not edge.rule and vertex.kind not in ("scope", "rest"):
        style["style"] = "dashed"
    if edge.again:
        style.update(style="bold", constraint="false", label="next")
    if "rule" in show and edge.input:
        text = f"d{edge.input} = {edge.rule}" if edge.rule else edge.input
        if edge.rule or len(vertex.inputs) > 1:
            style["label"] = str(graphviz.escape("\n".join(textwrap.wrap(text, 26)))).replace("\n", "\\n")
            style["tooltip"] = text
    return style


def _legend(
    drawing: Drawing, vertices: list[Vertex], show: Collection[str], notes: list[str]
) -> None:
    """A row of one node of each kind that is there, and what the drawing as a whole has to say."""
    used = [_style(vertex) for vertex in vertices]
    lines = list(notes)
    kept = sum(vertex.kept for vertex in vertices)
    if "bytes" in show and kept:
        lines.append(f"the graph keeps {bytes_text(kept)} beside the parameters")
    if "rule" in show:
        lines.append("on the edges: how the gradient g of an op's output becomes its inputs' (dx, dy, …)")
    if "grad" in show and any(vertex.gradients for vertex in vertices):
        lines.append("‖g‖: 2-norm of the gradient")
    drawing.attr(label=str(graphviz.escape("\n".join(lines))).replace("\n", "\\n"))
    with drawing.subgraph(name="cluster_legend") as legend:
        legend.attr(label="legend", style="dotted", labelloc="t", margin="6")
        kinds = [kind for kind, style in STYLES.items() if any(style.items() <= u.items() for u in used)]
        for kind in kinds:
            legend.node(f"legend {kind}", kind, fontsize="9", height="0.2", **STYLES[kind])
        for one, other in zip(kinds, kinds[1:], strict=False):
            legend.edge(f"legend {one}", f"legend {other}", style="invis")
