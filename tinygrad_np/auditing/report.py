"""What an audit found: a verdict on each gradient, and the mistakes that explain the wrong ones."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import NamedTuple

from ..gradient_check import GradcheckReport
from ..tables import columns, printable


class Diagnosis(NamedTuple):
    """One mistake: its ``kind``, ``where`` it is, a description in ``words``, and the evidence.

    ``rule`` is the right gradient rule, as its source states it. ``explains`` lists the gradients
    that are wrong because of this mistake. ``line`` is the source line of the forward op. ``also``
    holds other mistakes with the same result. ``own_line`` is the first line of your own backward
    pass that shows the mistake, if the audit could run it.
    """

    kind: str
    where: str
    words: str
    rule: str
    evidence: str
    explains: tuple[str, ...]
    line: str = ""
    also: tuple[str, ...] = ()
    own_line: str = ""

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.words}"]
        lines += [f"where: {self.line}"] if self.line else []
        lines += [f"the right rule, {self.rule}"] if self.rule else []
        lines += [f"or, with the same result: {words}" for words in self.also]
        lines.append(f"evidence: {self.evidence}")
        lines += [f"in your backward pass: {self.own_line}"] if self.own_line else []
        return printable("\n   ".join(lines))


class Verdict(NamedTuple):
    """One gradient: whether it is right, and where it differs most from autograd's.

    ``difference`` is the largest absolute difference. It is at index ``at``, where your value is
    ``given`` and autograd's is ``true``. ``relative`` divides it by the largest true element.
    """

    name: str
    shape: tuple[int, ...]
    right: bool
    difference: float
    relative: float
    at: tuple[int, ...]
    given: float
    true: float
    mistakes: tuple[Diagnosis, ...]

    @property
    def kind(self) -> str:
        """The kinds of its mistakes, each once; "" for a right gradient."""
        return " + ".join(dict.fromkeys(mistake.kind for mistake in self.mistakes))

    @property
    def where(self) -> str:
        """The places of its mistakes."""
        return ", ".join(mistake.where for mistake in self.mistakes)


@dataclass(frozen=True, eq=False, repr=False)
class AuditReport:
    """The ``verdicts``, from the loss down, and the ``mistakes``. True if all gradients are right.

    ``report["W1"]`` is one verdict. ``notes`` explain a verdict that is right with a reservation,
    such as a subgradient at a kink. ``numerical`` compares autograd with numerical derivatives
    along random directions: of all inputs together or, if that is not conclusive, of each input.
    A printed report shows a table of the verdicts and the mistakes with their evidence.

    >>> import numpy as np, tinygrad_np as tg
    >>> report = tg.audit(lambda w: (w * w).sum(), np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    >>> bool(report), report.first.name, report.first.kind
    (False, 'w', 'factor')
    """

    verdicts: tuple[Verdict, ...]
    mistakes: tuple[Diagnosis, ...]
    numerical: GradcheckReport
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.first is None

    def __getitem__(self, name: str) -> Verdict:
        found = {verdict.name: verdict for verdict in self.verdicts}
        if name not in found:
            raise KeyError(f"no gradient of {name!r} was audited, but: {', '.join(found)}")
        return found[name]

    @property
    def first(self) -> Verdict | None:
        """The first gradient that is wrong, from the loss down."""
        return next((verdict for verdict in self.verdicts if not verdict.right), None)

    def __str__(self) -> str:
        rows = [("gradient", "shape", "difference", "relative", "at", "given", "true", "verdict")]
        rows += [
            (v.name, str(v.shape),
             *((f"{v.difference:.1e}", f"{v.relative:.1e}", str(v.at), f"{v.given:.6g}",
                f"{v.true:.6g}") if v.at or not v.shape else "-----"),
             "right" if v.right else v.kind)
            for v in self.verdicts
        ]  # fmt: skip
        lines = [*columns(rows), *(f"{i}. {m}" for i, m in enumerate(self.mistakes, 1))]
        if self.first is not None:
            lines.append(f"From the loss down, {self.first.name} is the first that is wrong.")
        confirmed = "confirmed by" if self.numerical else "not confirmed everywhere by"
        lines.append(f"Reference: autograd, {confirmed} finite differences.")
        notes = [f"Note: {note}" for note in (*self.notes, *self.numerical.notes)]
        return printable("\n".join([*lines, *notes]))

    __repr__ = __str__  # so that pytest shows it under ``assert report``

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return f"<pre>{html.escape(str(self))}</pre>"
