"""The search for the fewest mistakes that explain somebody's gradients.

It walks from the loss down. At the first gradient that is wrong it tries every mistake that could
be made there (and, where one is not enough, two or three together), keeps what makes that gradient
come out as given, and goes on below: a mistake made at one layer spoils all gradients under it, so
one that explains several of them beats several that explain one each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..graph import Node
from ..shapes import Shape
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
PAIR_ELEMENTS = 200_000_000
"""The same in elements of arrays, for large graphs: some seconds."""


@dataclass(frozen=True)
class Explanation:
    """Some mistakes, and the targets that they leave unexplained, from the loss down.

    ``almost``: the first of these comes out right but for a constant factor; ``few``: but for a few
    elements.
    """

    mistakes: tuple[Mistake, ...]
    wrong: tuple[Node, ...]
    almost: bool = False
    few: bool = False

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
        self.true = self.gradients(())
        # Where a gradient cancels to nothing, what is left is rounding of the others.
        largest = max((float(np.max(np.abs(g))) for g in self.true.values()), default=0.0)
        self.floor = 1e-6 * largest + float(np.finfo(float).tiny)
        elements = sum(array.size for array in trace.outputs.values())
        elements += sum(gradient.size for gradient in self.true.values())
        self._pairs_left = min(PAIRS, PAIR_ELEMENTS // (1 + elements))
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
        with np.errstate(all="ignore"):
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

    def gradients(self, mistakes: Iterable[Mistake]) -> Gradients:
        """The gradients that mistakes lead to which are known not to make a rule fail."""
        gradients = self.trace.gradients(mistakes)
        assert gradients is not None
        return gradients

    def _with(self, mistakes: tuple[Mistake, ...]) -> Explanation:
        return self._explanation(mistakes, self.gradients(mistakes))

    def _explanation(self, mistakes: tuple[Mistake, ...], gradients: Gradients) -> Explanation:
        wrong = tuple([n for n in self.targets if not self.fits(n, gradients[n])])
        if not wrong:
            return Explanation(mistakes, wrong)
        first, gradient = wrong[0], gradients[wrong[0]]
        number = _ratio(self.given[first], gradient)
        almost = bool(number) and self.fits(first, gradient * number)
        return Explanation(mistakes, wrong, almost, _are_few(self.misfits(first, gradient)))

    # One step: explain the first target that is wrong

    def _longer(self, so_far: Explanation) -> list[Explanation]:
        first = so_far.wrong[0]
        trials, scaled = list(self._trials(so_far)), list(self._scaled(so_far))
        found = [e for e in (*trials, *scaled) if self._helps(e, so_far)]
        if min((e.cost - so_far.cost for e in found), default=9.0) > 1:
            # One mistake that makes the gradient right up to a factor, or a factor that makes
            # another gradient right; and the factor that is left.
            partly = [t for t in trials if t.almost] + scaled
            partly = [e for e in partly if e.wrong and e.wrong[0] is first]
            found += [s for e in partly for s in self._scaled(e) if self._helps(s, so_far)]
        few = [self._few(e) for e in (so_far, *trials) if e.few] if not found else []
        return (
            found
            or [e for e in few if self._helps(e, so_far)]
            or self._pairs(so_far, trials)
            or [self._given_up(so_far)]
        )

    def _trials(self, so_far: Explanation) -> Iterator[Explanation]:
        """``so_far`` with one more mistake, for every one that changes the first wrong target."""
        first = so_far.wrong[0]
        before = self.gradients(so_far.mistakes)[first]
        for mistake in self._candidates(so_far):
            gradients = self.trace.gradients((*so_far.mistakes, mistake))
            if gradients is not None and not np.array_equal(gradients[first], before):
                yield self._explanation((*so_far.mistakes, mistake), gradients)

    def _candidates(self, so_far: Explanation) -> Iterator[Mistake]:
        """Mistakes that spoil the first wrong target, and no target above it."""
        for node in self.trace.order:
            if any(p and self._between(p, so_far) for p in (node, *node.parents)):
                if node not in self._tried:
                    self._tried[node] = hypotheses(self.trace, node)
                yield from (m for m in self._tried[node] if self._between(m.place, so_far))

    def _between(self, node: Node, so_far: Explanation) -> bool:
        """Whether a node's gradient goes on to the first wrong target and to none above it."""
        first = so_far.wrong[0]
        reach = self.trace.reach.get(node, frozenset())
        return first in reach and reach.isdisjoint(self.targets[: self.targets.index(first)])

    def _helps(self, longer: Explanation, so_far: Explanation) -> bool:
        """Whether the first wrong target is right now, and those above it still are."""
        if not longer.wrong:
            return True
        place = self.targets.index
        return place(longer.wrong[0]) > place(so_far.wrong[0])

    def _scaled(self, so_far: Explanation) -> Iterator[Explanation]:
        """A constant factor at every place where one explains a target that is wrong."""
        before = self.gradients(so_far.mistakes)
        for node, slot in self._places(so_far):
            nothing = Mistake("path", node, slot, _times(0.0, slot), "")
            without = self.trace.gradients((*so_far.mistakes, nothing))
            tried: list[float] = []
            if without is None:
                continue
            for target in so_far.wrong:
                rest = without[target]
                through = before[target] - rest
                number = _ratio(self.given[target] - rest, through)
                if number is None or any(np.isclose(number, tried, 1e-6)):
                    continue
                if self.fits(target, rest + number * through):
                    tried.append(number)
                    yield self._with((*so_far.mistakes, self._factor(node, slot, number)))

    def _places(self, so_far: Explanation) -> Iterator[tuple[Node, int | None]]:
        """Where a factor can stand: at every node, and at each of several uses of one."""
        for node in self.trace.order:
            if self._between(node, so_far):
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

    def _few(self, so_far: Explanation) -> Explanation:
        """The few elements of the first wrong target that are not right, as they were given."""
        first = so_far.wrong[0]
        bad = self.misfits(first, self.gradients(so_far.mistakes)[first])
        places = np.argwhere(bad)
        where = ", ".join(str(tuple(place)) for place in places[:5].tolist())
        words = f"the gradient of {self.trace.labels[first]} is right but for {len(places)} of "
        words += f"{bad.size} elements: {where}{', …' if len(places) > 5 else ''}"
        if len(places) > 1 and (line := _line(places, bad.shape)):
            words += f", all at {line}"
        return self._as_given(so_far, "elements", words, 1.7, bad)

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
                elif pair.almost and pair.wrong[0] is so_far.wrong[0]:
                    almost.append(pair)
            if self._pairs_left < 0:
                break
        if found:
            return found
        return [s for pair in almost for s in self._scaled(pair) if self._helps(s, so_far)]

    def _given_up(self, so_far: Explanation) -> Explanation:
        first = so_far.wrong[0]
        words = f"the gradient of {self.trace.labels[first]} is wrong; no mistake tried explains it"
        if first not in self.trace.users:
            words = f"f does not depend on {self.trace.labels[first]}: its gradient is 0"
        return self._as_given(so_far, "unknown", words, 3.0, np.True_)

    def _as_given(
        self, so_far: Explanation, kind: str, words: str, cost: float, where: Any
    ) -> Explanation:
        """Go on below the first wrong target with the elements that were given for it."""
        first = so_far.wrong[0]
        given = self.given[first]
        mistake = Mistake(kind, first, None, lambda g: np.where(where, given, g), words, cost)
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


def _times(number: float, slot: int | None) -> Any:
    if slot is None:
        return lambda g: g * number
    return lambda rule: lambda g, saved: rule(g, saved) * number
