"""Mistakes with sums: missing, over the wrong axis or one row alone, the diagonal of a Jacobian."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..graph import Node
from ..shapes import normalize_axes
from ..tensor import Array
from .mistakes import Mistake, Slip, handed_on, instead, nothing, slip, square, then, transposed
from .trace import Change, Trace, Use, parent_of

DIAGONAL: dict[str, Change] = {
    "softmax": lambda _, g, saved: g * saved[1] * (1 - saved[1]),
    "log_softmax": lambda _, g, saved: g * (1 - np.exp(saved[1])),
}
DIAGONAL["masked_softmax"] = DIAGONAL["softmax"]
UNSUMMED: dict[str, Change] = {
    "softmax": lambda _, g, saved: g * saved[1],
    "log_softmax": lambda _, g, saved: g - np.exp(saved[1]),
}
UNSUMMED["masked_softmax"] = UNSUMMED["softmax"]

PRODUCTS = frozenset(["einsum", "linear", "matmul"])
"""Ops whose rules sum over rows; so do those that broadcast an operand."""


def mistakes(trace: Trace) -> Iterator[Slip]:
    """Mistakes with the sums of a graph's backward pass."""
    for node in trace.order:
        yield from _written_out(trace, node)
    for node, slot in trace.uses:
        yield from _softmax(trace, node, slot)
        yield from _rows(trace, node, slot)
        yield from _statistic(trace, node, slot)
    for node in trace.order:
        if len(node.shape) == 2 and node.op is not None:
            for axis in (0, 1):
                words = f"the gradient of {trace.labels[node]} is summed over axis {axis} too early"
                total = then(partial(_spread_sum, axis=axis))
                yield slip("sum", words, (node, None), total, ("early", axis), 1.3)


def _spread_sum(g: Array, axis: int) -> Array:
    return np.asarray(np.broadcast_to(g.sum(axis=axis, keepdims=True), g.shape))


def _softmax(trace: Trace, node: Node, slot: int) -> Iterator[Slip]:
    name, use = node.op.name if node.op else "", (node, slot)
    if name not in DIAGONAL:
        return
    what = f"the sum in the rule of {trace.labels[node]} is missing"
    diagonal = DIAGONAL[name]
    yield slip("sum", f"{what}: only its diagonal is there", use, diagonal, "diagonal")
    yield slip("sum", f"{what}: only the first term is there", use, UNSUMMED[name], "first")
    saved = node.saved or ()
    again, axis = saved[1], -1 if name == "masked_softmax" or len(saved) < 3 else saved[2]
    powers = np.exp(again - again.max(axis=axis, keepdims=True))
    twice = powers / powers.sum(axis=axis, keepdims=True)
    words = f"{what}: only its diagonal is there, and taken at the result in place of the input"
    yield slip(
        "sum", words, use,
        lambda rule, g, saved: diagonal(rule, g, (saved[0], twice, *saved[2:])), "diagonal at out",
        1.3,
    )  # fmt: skip


def _written_out(trace: Trace, node: Node) -> Iterator[Slip]:
    """A softmax that was written as exp(x) / sum(exp(x))."""
    ops = [n.op.name if n and n.op else "" for n in (node, *node.parents)]
    if ops != ["divide", "exp", "sum"] or node.parents[1] not in trace.links:
        return
    powers, total = parent_of(node, 0), parent_of(node, 1)
    if total.parents != (powers,):
        return
    out = trace.outputs[node]
    edits: dict[Use, Change] = {(node, 1): nothing, (powers, 0): handed_on}
    shifted = parent_of(powers, 0)
    if shifted.op and shifted.op.name == "subtract" and len(trace.links[shifted]) > 1:
        edits[shifted, 1] = nothing
    what = f"the sum in the derivative of the softmax that ends in {trace.labels[node]} is missing"
    for words, change, kind in (
        (f"{what}: only its diagonal is there", lambda g: g * out * (1 - out), "sum"),
        (f"{what}: only the first term is there", lambda g: g * out, "sum"),
        (f"the derivative of the softmax that ends in {trace.labels[node]} is missing",
         lambda g: g, "derivative"),
    ):  # fmt: skip
        made: dict[Use, Change] = {**edits, (node, 0): instead(change)}
        yield Mistake(kind, words, (node, 0), made, (kind, "softmax", words[-14:]))


def _rows(trace: Trace, node: Node, slot: int) -> Iterator[Slip]:
    parent, use = parent_of(node, slot), (node, slot)
    name = node.op.name if node.op else ""
    if parent.shape == node.shape if use in trace.factors else name not in PRODUCTS:
        return
    what = f"the gradient of {trace.labels[parent]}"
    rows = node.shape[0] if node.shape else 1
    if rows > 1:
        for row in (0, rows - 1):
            words = f"{what} is not summed over the rows: row {row} alone"
            yield slip("sum", words, use, _one_row(row), ("row", row > 0), 1.15)
    if len(node.shape) == 2 and square(node.shape) and parent.shape != node.shape:
        yield slip("sum", f"{what} is summed over the wrong axis", use, then(_turned), "axis")
    if square(parent.shape) and parent.shape != node.shape and len(node.shape) <= 2:
        words = f"{what} is spread over the wrong axis"
        yield slip("sum", words, use, transposed, "spread")


def _turned(part: Array) -> Array:
    return np.asarray(np.swapaxes(part, -1, -2)) if part.ndim > 1 else part


def _one_row(row: int) -> Change:
    """The rule for one row of the gradient, and 0 in the others."""
    return lambda rule, g, saved: rule(np.where(np.indices(g.shape)[0] == row, g, 0), saved)


def _statistic(trace: Trace, node: Node, slot: int) -> Iterator[Slip]:
    """A mean or sum that is broadcast back to where it came from, taken over another axis."""
    statistic = parent_of(node, slot)
    if statistic.op is None or statistic.op.name not in ("mean", "sum"):
        return
    links, users = trace.links[statistic], trace.users[statistic]
    factor = trace.factors.get((node, slot))
    if factor is None or len(users) != 1 or links[0][1].shape != node.shape:
        return
    (inner, parent, _), seen = links[0], dict[str, Array]()
    extras = getattr(statistic.op, "extras", ())
    axis = dict(zip(extras[::-1], (statistic.saved or ())[::-1], strict=False)).get("axis")
    axes = normalize_axes(axis, len(node.shape))
    count = math.prod(node.shape) // math.prod(statistic.shape)
    outer = [trace.factors.get(use) for use in trace.users[node]]
    scale = outer[0] if len(outer) == 1 and outer[0] is not None and outer[0].all() else None

    def watch(rule: Any, g: Any, saved: Any) -> Any:
        seen["g"] = g * factor
        return rule(g, saved)

    def wrong(rule: Any, g: Any, saved: Any, other: int, by: Any, over: int) -> Any:
        total = by * (seen["g"] / by).sum(axis=other, keepdims=True)
        return np.broadcast_to(total / over, parent.shape)

    mean = statistic.op.name == "mean"
    for other in range(len(node.shape)):
        ways = itertools.product((1.0, scale), {count, node.shape[other]} if mean else {1})
        for by, over in ways if (other,) != axes else ():
            if by is not None and np.shape(by) in ((), node.shape):
                words = f"the gradient through {trace.labels[statistic]} is summed over axis "
                words += f"{other}, not over axis {', '.join(map(str, axes))}"
                change = partial(wrong, other=other, by=by, over=over)
                edits: dict[Use, Change] = {(node, slot): watch, (statistic, inner): change}
                key = "sum", "statistic", other
                yield Mistake("sum", words, (statistic, inner), edits, key, 1.1)
