"""A plan, drawn: calls as boxes, the arrays between them as edges, what lives outside by name."""

from __future__ import annotations

from ..drawing.dot import EDGE, NODE, escaped
from ..drawing.render import Drawing
from .plan import Plan
from .program import Value

_COLOURS = {"input": "#d6e8d4", "external": "#fde8c8", "constant": "#eeeeee"}


def drawing(plan: Plan) -> Drawing:
    """The plan's calls, from the arguments to what is returned and stored."""
    graph = Drawing("plan", format="svg", node_attr=NODE, edge_attr=EDGE)
    names: dict[Value, str] = {}

    def name(value: Value) -> str:
        if value not in names:  # it is no call's result
            names[value] = f"v{value.number}"
            label = escaped(repr(value.where)) if value.source == "external" else value.source
            colour = _COLOURS.get(value.source, "white")
            graph.node(names[value], f"{label}\n{value.dtype}{value.shape}", fillcolor=colour)
        return names[value]

    for i, call in enumerate(plan.program.calls):
        if call.kind == "store":  # an edge back to where the array came from
            graph.edge(name(call.args[1]), name(call.args[0]), style="dashed", constraint="false")
            continue
        label = call.name if call.kind != "put" else f"{call.args[0].where!r} ="
        graph.node(f"c{i}", escaped(label))
        for value in dict.fromkeys(call.inputs):
            graph.edge(name(value), f"c{i}", f"{value.dtype}{value.shape}")
        if call.out is not None:
            names[call.out] = f"c{i}"
    for value in dict.fromkeys(plan.program.outputs):
        graph.edge(name(value), "result", f"{value.dtype}{value.shape}")
    return graph
