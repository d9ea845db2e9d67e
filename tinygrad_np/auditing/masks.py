"""Mistakes with masks: relu's, dropout's and the like missing, inverted, or where none belongs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Slip, handed_on, instead, slip, then, times
from .trace import Trace, parent_of

LINEAR = frozenset(
    ["add", "divide", "getitem", "mean", "multiply", "negative", "reshape", "subtract", "sum"]
)


def mistakes(trace: Trace) -> Iterator[Slip]:
    """Mistakes with the masks of a graph."""
    masks = {}
    for (node, slot), factor in trace.factors.items():
        levels = np.unique(factor)
        smooth = levels[0] != 0 and getattr(node.op, "analytic", False)
        if len(levels) != 2 or smooth or not node.shape:
            continue
        if parent_of(node, slot).shape == node.shape:
            if is_label(trace, node, slot):
                words = f"what {trace.labels[node]} multiplies with is missing"
                yield slip("derivative", words, (node, slot), handed_on, "missing")
                continue
            yield from _at(trace, node, slot, factor, levels)
            if levels[0] == 0:
                masks[node] = factor
    for node in trace.order:
        yield from _extra(trace, node, masks)


def _at(trace: Trace, node: Node, slot: int, factor: Array, levels: Array) -> Iterator[Slip]:
    """The mask of an op is missing, or is another."""
    label, use = trace.labels[node], (node, slot)
    low, high = (float(level) for level in levels)
    if low == -high:
        words = f"the sign in the rule of {label} is missing"
        yield slip("sign", words, use, lambda _, g, __: g * high, "sign")
        return
    if low:
        flipped = np.where(abs(factor) < abs(high if abs(high) > abs(low) else low), -1, 1)
        words = f"the smaller slope of {label} has the wrong sign"
        yield slip("sign", words, use, times(flipped), "slope")
        words = f"the smaller slope of {label} is missing: it is taken for 0"
        yield slip("mask", words, use, times((flipped > 0) * 1.0), "zero")
        words = f"the slopes of {label} are interchanged"
        yield slip("mask", words, use, instead(lambda g: g * (low + high - factor)), "swapped")
    yield slip("mask", f"the mask of {label} is missing", use, handed_on, "missing")
    if not low:
        words = f"the mask of {label} is inverted"
        yield slip("mask", words, use, instead(lambda g: g * (high - factor)), "inverted")
        words = f"{label} is applied to the incoming gradient, in place of its mask"
        yield slip("mask", words, use, instead(lambda g: np.maximum(g, 0) * high), "of g")
        words = f"{label} is applied to the gradient as well as its mask"
        yield slip("mask", words, use, then(lambda g: np.maximum(g, 0)), "of g too")


def _extra(trace: Trace, node: Node, masks: dict[Node, Array]) -> Iterator[Slip]:
    """The gradient that arrives multiplied by a mask that does not belong there."""
    found: dict[bytes, tuple[str, Array]] = {}

    def add(name: str, mask: Any) -> None:
        if mask.any() and not mask.all():
            found.setdefault(np.asarray(mask, float).tobytes(), (name, mask * 1.0))

    if not node.shape or node.op is None:
        return
    for other, factor in masks.items():
        if other.shape == node.shape:
            name = f"the mask of {trace.labels[other]}"
            add(name, factor != 0)
            add(f"{name} and its factor", factor)
    near = [node, *(parent for _, parent, _ in trace.links[node])]
    near += [user for user, _ in trace.users[node]]
    for other in near:
        if other.op is not None and other.shape == node.shape and other in trace.outputs:
            add(f"the mask {trace.labels[other]} > 0", trace.outputs[other] > 0)
    what = f"the gradient of {trace.labels[node]} is multiplied by"
    for name, mask in found.values():
        yield slip("mask", f"{what} {name}", (node, None), times(mask), name)
    words = f"the negative part of the gradient of {trace.labels[node]} is cut off"
    yield slip("mask", words, (node, None), then(lambda g: np.maximum(g, 0)), "cut", 1.2)


def is_label(trace: Trace, node: Node, slot: int) -> bool:
    """Whether a multiplication picks terms of the loss, as one-hot labels do."""
    if node.op is None or node.op.name != "multiply":
        return False
    parent = parent_of(node, slot)
    if parent.op is not None and "log" in parent.op.name:
        return True
    constants = [a for p, a in zip(node.parents, trace.operands[node], strict=True) if p is None]
    below = node
    while below is not trace.root:
        users = {user for user, _ in trace.users[below]}
        if len(users) != 1:
            return False
        [below] = users
        if below.op is None or below.op.name not in LINEAR:
            return False
    return any(np.ndim(c) and _is_one_hot(np.asarray(c)) for c in constants)


def _is_one_hot(array: Array) -> bool:
    ones = [array != 0, array == 0]
    return any(
        bool((some.sum(axis=axis) == 1).all()) for some in ones for axis in range(array.ndim)
    )
