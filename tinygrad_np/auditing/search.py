"""The search for the fewest mistakes that explain somebody's gradients.

It walks from the loss down. At the first gradient that is wrong it tries every mistake that could
be made there (and, where one is not enough, one and a constant factor), keeps what makes that
gradient come out as given, and goes on below: a mistake at one layer spoils all gradients under it,
so one that explains several of them beats several that explain one each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .. import graph
from ..graph import Node
from ..shapes import Shape
from ..tensor import Array
from .hypotheses import hypotheses, scaling, then, times
from .trace import Gradients, Mistake, Trace

KINDS = (
    "factor", "sign", "transpose", "mask", "derivative", "sum", "value", "path", "elements",
    "unknown",
)  # fmt: skip
WIDTH = 6
"""How many explanations are followed at once."""


class Explanation(NamedTuple):
    """Some mistakes, and the targets that they leave wrong, from the loss down.

    The first of these is right but for a constant factor (``almost``), or a few elements (``few``).
    """

    mistakes: tuple[Mistake, ...]
    wrong: tuple[Node, ...]
    almost: bool = False
    few: bool = False

    @property
    def cost(self) -> float:
        """How hard they are to believe together."""
        return sum(mistake.cost for mistake in self.mistakes)


def _key(e: Explanation) -> tuple[Any, ...]:
    """The better explanation has the smaller key: fewer mistakes, earlier kinds, deeper."""
    return (
        round(e.cost + 0.4 * len(e.wrong), 6),
        sum(KINDS.index(m.kind) for m in e.mistakes),
        sum(m.place.tick for m in e.mistakes),
    )


class Search:
    """``given`` holds somebody's gradients by target, ``rtol`` how closely each must be met."""

    def __init__(
        self, trace: Trace, given: Mapping[Node, Array], rtol: Mapping[Node, float]
    ) -> None:
        self.trace, self.given, self.rtol = trace, given, rtol
        self.targets = [node for node in trace.targets.values() if node in given]
        # Where a gradient cancels to nothing, what is left is rounding of the others.
        largest = max(float(np.max(np.abs(g))) for g in trace.true.values()) + 1e-300
        none = [n for n, g in trace.true.items() if np.max(np.abs(g)) < 1e-12 * largest]
        self.floor = {n: (100 * rtol[n] if n in none else 1e-6) * largest for n in self.targets}

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """All that could be made at one place."""
        return list(hypotheses(self.trace))

    def apart(self, node: Node, gradient: Array) -> Array:
        """The differences from the gradient given, relative to its largest element."""
        size = max(float(np.max(np.abs(self.given[node]))), self.floor[node])
        return np.asarray(np.abs(self.given[node] - gradient) / size)

    def misfits(self, node: Node, gradient: Array) -> Array:
        """Where a gradient is not the one given."""
        return ~(self.apart(node, gradient) <= self.rtol[node])  # so that nan misfits

    def fits(self, node: Node, gradient: Array) -> bool:
        """Whether a gradient is the one given for ``node``."""
        return not self.misfits(node, gradient).any()

    def run(self) -> Explanation:
        """The best explanation found."""
        with np.errstate(all="ignore"):
            grown, done = [self._with(())], list[Explanation]()
            while grown:
                done += [e for e in grown if not e.wrong]
                limit = min((e.cost for e in done), default=np.inf)
                left = sorted((e for e in grown if e.wrong and e.cost + 0.99 <= limit), key=_key)
                grown = [longer for e in left[:WIDTH] for longer in self._longer(e)]
            best = min(done, key=_key)
            for mistake in best.mistakes:  # a later one may have made it superfluous
                fewer = self._with(tuple([m for m in best.mistakes if m is not mistake]))
                best = best if fewer.wrong else fewer
            return best

    def _with(self, mistakes: tuple[Mistake, ...], known: Gradients | None = None) -> Explanation:
        gradients = known or self.trace.gradients(mistakes)
        wrong = tuple([n for n in self.targets if not self.fits(n, gradients[n])])
        if not wrong:
            return Explanation(mistakes, wrong)
        first, gradient = wrong[0], gradients[wrong[0]]
        number = _ratio(self.given[first], gradient)
        almost = bool(number) and self.fits(first, gradient * number)
        return Explanation(mistakes, wrong, almost, _are_few(self.misfits(first, gradient)))

    # One step: explain the first target that is wrong

    def _longer(self, so_far: Explanation) -> list[Explanation]:
        """``so_far`` with one more mistake, or with two, that make its first wrong target right."""
        trials, scaled = list(self._trials(so_far)), list(self._scaled(so_far))
        found = self._helpful([*trials, *scaled], so_far)
        if min((e.cost for e in found), default=np.inf) > so_far.cost + 1:
            # One mistake that makes the gradient right up to a factor, or a factor that makes
            # another gradient right; and the factor that is left.
            partly = [e for e in trials if e.almost] + scaled
            partly = [e for e in partly if e.wrong[:1] == so_far.wrong[:1]]
            found += self._helpful([s for e in partly for s in self._scaled(e)], so_far)
        few = [self._as_given(e) for e in (so_far, *trials) if e.few and not found]
        return found or self._helpful(few, so_far) or [self._as_given(so_far)]

    def _helpful(self, longer: list[Explanation], so_far: Explanation) -> list[Explanation]:
        """Those with which the first wrong target is right, and those above it still are."""
        above = self.targets[: self.targets.index(so_far.wrong[0]) + 1]
        return [e for e in longer if not e.wrong or e.wrong[0] not in above]

    def _places(self, so_far: Explanation) -> list[Node]:
        """The nodes whose gradients go on to the first wrong target, and to none above it."""
        first, order = so_far.wrong[0], self.trace.order
        above = self.targets[: self.targets.index(first)]
        found = graph._leading_to([first], order) - graph._leading_to(above, order)
        return [node for node in order if node in found]

    def _trials(self, so_far: Explanation) -> Iterator[Explanation]:
        """``so_far`` with one more mistake, for every one that changes the first wrong target."""
        first, places = so_far.wrong[0], self._places(so_far)
        before = self.trace.gradients(so_far.mistakes)[first]
        for mistake in self.mistakes:
            if mistake.place in places:
                mistakes = (*so_far.mistakes, mistake)
                gradients = self.trace.attempt(mistakes)
                if gradients is not None and not np.array_equal(gradients[first], before):
                    yield self._with(mistakes, gradients)

    def _scaled(self, so_far: Explanation) -> Iterator[Explanation]:
        """A constant factor wherever one explains a target that is wrong.

        It can stand at every node, and at each of several uses of one.
        """
        before, users = self.trace.gradients(so_far.mistakes), self.trace.users
        for node in self._places(so_far):
            for at, slot in [(node, None), *(users[node] if len(users[node]) > 1 else ())]:
                nothing = Mistake("path", at, slot, times(0.0), "")
                without = self.trace.attempt((*so_far.mistakes, nothing)) or before
                tried: list[float] = []
                for target in so_far.wrong:
                    rest = without[target]
                    through = before[target] - rest
                    number = _ratio(self.given[target] - rest, through)
                    if number is None or any(np.isclose(number, tried, 1e-6)):
                        continue
                    if self.fits(target, rest + number * through):
                        tried.append(number)
                        mistake = scaling(self.trace, at, slot, number)
                        yield self._with((*so_far.mistakes, mistake))

    def _as_given(self, so_far: Explanation) -> Explanation:
        """Go on below the first wrong target with the wrong elements, few or not, as given."""
        first = so_far.wrong[0]
        label, given = self.trace.labels[first], self.given[first]
        bad = self.misfits(first, self.trace.gradients(so_far.mistakes)[first])
        kind, cost = "unknown", 3.0
        words = f"the gradient of {label} is wrong; no mistake tried explains it"
        if so_far.few:
            kind, cost, places = "elements", 1.7, np.argwhere(bad)
            where = ", ".join(str(tuple(place)) for place in places[:5].tolist())
            words = f"the gradient of {label} is right but for {len(places)} of {bad.size} "
            words += f"elements: {where}{', …' if len(places) > 5 else ''}"
            if len(places) > 1 and (line := _line(places, bad.shape)):
                words += f", all at {line}"
        elif not self.trace.users[first]:
            words = f"f does not depend on {label}: its gradient is 0"
        mistake = Mistake(kind, first, None, then(lambda g: np.where(bad, given, g)), words, cost)
        return self._with((*so_far.mistakes, mistake))


def _are_few(bad: Array) -> bool:
    """Whether elements are few: three or a tenth, or all in one row or column of several."""
    count = int(bad.sum())
    few = count <= max(min(3, bad.size // 3), bad.size // 10)
    return few or (count <= bad.size // 3 and bool(_line(np.argwhere(bad), bad.shape)))


def _line(places: Array, shape: Shape) -> str:
    """The row or column that places in a matrix have in common, in words; "" if there is none."""
    for axis, length in enumerate(shape if len(shape) > 1 else ()):
        if length > 2 and (places[:, axis] == places[0, axis]).all():
            return f"index {places[0, axis]} of axis {axis}"
    return ""


def _ratio(given: Array, gradient: Array) -> float | None:
    """The number c for which c · gradient is closest to ``given``; None if gradient is 0."""
    size = float(np.vdot(gradient, gradient))
    if not np.isfinite(size) or size == 0 or not np.isfinite(given).all():
        return None
    return float(np.vdot(gradient, given) / size)
