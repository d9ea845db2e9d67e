"""A sweep over all mistakes: which explain a gradient, alone or with a second one.

The effect of a mistake on a target is linear in its effect at its own node. One
tangent per target gives the effect along random directions, so a sweep is linear in the
length of the graph. Only mistakes that seem to fit are tried by a backward pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import KINDS, Mistake
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

    def __init__(self, problem: Problem, base: Mistakes) -> None:
        self.problem, self.base = problem, base
        self.wanted = problem.along(problem.given)
        like = {**problem.true, **problem.given}
        lengths = [max(float(np.linalg.norm(like[n])), problem.floor[n]) for n in problem.ways]
        sizes = [np.linalg.norm(way) for ways in problem.ways.values() for way in ways]
        self.size = np.array(sizes) * np.repeat(lengths, DIRECTIONS)
        self.mistakes: list[Mistake] = []
        effects: list[Array] = []
        gradients = problem.gradients(base)
        self.start = problem.along(gradients or {})
        tangents = problem.tangents(base)
        many = problem.groups if not base else problem.likely_groups if len(base) < 3 else []
        for mistake in [*problem.singles, *many] if np.isfinite(self.start).all() else ():
            if base and problem.is_one_turn(mistake):
                continue  # two mistakes, one of them in one turn alone: too hard to believe
            effect = self._effect(mistake, gradients or {}, tangents)
            if effect is not None and np.isfinite(effect).all() and effect.any():
                self.mistakes.append(mistake)
                effects.append(effect)
        self.effects = np.array(effects).reshape(-1, len(self.wanted))
        self.fixed = np.array([mistake.solved is None for mistake in self.mistakes], bool)

    def _effect(self, mistake: Mistake, gradients: Gradients, tangents: Gradients) -> Array | None:
        if len(mistake.changes) > 1:  # it takes a whole pass
            found = self.problem.gradients((*self.base, mistake))
            return None if found is None else self.problem.along(found) - self.start
        [(node, effect)] = mistake.changes
        try:
            change = effect(gradients)
        except Exception:  # a rule that is given what it was not made for may raise anything
            return None
        if node not in tangents or np.shape(change) != node.shape:
            return None
        return np.asarray(tangents[node] @ np.ravel(change))

    def _rows(self, target: Node) -> slice:
        at = self.problem.targets.index(target) * DIRECTIONS
        return slice(at, at + DIRECTIONS)

    def _allowed(self, target: Node) -> Array:
        return np.asarray(max(1e-6, 3 * self.problem.rtol[target]) * self.size[self._rows(target)])

    def explain(self, target: Node) -> list[Found]:
        """The mistakes with which a target comes out as given, the best first."""
        rows, allowed = self._rows(target), self._allowed(target)
        missing, units = (self.wanted - self.start)[rows], self.effects[:, rows]
        squares = np.maximum((units * units).sum(axis=1), 1e-300)
        numbers = np.where(self.fixed, 1.0, units @ missing / squares)
        hits = (np.abs(numbers[:, None] * units - missing) <= allowed).all(axis=1)
        hits &= np.abs(units).max(axis=1, initial=0) > 1e-9 * self.size[rows].max()
        ranked: dict[tuple[float, ...], list[Found]] = {}
        for i in np.flatnonzero(hits):
            solved = self.mistakes[i].solved
            mistake = solved(float(numbers[i])) if solved else self.mistakes[i]
            if mistake is not None:
                effect = numbers[i] * self.effects[i]
                mark = tuple(np.round(effect / self.size, 7) + 0.0)
                ranked.setdefault(mark, []).append(Found(mistake, *self._reach(effect)))
        groups = [sorted(group, key=lambda f: f.key) for group in ranked.values()]
        best: list[Found] = []
        for alike in sorted(groups, key=lambda group: group[0].key)[:TRIED]:
            for found in alike[:3]:
                if self.problem.explains((*self.base, found.mistake), target):
                    also = [f.mistake for f in alike if f is not found]
                    best.append(found._replace(also=tuple(also[:20])))
                    break
        return sorted(best, key=lambda f: f.key)[:WIDTH]

    def _reach(self, effect: Array) -> tuple[frozenset[Node], frozenset[Node]]:
        """The wrong targets that an effect makes right, and the right ones it makes wrong."""
        covers, spoils = set[Node](), set[Node]()
        before, after = np.abs(self.start - self.wanted), np.abs(self.start + effect - self.wanted)
        for node in self.problem.given:
            rows, allowed = self._rows(node), self._allowed(node)
            was = node not in self.problem.wrong or (before[rows] <= allowed).all()
            if (right := (after[rows] <= allowed).all()) != was:
                (covers if right else spoils).add(node)
        return frozenset(covers), frozenset(spoils)

    def promising(self, target: Node) -> list[Mistake]:
        """Mistakes that a second one may complete, the likeliest first."""
        problem, rows = self.problem, self._rows(target)
        after, wanted = self.start[rows] + self.effects[:, rows], self.wanted[rows]
        moved = np.abs(self.effects[:, rows]).max(axis=1, initial=0) > 1e-9 * self.size[rows].max()
        ratio = after @ wanted / np.maximum((after * after).sum(axis=1), 1e-300)
        near = np.abs(ratio[:, None] * after - wanted) <= self._allowed(target)
        almost = near.all(axis=1) & (target in problem.given)
        wrong = np.concatenate([np.r_[self._rows(n)] for n in problem.wrong])
        miss = (self.wanted - self.start - self.effects)[:, wrong] / self.size[wrong]
        rest = np.sqrt((miss * miss).sum(axis=1))  # what is left to explain

        def order(i: Any) -> tuple[object, ...]:
            made = self.mistakes[i]
            one_turn, rare = problem.is_one_turn(made), made.cost > 1.1
            return not almost[i], one_turn, rare, " reads " in made.words, rest[i]

        unlike: dict[bytes, Mistake] = {}
        marks = np.round(self.effects / self.size, 7) + 0.0
        for i in sorted(np.flatnonzero(moved & self.fixed), key=order):
            unlike.setdefault(marks[i].tobytes(), self.mistakes[i])
        return list(unlike.values())
