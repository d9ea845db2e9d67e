"""Second derivatives where a length is 0.

The gradient of a length (``norm``, ``hypot``, ``std``, ``abs``) is g x / out; at 0 it is 0 by
convention. Whether there is a second derivative depends on what is done with the length: norm(x)
has none at 0, and norm(x)² has 2 I. With g = g(out) and g(0) = 0 the gradient g(out) x / out is
nearly g'(0) x, and so g'(0) takes the place of g / out (L'Hôpital's rule). It is found by one more
backward pass, through the recorded gradient; only where a graph of gradients is recorded and some
length is 0. Where there is no such slope, the second derivative is nan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from .. import graph
from ..arrays import Traced
from ..cases import case, normal
from ..definition import Value, op
from ..graph import Node
from ..tensor import Tensor, plain, recorded_backward

_LENGTHS = frozenset(["abs", "hypot", "norm", "std"])


@op(
    cases=[case(normal(3, 4), normal(3, 4)), case(normal(3), normal()), case(normal(), normal())],
    x=lambda g, slope: g * slope, slope=lambda g, x: g * x,
)  # fmt: skip
def zero_with_slope(x: Value, slope: Value) -> Value:
    """x slope, and 0 where either is 0: at x = 0 a zero whose derivative is ``slope``, even nan.

    >>> zero_with_slope([0.0, 2.0], [float("nan"), 3.0]).tolist()
    [0.0, 6.0]
    """
    return np.where(slope == 0, 0, x) * np.where(x == 0, 0, slope)


def slope_at_zero(g: Any, out: Any, smooth: bool = False) -> Any:
    """dg/dout where ``out`` is 0, nan where it is unknown, 0 elsewhere; None if it is not needed.

    It is needed only while gradients are recorded and some length is 0. ``smooth``: also where g is
    not 0, as for ``abs``, whose own second derivative tends to 0.
    """
    if not isinstance(g, Tensor):
        return None
    zero = plain(out) == 0
    if not some(zero):
        return None
    slope: Any = np.zeros(g.shape, g.dtype)
    if g.node is not None and out.node is not None:
        slope = _slope(g, out, zero)
    if not smooth:
        slope = np.where(plain(g) == 0, slope, np.nan)
    return np.where(zero, slope, 0)


def some(mask: Any) -> bool:
    """Whether a mask may hold anywhere. The elements of a traced mask are unknown: True."""
    return isinstance(mask, Traced) or bool(np.any(mask))


def _slope(g: Tensor, out: Tensor, zero: Any) -> Any:
    """The diagonal of dg/dout; nan where g depends on other elements, or on what out is made of."""
    start, length = g.node, out.node
    assert start is not None and length is not None
    parts = [node for node in length.parents if node is not None]
    if _reads_another_length(start, length, parts):
        return np.full(g.shape, np.nan, g.dtype)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, g.shape).astype(g.dtype)
    weights = np.where(zero, weights, 0)
    first = graph.backward({start: weights}, {length, *parts}, retain=True)
    slope: Any = np.zeros(g.shape, g.dtype)
    if length in first:
        ones = np.where(zero, np.ones(g.shape, g.dtype), 0)
        slope = recorded_backward({start: ones}, [length])[length]
        if g.size > 1:  # the columns of a diagonal matrix add up to it, whatever their weights
            difference = np.abs(first[length] - weights * plain(slope))
            close = difference <= 64 * np.finfo(g.dtype).eps * np.abs(first[length])
            slope = np.where(close, slope, np.nan)
    for node in parts:  # through out, which is 0, they receive no gradient
        if node in first:
            slope = np.where((first[node] == 0).all(), slope, np.nan)
    return slope


def depends(g: Tensor, out: Tensor) -> bool:
    """Whether a gradient depends on the output that it belongs to, or on what that is made of."""
    if g.node is None or out.node is None:
        return False
    return not _before([g.node]).isdisjoint(_before([out.node]))


def _before(nodes: Iterable[Node], cut: Collection[Node] = ()) -> set[Node]:
    """These nodes and their ancestors; paths through ``cut`` or through a sign do not count."""
    found: set[Node] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in cut and node not in found and not (node.op and node.op.name == "sign"):
            found.add(node)
            stack += [p for p in node.parents if p is not None]
    return found


def _reads_another_length(start: Node, length: Node, parts: list[Node]) -> bool:
    """Whether g reads another length that is 0, and depends on what this one is made of."""
    before = _before(parts)
    for node in _before([start], cut=[length, *parts]):
        if node.op is not None and node.op.name in _LENGTHS and node.saved is not None:
            zero = some(node.saved[len(node.parents)] == 0)
            if zero and not before.isdisjoint(_before([node], cut=[length])):
                return True
    return False
