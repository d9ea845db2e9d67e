"""Mistakes with the masks of relu, dropout and the like: missing, inverted, or one too many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..graph import Node
from ..ops.axes import spread
from ..tensor import Array
from .mistakes import Mistake, handed_on, slip, times
from .trace import Tape, Use, parent_of


def mistakes(trace: Tape) -> Iterator[Mistake]:
    """Mistakes with the masks of a graph."""
    masks = {}
    for (node, slot), factor in trace.factors.items():
        levels = np.unique(factor)
        smooth = levels[0] != 0 and getattr(node.op, "analytic", False)
        same = node.shape and parent_of(node, slot).shape == node.shape
        if len(levels) != 2 or smooth or not same:
            continue
        if _is_label(trace, node, slot):
            words = f"what {trace.labels[node]} multiplies with is missing"
            yield slip(trace, "derivative", words, (node, slot), handed_on, "missing")
            continue
        yield from _of_mask(trace, (node, slot), factor, levels)
        if levels[0] == 0:
            masks[node] = factor
    for node in trace.order:
        yield from _extra(trace, node, masks)
        for use, parent in trace.slots[node]:
            if node.op is not None and node.op.name in ("max", "min"):
                yield from _of_maximum(trace, use, parent)


def _of_mask(trace: Tape, use: Use, factor: Array, levels: Array) -> Iterator[Mistake]:
    """The mask of an op is missing, or is another."""
    label, (low, high) = trace.labels[use[0]], (float(level) for level in levels)
    found: list[tuple[str, str, Any]] = [("mask", f"the mask of {label} is missing", handed_on)]
    if low == -high:
        found = [("sign", f"the sign in the rule of {label} is missing", lambda g, rule: g * high)]
    elif low:
        new = times(np.where(abs(factor) == min(abs(low), abs(high)), -1, 1))
        found.append(("sign", f"the smaller slope of {label} has the wrong sign", new))
    else:
        inverted = lambda g, rule: g * (high - factor)  # noqa: E731
        found.append(("mask", f"the mask of {label} is inverted", inverted))
        if high != 1:
            words = f"the mask of {label} is missing, and its factor {high:.6g} is there"
            found.append(("mask", words, lambda g, rule: g * high))
        if use[0].op and use[0].op.name != "multiply":  # relu and the like
            words = f"{label} is applied to the incoming gradient, in place of its mask"
            found.append(("mask", words, lambda g, rule: np.maximum(g, 0) * high))
            words = f"{label} is applied to the gradient as well as its mask"
            found.append(("mask", words, lambda g, rule: np.maximum(rule(g), 0)))
    for kind, words, new in found:
        yield slip(trace, kind, words, use, new, words.replace(label, ""))


def _of_maximum(trace: Tape, use: Use, parent: Node) -> Iterator[Mistake]:
    """The mask of a maximum is missing, or all elements that tie get the whole gradient."""
    node = use[0]
    axis = trace.argument(node, "axis")

    def whole(g: Any, rule: Any) -> Any:
        return rule(g) * 0 + spread(g, parent.shape, axis)

    def ties(g: Any, rule: Any) -> Any:
        return whole(g, rule) * (rule(np.ones(node.shape)) > 0)

    words = f"the mask of {trace.labels[node]} is missing: each element gets the gradient"
    yield slip(trace, "mask", words, use, whole, "missing")
    words = f"elements that tie in {trace.labels[node]} get the whole gradient each"
    yield slip(trace, "mask", words, use, ties, "ties")


def _extra(trace: Tape, node: Node, masks: dict[Node, Array]) -> Iterator[Mistake]:
    """The arriving gradient is multiplied by a mask that does not belong there."""
    found: dict[bytes, tuple[str, Array]] = {}

    def add(name: str, mask: Any) -> None:
        if mask.shape == node.shape and mask.any() and not mask.all():
            found.setdefault(np.asarray(mask, float).tobytes(), (name, mask * 1.0))

    if not node.shape or node.op is None:
        return
    for other, factor in masks.items():
        add(f"the mask of {trace.labels[other]}", factor != 0)
        add(f"the mask of {trace.labels[other]} and its factor", factor)
    near = [node, *(parent for _, parent in trace.slots[node])]
    for other in [*near, *(user for user, _ in trace.users[node])]:
        if other.op is not None and other in trace.outputs:
            add(f"the mask {trace.labels[other]} > 0", trace.outputs[other] > 0)
    what, at = f"the gradient of {trace.labels[node]} is multiplied by", (node, None)
    for name, mask in found.values():
        yield slip(trace, "mask", f"{what} {name}", at, times(mask), name)
    words = f"the negative part of the gradient of {trace.labels[node]} is cut off"
    yield slip(trace, "mask", words, at, lambda g, _: np.maximum(g, 0), "cut", 1.2)


def _is_label(trace: Tape, node: Node, slot: int) -> bool:
    """Whether a multiplication picks terms of the loss, as one-hot labels do."""
    if node.op is None or node.op.name != "multiply":
        return False
    parent = parent_of(node, slot)
    pairs = zip(node.parents, trace.operands[node], strict=True)
    some = [mask for p, a in pairs if p is None for mask in (np.not_equal(a, 0), np.equal(a, 0))]
    one_hot = [(m.sum(axis=axis) == 1).all() for m in some for axis in range(np.ndim(m))]
    return any(one_hot) or (parent.op is not None and "log" in parent.op.name)
