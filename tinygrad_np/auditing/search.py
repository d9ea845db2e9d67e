"""The search for the fewest mistakes that explain the given gradients.

It walks from the loss down. At the first gradient that is wrong it follows the best few
explanations; a mistake that explains several gradients beats several that explain one each. A
mistake may also be limited to a single gradient: what is right stays right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..graph import Node
from . import shapes
from .elements import as_given
from .mistakes import KINDS, Mistake
from .problem import Mistakes, Problem
from .sweep import WIDTH, Sweep

PAIRS = 150_000
"""The effort for pairs of mistakes, in single mistakes; see ``Problem.weight``."""
RESHAPED = 400
"""How many mistakes are tried with a gradient of the wrong shape."""


class Explained(NamedTuple):
    """An explanation so far: mistakes made in the whole backward pass, and those of one target."""

    joint: Mistakes = ()
    alone: tuple[tuple[Node, Mistakes], ...] = ()
    cost: float = 0.0

    @property
    def key(self) -> tuple[float, int, int]:
        """The better explanation has the smaller key: fewer mistakes, earlier kinds, deeper."""
        made = dict.fromkeys([*self.joint, *(m for _, own in self.alone for m in own)])
        kinds = sum([KINDS.index(mistake.kind) for mistake in made])
        return round(self.cost, 6), kinds, sum([mistake.place.tick for mistake in made])

    def limited(self, target: Node, made: Mistakes, cost: float) -> Explained:
        """This state with mistakes in one target alone."""
        if made[-1] in {mistake for _, own in self.alone for mistake in own}:
            cost = 0.2  # the same slip as in another gradient
        return Explained(self.joint, (*self.alone, (target, made)), self.cost + cost + 0.3)


class Search:
    """The walk from the loss down; ``also`` holds other mistakes with the same result as one."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.left = problem, PAIRS
        self.also: dict[Mistake, tuple[Mistake, ...]] = {}
        self.sweeps: dict[Mistakes, Sweep] = {}

    def run(self) -> Explained:
        """The best explanation found."""
        states = [Explained()]
        with np.errstate(all="ignore"):
            for target in self.problem.wrong:
                longer = [new for state in states for new in self._explained(state, target)]
                states = sorted(longer, key=lambda s: s.key)[:WIDTH]
        return states[0]

    def explanation(self, state: Explained, target: Node) -> Mistakes:
        """The mistakes in one target."""
        if target not in self.problem.wrong:
            return ()
        whole = list(dict(state.alone).get(target, state.joint))
        for mistake in [*whole]:
            rest = [m for m in whole if m is not mistake]
            if self.problem.explains(tuple(rest), target):
                whole = rest
        return tuple(whole)

    def _sweep(self, base: Mistakes) -> Sweep:
        if base not in self.sweeps:
            self.sweeps[base] = Sweep(self.problem, base)
        return self.sweeps[base]

    def _explained(self, state: Explained, target: Node) -> list[Explained]:
        """The state with an explanation of one more target, in several ways."""
        if self.problem.explains(state.joint, target):
            return [state]
        others = [tuple([m for m in own if m.changes]) for _, own in state.alone[::-1]]
        others = [own for own in others if own and all(m.kind != "unknown" for m in own)]
        bases = list(dict.fromkeys([state.joint, *others[:2], ()]))
        if target in self.problem.misshapen:
            return [self._reshaped(state, bases, target)]
        longer = [new for base in bases for new in self._with_one(state, base, (), target)]
        for later, base in zip(range(len(bases))[::-1], bases, strict=True):
            if min([s.cost for s in longer], default=np.inf) > state.cost + 1.45:
                longer += self._with_two(state, base, target, self.left * later // (later + 1))
        return sorted(longer, key=lambda s: s.key)[:WIDTH] or [self._as_given(state, bases, target)]

    def _with_one(
        self, state: Explained, base: Mistakes, more: Mistakes, target: Node
    ) -> Iterator[Explained]:
        """One mistake more, beside ``more``: everywhere, or in this target alone."""
        problem = self.problem
        right = {*problem.targets} - {*problem.wrong[problem.wrong.index(target) :]}
        for found in self._sweep((*base, *more)).explain(target):
            self.also.setdefault(found.mistake, found.also)
            made = (*more, found.mistake)
            cost = sum([mistake.cost for mistake in made])
            if base == state.joint and not found.spoils & right:
                yield state._replace(joint=(*base, *made), cost=state.cost + cost)
            else:
                yield state.limited(target, (*base, *made), cost)

    def _with_two(
        self, state: Explained, base: Mistakes, target: Node, reserved: int
    ) -> list[Explained]:
        """Two mistakes at once; the reserved effort is left for other bases."""
        found: list[Explained] = []
        for first in self._sweep(base).promising(target):
            if any(s.cost < state.cost + 2.05 for s in found):
                break
            if (*base, first) not in self.sweeps:
                if self.left < reserved:
                    continue
                self.left -= self.problem.weight
            found += self._with_one(state, base, (first,), target)
        return found

    def _reshaped(self, state: Explained, bases: list[Mistakes], target: Node) -> Explained:
        """A gradient of another shape than its Tensor's, after at most one other mistake."""
        problem, found = self.problem, list[Explained]()
        firsts = [(b, m) for b in bases for m in self._sweep(b).promising(target)[:RESHAPED]]
        for base, first in [*((b, ()) for b in bases), *((b, (m,)) for b, m in firsts)]:
            if first and found:
                break
            if (gradients := problem.gradients((*base, *first))) is not None:
                before = sum([mistake.cost for mistake in first])
                for last, cost in shapes.explained(problem, target, gradients):
                    found.append(state.limited(target, (*base, *first, *last), before + cost))
        if found:
            return min(found, key=lambda s: s.key)
        return state.limited(target, (shapes.unexplained(problem, target),), 3.0)

    def _as_given(self, state: Explained, bases: list[Mistakes], target: Node) -> Explained:
        """The wrong elements replaced by the given ones, so that the search can go on below."""
        problem = self.problem
        known = [(base, g) for base in bases if (g := problem.gradients(base)) is not None]
        for base, gradients in known:
            if made := shapes.of_other_arrays(problem, target, gradients):
                return state.limited(target, (*base, made), made.cost)
        wrong = [problem.misfits(target, gradients[target]) for _, gradients in known]
        best = min(range(len(known)), key=lambda i: int(wrong[i].sum()))
        base, expected = known[best][0], known[best][1][target]
        made = as_given(problem.trace, target, problem.given[target], expected, wrong[best])
        if base == state.joint:
            return state._replace(joint=(*base, made), cost=state.cost + made.cost)
        return state.limited(target, (*base, made), made.cost)
