"""Test the gradient checks: make each rule wrong by a factor, and see whether a check fails.

First the gradient itself is wrong. Then only its derivative with respect to the incoming gradient
``g`` is wrong, which only second derivatives can show.

Examples:
  python -m scripts.mutate
  python -m scripts.mutate --factor 1.000001 tanh matmul
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygrad_np as tg
from scripts.command import parser_of
from tinygrad_np.definition import Op
from tinygrad_np.gradient_check import check_op
from tinygrad_np.graph import Rule
from tinygrad_np.tensor import plain

Spoil = Callable[[Rule, float], Rule]
"""Makes a rule wrong by a factor."""


def wrong(rule: Rule, factor: float) -> Rule:
    """The gradient multiplied; a gradient of 0 is added to instead."""

    def spoiled(g: Any, saved: Any) -> Any:
        gradient = rule(g, saved)
        return gradient * factor if np.any(plain(gradient)) else gradient + (factor - 1)

    return spoiled


def wrong_at_second_order(rule: Rule, factor: float) -> Rule:
    """The gradient's derivative by ``g`` multiplied, and not the gradient; or added to, if 0."""

    def spoiled(g: Any, saved: Any) -> Any:
        if not isinstance(g, tg.Tensor):
            return rule(g, saved)
        extra = g * (factor - 1)
        extra = extra - extra.detach()  # 0, but its derivative is not
        gradient = rule(g + extra, saved)
        return gradient if np.any(plain(gradient)) else gradient + extra.sum()

    return spoiled


def passes(op: Op, order: int) -> bool:
    """Whether the registry's checks of this op succeed."""
    reports = (check_op(op, case, order) for case in op.cases)
    return all(report is None or bool(report) for report in reports)


class Mutated:
    """An op's rules, made wrong at one place, or everywhere where ``at`` is None."""

    def __init__(self, rules: Any, spoil: Spoil, factor: float, at: int | None) -> None:
        self.rules, self.spoil, self.factor, self.at = rules, spoil, factor, at

    def __iter__(self) -> Any:
        for i, rule in enumerate(self.rules):
            yield self.spoil(rule, self.factor) if self.at in (None, i) else rule


def survivors(op: Op, spoil: Spoil, factor: float, order: int) -> list[str]:
    """The inputs whose rule can be made wrong without any check of this op failing."""
    kept, found = op.rules, []
    for i, name in enumerate(op.gradients):
        op.rules = Mutated(kept, spoil, factor, None if op.variadic else i)
        try:
            if passes(op, order):
                found.append(name)
        finally:
            op.rules = kept
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 where every wrong rule is caught."""
    parser = parser_of("mutate", __doc__)
    parser.add_argument("ops", nargs="*", metavar="OP", help="names of ops (default: all)")
    parser.add_argument("--factor", type=float, default=1.0001, help="default: 1.0001")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.ops if name not in tg.OPS]:
        parser.error(f"no op is called {', '.join(unknown)}")
    if options.factor == 1 or not np.isfinite(options.factor):
        parser.error(f"--factor {options.factor:g}: give a number, and not 1, which is right")
    ops = [tg.OPS[name] for name in options.ops or tg.OPS if tg.OPS[name].gradients]
    for op in ops:
        if not passes(op, 2):
            print(f"{op.name}: its checks fail without any mutation", file=sys.stderr)
            return 1
    total = sum(len(op.gradients) for op in ops)
    kinds: list[tuple[Spoil, int, str]] = [
        (wrong, 1, "when"), (wrong_at_second_order, 2, "when their derivatives by g are"),
    ]  # fmt: skip
    everything = total > 0
    for spoil, order, when in kinds:
        missed = [(op, name) for op in ops for name in survivors(op, spoil, options.factor, order)]
        for op, name in missed:
            print(f"not caught {when} multiplied: {op.name}, d{name} = {op.formula(name)}")
        caught = total - len(missed)
        share = 100 * caught / total if total else 0
        print(f"{caught}/{total} rules caught {when} multiplied by {options.factor}: {share:.0f}%")
        everything = everything and not missed
    return 0 if everything else 1


if __name__ == "__main__":
    sys.exit(main())
