"""What people get wrong when they derive by hand: mistakes to try at every node of a graph.

Constant factors, signs and lost paths are not here: ``search`` solves for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..graph import Node, Rule
from ..op import OPS
from ..shapes import Shape
from ..tensor import Array
from .mistake import Change, Mistake, instead, one_row, parent_of, reading, then, times
from .trace import Trace, slots

NEAREST = 24
"""How many arrays of the right shape are tried in the place of another."""

Row = tuple[str, Change, str]
"""A kind of mistake, what it does to the rule, and its words."""


def hypotheses(trace: Trace, node: Node) -> list[Mistake]:
    """All mistakes to try at ``node``."""
    found: list[tuple[int | None, Row]]
    found = [(None, row) for row in _with_the_gradient(trace, node)]
    for kind in (_transposed, _unmasked, _unsummed, _misplaced):
        found += [(slot, row) for slot in slots(node) for row in kind(trace, node, slot)]
    return [Mistake(kind, node, slot, change, words) for slot, (kind, change, words) in found]


def _with_the_gradient(trace: Trace, node: Node) -> Iterator[Row]:
    """The gradient that arrives transposed, or multiplied by a mask from somewhere else."""
    label = trace.labels[node]
    if _square(node.shape):
        yield "transpose", then(_transpose), f"the gradient of {label} is transposed"
    for name, mask in _masks(trace, node.shape):
        yield "mask", times(mask), f"the gradient of {label} is multiplied by {name}"


def _transposed(trace: Trace, node: Node, slot: int) -> Iterator[Row]:
    """A square matrix in a rule, transposed."""
    for place, array in _saved(node):
        if _square(array.shape):
            words = f"{trace.label_of(array)} stands transposed in the rule of {trace.labels[node]}"
            yield "transpose", reading(place, array.mT), words


def _unmasked(trace: Trace, node: Node, slot: int) -> Iterator[Row]:
    """A rule that multiplies elementwise does so not at all, or twice."""
    label = trace.labels[node]
    factor, levels = trace.factors.get((node, slot), (None, np.zeros(1)))
    if factor is None or (len(levels) == 1 and levels[0]):
        return
    without = instead(lambda g, saved: g)
    if len(levels) > 2:
        yield "derivative", without, f"the derivative of {label} is missing"
        yield "derivative", times(factor), f"the derivative of {label} is multiplied twice"
    elif levels[0] == -levels[-1] != 0:
        right = instead(lambda g, saved: g * levels[1])
        yield "sign", right, f"the sign in the rule of {label} is missing"
    else:
        yield "mask", without, f"the mask of {label} is missing"


_DIAGONAL: dict[str, Rule] = {
    "softmax": lambda g, saved: g * saved[1] * (1 - saved[1]),
    "log_softmax": lambda g, saved: g * (1 - np.exp(saved[1])),
}


def _unsummed(trace: Trace, node: Node, slot: int) -> Iterator[Row]:
    """A sum along an axis that is taken along another, over one row only, or not at all."""
    label, parent = trace.labels[node], parent_of(node, slot)
    if node.op and node.op.name in _DIAGONAL:
        words = f"the sum in the rule of {label} is missing: only its diagonal is there"
        yield "sum", instead(_DIAGONAL[node.op.name]), words
    what = f"the gradient of {trace.labels[parent]}"
    rows = node.shape[0] if len(node.shape) > 1 else 1
    if rows > 1 and (node, slot) not in trace.factors:
        for row in (0, rows - 1):
            yield "sum", one_row(row), f"{what} is not summed over the rows: row {row} alone"
    if _square(node.shape) and len(node.shape) == 2 and parent.shape != node.shape:
        yield "sum", then(_transpose), f"{what} is summed over the wrong axis"


def _misplaced(trace: Trace, node: Node, slot: int) -> Iterator[Row]:
    """A rule that reads another array of the same shape in the place of the right one."""
    label = trace.labels[node]
    for place, array in _saved(node):
        own, alike = trace.label_of(array), _alike(trace, array, node)
        for name, value in alike:
            what = "its own result" if own == label else own
            words = f"the rule of {label} reads {name} in place of {what}"
            yield "value", reading(place, value), words
        op = OPS.get(node.op.name) if node.op else None
        if op is not None and len(op.parameters) == 1 and place == 1:  # what it saves is its result
            for name, value in [(own, array), *alike]:
                with np.errstate(all="ignore"):
                    result = op.forward(value)
                words = f"the derivative of {label} is taken at {name} in place of its input"
                yield "value", reading(place, result), words


def _masks(trace: Trace, shape: Shape) -> list[tuple[str, Array]]:
    """The masks of a shape that somebody might apply: of relu, of dropout, signs of values."""
    masks: list[tuple[str, Array]] = []
    for (node, _), (factor, levels) in trace.factors.items():
        if node.shape == shape and len(levels) == 2 and levels[0] == 0:
            name = f"the mask of {trace.labels[node]}"
            masks += [(name, (factor != 0) * 1.0), (f"{name} and its factor", factor * 1.0)]
    for label, value in trace.values:
        if value.shape == shape and value.dtype.kind == "f":
            masks.append((f"the mask {label} > 0", (value > 0) * 1.0))
    different: dict[bytes, tuple[str, Array]] = {}
    for name, mask in masks:
        if mask.any() and not mask.all():
            different.setdefault(mask.tobytes(), (name, mask))
    return list(different.values())


def _alike(trace: Trace, array: Array, node: Node) -> list[tuple[str, Array]]:
    """The other arrays of an array's shape, those met closest to ``node`` first."""
    labels = [label for label, _ in trace.values]
    here = labels.index(trace.labels[node]) if trace.labels[node] in labels else 0
    nearest = sorted(range(len(labels)), key=lambda i: abs(i - here))
    found = [trace.values[i] for i in nearest if trace.values[i][1] is not array]
    return [(n, a) for n, a in found if a.shape == array.shape and a.dtype.kind == "f"][:NEAREST]


def _saved(node: Node) -> list[tuple[int, Array]]:
    """The arrays that a node's rules may read, with their places."""
    saved = enumerate(node.saved or ())
    return [(i, array) for i, array in saved if isinstance(array, np.ndarray) and array.ndim]


def _square(shape: Shape) -> bool:
    return len(shape) >= 2 and shape[-1] == shape[-2] > 1


def _transpose(array: Any) -> Any:
    return np.swapaxes(array, -1, -2)
