"""Kinks: points where the derivatives on both sides differ. They are found and named."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from .graph import Node
from .modes import observed
from .numerical import Probe, replaced
from .tensor import Array


def find_kink(probe: Probe, way: Array, ours: float, order: int) -> tuple[bool, str] | None:
    """A kink or jump of f: whether it excuses the difference, and what it is; None without one."""
    reach = float(np.max(np.abs(way) / np.maximum(np.abs(probe.origin), 1.0)))
    step = 2.0 ** math.floor(math.log2(probe.precision) / 3) / reach
    sides = []
    for h in (step, step / 8):
        before, after = probe.at(probe.origin - h * way), probe.at(probe.origin + h * way)
        sides.append(((probe.value - before) / h, (after - probe.value) / h))
    steep = [max(map(abs, side)) for side in sides]
    gaps = [abs(right - left) for left, right in sides]
    noise = 64 * probe.noise / (step / 8) + 1e-4 * steep[0]
    jump = steep[1] > max(4 * steep[0], noise)
    moved = max(abs(first - second) for first, second in zip(*sides, strict=True))
    kink = gaps[1] > noise and gaps[1] >= max(0.5 * gaps[0], 2 * moved)  # each side has a slope
    if not math.isfinite(sum(gaps)) or not (jump or kink):
        return None
    source = _source_of_kink(probe, way * step)
    if jump:
        if order == 1:
            return False, f"a jump{source}: there is no derivative here"
        return True, f"a kink{source}: there is no second derivative here"
    # A side's slope is off by a seventh of what it moved between the steps, and by rounding.
    slack = 1e-4 * gaps[1] + moved / 4 + 64 * probe.noise / step
    left, right = sides[1]
    between = min(left, right) - slack <= ours <= max(left, right) + slack
    return between, (
        f"a kink{source}: the derivative is {left:.6g} on the left and {right:.6g} on the right; "
        f"autograd's {ours:.6g} lies {'between' if between else 'outside'}"
    )


def _source_of_kink(probe: Probe, step: Array) -> str:
    """The first op whose output has a bend, in words."""
    passes: list[list[tuple[Node, Any]]] = []
    for t in (-1, -1 / 8, 0, 1 / 8, 1):
        passes.append([])
        watch = SimpleNamespace(observe=lambda node, _, out: passes[-1].append((node, out)))
        values = probe.origin + t * step
        with observed(watch), replaced(probe.argument, values), np.errstate(all="ignore"):
            probe.call()
    for calls in zip(*passes, strict=False):
        (node, *_), (far, near, here, ahead, beyond) = zip(*calls, strict=True)
        if len({out.shape for out in (far, near, here, ahead, beyond)}) > 1 or not here.size:
            continue
        bend, slope = np.abs(beyond - 2 * here + far), np.abs(beyond - far)
        # Where a mere curve bends, it does so 64 times less at an eighth of the step.
        bend = np.where(16 * np.abs(ahead - 2 * here + near) > bend, bend, 0.0)
        if bend.max() > 1e-3 * max(float(slope.max()), float(bend.max())) and node.op is not None:
            index = [int(i) for i in np.unravel_index(int(bend.argmax()), here.shape)]
            place = f", at element {index} of its output" if index else ""
            return f" of {node.op.name}{place}"
    return ""
