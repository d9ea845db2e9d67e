"""Your own derivation beside the derived one: the first line that differs, and the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..auditing import AuditReport, audit
from ..compiler.program import Value, map_tree
from ..tables import Table
from .lines import Line
from .own import Statement, run
from .problem import DerivationError

if TYPE_CHECKING:
    from .derived import Derivation

CLOSE = 1e-6
"""How far two arrays may be apart, relative to the largest element."""


@dataclass(frozen=True, eq=False)
class Row:
    """A line of your own, and the line of the derivation that computes the same.

    ``equal`` is True if both have the same value, False if a value of the same name differs, and
    None if the derivation has no such value. ``number`` and ``text`` are those of your own code.
    """

    number: int | None
    text: str
    equal: bool | None
    line: Line | None
    first: bool = False


@dataclass(frozen=True, eq=False)
class Parallel:
    """The rows in order. True if all gradients are right.

    ``first`` is the first row that differs. ``report`` is the report of ``tg.audit`` on the
    gradients; it is None if they are right, or if there is none (``note`` says why).
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

    def _table(self) -> Table:
        cells = [("", "line", "yours", "line", "derived")]
        for row in self.rows:
            mark = "->" if row.first else {True: "=", False: "≠", None: ""}[row.equal]
            derived = (str(row.line.number), row.line.text[-1]) if row.line else ("", "")
            cells.append((mark, str(row.number or ""), row.text, *derived))
        words, first = [], self.first
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
        return Table(cells, after=[*words, self.note] if self.note else words)

    def __str__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def compare(derived: Derivation, given: Any) -> Parallel:
    """Compare a source, a function or gradients with a derivation."""
    if not derived.known:
        raise DerivationError(
            "the values of the parameters are not known, so nothing can be compared: run the "
            "forward pass inside `with tg.record():`, or give the parameters as names=model"
        )
    matching = _Matching(derived, _statements(derived, given))
    first = matching.first()
    rows: list[Row] = []
    for statement, (equal, found) in matching.found.items():
        is_first = statement is first
        line = matching.expected(statement) if is_first and found is None else found
        twin = rows[-1] if rows else None
        if twin and not statement.result and (twin.number, twin.equal) == (statement.number, equal):
            continue  # one statement that sets two names: np.exp(a, out=a)
        rows.append(Row(statement.number or None, statement.text, equal, line, is_first))
    gradients = {}
    for statement in matching.found:
        if (name := _parameter_of(derived, statement)) is not None:
            gradients[name] = np.asarray(statement.value)
    missing = tuple(name for name in derived.parameters if name not in gradients)
    report, note = None, ""
    if first is not None and gradients:
        inputs = {name: derived.inputs[name] for name in derived.parameters}
        try:
            report = audit(derived.replay, inputs, gradients)
        except (TypeError, ValueError, ArithmeticError) as error:
            note = f"tg.audit has no report: {error}"
    return Parallel(tuple(rows), missing, report, note)


def _statements(derived: Derivation, given: Any) -> list[Statement]:
    """What is compared with the lines: statements that were run, or gradients."""
    if isinstance(given, str) or callable(given):
        return run(given, derived.inputs, derived.parameters)
    if not isinstance(given, Mapping):
        raise TypeError(
            "compare takes the source of a function, a function, or a dict of gradients by "
            f"parameter, got {type(given).__name__}"
        )
    known = derived.parameters
    if unknown := [name for name in given if name not in known]:
        raise DerivationError(
            f"there is no parameter {unknown[0]!r}: gradients are by {', '.join(known)}"
        )
    order = {line.name: i for i, line in enumerate(derived.lines)}
    names = sorted(given, key=lambda name: order[derived.result_names[name]])
    return [Statement(0, f"d{n}", n, np.asarray(given[n]), [], True) for n in names]


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
        values = [call.out for call in reversed(line.calls)] or [line.value]
        found += [(line, now(value)) for value in values]
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


def _parameter_of(derived: Derivation, statement: Statement) -> str | None:
    """The parameter whose gradient a statement computes, by its name."""
    for name in derived.parameters:
        forms = (f"d{name}", f"d_{name}", f"g{name}", f"grad_{name}", f"{name}_grad",
                 f"grad{name}", f"dL_d{name}", f"dLd{name}", f"dloss_d{name}")  # fmt: skip
        if statement.name in forms or (statement.result and statement.name == name):
            return name
    return None


class _Matching:
    """Which statement computes what which line computes.

    ``found`` has for each statement whether it is right, and the line that it is compared with.
    """

    def __init__(self, derived: Derivation, statements: list[Statement]) -> None:
        self.derived = derived
        self.values = evaluated(derived)
        self.whole: dict[Line, Any] = {}
        for line, value in self.values:
            self.whole.setdefault(line, value)
        self.found = {statement: self._match(statement) for statement in statements}

    def _match(self, statement: Statement) -> tuple[bool | None, Line | None]:
        parameter = _parameter_of(self.derived, statement)
        name = statement.name if parameter is None else self.derived.result_names[parameter]
        named = next((line for line in self.whole if line.name == name), None)
        if named and (parameter is not None or name == "loss" or name.startswith("d")):
            return _same(statement.value, self.whole[named]), named
        if np.size(statement.value) > 1 or name == "loss":
            for line, value in sorted(self.values, key=lambda pair: pair[0] is not named):
                if _same(statement.value, value):
                    return True, line
        return None, None

    def first(self) -> Statement | None:
        """The earliest statement that leads to a wrong one, through statements without a match.

        A statement that the wrong one reads counts as well if its value is a part of the line that
        should be read: a factor is missing there.
        """
        found = self.found
        wrong = next((s for s, (equal, _) in found.items() if equal is False), None)
        if wrong is None:
            return None
        seen, stack = {wrong}, [wrong]
        while stack:
            for read in stack.pop().reads:
                if read not in seen and found[read][0] is None and np.size(read.value) > 1:
                    seen.add(read)
                    stack.append(read)
        right = found[wrong][1]
        needed = {value for call in right.calls for value in call.inputs} if right else set()
        for read in wrong.reads:
            equal, line = found[read]
            if equal and line and line.value in needed and not _same(read.value, self.whole[line]):
                seen.add(read)
        return next(statement for statement in found if statement in seen)

    def expected(self, statement: Statement) -> Line | None:
        """The line that belongs where a statement differs: the next one that nobody computed."""
        lines = [self.found[read][1] for read in statement.reads]
        reached = max([line.number for line in lines if line], default=0)
        computed = [s.value for s, (equal, _) in self.found.items() if equal]
        for line, value in self.whole.items():
            later = line.number >= reached and np.size(value) > 1
            if later and not any(_same(other, value) for other in computed):
                return line
        return None
