"""The search for the fewest mistakes that explain somebody's gradients.

It walks from the loss down. At the first gradient that is wrong it follows the best few
explanations; a mistake that explains several gradients beats several that explain one each. A
mistake may also be limited to a single gradient: what is right stays right.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..graph import Node
from . import shapes
from .elements import as_given
from .mistakes import KINDS, Mistake
from .problem import Mistakes, Problem
from .sweep import WIDTH, Found, Sweep
from .trace import Gradients

PAIRS = 150_000
"""How many mistakes are looked at when two are sought at once; a backward pass counts as many."""
RESHAPED = 400
"""How many mistakes are tried with a gradient of the wrong shape."""


class State(NamedTuple):
    """An explanation so far: mistakes made in the whole backward pass, and those of one target."""

    joint: Mistakes = ()
    alone: tuple[tuple[Node, Mistakes], ...] = ()
    cost: float = 0.0

    def of(self, node: Node) -> Mistakes | None:
        """The mistakes of one target, if it has its own."""
        return dict(self.alone).get(node)

    @property
    def key(self) -> tuple[float, int, int]:
        """The better explanation has the smaller key: fewer mistakes, earlier kinds, deeper."""
        made = [*self.joint, *(m for _, own in self.alone for m in own)]
        made = [*dict.fromkeys(made)]
        return (
            round(self.cost, 6),
            sum(KINDS.index(m.kind) for m in made if m.kind in KINDS),
            sum(m.place.tick for m in made),
        )


class Search(Problem):
    """The walk from the loss down."""

    left = PAIRS
    """How many mistakes may still be looked at."""

    @cached_property
    def sweeps(self) -> dict[Mistakes, Sweep]:
        """The sweeps made so far, by the mistakes made before."""
        return {}

    @cached_property
    def also(self) -> dict[Mistake, tuple[Mistake, ...]]:
        """For each mistake that was found others with the same result."""
        return {}

    def sweep(self, base: Mistakes) -> Sweep:
        """Every mistake, made after those of ``base``."""
        if base not in self.sweeps:
            self.sweeps[base] = Sweep(self, base)
        return self.sweeps[base]

    def run(self) -> State:
        """The best explanation found."""
        with np.errstate(all="ignore"):
            states = [State()]
            for target in self.wrong:
                grown = [longer for state in states for longer in self._explained(state, target)]
                states = sorted(grown, key=lambda s: s.key)[:WIDTH]
            return states[0]

    def explanation(self, state: State, target: Node) -> Mistakes:
        """The mistakes that a target shows."""
        if target not in self.wrong:
            return ()
        own = state.of(target)
        whole = list(state.joint if own is None else own)
        for mistake in [*whole]:
            rest = [m for m in whole if m is not mistake]
            gradients = self.gradients(tuple(rest))
            if gradients is not None and self.fits(target, gradients[target]):
                whole = rest
        return tuple(whole)

    def _explained(self, state: State, target: Node) -> Iterator[State]:
        """The state with an explanation of one more target."""
        gradients = self.gradients(state.joint)
        if gradients is not None and self.fits(target, gradients[target]):
            yield state
            return
        if target in self.misshapen:
            yield from self._reshaped(state, target)
            return
        bases = self._bases(state)
        longer = [s for base in bases for s in self._single(state, base, target)]
        for base in bases:
            if min((s.cost for s in longer), default=np.inf) > state.cost + 1.45:
                longer += self._double(state, base, target)
        if longer:
            yield from sorted(longer, key=lambda s: s.key)[:WIDTH]
            return
        yield self._as_given(state, target)

    def _bases(self, state: State) -> list[Mistakes]:
        """What may have been made already: everywhere, not at all, or in gradients above."""
        others = [tuple([m for m in own if m.edits]) for _, own in state.alone]
        others = [own for own in others if own and all(m.kind != "unknown" for m in own)]
        first = [state.joint] if state.joint else []
        return list(dict.fromkeys([*first, *others[::-1][:2], ()]))

    def _single(self, state: State, base: Mistakes, target: Node) -> Iterator[State]:
        for found in self.sweep(base).explain(target):
            self.also.setdefault(found.mistake, found.also)
            yield self._with(state, base, target, (found.mistake,), found)

    def _with(
        self, state: State, base: Mistakes, target: Node, made: Mistakes, found: Found
    ) -> State:
        """The state with mistakes on top of ``base``: everywhere, or for this target alone."""
        above = set(self.targets[: self.targets.index(target)])
        cost = sum(m.cost for m in made)
        if base == state.joint and not found.spoils & above and not found.spoils - set(self.wrong):
            return state._replace(joint=(*base, *made), cost=state.cost + cost)
        return self._alone(state, target, (*base, *made), cost)

    def _alone(self, state: State, target: Node, made: Mistakes, cost: float) -> State:
        shared = {m for _, own in state.alone for m in own}
        if made[-1] in shared:  # the same slip as in another gradient
            cost = 0.2
        alone = (*state.alone, (target, made))
        return state._replace(alone=alone, cost=state.cost + cost + 0.3)

    def _double(self, state: State, base: Mistakes, target: Node) -> Iterator[State]:
        """Two mistakes at once."""
        found: list[State] = []
        for first in self.sweep(base).promising(target):
            if any(s.cost < state.cost + 2.05 for s in found):
                break
            if (*base, first) not in self.sweeps:
                if self.left < 0:
                    continue
                self.left -= self.weight
            for second in self.sweep((*base, first)).explain(target):
                found.append(self._with(state, base, target, (first, second.mistake), second))
        yield from found

    def _reshaped(self, state: State, target: Node) -> Iterator[State]:
        """A gradient of another shape than its Tensor's."""
        given = self.misshapen[target]
        bases = self._bases(state)
        tried: list[Mistakes] = [*bases]
        for base in bases:
            tried += [(*base, first) for first in self.sweep(base).promising(target)[:RESHAPED]]
        best: State | None = None
        for made in tried:
            gradients = self.gradients(made)
            if gradients is None:
                continue
            extra = 0.0 if made in bases else made[-1].cost
            found = shapes.explained(self.trace, target, gradients, given, self.rtol[target])
            for mistakes, cost in found:
                new = self._alone(state, target, (*made, *mistakes), cost + extra)
                if best is None or new.key < best.key:
                    best = new
            if best is not None and made not in bases:
                break
        yield best or self._alone(
            state, target, (shapes.unexplained(self.trace, target, given),), 3.0
        )

    def _as_given(self, state: State, target: Node) -> State:
        """The elements that are wrong as they were given; below, all goes on from there."""
        best: tuple[int, Mistakes, Gradients] | None = None
        for base in self._bases(state):
            if (gradients := self.gradients(base)) is not None:
                count = int(self.misfits(target, gradients[target]).sum())
                if best is None or count < best[0]:
                    best = count, base, gradients
        _, base, gradients = best or (0, (), self.true)
        bad, given = self.misfits(target, gradients[target]), self.given[target]
        made = as_given(self.trace, target, given, gradients[target], bad)
        if base == state.joint:
            return state._replace(joint=(*base, made), cost=state.cost + made.cost)
        return self._alone(state, target, (*base, made), made.cost)
