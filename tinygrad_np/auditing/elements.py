"""A description of a gradient that no mistake explains: where it is right, how it is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Mistake, slip
from .trace import Tape


def as_given(trace: Tape, node: Node, given: Array, expected: Array, bad: Array) -> Mistake:
    """A mistake that replaces the wrong elements by the given ones, with a description of them."""
    what, count, kind = f"the gradient of {trace.labels[node]}", int(bad.sum()), "elements"
    limit = float(np.abs(given).max())
    larger = np.abs(expected[bad]) > (limit or np.inf)
    some = f"{count} of {bad.size} elements: {_listed(np.argwhere(bad))}"
    if not trace.users[node]:
        kind, words = "unknown", f"f does not depend on {trace.labels[node]}: its gradient is 0"
    elif larger.all() and np.allclose(given[bad], np.sign(expected[bad]) * limit, 1e-9):
        words = f"{what} is clipped to ±{limit:.6g} in {some}"
    elif bad.ndim and not bad.all() and not given[bad].any():
        words = f"{what} is right in {_where_right(bad)} and 0 in the rest"
    elif count <= max(min(3, bad.size // 3), bad.size // (3 if _line(bad) else 10)):
        words = f"{what} is right but for {some}{_line(bad)}"
    else:
        kind, words = "unknown", f"{what} is wrong; no mistake tried explains it"
        words += "".join([f"; {fact}" for fact in _facts(given, expected, bad)])
    new = lambda g, _: np.where(bad, given, g)  # noqa: E731
    return slip(trace, kind, words, (node, None), new, None, 3.0 if kind == "unknown" else 1.7)


def _listed(places: Array) -> str:
    few = ", ".join([str(tuple(place)) for place in places[:5].tolist()])
    return few + ", …" * (len(places) > 5)


def _where_right(bad: Array) -> str:
    """Where a gradient is right: rows or columns, if there are whole ones, else how many."""
    for axis in range(bad.ndim if bad.ndim > 1 else 0):
        clean = np.flatnonzero(~np.moveaxis(bad, axis, 0).reshape(bad.shape[axis], -1).any(axis=1))
        if len(clean):
            name = {0: "rows", 1: "columns"}.get(axis, f"indices of axis {axis}")
            return f"{name} {', '.join(map(str, clean[:6].tolist()))}{', …' * (len(clean) > 6)}"
    right = np.argwhere(~bad)
    return f"{len(right)} of {bad.size} elements: {_listed(right)}"


def _line(bad: Array) -> str:
    """The row or column that the wrong elements of a matrix share, in words; "" without one."""
    places = np.argwhere(bad)
    for axis, length in enumerate(bad.shape if bad.ndim > 1 and len(places) > 1 else ()):
        if length > 2 and (places[:, axis] == places[0, axis]).all():
            return f", all at index {places[0, axis]} of axis {axis}"
    return ""


def _facts(given: Array, true: Array, bad: Array) -> Iterator[str]:
    """What can be seen: parts that are right, zeros, the direction and the size."""
    if not bad.all() and bad.any():
        yield f"it is right in {_where_right(bad)}"
    empty = (given == 0) & (true != 0)
    if empty.any():
        few = f"in {int(empty.sum())} elements where the true one is not"
        yield f"it is 0 {'everywhere' if empty.all() else few}"
    sizes = float(np.linalg.norm(given)), float(np.linalg.norm(true))
    if all(sizes) and given.size > 1:
        cosine = float(np.vdot(given, true)) / sizes[0] / sizes[1]
        yield f"its cosine with the true one is {cosine:.3f}"
        yield f"it is {sizes[0] / sizes[1]:.3g} times as long"
