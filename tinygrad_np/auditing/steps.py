"""Audits of existing updates: the gradients are read from the change of the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..tensor import Array, Tensor
from .judging import judge, runnable
from .objects import Place, arrays_in, needs, put, repeatable_randomness, short_names
from .report import AuditReport
from .trace import Function


def audit_a_step(
    step: Function, params: Any, lr: float | None, loss: Function | None, rtol: float | None
) -> AuditReport:
    """The report on an update; ``audit_step`` documents the arguments."""
    before = {place: array.copy() for place, array in arrays_in(params)}
    originals = dict(arrays_in(params))
    names = short_names(before)

    def reset() -> None:
        """Restore the arrays and their values."""
        for place, array in originals.items():
            array[...] = before[place]
            put(params, place, array)

    with repeatable_randomness() as again:

        def taken(watch: Callable[[Function], Any]) -> dict[Place, Array]:
            """The arrays after a step."""
            again()
            try:
                returned = watch(lambda: step(*_arguments(step, params, [*originals.values()])))
                after = {p: np.array(a) for p, a in arrays_in(params) if p in before}
            finally:
                reset()
            if isinstance(returned, Mapping):
                after |= {p: np.array(returned[n]) for p, n in names.items() if n in returned}
            return after

        after = taken(lambda run: run())
        moved = [p for p in after if not np.array_equal(after[p], before[p])]
        if not moved:
            told = "the step changed none of the parameters: are params what it updates?"
            raise ValueError(f"audit_step: {told}")

        function = loss or step

        def call(tensors: Mapping[str, Any]) -> Any:
            again()
            given = {p: tensors[names[p]] for p in moved}
            try:
                for place, value in given.items():
                    put(params, place, value)
                all_ = [given.get(p, before[p]) for p in before]
                return function(*_arguments(function, params, all_))
            finally:
                reset()

        inputs = {names[p]: before[p] for p in moved}
        with np.errstate(all="ignore"):
            runs = runnable(call, inputs, function)

        def total(**tensors: Any) -> Any:
            return runs(tensors)

        changes = {names[p]: before[p] - after[p] for p in moved}
        note = ""
        if lr is None:
            lr, note = _rate(total, inputs, changes)
        gradients = {name: change / lr for name, change in changes.items()}
        rtol = rtol or _allowed(before, gradients, lr)
        report = judge(total, inputs, gradients, {}, rtol, taken, params, lr)
    told = f"The gradients are the changes of the parameters divided by {lr:.6g}{note}."
    return dataclasses.replace(report, notes=(told, *report.notes))


def _arguments(function: Function, params: Any, arrays: list[Any]) -> list[Any]:
    """The arguments of a step or a loss: nothing, the params, or their arrays one by one."""
    count = len(needs(function))
    return [params] if count == 1 != len(arrays) else arrays[:count]


def _allowed(before: Mapping[Place, Array], gradients: Mapping[str, Array], lr: float) -> float:
    """The tolerance: the change of a large weight by a small gradient has few digits."""
    largest = max(float(np.abs(array).max()) for array in before.values())
    size = max(float(np.abs(gradient).max()) for gradient in gradients.values())
    return max(1e-7, 1e-14 * largest / abs(lr) / size)


def _rate(
    loss: Function, inputs: Mapping[str, Array], changes: Mapping[str, Array]
) -> tuple[float, str]:
    """The learning rate for which most changes are gradients, and a note about it."""
    tensors = {name: Tensor(array, True) for name, array in inputs.items()}
    loss(**tensors).backward()
    found, exact = [], []
    for name, change in changes.items():
        true = tensors[name].grad
        if true is not None and true.any():
            number = abs(float(np.vdot(true, change) / np.vdot(true, true)))
            near = np.abs(np.abs(number * true) - np.abs(change)).max() < 1e-6 * abs(change).max()
            found.append((name, number))
            exact += [(name, number)] if near else []
    rates = exact or found or [("", 1.0)]
    alike = [[n for n, r in rates if np.isclose(r, rate, 1e-5)] for _, rate in rates]
    best = max(range(len(rates)), key=lambda i: len(alike[i]))
    note = f", the learning rate as {', '.join(alike[best])} have it" if exact else ""
    return rates[best][1], f"{note}; a batch size that is left out would be a part of it"
