"""Somebody's own derivation beside ours: where it parts from it, and what the audit says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..auditing import AuditReport, audit
from ..compiler.program import Value, map_tree
from ..tables import columns, printable
from . import own
from .lines import Line
from .problem import DerivationError

if TYPE_CHECKING:
    from .derived import Derivation

CLOSE = 1e-6
"""How far two arrays may be apart, relative to the largest element."""


@dataclass(frozen=True, eq=False)
class Row:
    """A line of somebody's own, and the line of the derivation that computes the same.

    ``equal`` is True where both have the same value, False where a value of that name differs, and
    None where the derivation has no such value. ``number`` and ``text`` are those of the own code.
    """

    number: int | None
    text: str
    equal: bool | None
    line: Line | None
    first: bool = False


@dataclass(frozen=True, eq=False)
class Parallel:
    """The rows in order. True if all gradients are right.

    ``first`` is the first row that differs; ``report`` is what ``tg.audit`` says of the gradients,
    None where they are right or it could not be asked (``note`` says why).
    """

    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    report: AuditReport | None
    note: str = ""

    def __bool__(self) -> bool:
        return all(row.equal is not False for row in self.rows)

    @property
    def first(self) -> Row | None:
        """The first row that differs."""
        return next((row for row in self.rows if row.first), None)

    def __str__(self) -> str:
        table = [("", "line", "yours", "line", "derived")]
        for row in self.rows:
            mark = "->" if row.first else {True: "=", False: "≠", None: ""}[row.equal]
            line = row.line
            table.append((
                mark, str(row.number or ""), row.text,
                str(line.number) if line else "", line.text[-1] if line else "",
            ))  # fmt: skip
        words = columns(table)
        first = self.first
        if first is None:
            words.append("Every gradient is right.")
        elif first.number is None:
            words.append(f"From the loss down, {first.text} is the first that differs.")
        else:
            words.append(f"Line {first.number} is the first that differs: {first.text}")
        if self.missing:
            names = ", ".join(self.missing)
            words.append(
                f"No gradient was found for {names}: call it d{self.missing[0]}, or return it "
                f"in a dict under {self.missing[0]!r}."
            )
        if self.report is not None:
            words += ["What tg.audit says:", *[str(mistake) for mistake in self.report.mistakes]]
        return printable("\n".join([*words, *([self.note] if self.note else [])]))


def compare(derived: Derivation, given: Any) -> Parallel:
    """Hold a source, a function or gradients against a derivation."""
    if not derived.known:
        raise DerivationError(
            "the values of the parameters are not known, so nothing can be compared: run the "
            "forward pass inside `with tg.record():`, or give the parameters as names=model"
        )
    values = evaluated(derived)
    if isinstance(given, Mapping):
        steps = [
            own.Statement(0, f"d{name}", name, np.asarray(value), [], True)
            for name, value in given.items()
        ]
        known = derived.parameters
        if unknown := [name for name in given if name not in known]:
            raise DerivationError(
                f"there is no parameter {unknown[0]!r}: gradients are by {', '.join(known)}"
            )
        order = [line.name for line in derived.lines]
        steps.sort(key=lambda step: order.index(derived.result_names[step.name]))
    elif isinstance(given, str) or callable(given):
        steps = own.run(given, derived.inputs, derived.parameters)
    else:
        raise TypeError(
            "compare takes the source of a function, a function, or a dict of gradients by "
            f"parameter, got {type(given).__name__}"
        )
    matched = [_match(derived, step, values) for step in steps]
    where = _first(steps, matched, values)
    rows: list[Row] = []
    for i, (step, (equal, found)) in enumerate(zip(steps, matched, strict=True)):
        guess = i == where and found is None
        line = _expected(derived, step, steps, matched) if guess else found
        twin = rows[-1] if rows else None
        if twin and not step.result and (twin.number, twin.equal) == (step.number, equal):
            continue  # one statement that sets two names: np.exp(a, out=a)
        rows.append(Row(step.number or None, step.text, equal, line, i == where))
    gradients = {}
    for step in steps:
        if (name := _parameter_of(derived, step)) is not None:
            gradients[name] = np.asarray(step.value)
    missing = tuple(name for name in derived.parameters if name not in gradients)
    report, note = None, ""
    if where is not None and gradients:
        report, note = _audited(derived, gradients)
    return Parallel(tuple(rows), missing, report, note)


def evaluated(derived: Derivation) -> list[tuple[Line, Any]]:
    """The values of all calls, each with the line that it is part of; a line's own comes first."""
    known: dict[Value, Any] = {
        value: derived.inputs.get(name) for name, value in derived.written.inputs.items()
    }

    def now(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return leaf.array if leaf.source == "constant" else known[leaf]
        return float(leaf) if isinstance(leaf, Fraction) else leaf

    with np.errstate(all="ignore"):
        for call in derived.written.program.calls:
            known[call.out] = call.function(*map_tree(now, call.args), **map_tree(now, call.kwargs))
    found: list[tuple[Line, Any]] = []
    for line in derived.lines:
        if not line.calls:
            found.append((line, now(line.value)))
        found += [(line, known[call.out]) for call in reversed(line.calls)]
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two arrays are equal up to rounding; axes of length 1 do not count."""
    try:
        one, other = np.squeeze(np.asarray(one, float)), np.squeeze(np.asarray(other, float))
    except (TypeError, ValueError):
        return False
    if one.shape != other.shape:
        return False
    scale = np.abs(other[np.isfinite(other)]).max(initial=0) if other.size else 0
    return bool(np.allclose(one, other, CLOSE, CLOSE * scale, equal_nan=True))


def _parameter_of(derived: Derivation, step: own.Statement) -> str | None:
    """The parameter whose gradient a step is, by its name."""
    for name in derived.parameters:
        forms = (f"d{name}", f"d_{name}", f"g{name}", f"grad_{name}", f"{name}_grad",
                 f"grad{name}", f"dL_d{name}", f"dLd{name}", f"dloss_d{name}")  # fmt: skip
        if step.name in forms or (step.result and step.name == name):
            return name
    return None


def _match(
    derived: Derivation, step: own.Statement, values: list[tuple[Line, Any]]
) -> tuple[bool | None, Line | None]:
    """Whether a step is right, and the line that it is to be compared with."""
    name = _parameter_of(derived, step)
    name = derived.result_names[name] if name is not None else step.name
    named = [
        (line, value) for line, value in values if line.name == name and line.value is not None
    ]
    if named and (name != step.name or name == "loss" or name.startswith("d")):
        line, value = named[0]
        return _same(step.value, value), line
    if np.size(step.value) > 1 or step.name == "loss":
        for line, value in [*named, *values]:
            if _same(step.value, value):
                return True, line
    return None, None


def _first(
    steps: list[own.Statement], matched: list[Any], values: list[tuple[Line, Any]]
) -> int | None:
    """The earliest step that leads to a wrong one, through steps that nothing is known of.

    A step that the wrong one reads counts, too, if it stops in the middle of the line that should
    be read: a factor is missing there.
    """
    found = dict(zip(steps, matched, strict=True))
    wrong = next((step for step in steps if found[step][0] is False), None)
    if wrong is None:
        return None
    seen, stack = {wrong}, [wrong]
    while stack:
        for step in stack.pop().reads:
            if step not in seen and found[step][0] is None and np.size(step.value) > 1:
                seen.add(step)
                stack.append(step)
    needed = {value for call in found[wrong][1].calls for value in call.inputs}
    for step in wrong.reads:
        equal, line = found[step]
        if equal and line is not None and line.value in needed:
            whole = next(value for other, value in values if other is line)
            if not _same(step.value, whole):
                seen.add(step)
    return min(steps.index(step) for step in seen)


def _expected(
    derived: Derivation, step: own.Statement, steps: list[own.Statement], matched: list[Any]
) -> Line | None:
    """The line that stands where a step differs: the next one whose value nobody computed."""
    reached = [line.number for s, (_, line) in zip(steps, matched, strict=True)
               if line is not None and s in step.reads]  # fmt: skip
    computed = [s.value for s, (equal, _) in zip(steps, matched, strict=True) if equal]
    whole: dict[Line, Any] = {}
    for line, value in evaluated(derived):
        whole.setdefault(line, value)
    for line, value in whole.items():
        later = line.number >= max(reached, default=0) and np.size(value) > 1
        if later and not any(_same(other, value) for other in computed):
            return line
    return None


def _audited(derived: Derivation, gradients: dict[str, Any]) -> tuple[AuditReport | None, str]:
    """What the audit says of the gradients; or why it says nothing."""
    function: Callable[..., Any] = derived.replay
    inputs = {name: derived.inputs[name] for name in derived.parameters}
    try:
        return audit(function, inputs, gradients), ""
    except (TypeError, ValueError, ArithmeticError) as error:
        return None, f"tg.audit could not be asked: {error}"
