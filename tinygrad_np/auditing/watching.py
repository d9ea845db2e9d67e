"""The lines of somebody's own backward pass, and which of them computes a wrong gradient."""

from __future__ import annotations

import math
import sys
from types import FrameType
from typing import Any

import numpy as np

from ..debugging import is_users_frame
from ..graph import Node
from ..tensor import Array
from .mistakes import Mistake
from .objects import Place, arrays_in
from .problem import Problem
from .trace import Function, Gradients, source_line

MOST = 20_000
"""How many lines are looked at, where a backward pass loops over single elements."""


class Watch:
    """Runs a backward pass, and keeps what its lines compute: arrays of these ``sizes``.

    ``owner`` is an object that it may write to besides its own variables. Of an array that changes,
    the decrease divided by ``rate`` is kept as well: an update subtracts a gradient.
    """

    def __init__(self, sizes: set[int], owner: Any, rate: float) -> None:
        self.sizes, self.owner, self.rate = sizes, owner, rate
        self.found: list[tuple[tuple[str, int], Array]] = []
        self._left = MOST
        self._before: dict[FrameType, tuple[int, dict[Place, Array]]] = {}

    def __call__(self, run: Function) -> Any:
        outer = sys.gettrace()  # a debugger's, say
        sys.settrace(self._look)  # nothing else tells which line assigns what, in loops as well
        try:
            return run()
        finally:
            sys.settrace(outer)

    def _look(self, frame: FrameType, event: str, returned: Any) -> Any:
        """Compare the arrays in sight with those before the line that has just run."""
        if not is_users_frame(frame) or self._left <= 0:
            return None
        self._left -= 1
        spaces = {"": frame.f_locals, "owner": self.owner}
        if event == "return":
            spaces["returned"] = [*returned] if isinstance(returned, tuple) else [returned]
        now = {p: a.copy() for p, a in arrays_in(spaces, 5) if a.size in self.sizes}
        number, before = self._before.pop(frame, (0, now))
        for place, array in now.items():
            old = before.get(place)
            if array.any() and (old is None or not np.array_equal(old, array)):
                line = frame.f_code.co_filename, number
                self.found.append((line, array))
                if old is not None and old.shape == array.shape:
                    self.found.append((line, (old - array) / self.rate))
        if event != "return":
            self._before[frame] = frame.f_lineno, now
        return self._look


def _mark(array: Array, digits: int) -> tuple[float, bytes]:
    """What equal arrays have in common, whatever the order of their axes."""
    row = np.sort(np.asarray(array, float), axis=None)
    size = float(np.abs(row).max()) or 1.0
    return round(math.log(size), digits), (np.round(row / size, digits) + 0.0).tobytes()


@np.errstate(all="ignore")
def wrong_line(
    problem: Problem, watch: Watch, mistake: Mistake, target: Node,
    made: Gradients, without: Gradients,
) -> str:  # fmt: skip
    """The line at which a mistake shows first; "" if no line computes what the mistake makes.

    ``made`` are the gradients with the mistake, ``without`` those without it. Where a factor is
    missing, the line before computes both the right gradient and, without the factor, the wrong one
    of the next node: it is the one that lacks the factor.
    """
    digits = 6 if max(problem.rtol.values()) < 1e-5 else 3
    given = {**problem.given, **problem.misshapen}[target]
    changed = [node for node, _ in mistake.changes if not np.allclose(made[node], without[node])]
    place = {_mark(array, digits) for array in [given, *[made[node] for node in changed]]}
    right = [*without.values(), *[value.array for value in problem.trace.values]]
    wrong = {_mark(array, digits) for array in made.values()} - {_mark(a, digits) for a in right}
    found: tuple[str, int] | None = None
    for line, array in watch.found:
        mark = _mark(array, digits)
        found = line if mark in place else found
        if mark in wrong:
            return source_line(*(found or line))
    return source_line(*found) if found else ""
