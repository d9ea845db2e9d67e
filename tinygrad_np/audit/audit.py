"""``audit``: from somebody's function and gradients to a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..gradcheck import Comparison, GradcheckReport, _names, gradcheck
from ..graph import Node
from ..tensor import Array, Tensor, plain
from ..numerical import Method
from .fit import fit
from .report import AuditReport, Diagnosis, Verdict
from .search import Explanation, Search
from .trace import Trace

Arrays = Mapping[str, Any] | Sequence[Any] | ArrayLike | Tensor

TOLERANCES = {"float16": 1e-2, "float32": 1e-4}
"""How closely a gradient of little precision must agree; others to 1e-7 of their largest element."""


def audit(
    f: Callable[..., Any],
    inputs: Arrays,
    gradients: Arrays | Callable[..., Arrays] | None = None,
    *,
    deltas: Mapping[str, ArrayLike | Tensor] | None = None,
    rtol: float | None = None,
) -> AuditReport:
    """Check gradients derived by hand, and say what is wrong with them.

    ``inputs`` are arrays or Tensors of real numbers: a mapping, f(**inputs), a tuple or list,
    f(*inputs), or a single array, f(inputs). f returns a scalar Tensor. ``gradients`` are somebody's
    own for these inputs, in the same form, or a function that gives them and is called as f is,
    with arrays; None (and a name left out of a mapping) stands for one that is not given.
    ``deltas`` are derivatives of f for intermediate Tensors, by name: those that f names
    (``z.name = "z1"``) or returns, ``(loss, {"z1": z1})``. All is computed in float64.

    Each gradient is compared with autograd's, and autograd with a numerical derivative along a
    random direction. A gradient agrees if no element is farther off than ``rtol`` times its
    largest: 1e-7, or 1e-4 where it or the input is float32. If some are wrong, the backward pass is
    run again with deliberate mistakes, and the fewest that reproduce all gradients as given are
    reported. Where several explain them equally well, the first of these kinds is:

    - "factor": a constant factor, named where it is 2, ½, the batch size, 1 − p of a dropout, an
      inverse or a product of these. So is a mean in place of a sum, dropout applied twice, and a
      lost use of x in x * x. Not −1, which is a
    - "sign", as are the signs of single elements, forgotten;
    - "transpose": of the gradient, or of a square matrix in a rule;
    - "mask": relu's, dropout's or the like missing, or one too many;
    - "derivative": of another elementwise function, missing or multiplied twice;
    - "sum": one missing over an axis, over the wrong axis, over one row only, or too many;
    - "value": a rule reads another array than it should, as in σ'(σ(x)) or 1 − (mask · h)²;
    - "path": one use of a Tensor that is used several times is missing;
    - "elements": a few elements, one row or one column;
    - "shape": the right numbers in another shape; "nan": nan or inf in the gradient;
    - "autograd": autograd and the numerical derivative differ: a rule of f's own ops is wrong;
    - "unknown": nothing of this.

    Raises TypeError for integer inputs and where f gives no Tensor; ValueError where f's result is
    no scalar, nan, infinite, not the same twice, or independent of the inputs, for inputs of
    length 0, and where gradients and inputs (or deltas and Tensors) do not go together.

    >>> import numpy as np, tinygrad_np as tg
    >>> x, w = np.ones((2, 3)), np.arange(3.0)
    >>> report = tg.audit(lambda w: ((x @ w) ** 2).mean(), w, x.T @ (x @ w))
    >>> bool(report), report["w"].kind
    (False, 'factor')
    >>> print(report)
    """
    values = _named(f, inputs)
    arrays = {name: _input(name, value) for name, value in values.items()}

    def call(arguments: Mapping[str, Any], function: Callable[..., Any] = f) -> Any:
        if isinstance(inputs, Mapping):
            return function(**arguments)
        return function(*arguments.values())

    if callable(gradients):
        gradients = call({name: np.array(plain(v)) for name, v in values.items()}, gradients)
    given = {**_given(gradients, list(values)), **(deltas or {})}
    if not given:
        raise ValueError("audit: neither gradients nor deltas are given: there is nothing to audit")
    theirs = {name: _gradient(name, value) for name, value in given.items()}
    numerical = _numerical(call, arrays)
    trace = Trace(call, arrays, list(deltas or {}))
    rtols = {
        name: rtol or _rtol(array, plain(values.get(name, array))) for name, array in theirs.items()
    }
    return _report(trace, theirs, rtols, numerical)


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


def _numerical(call: Callable[..., Any], arrays: Mapping[str, Array]) -> GradcheckReport:
    """Autograd against numerical derivatives, each input along a random direction."""
    tensors = [Tensor(array, requires_grad=True, name=name) for name, array in arrays.items()]

    def loss(*given: Tensor) -> Any:
        returned = call(dict(zip(arrays, given, strict=True)))
        return returned[0] if isinstance(returned, tuple) and returned else returned

    def check(method: Method) -> GradcheckReport:
        return gradcheck(
            loss, tuple(tensors), method=method, directions=1, rtol=1e-6, raises=False
        )

    return check("central") or check("auto")  # two calls an input, and where in doubt twenty


def _report(
    trace: Trace,
    given: Mapping[str, Array],
    rtols: Mapping[str, float],
    numerical: GradcheckReport,
) -> AuditReport:
    checks = {check.input: check for check in numerical.comparisons}
    found: list[Diagnosis] = []
    fitted: dict[Node, Array] = {}
    for name, node in trace.targets.items():
        if name in given:
            array, fault = _usable(trace, name, given[name], checks.get(name))
            found += [fault] if fault else []
            fitted.update({node: array} if array is not None else {})
    search = Search(trace, fitted, {trace.targets[name]: rtol for name, rtol in rtols.items()})
    best = search.run()
    found += _diagnoses(search, best)
    verdicts = [
        _verdict(name, search.true[node], fitted.get(node), found, checks.get(name))
        for name, node in trace.targets.items()
        if name in given
    ]
    return AuditReport(tuple(verdicts), tuple(found), numerical.notes)


def _usable(
    trace: Trace, name: str, given: Array, check: Comparison | None
) -> tuple[Array | None, Diagnosis | None]:
    """A gradient in its right shape, if it can be judged, and what is wrong with it at first sight."""
    node = trace.targets[name]
    rule = trace.rules_into(node)
    if check is not None and not check.passed:
        words = f"autograd and the numerical derivative of f by {name} differ; see tg.gradcheck"
        evidence = f"along a random direction {check.autograd:.10g} and {check.numerical:.10g}"
        return None, Diagnosis("autograd", name, words, rule, evidence, (name,))
    bad = ~np.isfinite(given)
    if bad.any():
        words = f"the gradient of {name} is nan or inf in {int(bad.sum())} of {bad.size} elements"
        first = f"the first at {tuple(np.argwhere(bad)[0].tolist())}"
        return None, Diagnosis("nan", name, words, rule, first, (name,))
    if given.shape == node.shape:
        return given.astype(np.float64), None
    gradients = trace.gradients()
    assert gradients is not None
    array, kind, words = fit(given.astype(np.float64), gradients[node])
    evidence = f"the shape given is {given.shape}, the shape of {name} is {node.shape}"
    return array, Diagnosis(kind, name, f"the gradient of {name} {words}", rule, evidence, (name,))


def _diagnoses(search: Search, best: Explanation) -> list[Diagnosis]:
    """The mistakes of an explanation, with what each of them is needed for."""
    trace, found = search.trace, []
    for i, mistake in enumerate(best.mistakes):
        without = trace.gradients((*best.mistakes[:i], *best.mistakes[i + 1 :]))
        spoiled = {
            name: node
            for name, node in trace.targets.items()
            if node in search.given
            and not (without is not None and search.fits(node, without[node]))
        }
        before = max(search.apart(node, search.true[node]) for node in spoiled.values())
        after = max(search.apart(node, best.gradients[node]) for node in spoiled.values())
        evidence = f"{', '.join(spoiled)}: off by {before:.1e} of the largest element"
        if mistake.kind not in ("elements", "unknown"):
            many = "this mistake" if len(best.mistakes) == 1 else "the mistakes listed"
            evidence += f"; by {after:.1e} from a backward pass with {many}"
        slot = mistake.slot
        rule = trace.rules_into(mistake.node) if slot is None else trace.rule_words(mistake.node, slot)
        where = trace.labels[mistake.node]
        found.append(
            Diagnosis(mistake.kind, where, mistake.words, rule, evidence, tuple(spoiled))
        )
    return found


def _verdict(
    name: str,
    true: Array,
    fitted: Array | None,
    found: list[Diagnosis],
    check: Comparison | None,
) -> Verdict:
    mistakes = tuple([diagnosis for diagnosis in found if name in diagnosis.explains])
    if fitted is None:
        return Verdict(name, true.shape, False, np.inf, np.inf, (), np.nan, np.nan, check, mistakes)
    apart = np.abs(fitted - true)
    at = np.unravel_index(int(apart.argmax()), true.shape)
    largest = max(float(np.abs(true).max()), float(np.finfo(float).tiny))
    return Verdict(
        name, true.shape, not mistakes, float(apart[at]), float(apart[at]) / largest,
        tuple([int(i) for i in at]), float(fitted[at]), float(true[at]), check, mistakes,
    )  # fmt: skip
