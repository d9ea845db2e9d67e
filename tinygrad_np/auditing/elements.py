"""What can be said of a gradient that no mistake explains: where it is right, how it is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Mistake, slip
from .trace import Trace


def as_given(trace: Trace, node: Node, given: Array, expected: Array, bad: Array) -> Mistake:
    """The wrong elements as they were given, few or all."""
    label, places = trace.labels[node], np.argwhere(bad)
    kind, cost = "unknown", 3.0
    if not trace.users[node]:
        words = f"f does not depend on {label}: its gradient is 0"
    elif bad.ndim and not bad.all() and not given[bad].any():
        kind, cost = "elements", 1.7
        words = f"the gradient of {label} is right in {_where_right(bad)} and 0 in the rest"
    elif (limit := float(np.abs(given).max())) and _is_clipped(given, expected, bad, limit):
        kind, cost = "elements", 1.5
        words = f"the gradient of {label} is clipped: {len(places)} of {bad.size} elements are "
        words += f"cut to ±{limit:.6g}"
    elif _are_few(bad):
        kind, cost = "elements", 1.7
        where = ", ".join([str(tuple(place)) for place in places[:5].tolist()])
        words = f"the gradient of {label} is right but for {len(places)} of {bad.size} "
        words += f"elements: {where}{', …' if len(places) > 5 else ''}"
        if len(places) > 1 and (line := _line(places, bad.shape)):
            words += f", all at {line}"
    else:
        words = f"the gradient of {label} is wrong; no mistake tried explains it"
        words += "".join([f"; {fact}" for fact in _facts(given, expected, bad)])
    new = lambda g, _: np.where(bad, given, g)  # noqa: E731
    return slip(trace, kind, words, (node, None), new, None, cost)


def _is_clipped(given: Array, expected: Array, bad: Array, limit: float) -> bool:
    """Whether the elements that are wrong are larger ones, cut to a limit."""
    cut = np.allclose(given[bad], np.sign(expected[bad]) * limit, 1e-9)
    return cut and bool((np.abs(expected[bad]) > limit).all())


def _where_right(bad: Array) -> str:
    """Where a gradient is right: rows or columns, if there are whole ones, else how many."""
    for axis in range(bad.ndim if bad.ndim > 1 else 0):
        others = tuple([i for i in range(bad.ndim) if i != axis])
        clean = np.flatnonzero(~bad.any(axis=others))
        if len(clean):
            name = {0: "rows", 1: "columns"}.get(axis, f"indices of axis {axis}")
            return f"{name} {', '.join(map(str, clean[:6].tolist()))}{', …' * (len(clean) > 6)}"
    places = ", ".join([str(tuple(p)) for p in np.argwhere(~bad)[:4].tolist()])
    right = bad.size - int(bad.sum())
    return f"{right} of {bad.size} elements: {places}{', …' * (right > 4)}"


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


def _are_few(bad: Array) -> bool:
    """Whether elements are few: three or a tenth, or all in one row or column of several."""
    count = int(bad.sum())
    few = count <= max(min(3, bad.size // 3), bad.size // 10)
    return few or (count <= bad.size // 3 and bool(_line(np.argwhere(bad), bad.shape)))


def _line(places: Array, shape: tuple[int, ...]) -> str:
    """The row or column that places in a matrix have in common, in words; "" if there is none."""
    for axis, length in enumerate(shape if len(shape) > 1 else ()):
        if length > 2 and (places[:, axis] == places[0, axis]).all():
            return f"index {places[0, axis]} of axis {axis}"
    return ""
