"""The problem for the search: the given and the true gradients, and all possible mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from ..graph import Node
from ..tensor import Array
from . import derivatives, factors, kinks, loops, masks, paths, sums, values
from .mistakes import Mistake
from .passes import run, tangent
from .trace import Given, Gradients, Tape

DIRECTIONS = 2
"""The number of random directions for each target."""
Mistakes = tuple[Mistake, ...]


class Problem:
    """The given gradients, the true ones, and the possible mistakes.

    ``given`` holds the gradients by target, and ``rtol`` their tolerances. Gradients of another
    shape than their Tensor are in ``misshapen``. ``notes`` explain what is right at a kink.
    """

    def __init__(self, trace: Tape, given: Given, rtol: Mapping[Node, float]) -> None:
        self.trace, self.rtol = trace, rtol
        self.given = {n: array for n, array in given.items() if array.shape == n.shape}
        self.misshapen = {n: array for n, array in given.items() if array.shape != n.shape}
        self.targets = [n for n in trace.targets.values() if n in given]
        # Where a gradient cancels to nothing, what is left is rounding of the others.
        true = run(trace)
        sizes = {n: float(np.max(np.abs(true[n]))) for n in {**rtol, **given}}
        largest = max(sizes.values()) + 1e-300
        small = {n: sizes[n] < 1e-12 * largest for n in self.targets}
        self.floor = {n: largest * (100 * rtol[n] if small[n] else 1e-6) for n in self.targets}
        self.true, self.notes = kinks.best_convention(trace, self.fits, self.given)
        self.passes: dict[Mistakes, Gradients | None] = {(): self.true}
        self.known: dict[Mistakes, dict[Node, Array]] = {}
        self.wrong = [n for n in self.targets if not self.fits(n, self.true[n])]

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
            try:
                self.passes[mistakes] = run(self.trace, mistakes)
            except Exception:  # a rule that is given what it was not made for may raise anything
                self.passes[mistakes] = None
        return self.passes[mistakes]

    def explains(self, mistakes: Mistakes, target: Node) -> bool:
        """Whether these mistakes make a target come out as given."""
        gradients = self.gradients(mistakes)
        return gradients is not None and self.fits(target, gradients[target])

    # What could be wrong

    @cached_property
    def singles(self) -> list[Mistake]:
        """The possible mistakes at one place."""
        rooms = (derivatives, masks, sums, factors)
        found = [mistake for room in rooms for mistake in room.mistakes(self.trace)]
        for room in (paths, values):
            found += room.mistakes(self.trace, self.given)
        return [mistake for mistake in found if mistake.changes]

    @cached_property
    def groups(self) -> list[Mistake]:
        """The possible mistakes at many places at once."""
        return [*loops.mistakes(self.trace, self.singles), *paths.through_time(self.trace)]

    @cached_property
    def likely_groups(self) -> list[Mistake]:
        """Those of the groups that may occur beside another mistake."""
        return [mistake for mistake in self.groups if mistake.cost < 1.2]

    @cached_property
    def weight(self) -> int:
        """The cost of a sweep: the number of mistakes; a backward pass counts as half its rules."""
        looped = sum(self.is_one_turn(mistake) for mistake in self.singles)
        return len(self.singles) - looped + len(self.likely_groups) * len(self.trace.rules) // 2

    def is_one_turn(self, mistake: Mistake) -> bool:
        """Whether a mistake is made in a single turn of a long loop."""
        one = self.trace.is_long and len(mistake.changes) < 2
        return one and mistake.at[0] in self.trace.turn

    # Random directions

    @cached_property
    def ways(self) -> dict[Node, Array]:
        """The random directions along which each target is looked at."""
        rng = np.random.default_rng(0)
        return {n: rng.normal(size=(DIRECTIONS, *n.shape)) for n in self.targets}

    def tangents(self, base: Mistakes) -> dict[Node, Array]:
        """For each node, how the targets along all directions depend on its gradient."""
        if self.trace.is_long:  # few are looked at: those of the weights are the same
            base = ()
        if base not in self.known:
            found = self.known[base] = {}
            rows = [(n, way) for n, ways in self.ways.items() for way in ways]
            for i, (target, way) in enumerate(rows):
                for node, part in tangent(self.trace, target, way, base).items():
                    all_ = found.setdefault(node, np.zeros((len(rows), math.prod(node.shape))))
                    all_[i] = np.ravel(part)
        return self.known[base]

    def along(self, gradients: Given) -> Array:
        """The targets' gradients along their directions, in a row."""
        nothing = np.zeros(())
        pairs = [(w, gradients.get(n, nothing)) for n, ws in self.ways.items() for w in ws]
        return np.array([np.vdot(w, g) if g.ndim == w.ndim else 0.0 for w, g in pairs])
