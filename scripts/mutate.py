"""Test the gradient checks: make each rule wrong by a factor, and see whether they notice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

import tinygrad_np as tg
from scripts.command import parser_of
from tinygrad_np.definition import Op
from tinygrad_np.gradient_check import check_op
from tinygrad_np.graph import Rule

EXAMPLES = """examples:
  python -m scripts.mutate
  python -m scripts.mutate --factor 1.000001 tanh matmul
"""


class Mutated:
    """An op's rules with those at ``places`` wrong."""

    def __init__(self, rules: Iterable[Rule], wrong: Callable[[Any], Any], places: range) -> None:
        self.rules, self.wrong, self.places = rules, wrong, places

    def __iter__(self) -> Iterator[Rule]:
        for i, rule in enumerate(self.rules):
            yield self.spoiled(rule) if i in self.places else rule

    def spoiled(self, rule: Rule) -> Rule:
        return lambda g, saved: self.wrong(rule(g, saved))


def wrong_by(factor: float) -> Callable[[Any], Any]:
    """Multiplies a gradient; where that would change nothing, because it is all 0, adds instead."""
    return lambda gradient: gradient * factor if np.any(gradient) else gradient + (factor - 1)


def passes(op: Op) -> bool:
    """Whether the registry's checks of this op succeed."""
    reports = (check_op(op, case) for case in op.cases)
    return all(report is None or bool(report) for report in reports)


def survivors(op: Op, factor: float) -> list[str]:
    """The inputs whose rule can be wrong by ``factor`` without any check of this op failing."""
    kept, found = op.rules, []
    for i, name in enumerate(op.gradients):
        places = range(sys.maxsize) if op.variadic else range(i, i + 1)
        op.rules = Mutated(kept, wrong_by(factor), places)
        try:
            if passes(op):
                found.append(name)
        finally:
            op.rules = kept
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("mutate", __doc__, EXAMPLES)
    parser.add_argument("ops", nargs="*", metavar="OP", help="names of ops (default: all)")
    parser.add_argument("--factor", type=float, default=1.0001, help="default: 1.0001")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.ops if name not in tg.OPS]
    if unknown:
        parser.error(f"no op is called {', '.join(unknown)}")
    if options.factor == 1 or not np.isfinite(options.factor):
        parser.error(f"--factor {options.factor:g}: give a number, and not 1, which is right")
    ops = [tg.OPS[name] for name in options.ops] or list(tg.OPS.values())
    ops = [op for op in ops if op.gradients]
    total = caught = 0
    for op in ops:
        if not passes(op):
            print(f"{op.name}: its checks fail without any mutation", file=sys.stderr)
            return 1
        missed = survivors(op, options.factor)
        for name in missed:
            print(f"not caught: {op.name}, d{name} = {op.formula(name)}")
        total += len(op.gradients)
        caught += len(op.gradients) - len(missed)
    share = 100 * caught / total if total else 0
    print(f"{caught}/{total} rules caught when multiplied by {options.factor}: {share:.0f}%")
    return 0 if total and caught == total else 1


if __name__ == "__main__":
    sys.exit(main())
