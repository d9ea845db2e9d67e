"""The drawing itself: vertices as a graphviz.Digraph."""

from __future__ import annotations

import functools
import re
import textwrap
from collections import Counter
from collections.abc import Collection, Mapping

from .fold import Path, common, prefixes
from .names import legible
from .render import Drawing
from .text import bytes_text, facts, rule_text, title_text
from .walk import FOLDED, Edge, Vertex

WHITE = {"fontcolor": "white"}
# Okabe and Ito's colours, which colour-blind people can distinguish, lightened to different greys.
# The kinds differ in shape as well.
STYLES: dict[str, dict[str, str]] = {
    "parameter": {"shape": "box", "fillcolor": "#f5c46b", "penwidth": "1.6"},
    "input": {"shape": "note", "fillcolor": "#cdeee0"},
    "constant": {"shape": "plaintext", "fillcolor": "white"},
    "op": {"shape": "box", "style": "rounded,filled", "fillcolor": "#eaf4fc"},
    "backward op": {"shape": "box", "style": "rounded,filled,dashed", "fillcolor": "#ecd0e0"},
    "output": {"shape": "box", "peripheries": "2", "fillcolor": "#6fb4e0"},
    "loss": {"shape": "box", "style": "filled,diagonals", "fillcolor": "#0072b2", **WHITE},
    "collapsed scope": {"shape": "box3d", "fillcolor": "#f4f4f4"},
    "left out": {"shape": "box", "style": "dashed"},
    "nan or inf": {"shape": "box", "fillcolor": "#c02000", "color": "black", **WHITE},
}  # fmt: skip
FONT = {"fontname": "Arial", "fontsize": "9"}
GRAPH = {**FONT, "labelloc": "b", "nodesep": "0.12", "ranksep": "0.17", "tooltip": " "}
NODE = {
    **FONT, "style": "filled", "color": "#404040", "margin": "0.06,0.03", "height": "0.25",
    "width": "0.3",
}  # fmt: skip
EDGE = {**FONT, "fontcolor": "#0060a0", "arrowsize": "0.6", "color": "#606060"}
BACK = {"style": "bold", "dir": "back", "tooltip": "to the next block, or back into a box"}
BACK_NOTE = "bold edges: from one repeated block to the next, or back into a box"
RULE_WIDTH = 18


def digraph(
    vertices: list[Vertex], show: Collection[str], rankdir: str, notes: list[str]
) -> Drawing:
    """The vertices as DOT, in their order, with clusters for the scopes and a legend."""
    look = {**GRAPH, "rankdir": rankdir}
    drawing = Drawing("graph", format="svg", graph_attr=look, node_attr=NODE, edge_attr=EDGE)
    drawing.vertices = vertices
    clusters: dict[Path, list[str]] = {(): drawing.body}
    places = _places(vertices)
    for i, vertex in enumerate(vertices):
        vertex.key = f"n{i}"
        path = places[vertex]
        for outer in prefixes(path):
            if outer not in clusters:
                clusters[outer] = _cluster(len(clusters), outer[-1], "rounded")
        look = {"label": _label(vertex, show, path), **_style(vertex)}
        clusters[path].append(_statement(vertex.key, look))
    for path, lines in reversed(clusters.items()):
        if path:
            clusters[path[:-1]] += [*lines, "\t}\n"]
    drawn: set[Vertex] = set()
    for vertex in vertices:
        for edge in vertex.inputs:
            ends, look = f"{edge.source.key} -> {vertex.key}", _edge(vertex, edge, show)
            if edge.source not in drawn:  # head to tail, or dot would lay the block out backwards
                ends, look = f"{vertex.key} -> {edge.source.key}", BACK
                notes = [*notes, BACK_NOTE] if BACK_NOTE not in notes else notes
            drawing.body.append(_statement(ends, look))
        drawn.add(vertex)
    drawing.graph_attr["label"] = escaped("\n".join([*notes, *_notes(vertices, show)]))
    drawing.body += _cluster("legend", "legend", "dotted")
    used = {_kind(vertex) for vertex in vertices}
    for kind in reversed(STYLES):  # dot puts the last one first
        if kind in used:
            look = {"label": kind, "height": "0.2", **STYLES[kind]}
            drawing.body.append(_statement(f'"legend {kind}"', look))
    drawing.body.append("\t}\n")
    return drawing


def _cluster(name: object, label: str, style: str) -> list[str]:
    """The first lines of a cluster."""
    look = {"label": label, "style": style, "color": "#a0a0a0", "labelloc": "t", "margin": "6"}
    return [f"\tsubgraph cluster_{name} {{\n", _statement("graph", look)]


def _statement(subject: str, attributes: Mapping[str, str]) -> str:
    words = " ".join([f'{name}="{escaped(value)}"' for name, value in attributes.items()])
    return f"\t{subject} [{words}]\n"


# dot reads entities, such as &amp;
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "&": "&amp;"})


def escaped(text: str) -> str:
    """A text as it stands between quotes in DOT."""
    return legible(text).translate(_ESCAPES)


def _places(vertices: list[Vertex]) -> dict[Vertex, Path]:
    """The cluster of each vertex. A single op gets none: its label names the scope."""
    ops = Counter(path for v in vertices if v.is_op for path in prefixes(v.scope))
    users: dict[Vertex, list[Path]] = {}
    places = {}
    for vertex in vertices:
        for edge in vertex.inputs:
            users.setdefault(edge.source, []).append(vertex.scope)
    for vertex in vertices:
        given = vertex.kind in ("parameter", "constant")  # inputs come from outside
        path = common(users.get(vertex, ())) if given else vertex.scope
        while path and ops[path] < 2:
            path = path[:-1]
        places[vertex] = path
    return places


def _kind(vertex: Vertex) -> str:
    if vertex.bad:
        return "nan or inf"
    return "backward op" if vertex.backward and vertex.kind == "op" else vertex.kind


def _style(vertex: Vertex) -> dict[str, str]:
    shaped = STYLES[vertex.kind]
    style = {**shaped, **STYLES[_kind(vertex)], "shape": shaped["shape"]}
    return {**style, "penwidth": "4"} if vertex.trouble else style


def _label(vertex: Vertex, show: Collection[str], place: Path) -> str:
    scope = vertex.scope[len(place) :] if vertex.is_op else ()
    title = " · ".join([*scope, title_text(vertex)])
    lines = [vertex.trouble.upper()] * bool(vertex.trouble)
    lines.append(f" {title} ")  # room for bold type
    known = {} if vertex.kind == "constant" else facts(vertex)
    return "\n".join([*lines, *(text for word, text in known.items() if word in show and text)])


def _edge(vertex: Vertex, edge: Edge, show: Collection[str]) -> dict[str, str]:
    style = {} if edge.rule or vertex.kind in FOLDED else {"style": "dashed"}
    text = rule_text(vertex, edge) or edge.input * (len(vertex.inputs) > 1)
    if "rule" in show and text:
        style |= {"label": _wrap(text), "tooltip": text}
    return style


@functools.cache
def _wrap(rule: str) -> str:
    """A rule in as few lines as possible, all of them as short as possible."""
    widths = range(2, RULE_WIDTH + 1)
    ways = [textwrap.wrap(rule, width, break_long_words=False) for width in widths]
    fewest = min(ways, key=len)
    return "\n".join(fewest)


def _notes(vertices: list[Vertex], show: Collection[str]) -> list[str]:
    """The text below the drawing."""
    notes = []
    if "bytes" in show and (kept := sum(vertex.kept for vertex in vertices)):
        notes.append(f"kept for the backward pass: {bytes_text(kept)}, parameters not counted")
    if "rule" in show:
        rules = [edge.rule for vertex in vertices for edge in vertex.inputs]
        notes.append("on the edges: the gradient of an op's input, called x or y if it has no name")
        notes.append("g: the gradient of the op's output")
        if any(re.search(r"\bn\b", rule) for rule in rules):
            notes.append("n: the number of elements in the mean (1 for a sum)")
    if "grad" in show and any(vertex.gradients for vertex in vertices):
        notes.append("|g|: 2-norm of the gradient")
    return notes
