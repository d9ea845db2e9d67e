"""From somebody's function and gradients to a report: what ``audit`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import graph
from ..autodiff import leaf
from ..gradient_check import GradcheckReport, gradcheck, listed, names, scalar
from ..tensor import Array, Tensor, plain
from .hypotheses import fit
from .report import AuditReport, Diagnosis, Verdict
from .search import Explanation, Search
from .trace import Gradients, Trace, parts

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

    def loss(*given: Any) -> Any:
        return parts(call(dict(zip(arrays, given, strict=True))))[0]

    if callable(gradients):
        gradients = call({name: np.array(plain(v)) for name, v in values.items()}, gradients)
    given = {**_given(gradients, inputs, list(values)), **deltas}
    if both := sorted(set(values) & set(deltas)):
        raise ValueError(f"audit: {', '.join(both)} is an input and has a delta: give one of them")
    if not given:
        raise ValueError("audit: neither gradients nor deltas are given: there is nothing to audit")
    theirs = {name: _gradient(name, value) for name, value in given.items()}
    with np.errstate(all="ignore"):
        scalar(lambda: loss(*map(leaf, arrays.values())), None, np.random.default_rng())
    trace = Trace(call, arrays, list(deltas))
    numerical = _numerical(loss, arrays, trace)
    found, fitted = _faults(trace, theirs, numerical)
    rtols = {}
    for name, array in theirs.items():
        dtypes = array.dtype, np.asarray(plain(values.get(name, array))).dtype
        usual = max(TOLERANCES.get(str(d), 1e-7) for d in dtypes)
        rtols[trace.targets[name]] = usual if rtol is None else rtol
    search = Search(trace, fitted, rtols)
    found += _diagnoses(search, search.run())
    verdicts = [
        _verdict(search, name, tuple([d for d in found if name in d.explains]))
        for name in trace.targets
        if name in theirs
    ]
    return AuditReport(tuple(verdicts), tuple(found), numerical)


# What was given


def _named(f: Callable[..., Any], inputs: Any) -> dict[str, Any]:
    """The inputs by name: the mapping's, the Tensors', or those of f's parameters."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    items = listed(inputs)
    own = [item.name if isinstance(item, Tensor) else None for item in items]
    used = [a or b for a, b in zip(own, names(f, len(items)), strict=True)]
    if len(set(used)) < len(used):
        raise ValueError(f"audit: two inputs have the same name: {', '.join(used)}")
    return dict(zip(used, items, strict=True))


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
    for name, array in arrays.items():
        size = float(np.linalg.norm(trace.true[trace.targets[name]])) or 1.0
        ways[name] = rng.normal(size=array.shape) / size
    small = 1e-3 / max(float(np.abs(way).max()) for way in ways.values())

    def together(t: Any) -> Any:
        return loss(*[array + t * (small * ways[name]) for name, array in arrays.items()])

    quick = gradcheck(together, 0.0, method="central", rtol=1e-4, raises=False)
    if quick and not quick.notes:
        return quick
    tensors = tuple([Tensor(array, True, name=name) for name, array in arrays.items()])
    return gradcheck(loss, tensors, directions=1, rtol=1e-4, raises=False)


def _faults(
    trace: Trace, given: Mapping[str, Array], numerical: GradcheckReport
) -> tuple[list[Diagnosis], Gradients]:
    """What is wrong at first sight, and the gradients that are left, in their right shapes."""
    # On a kink of f differences say nothing: the report's notes name it.
    kinks = [note for note in numerical.notes if "a kink" in note]
    doubts = {
        c.input: c
        for c in numerical.comparisons
        if not (c.passed or any(note.startswith(f"{c.input} along") for note in kinks))
    }
    found: list[Diagnosis] = []
    fitted: Gradients = {}
    for name, array in given.items():
        node, bad = trace.targets[name], ~np.isfinite(array)
        shaped = None
        if doubt := doubts.get(name):
            kind = "autograd"
            words = "by autograd is not the numerical derivative of f; see tg.gradcheck"
            evidence = f"along a random direction {doubt.autograd:.10g} and {doubt.numerical:.10g}"
        elif bad.any():
            kind, words = "nan", f"is nan or inf in {int(bad.sum())} of {bad.size} elements"
            evidence = f"the first at {tuple(np.argwhere(bad)[0].tolist())}"
        else:
            shaped, kind, words = fit(array.astype(np.float64), trace.true[node])
            evidence = f"{name}: its shape alone says so"
        if shaped is not None:
            fitted[node] = shaped
        if kind:
            words, rule = f"the gradient of {name} {words}", trace.rule_words(node, None)
            found.append(Diagnosis(kind, name, words, rule, evidence, (name,)))
    return found, fitted


def _diagnoses(search: Search, best: Explanation) -> list[Diagnosis]:
    """The mistakes of an explanation, each with what it is needed for."""
    trace, found = search.trace, []
    explained = trace.gradients(best.mistakes)
    for mistake in best.mistakes:
        without = trace.attempt([m for m in best.mistakes if m is not mistake]) or trace.true
        spoiled = [n for n in search.targets if not search.fits(n, without[n])]
        names = tuple([name for name, node in trace.targets.items() if node in spoiled])
        after, before = (
            max((float(search.apart(n, gradients[n]).max()) for n in spoiled), default=0.0)
            for gradients in (explained, without)
        )
        evidence = f"reproduced to {after:.1e} with this mistake, to {before:.1e} without"
        if mistake.kind in ("elements", "unknown"):
            evidence = f"off by {before:.1e} of the largest element"
        rule = trace.rule_words(mistake.node, mistake.slot)
        label, evidence = trace.labels[mistake.node], f"{', '.join(names)}: {evidence}"
        found.append(Diagnosis(mistake.kind, label, mistake.words, rule, evidence, names))
    return found


def _verdict(search: Search, name: str, mistakes: tuple[Diagnosis, ...]) -> Verdict:
    node = search.trace.targets[name]
    true, given = search.trace.true[node], search.given.get(node)
    if given is None:
        return Verdict(name, true.shape, False, np.inf, np.inf, (), np.nan, np.nan, mistakes)
    apart = np.abs(given - true)
    at = np.unravel_index(int(apart.argmax()), true.shape)
    largest = max(float(np.abs(true).max()), float(np.finfo(float).tiny))
    return Verdict(
        name, true.shape, not mistakes and search.fits(node, true), float(apart[at]),
        float(apart[at]) / largest, tuple([int(i) for i in at]), float(given[at]),
        float(true[at]), mistakes,
    )  # fmt: skip
