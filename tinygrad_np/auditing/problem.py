"""The problem that a search solves: gradients as given and as true, and all that could be wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from ..graph import Node
from ..tensor import Array
from . import derivatives, factors, kinks, loops, masks, paths, repeats, sums, values
from .mistakes import Mistake, Open, Slip, attempted, merged
from .trace import Gradients, Trace

DIRECTIONS = 2
"""Along how many random directions each target is looked at."""
Mistakes = tuple[Mistake, ...]


class Problem:
    """What was given, what is true, and what could be wrong.

    ``given`` holds somebody's gradients by target, ``rtol`` how closely each must be met.
    A gradient of another shape than its Tensor stands in ``misshapen``, as it was given.
    """

    def __init__(
        self,
        trace: Trace,
        given: Mapping[Node, Array],
        misshapen: Mapping[Node, Array],
        rtol: Mapping[Node, float],
        true: Gradients,
    ) -> None:
        self.trace, self.given, self.misshapen, self.rtol = trace, given, misshapen, rtol
        self.true = true
        self.targets = [n for n in trace.targets.values() if n in given or n in misshapen]
        # Where a gradient cancels to nothing, what is left is rounding of the others.
        sizes = {n: float(np.max(np.abs(true[n]))) for n in trace.targets.values()}
        largest = max(sizes.values()) + 1e-300
        self.floor = {
            n: (100 * rtol[n] if sizes[n] < 1e-12 * largest else 1e-6) * largest
            for n in self.targets
        }
        self.unbiased: dict[Node, Array] = {}
        self.passes: dict[Mistakes, Gradients | None] = {(): true}

    # Comparing

    def apart(self, node: Node, gradient: Array) -> Array:
        """The differences from the gradient given, relative to its largest element."""
        size = max(float(np.max(np.abs(self.given[node]))), self.floor[node])
        return np.asarray(np.abs(self.given[node] - gradient) / size)

    def misfits(self, node: Node, gradient: Array) -> Array:
        """Where a gradient is not the one given."""
        return ~(self.apart(node, gradient) <= self.rtol[node])  # so that nan misfits

    def fits(self, node: Node, gradient: Array) -> bool:
        """Whether a gradient is the one given for ``node``."""
        return node in self.given and not self.misfits(node, gradient).any()

    def gradients(self, mistakes: Mistakes) -> Gradients | None:
        """The gradients with these mistakes; None where they make a rule fail."""
        if mistakes not in self.passes:
            self.passes[mistakes] = attempted(self.trace, mistakes)
        return self.passes[mistakes]

    @cached_property
    def wrong(self) -> list[Node]:
        """The targets that are wrong, from the loss down."""
        return [n for n in self.targets if not self.fits(n, self.true[n])]

    # What could be wrong

    @cached_property
    def singles(self) -> list[Slip]:
        """All that could be made at one place."""
        trace = self.trace
        rooms = (derivatives, masks, kinks, sums, factors, repeats)
        found: list[Slip] = [slip for room in rooms for slip in room.mistakes(trace)]
        for room in (paths, values):
            found += room.mistakes(trace, self.given)
        return found

    @cached_property
    def groups(self) -> list[Mistake]:
        """All that could be made at many places alike."""
        cut = paths.truncated(self.trace, self.given)
        return [*loops.mistakes(self.trace, self.singles), *cut]

    @cached_property
    def ways(self) -> dict[Node, Array]:
        """The random directions along which each target is looked at."""
        rng = np.random.default_rng(0)
        return {n: rng.normal(size=(DIRECTIONS, *n.shape)) for n in self.targets}

    @cached_property
    def weight(self) -> int:
        """How many mistakes a sweep looks at; a backward pass counts as half its rules."""
        looped = sum(self.is_one_turn(slip) for slip in self.singles)
        return len(self.singles) - looped + len(self.groups) * len(self.trace.uses) // 2

    def is_one_turn(self, slip: Slip) -> bool:
        """Whether a mistake is made in a single turn of a loop."""
        mistake = slip.unit if isinstance(slip, Open) else slip
        return self.trace.is_long and mistake.use[0] in self.trace.turn and len(mistake.edits) < 2

    def tangents(self, base: Mistakes) -> dict[Node, Array]:
        """For each node, the tangents of all directions, after the mistakes of ``base``."""
        if base and self.trace.is_long:  # few are looked at: those of the weights are the same
            base = ()
        if not base and self.unbiased:
            return self.unbiased
        found: dict[Node, Array] = {} if base else self.unbiased
        edits, count = merged(base), len(self.ways) * DIRECTIONS
        for i, (node, ways) in enumerate(self.ways.items()):
            for k, way in enumerate(ways):
                for other, tangent in self.trace.tangent(node, way, edits).items():
                    rows = found.setdefault(other, np.zeros((count, math.prod(other.shape))))
                    rows[i * DIRECTIONS + k] = np.ravel(tangent)
        return found

    def along(self, gradients: Mapping[Node, Array]) -> Array:
        """The targets' gradients along their directions, in a row."""
        return np.array(
            [
                np.vdot(w, gradients[n]) if n in gradients else 0
                for n, ws in self.ways.items()
                for w in ws
            ]
        )
