"""Check all gradients: every op on every sample call, and the seed documents' networks.

Autograd is held against the complex step where that applies, else against extrapolated
differences; its second derivatives against differences of the first; the networks' gradients also
against those derived by hand. The table shows the largest relative errors.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
import tinygrad_np as tg
from models import three_layer_by_hand
from scripts import audit_seeds
from scripts.command import failed, natural, parser_of
from scripts.reproduction import EXPERIMENTS
from tinygrad_np.data import IDXError, load_mnist
from tinygrad_np.definition import Op
from tinygrad_np.gradient_check import Comparison, check_op
from tinygrad_np.optim import SGD

Array = NDArray[Any]

EXAMPLES = """examples:
  python -m scripts.gradcheck
  python -m scripts.gradcheck --json gradcheck.json --seed 7
  python -m scripts.gradcheck tanh matmul three_layer
"""
BY_HAND = 1e-12
"""How far autograd may be from the gradients by hand, relative to the largest element."""
STEPS = 5
"""Updates that a network makes before it is checked: its gradients are less alike then."""
DIRECTIONS = 5
"""Networks are checked along so many random directions, and by hand element by element."""
IMAGES = 20
"""How many images the first seed's network sees; the others have batches of their own."""
COLUMNS = ("complex step", "differences", "second order", "by hand")


@dataclass
class Result:
    """What was found for an op, or for a network: all comparisons, and how far "by hand" is off."""

    name: str
    kind: str
    calls: int = 0
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    by_hand: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether everything agrees, and there was something to compare."""
        exact = all(error <= BY_HAND for error in self.by_hand.values())
        return bool(self.comparisons) and exact and all(c.passed for c in self.comparisons)

    def worst(self) -> dict[str, float]:
        """The largest relative error in each of the table's columns."""
        found: dict[str, float] = {}
        errors = [(_column(c), c.relative) for c in self.comparisons]
        errors += [("by hand", error) for error in self.by_hand.values()]
        for column, error in errors:
            found[column] = float(np.maximum(found.get(column, 0.0), error))  # nan, too
        return found


def _column(comparison: Comparison) -> str:
    if comparison.order == 2:
        return "second order"
    return "complex step" if comparison.method == "complex" else "differences"


def check_registered(op: Op, seed: int) -> Result:
    """An op on all its sample calls."""
    result = Result(op.name, "op")
    for case in op.cases:
        report = check_op(op, case, order=2, seed=seed)
        if report is not None:
            result.calls += 1
            result.comparisons += report.comparisons
            result.notes += [f"{op.name}({case}): {note}" for note in report.notes]
    return result


@dataclass
class Network:
    """A network with a batch: its loss, and the gradients by hand for its present weights."""

    model: tg.nn.Module
    loss: Callable[[], tg.Tensor]
    by_hand: Callable[[], Mapping[str, Array]] | None


def network(name: str, images: Array, labels: Array) -> Network:
    """The network called ``name`` in float64, and a batch."""
    if name in EXPERIMENTS:
        case = audit_seeds.Case.made(name, images, labels)
        model = case.network
        return Network(
            model,
            lambda: case.objective(model.W1, model.W2),
            lambda: audit_seeds.twin(case, model.state_dict()),
        )
    x, t = images[:IMAGES], labels[:IMAGES]
    made = models.make(name, np.random.default_rng(0), np.float64)
    hand = None
    if name == "three_layer":
        hand = lambda: three_layer_by_hand.loss_and_gradients(made.state_dict(), x, t)[1]  # noqa: E731
    return Network(made, lambda: tg.softmax_cross_entropy(made(x), t), hand)


def check_network(name: str, images: Array, labels: Array, seed: int) -> Result:
    """A network's gradients three ways, after some updates."""
    net = network(name, images, labels)
    parameters = dict(net.model.named_parameters())
    optimizer = SGD(parameters.values(), 0.05)
    for _ in range(STEPS):
        optimizer.zero_grad()
        net.loss().backward()
        optimizer.step()
    for path, parameter in parameters.items():
        parameter.name = path
    tensors = tuple(parameters.values())
    report = tg.gradcheck(
        lambda *_: net.loss(), tensors, 2, directions=DIRECTIONS, seed=seed, raises=False
    )
    result = Result(name, "network", 1, list(report.comparisons), list(report.notes))
    if net.by_hand is not None:
        optimizer.zero_grad()
        net.loss().backward()
        theirs = net.by_hand()
        for path, parameter in parameters.items():
            gradient = np.asarray(parameter.grad)
            error = np.abs(gradient - theirs[path]).max() / np.abs(gradient).max()
            result.by_hand[path] = float(error)
    return result


def results(names: Sequence[str], seed: int, data: str | None) -> Iterator[Result]:
    """All checks, or those of the ops and networks named."""
    for op in tg.OPS.values():
        if op.differentiable and (not names or op.name in names):
            yield check_registered(op, seed)
    wanted = [name for name in models.MODELS if not names or name in names]
    if wanted:
        (images, labels), _ = load_mnist(dtype=np.float64, path=data)
        for name in wanted:
            yield check_network(name, images, labels, seed)


def table(found: Sequence[Result]) -> str:
    """A line for each op and each network."""
    rows: list[tuple[str, ...]] = [("", "checked", "calls", "derivatives", *COLUMNS)]
    for r in found:
        worst = r.worst()
        errors = [f"{worst[column]:.1e}" if column in worst else "-" for column in COLUMNS]
        mark = "ok" if r.passed else "WRONG"
        rows.append((mark, r.name, str(r.calls), str(len(r.comparisons)), *errors))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def summary(found: Sequence[Result], seconds: float) -> str:
    """How many of what agree, and the largest errors of all."""
    ops = [r for r in found if r.kind == "op"]
    wrong = [r.name for r in found if not r.passed]
    worst = {
        column: max((r.worst()[column], r.name) for r in found if column in r.worst())
        for column in COLUMNS
        if any(column in r.worst() for r in found)
    }
    told = ", ".join(f"{column} {error:.1e} ({name})" for column, (error, name) in worst.items())
    verdict = f"WRONG: {', '.join(wrong)}" if wrong else "all agree"
    return (
        f"{len(ops)} ops in {sum(r.calls for r in ops)} calls and {len(found) - len(ops)} networks,"
        f" {sum(len(r.comparisons) for r in found)} derivatives, {seconds:.0f} s: {verdict}.\n"
        f"Worst: {told}"
    )


def as_json(found: Sequence[Result]) -> str:
    """Everything that was compared. What is not finite is written as a string: JSON has no nan."""

    def plain(value: Any) -> Any:
        if isinstance(value, Comparison):
            value = value._asdict()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value if not isinstance(value, float) or np.isfinite(value) else str(value)

    results = [{**dataclasses.asdict(r), "passed": r.passed, "worst": r.worst()} for r in found]
    passed = all(r.passed for r in found)
    return json.dumps(plain({"passed": passed, "results": results}), indent=1, allow_nan=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 where everything agrees."""
    parser = parser_of("gradcheck", __doc__, EXAMPLES)
    parser.add_argument("names", nargs="*", metavar="NAME", help="ops and networks (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every comparison")
    parser.add_argument(
        "--seed", type=natural, default=0, help="of samples and directions (default: 0)"
    )
    parser.add_argument("--data", metavar="DIR", help="folder of the four MNIST files")
    options = parser.parse_args(arguments)
    known = {name for name, op in tg.OPS.items() if op.differentiable} | models.MODELS.keys()
    if strangers := [name for name in options.names if name not in known]:
        parser.error(f"neither an op with gradients nor a network: {', '.join(strangers)}")
    start = time.perf_counter()
    try:
        found = list(results(options.names, options.seed, options.data))
        print(table(found))
        for note in (note for r in found for note in r.notes):
            print(f"note: {note}")
        print(summary(found, time.perf_counter() - start))
        if options.json:
            options.json.write_text(as_json(found) + "\n", encoding="utf-8")
    except (OSError, IDXError) as error:
        return failed(error)
    return 0 if all(r.passed for r in found) else 1


if __name__ == "__main__":
    sys.exit(main())
