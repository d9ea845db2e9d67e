"""From somebody's function and gradients to a report: what ``audit`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import graph
from ..autodiff import leaf
from ..gradient_check import GradcheckReport, gradcheck, listed, scalar
from ..gradient_check import names as names_of
from ..graph import Node
from ..tensor import Array, Tensor, plain
from .mistakes import Mistake
from .problem import Problem
from .recording import Recorded, bare, recording
from .report import AuditReport, Diagnosis, Verdict
from .search import Search, State
from .trace import Trace, parts

TINY = 1e-50
"""Differences from the numerical derivative below this are none."""
TOLERANCES = {"float16": 1e-2, "float32": 1e-4}
"""How closely a gradient of little precision must agree, against its largest element; else 1e-7."""


@graph.enable_grad()
def judge(
    f: Callable[..., Any],
    inputs: Any,
    gradients: Any,
    deltas: Mapping[str, Any],
    rtol: float | None,
) -> AuditReport:
    """The report on somebody's gradients; ``audit`` documents the arguments."""
    values = _named(f, inputs)
    arrays = {name: _input(name, value) for name, value in values.items()}

    def call(arguments: Mapping[str, Any], function: Callable[..., Any] = f) -> Any:
        if isinstance(inputs, Mapping):
            return function(**arguments)
        return function(*arguments.values())

    if callable(gradients):
        gradients = call({name: np.array(plain(v)) for name, v in values.items()}, gradients)
    given = {**_given(gradients, inputs, list(values)), **deltas}
    if both := sorted(set(values) & set(deltas)):
        raise ValueError(f"audit: {', '.join(both)} is an input and has a delta: give one of them")
    if not given:
        raise ValueError("audit: neither gradients nor deltas are given: there is nothing to audit")
    theirs = {name: _gradient(name, value) for name, value in given.items()}
    with np.errstate(all="ignore"):
        runs = _runnable(call, arrays, f)

    def loss(*given: Any) -> Any:
        return parts(runs(dict(zip(arrays, given, strict=True))))[0]

    with np.errstate(all="ignore"):
        scalar(lambda: loss(*map(leaf, arrays.values())), None, np.random.default_rng())
    trace = Trace(runs, arrays, list(deltas))
    numerical = _numerical(loss, arrays, trace)
    rtols = {}
    for name, array in theirs.items():
        dtypes = array.dtype, np.asarray(plain(values.get(name, array))).dtype
        usual = max(TOLERANCES.get(str(d), 1e-7) for d in dtypes)
        rtols[trace.targets[name]] = usual if rtol is None else rtol
    return Judgement(trace, theirs, rtols, numerical).report()


def _runnable(
    call: Callable[..., Any], arrays: Mapping[str, Array], f: Callable[..., Any]
) -> Callable[..., Any]:
    """f as it is or, where Tensors are not what it can work on, f on recorded arrays."""
    try:
        call({name: leaf(array) for name, array in arrays.items()})
        return call
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        first = error

    def run(arguments: Mapping[str, Any]) -> Any:
        with recording(f):
            return bare(call({name: Recorded(tensor) for name, tensor in arguments.items()}))

    try:
        run({name: leaf(array) for name, array in arrays.items()})
    except Exception:
        raise first from None
    return run


# What was given


def _named(f: Callable[..., Any], inputs: Any) -> dict[str, Any]:
    """The inputs by name: the mapping's, the Tensors', or those of f's parameters."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    items = listed(inputs)
    own = [item.name if isinstance(item, Tensor) else None for item in items]
    names = [a or b for a, b in zip(own, names_of(f, len(items)), strict=True)]
    if len(set(names)) < len(names):
        raise ValueError(f"audit: two inputs have the same name: {', '.join(names)}")
    return dict(zip(names, items, strict=True))


def _input(name: str, value: Any) -> Array:
    """An input as it is traced: an array of float64, of its own."""
    array = np.asarray(plain(value))
    if array.dtype.kind != "f":
        raise TypeError(
            f"audit: gradients are for real floating-point inputs, but {name} is {array.dtype}: "
            "write 2.0 instead of 2, array.astype(float), or pass it to f in a closure"
        )
    if not array.size:
        raise ValueError(f"audit: {name} has length 0 (shape {array.shape}): nothing to audit")
    if not np.isfinite(array).all():
        raise ValueError(f"audit: {name} holds nan or inf: there is no derivative there")
    return array.astype(np.float64)


def _given(gradients: Any, inputs: Any, names: list[str]) -> dict[str, Any]:
    """The gradients by name, without those that are None."""
    if gradients is None:
        return {}
    if not isinstance(gradients, Mapping):
        single = len(names) == 1 and not isinstance(gradients, tuple)
        if single and isinstance(gradients, list):  # for [x] it holds x's, for x it may be x's
            single = listed(inputs)[0] is inputs
        several = [gradients] if single else list(gradients)
        if len(several) != len(names):
            raise ValueError(
                f"audit: {len(several)} gradients for {len(names)} inputs, {', '.join(names)}"
            )
        gradients = dict(zip(names, several, strict=True))
    if unknown := [str(name) for name in gradients if name not in names]:
        raise ValueError(
            f"audit: there are gradients for {', '.join(unknown)}, but the inputs are "
            f"{', '.join(names)}"
        )
    return {name: gradient for name, gradient in gradients.items() if gradient is not None}


def _gradient(name: str, value: Any) -> Array:
    array = np.asarray(plain(value))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"audit: the gradient of {name} must hold real numbers, not {array.dtype}")
    return array


# Witnesses and verdicts


def _numerical(
    loss: Callable[..., Any], arrays: Mapping[str, Array], trace: Trace
) -> GradcheckReport:
    """Autograd against differences of f along a random direction in which all inputs count.

    The step is small, some 1e-8, so that few kinks are crossed; four digits are left. Where that is
    not enough, each input is looked at by itself, with steps of all sizes.
    """
    rng = np.random.default_rng(0)
    ways = {}
    true = trace.run()
    for name, array in arrays.items():
        size = float(np.linalg.norm(true[trace.targets[name]])) or 1.0
        ways[name] = rng.normal(size=array.shape) / size
    small = 1e-3 / max(float(np.abs(way).max()) for way in ways.values())

    def together(t: Any) -> Any:
        return loss(*[array + t * (small * ways[name]) for name, array in arrays.items()])

    quick = gradcheck(together, 0.0, method="central", rtol=1e-4, raises=False)
    if quick and not quick.notes:
        return quick
    tensors = tuple([Tensor(array, True, name=name) for name, array in arrays.items()])
    return gradcheck(loss, tensors, directions=1, rtol=1e-4, raises=False)


class Judgement:
    """From the gradients as they were given to verdicts and the mistakes that explain them."""

    def __init__(
        self,
        trace: Trace,
        given: Mapping[str, Array],
        rtol: Mapping[Node, float],
        numerical: GradcheckReport,
    ) -> None:
        self.trace, self.numerical = trace, numerical
        self.given = {n: a.astype(np.float64) for n, a in given.items()}
        self.found: dict[str, Diagnosis] = {}
        sound = {
            trace.targets[name]: array
            for name, array in self.given.items()
            if not self._faulty(name, array)
        }
        self.problem = Problem(trace, sound, rtol)
        self.search, self.notes = Search(self.problem), self.problem.notes

    def _faulty(self, name: str, array: Array) -> bool:
        """Whether a gradient is nan, or autograd's own is in doubt."""
        # On a kink of f, or where they do not settle, differences say nothing; the notes tell.
        told = ("a kink", "do not settle")
        excused = [note for note in self.numerical.notes if any(word in note for word in told)]
        bad = ~np.isfinite(array)
        for c in self.numerical.comparisons:
            kink = any(note.startswith(f"{name} along") for note in excused)
            if c.input == name and not c.passed and not kink and c.absolute > TINY:
                words = "by autograd is not the numerical derivative of f; see tg.gradcheck"
                evidence = f"along a random direction {c.autograd:.10g}, {c.numerical:.10g}"
                self._fault("autograd", name, words, evidence)
                return True
        if bad.any():
            words = f"is nan or inf in {int(bad.sum())} of {bad.size} elements"
            self._fault("nan", name, words, f"the first at {tuple(np.argwhere(bad)[0].tolist())}")
        return bool(bad.any())

    def _fault(self, kind: str, name: str, words: str, evidence: str) -> None:
        words, rule = (
            f"the gradient of {name} {words}",
            self.trace.rule_words(self.trace.targets[name], None),
        )
        self.found[name] = Diagnosis(kind, name, words, rule, evidence, (name,))

    def report(self) -> AuditReport:
        """The verdicts and the mistakes."""
        search, trace = self.search, self.trace
        state = search.run()
        made: dict[Mistake, list[str]] = {}
        for name, node in trace.targets.items():
            for mistake in search.explanation(state, node) if node in self.problem.targets else ():
                made.setdefault(mistake, []).append(name)
        notes = [n for n in made if n.key == "epsilon"]
        for mistake in notes:
            self._excuse(mistake, made)
        diagnoses = {m: self._diagnosis(state, m, tuple(names)) for m, names in made.items()}
        found = [*self.found.values(), *diagnoses.values()]
        verdicts = [
            self._verdict(name, tuple([d for d in found if name in d.explains]))
            for name in trace.targets
            if name in self.given
        ]
        return AuditReport(tuple(verdicts), tuple(found), self.numerical, tuple(self.notes))

    def _excuse(self, mistake: Mistake, made: dict[Mistake, list[str]]) -> None:
        """An epsilon left out is no mistake where it changes next to nothing."""
        names = made[mistake]
        others = {name for m, all_ in made.items() if m is not mistake for name in all_}
        fine = [n for n in names if n not in others and float(self._apart(n)[0]) <= 1e-3]
        if fine:
            apart = max(float(self._apart(n)[0]) for n in fine)
            self.notes.append(
                f"{', '.join(fine)}: {mistake.words} of the derivation, which changes it by "
                f"{apart:.1e} of its largest element: right but for that (rtol={10 * apart:.0e} "
                "allows it)"
            )
        made[mistake] = [n for n in names if n not in fine]
        if not made[mistake]:
            del made[mistake]

    def _apart(self, name: str) -> tuple[float, Array]:
        node = self.trace.targets[name]
        given, true = self.problem.given[node], self.problem.true[node]
        largest = max(float(np.abs(true).max()), float(np.finfo(float).tiny))
        apart = np.abs(given - true)
        return float(apart.max()) / largest, apart

    def _diagnosis(self, state: State, mistake: Mistake, names: tuple[str, ...]) -> Diagnosis:
        """A mistake, with the evidence: what the gradients are with it, and without it."""
        search, problem, trace, after, before = self.search, self.problem, self.trace, 0.0, 0.0
        for name in names:
            node = trace.targets[name]
            whole = search.explanation(state, node)
            rest = tuple([m for m in whole if m is not mistake])
            if node in problem.given:
                pair = [problem.gradients(whole), problem.gradients(rest) or problem.true]
                size = [float(problem.apart(node, g[node]).max()) if g else np.inf for g in pair]
                after, before = max(after, size[0]), max(before, size[1])
        words, evidence = mistake.words, "the shape alone shows it"
        if mistake.changes and before:
            evidence = (
                f"as given, to {after:.1e}, with this mistake; off by {before:.1e} without it"
            )
        if mistake.kind in ("elements", "unknown") and mistake.changes:
            evidence = f"off by {before:.1e} of the largest element"
        node, slot = mistake.at
        if mistake.changes and self._is_alone(state, mistake, names):
            words += f", in the gradient of {' and '.join(names)} alone"
        also = {  # one of each kind, if it is not much harder to believe
            m.kind: m.words
            for m in reversed(search.also.get(mistake, ()))
            if m.kind != mistake.kind and m.cost < mistake.cost + 0.25
        }
        evidence = f"{', '.join(names)}: {evidence}"
        return Diagnosis(
            mistake.kind, trace.labels[node], words, trace.rule_words(node, slot), evidence, names,
            trace.line(node), tuple(also.values())[::-1],
        )  # fmt: skip

    def _is_alone(self, state: State, mistake: Mistake, names: tuple[str, ...]) -> bool:
        """Whether a mistake would change gradients that do not show it."""
        if mistake in state.joint:
            return False
        gradients = self.problem.gradients((mistake,))
        true = self.problem.true
        others = [n for n in self.problem.given if n not in [self.trace.targets[x] for x in names]]
        return gradients is not None and any(
            not np.allclose(gradients[n], true[n], 1e-6, 1e-12) for n in others
        )

    def _verdict(self, name: str, mistakes: tuple[Diagnosis, ...]) -> Verdict:
        node = self.trace.targets[name]
        true, given = self.problem.true[node], self.problem.given.get(node)
        if given is None:
            return Verdict(name, true.shape, False, np.inf, np.inf, (), np.nan, np.nan, mistakes)
        relative, apart = self._apart(name)
        at = np.unravel_index(int(apart.argmax()), true.shape)
        return Verdict(
            name, true.shape, not mistakes, float(apart[at]), relative,
            tuple([int(i) for i in at]), float(given[at]), float(true[at]), mistakes,
        )  # fmt: skip
