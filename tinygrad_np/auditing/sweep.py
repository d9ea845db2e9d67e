"""One look at every mistake: which explain a gradient, which may do so with a second one.

What a mistake does to a target is linear in what it does to the gradient where it is made: one
tangent for each target tells its effect along random directions, so that a sweep is linear in the
length of the graph. Only what seems to fit is tried by a backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import KINDS, Mistake, Open
from .problem import DIRECTIONS, Mistakes, Problem
from .trace import Gradients

WIDTH = 4
"""How many explanations are followed at once."""
TRIED = 8
"""How many mistakes that seem to fit are tried by a backward pass."""


class Found(NamedTuple):
    """A mistake that explains a target, the targets it makes right, and those it makes wrong."""

    mistake: Mistake
    covers: frozenset[Node]
    spoils: frozenset[Node]
    also: tuple[Mistake, ...] = ()

    @property
    def key(self) -> tuple[float, int, int]:
        """The better one has the smaller key."""
        mistake = self.mistake
        cost = mistake.cost - 0.9 * len(self.covers) + 0.5 * bool(self.spoils)
        return round(cost, 6), KINDS.index(mistake.kind), mistake.place.tick


class Sweep:
    """The effects of all mistakes, each made after those of ``base``, along every direction."""

    def __init__(self, search: Problem, base: Mistakes) -> None:
        self.search, self.base = search, base
        gradients = search.gradients(base)
        ways, tangents = search.ways, search.tangents(base)
        self.start = search.along(gradients or {})
        self.wanted = search.along(search.given)
        like = {**search.true, **search.given}
        lengths = [max(float(np.linalg.norm(like[n])), search.floor[n]) for n in ways]
        self.size = np.array([np.linalg.norm(way) for n in ways for way in ways[n]])
        self.size *= np.repeat(lengths, DIRECTIONS)
        self.closed: list[Mistake] = []
        self.open: list[Open] = []
        closed, opened = [], []
        self.failed = gradients is None or not np.isfinite(self.start).all()
        if gradients is None or self.failed:
            self.effects = self.directions = np.zeros((0, len(self.wanted)))
            return
        for slip in search.singles:
            if base and search.is_one_turn(slip):
                continue  # two mistakes, one of them in one turn alone: too hard to believe
            mistake = slip.unit if isinstance(slip, Open) else slip
            effect = self._effect(mistake, gradients, tangents)
            if effect is None or not np.isfinite(effect).all() or not effect.any():
                continue
            if isinstance(slip, Open):
                self.open.append(slip)
                opened.append(effect)
            else:
                self.closed.append(slip)
                closed.append(effect)
        for mistake in search.groups if len(base) < 3 else ():
            if (found := search.gradients((*base, mistake))) is not None:
                effect = search.along(found) - self.start
                if np.isfinite(effect).all():
                    self.closed.append(mistake)
                    closed.append(effect)
        self.effects = np.array(closed).reshape(-1, len(self.wanted))
        self.directions = np.array(opened).reshape(-1, len(self.wanted))

    def _effect(
        self, mistake: Mistake, gradients: Gradients, tangents: Mapping[Node, Array]
    ) -> Array | None:
        try:
            changed = mistake.change(self.search.trace, gradients)
        except Exception:  # a rule that is given what it was not made for may raise anything
            return None
        if changed is None:  # it takes a whole pass
            found = self.search.gradients((*self.base, mistake))
            return None if found is None else self.search.along(found) - self.start
        node, change = changed
        if node not in tangents or np.shape(change) != node.shape:
            return None
        return np.asarray(tangents[node] @ np.ravel(change))

    def _rows(self, target: Node) -> slice:
        at = self.search.targets.index(target) * DIRECTIONS
        return slice(at, at + DIRECTIONS)

    def _allowed(self, target: Node) -> float:
        return max(1e-6, 3 * self.search.rtol[target])

    def explain(self, target: Node) -> list[Found]:
        """The mistakes with which a target comes out as given, the best first."""
        if self.failed or not len(self.effects) + len(self.directions):
            return []
        rows = self._rows(target)
        missing = (self.wanted - self.start)[rows]
        allowed = self._allowed(target) * self.size[rows]
        hits = (np.abs(self.effects[:, rows] - missing) <= allowed).all(axis=1)
        found = [(self.closed[i], self.effects[i]) for i in np.flatnonzero(hits)]
        units = self.directions[:, rows]
        squares = np.maximum((units * units).sum(axis=1), 1e-300)
        numbers = units @ missing / squares
        hits = (np.abs(numbers[:, None] * units - missing) <= allowed).all(axis=1)
        hits &= np.abs(units).max(axis=1, initial=0) > 1e-9 * self.size[rows].max()
        for i in np.flatnonzero(hits):
            if (mistake := self.open[i].solved(float(numbers[i]))) is not None:
                found.append((mistake, numbers[i] * self.directions[i]))
        ranked: dict[tuple[float, ...], list[Found]] = {}
        for mistake, effect in found:
            covers, spoils = self._reach(effect)
            mark = tuple(np.round(effect / self.size, 7) + 0.0)
            ranked.setdefault(mark, []).append(Found(mistake, covers, spoils))
        best = []
        for alike in sorted(
            (sorted(group, key=lambda f: f.key) for group in ranked.values()),
            key=lambda group: group[0].key,
        )[:TRIED]:
            for candidate in alike[:3]:
                if (confirmed := self._confirmed(candidate, target)) is not None:
                    also = [f.mistake for f in alike if f is not candidate]
                    best.append(confirmed._replace(also=tuple(also[:20])))
                    break
            if len(best) == WIDTH:
                break
        return sorted(best, key=lambda f: f.key)

    def _reach(self, effect: Array) -> tuple[frozenset[Node], frozenset[Node]]:
        """The wrong targets that an effect makes right, and the right ones it makes wrong."""
        search, covers, spoils = self.search, set(), set()
        after = np.abs(self.start + effect - self.wanted)
        for node in search.given:
            rows = self._rows(node)
            right = (after[rows] <= self._allowed(node) * self.size[rows]).all()
            if node in search.wrong:
                before = np.abs(self.start - self.wanted)[rows]
                fitted = (before <= self._allowed(node) * self.size[rows]).all()
                if right and not fitted:
                    covers.add(node)
                elif fitted and not right:
                    spoils.add(node)
            elif not right:
                spoils.add(node)
        return frozenset(covers), frozenset(spoils)

    def _confirmed(self, found: Found, target: Node) -> Found | None:
        """The same, as a backward pass has it; None where the target does not come out."""
        gradients = self.search.gradients((*self.base, found.mistake))
        if gradients is None or not self.search.fits(target, gradients[target]):
            return None
        return found

    def promising(self, target: Node) -> list[Mistake]:
        """Mistakes that a second one may complete, the likeliest first."""
        search = self.search
        if self.failed or not len(self.effects):
            return []
        rows = self._rows(target)
        after = self.start[rows] + self.effects[:, rows]
        wanted = self.wanted[rows]
        moved = np.abs(self.effects[:, rows]).max(axis=1) > 1e-9 * self.size[rows].max()
        ratio = after @ wanted / np.maximum((after * after).sum(axis=1), 1e-300)
        near = np.abs(ratio[:, None] * after - wanted) <= self._allowed(target) * self.size[rows]
        almost = near.all(axis=1) & (target in search.given)
        wrong = np.concatenate([np.r_[self._rows(n)] for n in search.wrong])
        miss = (self.wanted - self.start - self.effects)[:, wrong] / self.size[wrong]
        rest = np.sqrt((miss * miss).sum(axis=1))  # what is left to explain
        now = float(np.linalg.norm(((self.wanted - self.start) / self.size)[wrong]))
        order = sorted(
            np.flatnonzero(moved),
            key=lambda i: (
                not almost[i],
                search.is_one_turn(self.closed[i]),
                search.trace.is_long and rest[i] > now,
                self.closed[i].cost > 1.1,
                self.closed[i].kind == "value" and "reads" in self.closed[i].words,
                rest[i] if search.trace.is_long else self.closed[i].cost,
                -self.closed[i].place.tick,
            ),
        )
        unlike: dict[bytes, Mistake] = {}
        marks = np.round(self.effects / self.size, 7) + 0.0
        for i in order:
            unlike.setdefault(marks[i].tobytes(), self.closed[i])
        return list(unlike.values())
