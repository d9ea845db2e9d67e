"""The graph, drawn: ``draw`` for pictures and pages, ``trace_table`` for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ..tensor import Tensor

if TYPE_CHECKING:  # imported on the first drawing, so that import tinygrad_np stays quick
    from ..tables import Table
    from .names import Names
    from .render import Drawing
    from .walk import LineNumbers

SHOW = ("shape", "value", "grad", "rule", "bytes")


def draw(
    tensors: Tensor | Iterable[Tensor],
    *,
    show: Collection[str] = SHOW,
    rankdir: str = "LR",
    collapse: bool | str | Iterable[str] = True,
    max_nodes: int | None = 200,
    names: Names = None,
    derivation: LineNumbers | None = None,
) -> Drawing:
    """The graph that leads to one or several Tensors, as a ``graphviz.Digraph``.

    ``show`` chooses what is shown of each op: "shape" (and dtype) of its output, "value" (their
    range), "grad" (the norm of the gradient), "bytes" that the graph keeps for it and, on the
    edges, the "rule" that computes the gradient. Values and gradients of all Tensors are known if
    the forward and the backward pass ran inside ``with tg.record():``.

    Repeated blocks are folded into one unless ``collapse`` is False; if it names scopes, each of
    these becomes a box. If there are more than ``max_nodes`` (None: no limit), scopes become boxes,
    the innermost first, and then the middle is left out; the drawing says so. ``names`` is a
    module, or a dict of names and their Tensors and arrays. With ``derivation``, that of this graph
    (see ``tg.derivation``), nodes and edges show its names and line numbers.

    Raises TypeError for anything but Tensors, and for names of another form; ValueError for a
    Tensor without a graph, an unknown word in ``show``, and an unknown scope.

    >>> import tinygrad_np as tg
    >>> W = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="W")
    >>> drawing = tg.draw(tg.tanh(W).sum(), show=("shape", "rule"))
    >>> "dW = g * (1 - out²)" in drawing.source
    True
    """
    show = (show,) if isinstance(show, str) else tuple(show)
    if unknown := set(show).difference(SHOW):
        raise ValueError(f"show: {sorted(unknown)} unknown, choose among {', '.join(SHOW)}")
    if rankdir not in ("LR", "RL", "TB", "BT"):
        raise ValueError(f"rankdir={rankdir!r} is none of 'LR', 'RL', 'TB', 'BT'")
    from .dot import digraph
    from .fold import fold
    from .walk import walk

    vertices, notes = fold(walk(tensors, names, derivation), collapse, max_nodes)
    if derivation is not None:
        notes.append("(1), (2), …: lines of the derivation")
    drawing = digraph(vertices, show, rankdir, notes)
    drawing.program = "" if derivation is None else derivation.numpy()
    return drawing


def trace_table(tensors: Tensor | Iterable[Tensor], names: Names = None) -> Table:
    """The graph that leads to one or several Tensors: a line per node, in order of execution.

    ``inputs`` are the numbers of lines; ``kept`` are the bytes that the graph keeps for the op's
    rules; ``time`` is the time since the previous op, known for ops inside ``with tg.record():``.
    Raises the errors of ``draw``.

    >>> import tinygrad_np as tg
    >>> W = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="W")
    >>> print(tg.trace_table(tg.tanh(W).sum()))
    line   node   inputs  shape   dtype    kept  time
    0      W              1 × 2   float64
    1      tanh   [0]     1 × 2   float64  16 B
    2      sum    [1]     scalar  float64
    total  2 ops                           16 B
    """
    from .text import table
    from .walk import walk

    return table(walk(tensors, names))
