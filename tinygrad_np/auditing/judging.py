"""The work of ``audit``: from a function and its given gradients to a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..autodiff import leaf
from ..gradient_check import GradcheckReport, gradcheck
from ..gradient_check.function import Scalar, listed
from ..gradient_check.function import names as names_of
from ..modes import enable_grad
from ..tensor import Array, Tensor, plain
from .findings import report_on
from .passes import run
from .recording import Recorded, bare, recording
from .report import AuditReport
from .trace import Function, Tape, parts
from .watching import Watch

TOLERANCES = {"float16": 1e-2, "float32": 1e-4}
"""The tolerance relative to the largest element, by dtype; 1e-7 for all other dtypes."""


@enable_grad()
def judge(
    f: Function, inputs: Any, gradients: Any, deltas: Mapping[str, Any], rtol: float | None,
    own: Callable[[Watch], Any] | None = None, owner: Any = None, rate: float = 1.0,
) -> AuditReport:  # fmt: skip
    """The report on given gradients; ``audit`` documents the arguments.

    ``own(watch)`` runs their backward pass once more, by ``watch``.
    """
    values = _named(f, inputs)
    arrays = {name: _input(name, value) for name, value in values.items()}

    def call(arguments: Mapping[str, Any], function: Function = f) -> Any:
        if isinstance(inputs, Mapping):
            return function(**arguments)
        return function(*arguments.values())

    def called(watch: Function) -> Any:
        return watch(lambda: call({n: np.array(plain(v)) for n, v in values.items()}, gradients))

    given = gradients
    if callable(gradients):
        given, own = called(lambda run: run()), called
    given = {**_given(given, inputs, list(values)), **deltas}
    if both := sorted(set(values) & set(deltas)):
        raise ValueError(f"audit: {', '.join(both)} is an input and has a delta: give one of them")
    if not given:
        raise ValueError("audit: neither gradients nor deltas are given: there is nothing to audit")
    theirs = {name: _gradient(name, value) for name, value in given.items()}
    with np.errstate(all="ignore"):
        runs = runnable(call, arrays, f)

    def loss(*given: Any) -> Any:
        return parts(runs(dict(zip(arrays, given, strict=True))))[0]

    with np.errstate(all="ignore"):
        Scalar(lambda: loss(*map(leaf, arrays.values())), None, np.random.default_rng())
    trace = Tape(runs, arrays, list(deltas))
    rtols = {}
    for name, array in theirs.items():
        dtypes = array.dtype, np.asarray(plain(values.get(name, array))).dtype
        usual = max([TOLERANCES.get(str(d), 1e-7) for d in dtypes])
        rtols[trace.targets[name]] = usual if rtol is None else rtol
    theirs = {name: array.astype(np.float64) for name, array in theirs.items()}
    numerical = _numerical(loss, arrays, trace)
    sizes = {math.prod(node.shape) for node in trace.order if node.shape}
    sizes |= {array.size for array in theirs.values()}
    return report_on(trace, theirs, rtols, numerical, own, Watch(sizes, owner, rate))


def runnable(call: Function, arrays: Mapping[str, Array], f: Function) -> Function:
    """f itself if it runs on Tensors, else f on recorded arrays."""
    try:
        call({name: leaf(array) for name, array in arrays.items()})
        return call
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        first = error

    def recorded(arguments: Mapping[str, Any]) -> Any:
        with recording(f):
            return bare(call({name: Recorded(tensor) for name, tensor in arguments.items()}))

    try:
        recorded({name: leaf(array) for name, array in arrays.items()})
    except Exception:
        raise first from None
    return recorded


def _numerical(loss: Function, arrays: Mapping[str, Array], trace: Tape) -> GradcheckReport:
    """Compare autograd with differences of f along a random direction of all inputs together.

    The step is small, about 1e-8, so that it crosses few kinks; that leaves four digits. If that is
    not conclusive, each input is checked by itself, with steps of several sizes.
    """
    rng = np.random.default_rng(0)
    true = run(trace)
    sizes = {n: float(np.linalg.norm(true[trace.targets[n]])) or 1.0 for n in arrays}
    ways = {name: rng.normal(size=array.shape) / sizes[name] for name, array in arrays.items()}
    small = 1e-3 / max([float(np.abs(way).max()) for way in ways.values()])

    def together(t: Any) -> Any:
        return loss(*[array + t * (small * ways[name]) for name, array in arrays.items()])

    quick = gradcheck(together, 0.0, method="central", rtol=1e-4, raises=False)
    if quick and not quick.notes:
        return quick
    tensors = tuple([Tensor(array, True, name=name) for name, array in arrays.items()])
    return gradcheck(loss, tensors, directions=1, rtol=1e-4, raises=False)


# What was given


def _named(f: Function, inputs: Any) -> dict[str, Any]:
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
    """An input for the trace: a new array of float64."""
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
    known = ", ".join(names)
    if gradients is None:
        return {}
    if not isinstance(gradients, Mapping):
        single = len(names) == 1 and not isinstance(gradients, tuple)
        if single and isinstance(gradients, list):  # for [x] it holds x's, for x it may be x's
            single = listed(inputs)[0] is inputs
        several = [gradients] if single else list(gradients)
        if len(several) != len(names):
            raise ValueError(f"audit: {len(several)} gradients for {len(names)} inputs, {known}")
        gradients = dict(zip(names, several, strict=True))
    if unknown := [str(name) for name in gradients if name not in names]:
        told = f"there are gradients for {', '.join(unknown)}, but the inputs are {known}"
        raise ValueError(f"audit: {told}")
    return {name: gradient for name, gradient in gradients.items() if gradient is not None}


def _gradient(name: str, value: Any) -> Array:
    array = np.asarray(plain(value))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"audit: the gradient of {name} must hold real numbers, not {array.dtype}")
    return array
