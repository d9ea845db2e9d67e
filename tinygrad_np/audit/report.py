"""What an audit found: a verdict on each gradient, and the mistakes that explain the wrong ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..gradcheck import GradcheckReport

Index = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """One mistake: its ``kind``, ``where`` it was made, what it is in words, and the evidence.

    ``rule`` is the gradient rule that was not followed, in its own words; ``explains`` names the
    gradients that come out wrong because of it.
    """

    kind: str
    where: str
    words: str
    rule: str
    evidence: str
    explains: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.words}"]
        if self.rule:
            lines.append(f"the rule: {self.rule}")
        return "\n   ".join([*lines, self.evidence])


@dataclass(frozen=True, eq=False)
class Verdict:
    """One gradient: whether it is right, and where it differs most from autograd's.

    ``difference`` is the largest absolute one and stands at index ``at``, where ``given`` and
    ``true`` are the two values; ``relative`` is the difference against the largest element.
    ``kind`` joins the kinds of the ``mistakes`` by " + "; it is "" for a right gradient.
    """

    name: str
    shape: Index
    right: bool
    difference: float
    relative: float
    at: Index
    given: float
    true: float
    mistakes: tuple[Diagnosis, ...] = ()

    @property
    def kind(self) -> str:
        """The kinds of its mistakes."""
        return " + ".join(mistake.kind for mistake in self.mistakes)

    @property
    def where(self) -> str:
        """The places of its mistakes."""
        return ", ".join(mistake.where for mistake in self.mistakes)

    @property
    def evidence(self) -> str:
        """The evidence for its mistakes."""
        return "\n".join(mistake.evidence for mistake in self.mistakes)


@dataclass(frozen=True, eq=False)
class AuditReport:
    """The verdicts, from the loss down, and the mistakes. True when all gradients are right.

    ``report["W1"]`` is the verdict on one of them; ``first`` the first wrong one on the way from
    the loss down, None if there is none. ``numerical`` is the comparison of autograd with numerical
    derivatives along random directions: of all inputs together or, where that left doubts, of each.
    Printed, it is a table and the mistakes with their evidence.
    """

    verdicts: tuple[Verdict, ...]
    mistakes: tuple[Diagnosis, ...]
    numerical: GradcheckReport

    def __bool__(self) -> bool:
        return all(verdict.right for verdict in self.verdicts)

    def __getitem__(self, name: str) -> Verdict:
        for verdict in self.verdicts:
            if verdict.name == name:
                return verdict
        names = ", ".join(verdict.name for verdict in self.verdicts)
        raise KeyError(f"no gradient of {name!r} was audited, but: {names}")

    @property
    def first(self) -> Verdict | None:
        """The first gradient that is wrong, from the loss down."""
        return next((verdict for verdict in self.verdicts if not verdict.right), None)

    def __str__(self) -> str:
        rows = [("gradient", "shape", "difference", "relative", "at", "given", "true", "verdict")]
        rows += [
            (v.name, str(v.shape), f"{v.difference:.1e}", f"{v.relative:.1e}", str(v.at),
             f"{v.given:.6g}", f"{v.true:.6g}", "right" if v.right else v.kind)
            for v in self.verdicts
        ]  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines += [f"{i}. {mistake}" for i, mistake in enumerate(self.mistakes, 1)]
        if self.first is not None:
            lines.append(f"From the loss down, {self.first.name} is the first that is wrong.")
        confirm = "confirm it" if self.numerical else "do not confirm it everywhere"
        lines.append(f"What is true is autograd's, and differences of f {confirm}.")
        return "\n".join([*lines, *self.numerical.notes])
