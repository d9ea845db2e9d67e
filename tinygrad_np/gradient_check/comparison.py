"""One input's gradients beside the numerical derivatives: what differs, and what excuses it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..kinks import find_kink
from ..numerical import EPS, Method, Probe
from ..rounding import rounding
from ..tensor import Array
from .report import Comparison

TOLERANCES = {
    ("complex", 1): 1e-12, ("central", 1): 1e-6, ("richardson", 1): 1e-7, ("richardson", 2): 1e-6,
}  # fmt: skip
"""Relative errors allowed in float64, by method and order."""
FEWER_DIGITS = {"float16": (3e-2, 1e-1), "float32": (1e-4, 1e-3)}
"""The same where an array of the graph is of this dtype, the least precise one, by order."""
NOTHING = (1e-30, 1e-100)  # float32's and float64's derivatives below this count as 0
SMALL = 1e-2  # an element below this part of the largest is measured by this part


class Gradients(NamedTuple):
    """One input's gradients of one order, and how closely they must agree with the derivatives.

    ``computed`` holds the same gradient several times, from different incoming ones; the one with
    the largest error counts. ``wider`` is the same in float64. ``eps`` is the precision of the
    least precise array that takes part.
    """

    name: str
    dtype: np.dtype[Any]
    order: int
    computed: Array
    wider: Array
    allowed: float
    eps: float


def compare(
    probe: Probe, given: Gradients, directions: list[Array], notes: list[str]
) -> Comparison:
    """Compare the elements of an input's gradient or, with directions, the projections on these."""
    both = given.computed, given.wider
    if directions:
        places = [f" along direction {i}" for i in range(len(directions))]
        values = np.array([[[float((g * d).sum()) for d in directions] for g in a] for a in both])
    else:
        directions = list(probe.units())
        places = [str(list(i)) if i else "" for i in np.ndindex(given.computed.shape[1:])]
        values = np.array([a.reshape(len(a), -1) for a in both], np.float64)
    theirs, errors = probe.derivatives(directions)
    with np.errstate(invalid="ignore"):  # inf - inf
        farthest = np.argmax(np.abs(values[0] - theirs), axis=0)
        ours, exact = values[:, farthest, np.arange(len(directions))]
        absolute, rounded = np.abs(ours - theirs), 2 * np.abs(ours - exact)
    largest = np.max(np.abs(theirs), where=np.isfinite(theirs), initial=0.0)
    size = np.maximum(np.maximum(np.abs(ours), np.abs(theirs)), SMALL * largest)
    vague = (errors > 10 * given.allowed * size) & (errors > 2.0**26 * probe.noise)
    # A difference counts only if it exceeds the error of the numerical derivative itself, and what
    # float32's rounding leaves of a gradient whose terms cancel: the float64 gradient shows that.
    errors = np.maximum(errors, np.fmin(rounded, 8 * given.eps * max(largest, abs(probe.value))))
    errors = np.maximum(errors, NOTHING[given.dtype.itemsize > 4])
    size = np.maximum(size, np.where(vague, NOTHING[1], errors / given.allowed))
    bad = ~(absolute <= given.allowed * size) | vague
    kinks = np.zeros_like(bad)
    mistaken = False
    for i in np.flatnonzero(bad):
        where = given.name + places[i]
        if not mistaken:  # after the first mistake the others need no excuse
            bound = _rounding(probe, directions[i], given.eps, float(rounded[i]))
            if absolute[i] <= bound:
                bad[i], size[i] = False, max(size[i], bound / given.allowed)
                notes.append(
                    f"{where}: larger terms cancel; rounding may leave an error of {bound:.0e}"
                )
                continue
        kink = find_kink(probe, directions[i], float(ours[i]), given.order)
        mistaken = mistaken or not (kink and kink[0])
        if kink is not None:
            kinks[i] = kink[0]
            notes.append(f"{where}: {kink[1]}")
        elif vague[i]:
            notes.append(
                f"{where}: the finite differences do not converge (error {errors[i]:.1e}): f is "
                "noisy or discontinuous here, or it changes within the smallest step"
            )
    bad &= ~kinks
    relative = np.where(kinks, 0.0, np.nan_to_num(absolute / size, nan=np.inf))
    worst = int(np.lexsort((relative, bad))[-1])
    return Comparison(
        given.name, given.computed.shape[1:], str(given.dtype), given.order, probe.method,
        float(absolute[worst]), float(relative[worst]), given.allowed,
        "kink" if kinks[worst] else places[worst].removeprefix(" along "),
        float(ours[worst]), float(theirs[worst]), not bad.any(),
    )  # fmt: skip


def _rounding(probe: Probe, direction: Array, eps: float, rounded: float) -> float:
    """How large an error rounding may leave in a derivative; ``rounded`` is float32's own."""
    bound = rounding(probe.call, probe.argument, direction, eps)
    return min(bound, rounded + bound * EPS / eps) if eps > EPS else bound


def random_direction(origin: Array, rng: np.random.Generator) -> Array:
    """A random direction, longer for large elements."""
    direction: Array = rng.normal(size=origin.shape) * np.maximum(np.abs(origin), 1.0)
    return direction / math.sqrt(origin.size)


def allowed_error(method: Method, order: int, dtypes: Iterable[np.dtype[Any]]) -> float:
    """The relative error allowed, by the least precise array that takes part."""
    used = set(map(str, dtypes))
    fewer = [allowed[order - 1] for name, allowed in FEWER_DIGITS.items() if name in used]
    return fewer[0] if fewer else TOLERANCES[method, order]
