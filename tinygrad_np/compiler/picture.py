"""A program, drawn: calls as boxes, the arrays between them as edges."""

from __future__ import annotations

from ..drawing.dot import EDGE, NODE, escaped
from ..drawing.render import Drawing
from .program import Program, Value

_COLOURS = {"input": "#d6e8d4", "constant": "#eeeeee", "number": "#fde8c8"}


def picture(program: Program) -> Drawing:
    """The program's calls, from what it is given to what is returned and updated."""
    graph = Drawing("program", format="svg", node_attr=NODE, edge_attr=EDGE)
    names: dict[Value, str] = {}

    def name(value: Value) -> str:
        if value not in names:  # it is no call's result
            names[value] = f"v{value.number}"
            label = f"{escaped(value.name or value.source)}\n{value.dtype}{value.shape}"
            graph.node(names[value], label, fillcolor=_COLOURS.get(value.source, "white"))
        return names[value]

    for i, call in enumerate(program.calls):
        graph.node(f"c{i}", escaped(call.name))
        for value in dict.fromkeys(call.inputs):
            graph.edge(name(value), f"c{i}", f"{value.dtype}{value.shape}")
        names[call.out] = f"c{i}"
    for value in program.outputs:
        graph.edge(name(value), "result", f"{value.dtype}{value.shape}")
    for place, value in program.updates:
        graph.edge(name(value), name(place), "update", style="dashed", constraint="false")
    return graph
