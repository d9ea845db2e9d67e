"""The search for the fewest mistakes that explain somebody's gradients.

It walks from the loss down. At the first gradient that is wrong it tries every mistake that could
be made there (and, where one is not enough, two or three together), keeps what makes that gradient
come out as given, and goes on below: a mistake made at one layer spoils all gradients under it, so
one that explains several of them beats several that explain one each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .hypotheses import hypotheses
from .numbers import known_numbers, name_factor
from .trace import Gradients, Mistake, Trace

KINDS = (
    "factor", "sign", "transpose", "mask", "derivative", "sum", "value", "path", "elements",
    "unknown",
)  # fmt: skip
WIDTH = 6
"""How many explanations are followed at once."""
PAIRS = 3000
"""How many pairs of mistakes are tried in all, where no single one explains a gradient."""


@dataclass(frozen=True)
class Explanation:
    """Some mistakes, the gradients they lead to, and the targets that these do not explain."""

    mistakes: tuple[Mistake, ...]
    gradients: Gradients
    wrong: tuple[Node, ...]

    @property
    def cost(self) -> float:
        """The sum of the mistakes' costs."""
        return sum(mistake.cost for mistake in self.mistakes)

    @property
    def key(self) -> tuple[Any, ...]:
        """The better explanation has the smaller key: fewer mistakes, earlier kinds, deeper."""
        return (
            round(self.cost + 0.4 * len(self.wrong), 6),
            sum(KINDS.index(m.kind) for m in self.mistakes),
            -sum(m.natural for m in self.mistakes),
            sum(m.place.tick for m in self.mistakes),
        )


def _key(explanation: Explanation) -> tuple[Any, ...]:
    return explanation.key


class Search:
    """``given`` holds somebody's gradients by target, ``rtol`` how closely each must be met."""

    def __init__(self, trace: Trace, given: Mapping[Node, Array], rtol: Mapping[Node, float]):
        self.trace, self.given, self.rtol = trace, given, rtol
        self.targets = [node for node in trace.targets.values() if node in given]
        true = trace.gradients()
        assert true is not None
        self.true = true
        # Where a gradient cancels to nothing, what is left is rounding of the others.
        largest = max((float(np.max(np.abs(g))) for g in true.values()), default=0.0)
        self.floor = 1e-6 * largest + float(np.finfo(float).tiny)
        self._pairs_left = PAIRS
        self._tried: dict[Node, list[Mistake]] = {}

    @cached_property
    def known(self) -> list[tuple[float, str, Node | None]]:
        """The numbers that could have got lost on the way."""
        return known_numbers(self.trace)

    def fits(self, node: Node, gradient: Array) -> bool:
        """Whether a gradient is the one given for ``node``."""
        return not self.misfits(node, gradient).any()

    def apart(self, node: Node, gradient: Array) -> float:
        """The largest difference from the gradient given, relative to its largest element."""
        size = max(float(np.max(np.abs(self.given[node]))), self.floor)
        return float(np.max(np.abs(self.given[node] - gradient))) / size

    def misfits(self, node: Node, gradient: Array) -> Array:
        """A mask of the elements in which a gradient is not the one given."""
        given = self.given[node]
        size = max(float(np.max(np.abs(given))), self.floor)
        apart = np.abs(given - gradient) <= self.rtol[node] * size
        return np.asarray(~apart)  # so that nan misfits

    def run(self) -> Explanation:
        """The best explanation found."""
        grown, done = [self._with(())], list[Explanation]()
        while grown:
            done += [e for e in grown if not e.wrong]
            limit = min((e.cost for e in done), default=np.inf)
            left = sorted((e for e in grown if e.wrong and e.cost + 1 <= limit), key=_key)
            grown = [longer for e in left[:WIDTH] for longer in self._longer(e)]
        return self._needed(min(done, key=_key))

    def _needed(self, explanation: Explanation) -> Explanation:
        """The explanation without mistakes that a later one has made superfluous."""
        for mistake in explanation.mistakes:
            fewer = self._with(tuple([m for m in explanation.mistakes if m is not mistake]))
            explanation = explanation if fewer.wrong else fewer
        return explanation

    def _with(self, mistakes: tuple[Mistake, ...]) -> Explanation:
        gradients = self.trace.gradients(mistakes)
        assert gradients is not None
        return self._explanation(mistakes, gradients)

    def _explanation(self, mistakes: tuple[Mistake, ...], gradients: Gradients) -> Explanation:
        wrong = tuple([n for n in self.targets if not self.fits(n, gradients[n])])
        return Explanation(mistakes, gradients, wrong)

    # One step: explain the first target that is wrong

    def _longer(self, so_far: Explanation) -> list[Explanation]:
        trials = list(self._trials(so_far))
        found = [t for t in (*trials, *self._scaled(so_far)) if self._helps(t, so_far)]
        if min((e.cost - so_far.cost for e in found), default=9.0) > 1:
            # One mistake that makes the gradient right up to a factor, or another gradient right,
            # and the factor that is left.
            partly = [t for t in trials if self._proportional(t, so_far)]
            for other in so_far.wrong[1:]:
                partly += [s for s in self._scaled(so_far, other) if other not in s.wrong]
            found += [s for t in partly for s in self._scaled(t) if self._helps(s, so_far)]
        return (
            found
            or [few for t in (so_far, *trials) for few in self._few(t) if self._helps(few, so_far)]
            or self._pairs(so_far, trials)
            or [self._given_up(so_far)]
        )

    def _candidates(self, so_far: Explanation) -> list[Mistake]:
        """Mistakes that spoil the first wrong target, and no target above it that is right."""
        return [m for node in self.trace.order for m in self._at(node) if self._touches(m, so_far)]

    def _at(self, node: Node) -> list[Mistake]:
        if node not in self._tried:
            self._tried[node] = hypotheses(self.trace, node)
        return self._tried[node]

    def _touches(self, mistake: Mistake, so_far: Explanation) -> bool:
        return self._reaches(mistake.place, so_far)

    def _reaches(self, node: Node, so_far: Explanation) -> bool:
        first = so_far.wrong[0]
        above = self.targets[: self.targets.index(first)]
        reach = self.trace.reach[node]
        return first in reach and reach.isdisjoint(above)

    def _trials(self, so_far: Explanation) -> Iterator[Explanation]:
        """``so_far`` with one more mistake, for every one that changes the first wrong target."""
        first = so_far.wrong[0]
        for mistake in self._candidates(so_far):
            gradients = self.trace.gradients((*so_far.mistakes, mistake))
            if gradients is not None and not np.array_equal(
                gradients[first], so_far.gradients[first]
            ):
                yield self._explanation((*so_far.mistakes, mistake), gradients)

    def _helps(self, longer: Explanation, so_far: Explanation) -> bool:
        """Whether the first wrong target is right now, and those above it still are."""
        if not longer.wrong:
            return True
        place = self.targets.index
        return place(longer.wrong[0]) > place(so_far.wrong[0])

    def _proportional(self, trial: Explanation, so_far: Explanation) -> bool:
        first = so_far.wrong[0]
        if not trial.wrong or trial.wrong[0] is not first:
            return False
        gradient = trial.gradients[first]
        number = _ratio(self.given[first], gradient)
        return number not in (None, 0.0) and self.fits(first, gradient * number)

    def _scaled(self, so_far: Explanation, by: Node | None = None) -> Iterator[Explanation]:
        """A constant factor at every place where one explains the first wrong target, or ``by``."""
        if not so_far.wrong:
            return
        first = by or so_far.wrong[0]
        for node, slot in self._places(so_far):
            nothing = Mistake("path", node, slot, _times(0.0, slot), "")
            without = self.trace.gradients((*so_far.mistakes, nothing))
            if without is None:
                continue
            through = so_far.gradients[first] - without[first]
            number = _ratio(self.given[first] - without[first], through)
            if number is None or not self.fits(first, without[first] + number * through):
                continue
            mistake = self._factor(node, slot, number)
            gradients = self.trace.gradients((*so_far.mistakes, mistake))
            if gradients is not None:
                yield self._explanation((*so_far.mistakes, mistake), gradients)

    def _places(self, so_far: Explanation) -> Iterator[tuple[Node, int | None]]:
        """Where a factor can stand: at every node, and at each of several uses of one."""
        for node in self.trace.order:
            if self._reaches(node, so_far):
                yield node, None
                uses = self.trace.users.get(node, [])
                if len(uses) > 1:
                    yield from uses

    def _factor(self, node: Node, slot: int | None, number: float) -> Mistake:
        parent = node if slot is None else node.parents[slot]
        assert parent is not None
        what = f"the gradient of {self.trace.labels[parent]}"
        if slot is not None:
            what += f" that comes from {self.trace.labels[node]}"
        if abs(number) < 1e-6:
            return Mistake("path", node, slot, _times(0.0, slot), f"{what} is missing")
        value, name, cost, home = name_factor(number, node, self.known)
        kind = "sign" if value == -1 else "factor"
        words = (
            f"{what} has the wrong sign" if value == -1 else f"{what} is {name} times the true one"
        )
        return Mistake(kind, node, slot, _times(value, slot), words, cost, home)

    def _few(self, so_far: Explanation) -> list[Explanation]:
        """The first wrong target as given, if all but a few elements, a row or column is right."""
        if not so_far.wrong:
            return []
        first = so_far.wrong[0]
        bad = self.misfits(first, so_far.gradients[first])
        count, places = int(bad.sum()), np.argwhere(bad)
        lines = [
            (axis, int(places[0, axis]))
            for axis in range(bad.ndim)
            if bad.shape[axis] > 2 and bad.ndim > 1 and len(set(places[:, axis].tolist())) == 1
        ]
        if count > max(min(3, bad.size // 3), bad.size // 10) and not lines:
            return []
        where = ", ".join(str(tuple(place)) for place in places[:5].tolist())
        words = f"the gradient of {self.trace.labels[first]} is right but for {count} of "
        words += f"{bad.size} elements: {where}{', …' if count > 5 else ''}"
        if lines and count > 1:
            words += f", all at index {lines[0][1]} of axis {lines[0][0]}"
        return [self._as_given(so_far, "elements", words, 1.7, bad)]

    def _pairs(self, so_far: Explanation, trials: list[Explanation]) -> list[Explanation]:
        """Two mistakes that explain the first wrong target together; a factor may be a third."""
        found: list[Explanation] = []
        almost: list[Explanation] = []
        for trial in trials:
            earlier = trial.mistakes[-1]
            if trial.wrong[:1] != so_far.wrong[:1]:
                continue
            for pair in self._trials(trial):
                if pair.mistakes[-1].place.tick > earlier.place.tick:
                    continue
                self._pairs_left -= 1
                if self._helps(pair, so_far):
                    found.append(pair)
                elif self._proportional(pair, so_far):
                    almost.append(pair)
            if self._pairs_left < 0:
                break
        if found:
            return found
        return [s for pair in almost for s in self._scaled(pair) if self._helps(s, so_far)]

    def _given_up(self, so_far: Explanation) -> Explanation:
        first = so_far.wrong[0]
        words = f"the gradient of {self.trace.labels[first]} is wrong; no mistake tried explains it"
        return self._as_given(so_far, "unknown", words, 3.0, np.True_)

    def _as_given(
        self, so_far: Explanation, kind: str, words: str, cost: float, where: Any
    ) -> Explanation:
        """Go on below the first wrong target with the elements that were given for it."""
        first = so_far.wrong[0]
        given = self.given[first]
        mistake = Mistake(kind, first, None, lambda g: np.where(where, given, g), words, cost)
        return self._with((*so_far.mistakes, mistake))


def _ratio(given: Array, gradient: Array) -> float | None:
    """The number c for which c · gradient is closest to ``given``; None if gradient is 0."""
    size = float(np.vdot(gradient, gradient))
    if not np.isfinite(size) or size == 0 or not np.isfinite(given).all():
        return None
    return float(np.vdot(gradient, given) / size)


def _times(number: float, slot: int | None) -> Any:
    if slot is None:
        return lambda g: g * number
    return lambda rule: lambda g, saved: rule(g, saved) * number
