"""The drawing itself: vertices as a graphviz.Digraph."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Collection

from .fold import Path, common
from .render import Drawing
from .text import bytes_text, gradient_text, shape_text, title_text, value_text
from .walk import FOLDED, Edge, Vertex

# Okabe and Ito's colours, which the colour-blind can tell apart, lightened to different greys;
# the shapes tell the kinds apart once more.
STYLES: dict[str, dict[str, str]] = {
    "parameter": {"shape": "box", "fillcolor": "#f5c46b", "penwidth": "1.6"},
    "input": {"shape": "note", "fillcolor": "#cdeee0"},
    "constant": {"shape": "plaintext", "fillcolor": "white"},
    "op": {"shape": "box", "style": "rounded,filled", "fillcolor": "#eaf4fc"},
    "backward op": {"shape": "box", "style": "rounded,filled,dashed", "fillcolor": "#ecd0e0"},
    "output": {"shape": "box", "peripheries": "2", "fillcolor": "#6fb4e0"},
    "loss": {
        "shape": "box",
        "style": "filled,diagonals",
        "fillcolor": "#0072b2",
        "fontcolor": "white",
    },
    "collapsed scope": {"shape": "box3d", "fillcolor": "#f4f4f4"},
    "left out": {"shape": "box", "style": "dashed"},
    "nan or inf": {"shape": "box", "fillcolor": "#c02000", "fontcolor": "white", "color": "black"},
}  # fmt: skip
GRAPH = {
    "fontname": "Arial", "fontsize": "9", "labelloc": "b", "nodesep": "0.12",
    "ranksep": "0.17", "tooltip": " ",
}  # fmt: skip
NODE = {
    "fontname": "Arial", "fontsize": "9", "style": "filled", "margin": "0.06,0.03",
    "height": "0.25", "width": "0.3", "color": "#404040",
}  # fmt: skip
EDGE = {
    "fontname": "Arial", "fontsize": "9", "fontcolor": "#0060a0", "arrowsize": "0.6",
    "color": "#606060",
}  # fmt: skip
RULE_WIDTH = 18


def digraph(
    vertices: list[Vertex], show: Collection[str], rankdir: str, notes: list[str]
) -> Drawing:
    """The vertices as DOT, in their order, with clusters for the scopes and a legend."""
    drawing = Drawing(
        "graph", format="svg", graph_attr={**GRAPH, "rankdir": rankdir}, node_attr=NODE,
        edge_attr=EDGE,
    )  # fmt: skip
    drawing.vertices = vertices
    for i, vertex in enumerate(vertices):
        vertex.key = f"n{i}"
    places = _places(vertices)
    clusters: dict[Path, list[str]] = {(): drawing.body}
    for path in places.values():
        for depth in range(1, len(path) + 1):
            if path[:depth] not in clusters:
                label = {"label": path[depth - 1], "color": "#a0a0a0"}
                clusters[path[:depth]] = _cluster(f"cluster_{len(clusters)}", label)
    for vertex in vertices:
        path = places[vertex]
        scope = " · ".join(vertex.scope[len(path) :]) if vertex.is_op else ""
        label = {"label": _label(vertex, show, scope)}
        clusters[path].append(f"\t{vertex.key} [{_attributes(label)} {_style(vertex)}]\n")
    for path, lines in reversed(clusters.items()):
        if path:
            clusters[path[:-1]] += [*lines, "\t}\n"]
    for vertex in vertices:
        for edge in vertex.inputs:
            ends = (edge.source.key, vertex.key)
            if edge.again:  # from head to tail, or dot would lay the block out backwards
                ends = (vertex.key, edge.source.key)
            attributes = _attributes(_edge(vertex, edge, show, rankdir in ("TB", "BT")))
            drawing.body.append(f"\t{ends[0]} -> {ends[1]} [{attributes}]\n")
    _legend(drawing, vertices, show, notes)
    return drawing


def _cluster(name: str, attributes: dict[str, str]) -> list[str]:
    """How a cluster begins."""
    look = {"style": "rounded", "labelloc": "t", "margin": "6", **attributes}
    return [f"\tsubgraph {name} {{\n", f"\tgraph [{_attributes(look)}]\n"]


def _attributes(attributes: dict[str, str]) -> str:
    return " ".join([f"{name}={_quote(value)}" for name, value in attributes.items()])


def _quote(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


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
        path = vertex.scope
        if vertex.kind in ("parameter", "constant"):  # inputs come from outside
            path = common(scopes.get(vertex, [()]))
        while path and ops[path] < 2:
            path = path[:-1]
        places[vertex] = path
    return places


def _kind(vertex: Vertex) -> str:
    if vertex.bad:
        return "nan or inf"
    return "backward op" if vertex.backward and vertex.kind == "op" else vertex.kind


def _style(vertex: Vertex) -> str:
    return _look(_kind(vertex), vertex.kind, bool(vertex.trouble))


@functools.cache
def _look(kind: str, shaped: str, trouble: bool) -> str:
    style = {**STYLES[shaped], **STYLES[kind], "shape": STYLES[shaped]["shape"]}
    return _attributes({**style, "penwidth": "4"} if trouble else style)


def _label(vertex: Vertex, show: Collection[str], scope: str) -> str:
    title = title_text(vertex)
    lines = [f" {scope} · {title} " if scope else f" {title} "]  # room for bold type
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
    return "\n".join(lines)


def _edge(vertex: Vertex, edge: Edge, show: Collection[str], upright: bool) -> dict[str, str]:
    style: dict[str, str] = {}
    if not edge.rule and vertex.kind not in FOLDED:
        style["style"] = "dashed"
    if edge.again:
        style.update(style="bold", dir="back", tooltip="from each block to the next")
    elif "rule" in show and edge.input:
        several = len(vertex.inputs) > 1
        text = edge.rule if edge.rule and not several else edge.input * several
        if edge.rule and several:
            text = f"d{edge.input} = {edge.rule}"
        if text:
            label = _wrap(text)
            style["label"] = textwrap.indent(label, " ") if upright else label
            style["tooltip"] = text
    return style


@functools.cache
def _wrap(rule: str) -> str:
    """A rule in lines of even length, none longer than need be."""
    lines = textwrap.wrap(rule, RULE_WIDTH, break_long_words=False)
    for width in range(RULE_WIDTH - 1, 1, -1):
        narrower = textwrap.wrap(rule, width, break_long_words=False)
        if len(narrower) > len(lines):
            break
        lines = narrower
    return "\n".join(lines)


def _legend(
    drawing: Drawing, vertices: list[Vertex], show: Collection[str], notes: list[str]
) -> None:
    """A row of one node of each kind that is there, and what the drawing as a whole has to say."""
    used = {_kind(vertex) for vertex in vertices}
    lines = list(notes)
    kept = sum(vertex.kept for vertex in vertices)
    if "bytes" in show and kept:
        lines.append(f"the graph keeps {bytes_text(kept)} beside the parameters")
    if any(edge.again for vertex in vertices for edge in vertex.inputs):
        lines.append("bold edges: from each folded block to the next")
    if "rule" in show:
        lines.append(
            "on the edges: how the gradient g of an op's output becomes its inputs' (dx, dy, …)"
        )
    if "grad" in show and any(vertex.gradients for vertex in vertices):
        lines.append("|g|: 2-norm of the gradient")
    drawing.graph_attr["label"] = _quote("\n".join(lines))[1:-1]
    body = _cluster("cluster_legend", {"label": "legend", "style": "dotted"})
    for kind in reversed(STYLES):  # dot puts the last one first
        if kind in used:
            look = {"label": kind, "height": "0.2", **STYLES[kind]}
            body.append(f"\t{_quote(f'legend {kind}')} [{_attributes(look)}]\n")
    drawing.body += [*body, "\t}\n"]
