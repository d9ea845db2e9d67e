"""The result of the search in words: verdicts on the gradients, and mistakes with evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ..gradient_check import GradcheckReport
from ..graph import Node
from ..tensor import Array
from .mistakes import Mistake
from .problem import Mistakes, Problem
from .report import AuditReport, Diagnosis, Verdict
from .search import Search
from .trace import Tape
from .watching import Watch, wrong_line

TINY = 1e-50
"""Smaller differences from the numerical derivative do not count."""
HARMLESS = 1e-3
"""An epsilon that changes a gradient by less than this is not a mistake; a note mentions it."""


def report_on(
    trace: Tape, given: Mapping[str, Array], rtol: Mapping[Node, float],
    numerical: GradcheckReport, own: Callable[[Watch], Any] | None, watch: Watch,
) -> AuditReport:  # fmt: skip
    """The verdicts on the gradients, by name, and the mistakes that explain them."""
    faults = {name: _fault(trace, name, array, numerical) for name, array in given.items()}
    sound = {trace.targets[name]: array for name, array in given.items() if not faults[name]}
    problem = Problem(trace, sound, rtol)
    search = Search(problem)
    state, notes = search.run(), list(problem.notes)
    targets = [(name, node) for name, node in trace.targets.items() if node in problem.targets]
    shown = {name: search.explanation(state, node) for name, node in targets}
    for name, mistakes in shown.items():
        if mistakes and all(m.key == "epsilon" for m in mistakes):
            node = trace.targets[name]
            apart = _apart(problem, node, problem.true[node])[0]
            if apart <= HARMLESS:
                shown[name] = ()
                told = f"{name}: {mistakes[0].words} of the derivation, which changes it by "
                told += f"{apart:.1e} of its largest element: right but for that "
                notes.append(f"{told}(rtol={10 * apart:.0e} allows it)")
    made = dict.fromkeys([mistake for mistakes in shown.values() for mistake in mistakes])
    if made and own:
        with suppress(Exception):  # what does not run a second time
            own(watch)
    limited = [mistake for mistake in made if mistake not in state.joint]
    found = [
        *filter(None, faults.values()),
        *[_diagnosis(problem, shown, m, m in limited, search.also.get(m, ()), watch) for m in made],
    ]
    verdicts = tuple([_verdict(problem, name, found) for name in trace.targets if name in given])
    return AuditReport(verdicts, tuple(found), numerical, tuple(notes))


def _fault(trace: Tape, name: str, array: Array, numerical: GradcheckReport) -> Diagnosis | None:
    """A diagnosis if autograd's own gradient is doubtful, or the given one is nan or infinite."""
    told = None
    if (bad := ~np.isfinite(array)).any():
        words = f"is nan or inf in {int(bad.sum())} of {bad.size} elements"
        told = "nan", words, f"the first at {tuple(np.argwhere(bad)[0].tolist())}"
    # On a kink of f, or where they do not converge, differences say nothing; the notes tell.
    excused = [n for n in numerical.notes if "a kink" in n or "do not converge" in n]
    for c in numerical.comparisons:
        kink = any(note.startswith(f"{name} along") for note in excused)
        if c.input == name and not c.passed and not kink and c.absolute > TINY:
            words = "by autograd is not the numerical derivative of f; see tg.gradcheck"
            evidence = f"along a random direction {c.autograd:.10g}, {c.numerical:.10g}"
            told = "autograd", words, evidence
    if told is None:
        return None
    kind, words, evidence = told
    rule = trace.rule_words(trace.targets[name], None)
    return Diagnosis(kind, name, f"the gradient of {name} {words}", rule, evidence, (name,))


def _diagnosis(
    problem: Problem, shown: Mapping[str, Mistakes], mistake: Mistake, limited: bool,
    also: Mistakes, watch: Watch,
) -> Diagnosis:  # fmt: skip
    """A mistake, with the evidence: what the gradients are with it, and without it."""
    trace, after, before, own = problem.trace, 0.0, 0.0, ""
    names = tuple([name for name, mistakes in shown.items() if mistake in mistakes])
    for name in names:
        node = trace.targets[name]
        without = tuple([m for m in shown[name] if m is not mistake])
        pair = [problem.gradients(made) for made in (shown[name], without)]
        if node in problem.given:
            size = [_apart(problem, node, g[node])[0] if g else np.inf for g in pair]
            after, before = max(after, size[0]), max(before, size[1])
        if watch.found and not own and pair[0] and pair[1]:
            own = wrong_line(problem, watch, mistake, node, pair[0], pair[1])
    who = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    words, evidence = mistake.words, f"{who}: off by {before:.1e} of the largest element"
    if mistake.kind not in ("elements", "unknown"):
        evidence = f"with this mistake {who} come{'s' * (len(names) < 2)} out as given (off by "
        evidence += f"{after:.0e}); without it, off by {before:.1e}"
    if not mistake.changes:
        evidence = f"a gradient of {who} made so has exactly this shape and these values"
    if limited and mistake.changes:
        alone = problem.gradients((mistake,))
        rest = {*problem.given} - {trace.targets[name] for name in names}
        if alone and any(not np.allclose(alone[n], problem.true[n], 1e-6, 1e-12) for n in rest):
            words += f", in the gradient of {who} alone"
    # Of the others one of each kind, if it is not much harder to believe.
    others = [m for m in also[::-1] if m.kind != mistake.kind and m.cost < mistake.cost + 0.25]
    different = tuple({m.kind: m.words for m in others}.values())[::-1][:2]
    (node, slot), kind = mistake.at, mistake.kind
    rule, line = trace.rule_words(node, slot), trace.line(node)
    return Diagnosis(kind, trace.labels[node], words, rule, evidence, names, line, different, own)


def _apart(problem: Problem, node: Node, other: Array) -> tuple[float, Array]:
    """The difference from a gradient: relative to the largest true element, and by element."""
    apart = np.abs(problem.given[node] - other)
    largest = max(float(np.abs(problem.true[node]).max()), np.finfo(float).tiny)
    return float(apart.max()) / largest, apart


def _verdict(problem: Problem, name: str, found: list[Diagnosis]) -> Verdict:
    node = problem.trace.targets[name]
    mistakes, true = tuple([d for d in found if name in d.explains]), problem.true[node]
    if node not in problem.given:
        return Verdict(name, true.shape, False, np.inf, np.inf, (), np.nan, np.nan, mistakes)
    relative, apart = _apart(problem, node, true)
    at = tuple([int(i) for i in np.unravel_index(int(apart.argmax()), true.shape)])
    given = float(problem.given[node][at])
    off, right = float(apart[at]), not mistakes
    return Verdict(name, true.shape, right, off, relative, at, given, float(true[at]), mistakes)
