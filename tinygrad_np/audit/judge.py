"""From somebody's function and gradients to a report: what ``audit`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..gradcheck import Comparison, GradcheckReport, _names, gradcheck
from ..graph import Node
from ..tensor import Array, Tensor, plain
from .fit import fit
from .report import AuditReport, Diagnosis, Verdict
from .search import Explanation, Search
from .trace import Gradients, Trace

TOLERANCES = {"float16": 1e-2, "float32": 1e-4}
"""How closely a gradient of little precision must agree, against its largest element; else 1e-7."""


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
    given = {**_given(gradients, list(values)), **deltas}
    if both := sorted(set(values) & set(deltas)):
        raise ValueError(f"audit: {', '.join(both)} is an input and has a delta: give one of them")
    if not given:
        raise ValueError("audit: neither gradients nor deltas are given: there is nothing to audit")
    theirs = {name: _gradient(name, value) for name, value in given.items()}
    trace = Trace(call, arrays, list(deltas))
    found = trace.gradients()
    assert found is not None
    true = {name: found[node] for name, node in trace.targets.items()}
    numerical = _numerical(call, arrays, true)
    rtols = {
        name: rtol or _rtol(array, plain(values.get(name, array))) for name, array in theirs.items()
    }
    return _report(trace, theirs, true, rtols, numerical)


# What was given


def _named(f: Callable[..., Any], inputs: Any) -> dict[str, Any]:
    """The inputs by name: the mapping's, the Tensors', or those of f's parameters."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    several = isinstance(inputs, tuple) or (
        isinstance(inputs, list) and any(np.ndim(plain(item)) for item in inputs)
    )
    items = list(inputs) if several else [inputs]
    own = [item.name if isinstance(item, Tensor) else None for item in items]
    names = [a or b for a, b in zip(own, _names(f, len(items)), strict=True)]
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


def _given(gradients: Any, names: list[str]) -> dict[str, Any]:
    """The gradients by name, without those that are None."""
    if gradients is None:
        return {}
    if isinstance(gradients, Mapping):
        found = dict(gradients)
        if unknown := [str(name) for name in found if name not in names]:
            raise ValueError(
                f"audit: there are gradients for {', '.join(unknown)}, but the inputs are "
                f"{', '.join(names)}"
            )
    elif len(names) == 1 and not isinstance(gradients, tuple):
        found = {names[0]: gradients}
    else:
        if len(gradients) != len(names):
            raise ValueError(
                f"audit: {len(gradients)} gradients for {len(names)} inputs, {', '.join(names)}"
            )
        found = dict(zip(names, gradients, strict=True))
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def _gradient(name: str, value: Any) -> Array:
    array = np.asarray(plain(value))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"audit: the gradient of {name} must hold real numbers, not {array.dtype}")
    return array


def _rtol(gradient: Array, value: Any) -> float:
    return max(TOLERANCES.get(str(np.asarray(a).dtype), 1e-7) for a in (gradient, value))


# Witnesses and verdicts


def _numerical(
    call: Callable[..., Any], arrays: Mapping[str, Array], true: Mapping[str, Array]
) -> GradcheckReport:
    """Autograd against differences of f along a random direction in which all inputs count.

    The step is small, some 1e-8, so that few kinks are crossed; four digits are left. Where that is
    not enough, each input is looked at by itself, with steps of all sizes.
    """
    rng = np.random.default_rng(0)
    ways = {
        name: rng.normal(size=array.shape) / (float(np.linalg.norm(true[name])) or 1.0)
        for name, array in arrays.items()
    }
    small = 1e-3 / max(float(np.abs(way).max()) for way in ways.values())

    def loss(**given: Any) -> Any:
        returned = call(given)
        return returned[0] if isinstance(returned, tuple) and returned else returned

    def together(t: Any) -> Any:
        return loss(**{name: array + t * (small * ways[name]) for name, array in arrays.items()})

    def each(*given: Any) -> Any:
        return loss(**dict(zip(arrays, given, strict=True)))

    tensors = tuple([Tensor(array, True, name=name) for name, array in arrays.items()])
    quick: GradcheckReport = gradcheck(together, 0.0, method="central", rtol=1e-4, raises=False)
    if quick and not quick.notes:
        return quick
    return gradcheck(each, tensors, directions=1, rtol=1e-4, raises=False)


def _report(
    trace: Trace,
    given: Mapping[str, Array],
    true: Mapping[str, Array],
    rtols: Mapping[str, float],
    numerical: GradcheckReport,
) -> AuditReport:
    # On a kink of f differences say nothing: the report's notes name it.
    kinks = [note.split()[0] for note in numerical.notes if "a kink" in note]
    doubtful = {c.input: c for c in numerical.comparisons if not c.passed and c.input not in kinks}
    found: list[Diagnosis] = []
    fitted: dict[Node, Array] = {}
    for name, array in given.items():
        node, fault = trace.targets[name], _fault(trace, name, array, doubtful.get(name))
        found += [fault] if fault else []
        shaped = None if fault else fit(array.astype(np.float64), true[name])[0]
        fitted.update({} if shaped is None else {node: shaped})
    search = Search(trace, fitted, {trace.targets[name]: rtol for name, rtol in rtols.items()})
    best = search.run()
    explained = search.gradients(best.mistakes)
    for name, array in given.items():
        node = trace.targets[name]
        if array.shape != node.shape and all(name not in fault.explains for fault in found):
            _, kind, words = fit(array.astype(np.float64), explained[node])
            words, evidence = f"the gradient of {name} {words}", f"{name}: its shape alone says so"
            found.append(Diagnosis(kind, name, words, trace.rules_into(node), evidence, (name,)))
    found += _diagnoses(search, best, explained)
    verdicts = [
        _verdict(search, name, fitted.get(node), found)
        for name, node in trace.targets.items()
        if name in given
    ]
    return AuditReport(tuple(verdicts), tuple(found), numerical)


def _fault(trace: Trace, name: str, given: Array, doubt: Comparison | None) -> Diagnosis | None:
    """Why a gradient cannot be judged at all: autograd is not to be trusted here, or it is nan."""
    bad = ~np.isfinite(given)
    if doubt is not None:
        kind = "autograd"
        words = f"autograd and the numerical derivative of f by {name} differ; see tg.gradcheck"
        evidence = f"along a random direction {doubt.autograd:.10g} and {doubt.numerical:.10g}"
    elif bad.any():
        kind = "nan"
        words = f"the gradient of {name} is nan or inf in {int(bad.sum())} of {bad.size} elements"
        evidence = f"the first at {tuple(np.argwhere(bad)[0].tolist())}"
    else:
        return None
    return Diagnosis(kind, name, words, trace.rules_into(trace.targets[name]), evidence, (name,))


def _diagnoses(search: Search, best: Explanation, explained: Gradients) -> list[Diagnosis]:
    """The mistakes of an explanation, each with what it is needed for."""
    trace, found = search.trace, []
    for mistake in best.mistakes:
        without = trace.gradients([m for m in best.mistakes if m is not mistake]) or search.true
        spoiled = [n for n in search.targets if not search.fits(n, without[n])]
        names = tuple([name for name, node in trace.targets.items() if node in spoiled])
        with_it = max((search.apart(n, explained[n]) for n in spoiled), default=0.0)
        without_it = max((search.apart(n, without[n]) for n in spoiled), default=0.0)
        evidence = f"{', '.join(names)}: "
        if mistake.kind in ("elements", "unknown"):
            evidence += f"off by {without_it:.1e} of the largest element"
        else:
            evidence += (
                f"reproduced to {with_it:.1e} with this mistake, to {without_it:.1e} without"
            )
        node, slot = mistake.node, mistake.slot
        rule = trace.rules_into(node) if slot is None else trace.rule_words(node, slot)
        found.append(
            Diagnosis(mistake.kind, trace.labels[node], mistake.words, rule, evidence, names)
        )
    return found


def _verdict(
    search: Search,
    name: str,
    given: Array | None,
    found: list[Diagnosis],
) -> Verdict:
    node = search.trace.targets[name]
    true, mistakes = search.true[node], tuple([d for d in found if name in d.explains])
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
