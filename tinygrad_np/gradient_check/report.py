"""What a gradient check finds: a row for each comparison, printed as a table."""

from __future__ import annotations

from typing import NamedTuple

from ..tables import Table

HEADS = ("", "input", "shape", "dtype", "order", "method", "abs error", "rel error", "allowed",
         "worst at", "autograd", "numerical")  # fmt: skip
FORMATS = ("", "", "", "", "", ".1e", ".1e", ".0e", "", ".10g", ".10g", "")
SHOWN = 10
"""Notes in a printed report; ``notes`` holds all of them."""


class Comparison(NamedTuple):
    """One input's derivatives of one order, at the element or direction with the largest error.

    ``where`` is this place, ``autograd`` and ``numerical`` are the two values there. The check
    passes if the relative error is at most ``allowed`` everywhere.
    """

    input: str
    shape: tuple[int, ...]
    dtype: str
    order: int
    method: str
    absolute: float
    relative: float
    allowed: float
    where: str
    autograd: float
    numerical: float
    passed: bool

    def cells(self) -> list[str]:
        """The row of the table."""
        *values, _ = map(format, self, FORMATS)
        return ["ok" if self.passed else "WRONG", *values]

    def sentence(self) -> str:
        """The two values in words."""
        at = f" along {self.where}" if self.where.startswith("direction") else self.where
        ratio = self.autograd / self.numerical if self.numerical else 0.0
        return (
            f"largest error, {self.input}{at}: autograd gives {self.autograd:.6g}, the numerical "
            f"derivative is {self.numerical:.6g}" + (f" (ratio {ratio:.6g})" if ratio else "")
        )


class GradcheckReport(NamedTuple):
    """What a gradient check found: true if all derivatives agree, and printed as a table.

    ``notes`` name kinks, inputs on which f does not depend, and derivatives that could not be
    measured.

    >>> import tinygrad_np as tg
    >>> report = tg.gradcheck(lambda x: tg.sin(x), 0.5)
    >>> bool(report), report.worst.input, report.worst.method
    (True, 'x', 'complex')
    """

    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return all(c.passed for c in self.comparisons)

    @property
    def worst(self) -> Comparison:
        """The comparison with the largest error, relative to the allowed one."""
        return max(self.comparisons, key=lambda c: c.relative / c.allowed)

    def _table(self) -> Table:
        count, failed = len(self.comparisons), sum(not c.passed for c in self.comparisons)
        head = f"gradcheck passed: {count} of {count} derivatives agree with the numerical ones"
        below = []
        if failed:
            head = (
                f"gradcheck failed: {failed} of {count} derivatives differ from the numerical ones"
            )
            below.append(self.worst.sentence())
        below += [f"note: {note}" for note in self.notes[:SHOWN]]
        if len(self.notes) > SHOWN:
            below.append(f"note: and {len(self.notes) - SHOWN} more like these")
        return Table([HEADS, *[c.cells() for c in self.comparisons]], [head], below)

    def __str__(self) -> str:
        return str(self._table())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


class GradcheckError(AssertionError):
    """A gradient check failed. The message is the report as a table, ``report`` the report.

    >>> import tinygrad_np as tg
    >>> from tinygrad_np.cases import case, normal
    >>> @tg.op(cases=[case(normal(3))], x=lambda g, x: g * 2 * x**2)
    ... def cubed(x):
    ...     return x**3
    >>> try:
    ...     tg.gradcheck(cubed, 2.0)
    ... except tg.GradcheckError as error:
    ...     worst = error.report.worst
    ...     print(worst.input, worst.relative > 0.1)
    x True
    >>> del tg.OPS["cubed"]
    """

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report
