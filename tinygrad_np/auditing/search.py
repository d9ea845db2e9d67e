"""The search for the fewest mistakes that explain somebody's gradients.

A sweep looks at every mistake once. What it does to a target is linear in what it does to the
gradient where it is made: one tangent for each target tells its effect along random directions, so
that a sweep is linear in the length of the graph. Only what passes is tried by a backward pass.

The search walks from the loss down. At the first gradient that is wrong it follows the best few
explanations; a mistake that explains several gradients beats several that explain one each. A
mistake may also be limited to a single gradient: what is right stays right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..graph import Node
from ..tensor import Array
from . import derivatives, factors, kinks, loops, masks, paths, repeats, shapes, sums, values
from .elements import as_given
from .mistakes import KINDS, Mistake, Open, Slip, attempted, merged
from .trace import Gradients, Trace

DIRECTIONS = 2
WIDTH = 4
"""How many explanations are followed at once."""
TRIED = 8
"""How many mistakes that seem to fit are tried by a backward pass."""
PAIRS = 150_000
"""How many mistakes are looked at when two are sought at once; a backward pass counts as many."""

RESHAPED = 400
"""How many mistakes are tried with a gradient of the wrong shape."""

Mistakes = tuple[Mistake, ...]


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


class Search:
    """``given`` holds somebody's gradients by target, ``rtol`` how closely each must be met.

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
        self.sweeps: dict[Mistakes, Sweep] = {}
        self.left = PAIRS
        self.unbiased: dict[Node, Array] = {}
        self.passes: dict[Mistakes, Gradients | None] = {(): true}
        self.also: dict[Mistake, tuple[Mistake, ...]] = {}

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

    def sweep(self, base: Mistakes) -> Sweep:
        """Every mistake, made after those of ``base``."""
        if base not in self.sweeps:
            self.sweeps[base] = Sweep(self, base)
        return self.sweeps[base]

    # The walk

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


class Sweep:
    """The effects of all mistakes, each made after those of ``base``, along every direction."""

    def __init__(self, search: Search, base: Mistakes) -> None:
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
                rest[i] if search.trace.is_long else -self.closed[i].place.tick,
            ),
        )
        unlike: dict[bytes, Mistake] = {}
        marks = np.round(self.effects / self.size, 7) + 0.0
        for i in order:
            unlike.setdefault(marks[i].tobytes(), self.closed[i])
        return list(unlike.values())
