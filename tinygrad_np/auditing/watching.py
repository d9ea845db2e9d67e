"""The lines of somebody's own backward pass, and which of them computes a wrong gradient."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from types import FrameType
from typing import Any, NamedTuple

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


class Computed(NamedTuple):
    """An array that a line computes, or what it subtracts from an array, as an update does."""

    line: tuple[str, int]
    array: Array


class Watch:
    """Runs a backward pass, and keeps what its lines compute: arrays of these ``sizes``.

    ``owner`` is an object that it may write to besides its own variables. Of an array that changes,
    the decrease divided by ``rate`` is kept as well.
    """

    def __init__(self, sizes: set[int], owner: Any, rate: float) -> None:
        self.sizes, self.owner, self.rate = sizes, owner, rate
        self.found: list[Computed] = []
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
                self.found.append(Computed(line, array))
                if old is not None and old.shape == array.shape:
                    self.found.append(Computed(line, (old - array) / self.rate))
        if event != "return":
            self._before[frame] = frame.f_lineno, now
        return self._look


class _Arrays:
    """Arrays to compare others with; their axes may be in another order."""

    def __init__(self, arrays: Iterable[Any], rtol: float) -> None:
        rows: dict[int, list[Array]] = defaultdict(list)
        for array in arrays:
            rows[np.size(array)].append(np.sort(np.asarray(array, float), axis=None))
        self.rows, self.rtol = {size: np.array(same) for size, same in rows.items()}, rtol

    def __contains__(self, array: Array) -> bool:
        row = np.sort(array, axis=None)
        apart = np.abs(self.rows.get(array.size, np.inf) - row).max(axis=-1)
        return bool((apart <= self.rtol * np.abs(row).max()).any())


def wrong_line(
    problem: Problem, watch: Watch, mistake: Mistake, target: Node,
    made: Gradients, without: Gradients,
) -> str:  # fmt: skip
    """The line at which a mistake shows first; "" if no line computes what the mistake makes.

    ``made`` are the gradients with the mistake, ``without`` those without it. Where a factor is
    missing, the line before computes both the right gradient and, without the factor, the wrong one
    of the next node: it is the one that lacks the factor.
    """
    if not watch.found:
        return ""
    rtol = 1e-6 + 10 * max(problem.rtol.values())
    given = {**problem.given, **problem.misshapen}[target]
    forward = [value.array for value in problem.trace.values]
    wrong = _Arrays(made.values(), rtol)
    changed = [node for node, _ in mistake.changes if not np.allclose(made[node], without[node])]
    place = _Arrays([given, *[made[node] for node in changed]], rtol)
    right = _Arrays([*forward, *without.values()], rtol)
    line = ""
    for computed in watch.found:
        if computed.array in place:
            line = source_line(*computed.line)
        if computed.array in wrong and computed.array not in right:
            return line or source_line(*computed.line)
    return line
