"""Check all gradients: every op on every sample call, and the networks.

Autograd is compared with the complex step where the function is analytic, and with extrapolated
finite differences elsewhere; second derivatives are compared with differences of the first. The
networks' gradients are also compared with those derived by hand. The table shows the largest
relative errors.

Examples:
  python -m scripts.gradcheck
  python -m scripts.gradcheck --json gradcheck.json --seed 7
  python -m scripts.gradcheck tanh matmul three_layer
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import models
import tinygrad_np as tg
from models import gpt_by_hand, lenet_by_hand, three_layer_by_hand
from models.experiments import EXPERIMENTS
from scripts import audit_seeds, datasets
from scripts.command import natural, parser_of, reports
from tinygrad_np.data import IDXError, load_mnist
from tinygrad_np.definition import Op
from tinygrad_np.gradient_check import Comparison, check_op
from tinygrad_np.tables import columns
from tinygrad_np.tensor import Array

BY_HAND = 1e-12
"""The tolerance of gradients by hand, relative to the largest element."""
STEPS = 5
"""Updates before a network is checked: its first gradients are too much alike."""
DIRECTIONS = 5
"""Random directions along which networks are checked."""
IMAGES = 20
"""The first seed's batch; the other networks have batches of their own."""
LENGTH = 8
"""The number of characters that a language model sees here; it has fewer features, too."""
TWINS: dict[str, Callable[..., Any]] = {
    "three_layer": three_layer_by_hand.loss_and_gradients,
    "lenet": lenet_by_hand.loss_and_gradients,
    "gpt": partial(gpt_by_hand.loss_and_gradients, heads=4),
}
"""The networks' gradients by hand; the second seed's are those of ``scripts.audit_seeds``."""
COLUMNS = ("complex step", "differences", "second order", "by hand")


@dataclass
class Result:
    """The comparisons of an op or a network, and the errors of the gradients by hand."""

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
        found: dict[str, list[float]] = {"by hand": [*self.by_hand.values()]}
        for c in self.comparisons:
            first = "complex step" if c.method == "complex" else "differences"
            found.setdefault("second order" if c.order == 2 else first, []).append(c.relative)
        return {column: float(np.max(errors)) for column, errors in found.items() if errors}


def check_registered(op: Op, seed: int) -> Result:
    """Check an op on all its sample calls."""
    result = Result(op.name, "op")
    for case in op.cases:
        report = check_op(op, case, order=2, seed=seed)
        if report is not None:
            result.calls += 1
            result.comparisons += report.comparisons
            result.notes += [f"{op.name}({case}): {note}" for note in report.notes]
    return result


Network = tuple[tg.nn.Module, Callable[[], tg.Tensor], Callable[[], Mapping[str, Array]] | None]
"""A network, its loss on a batch, and the gradients by hand for its present weights."""


def network(name: str, images: Array, labels: Array) -> Network:
    """The network of that name in float64, with a batch."""
    if name in EXPERIMENTS:
        case = audit_seeds.Case.made(name, images, labels)
        net = case.network
        twin = lambda: audit_seeds.twin(case, net.state_dict())  # noqa: E731
        return net, lambda: case.objective(net.W1, net.W2), twin
    x, t = images[:IMAGES], labels[:IMAGES]
    if name in models.DATA:
        x, t = (a[:, :LENGTH] for a in datasets.load(models.DATA[name]).batch(IMAGES, x.dtype))
    made = models.make(name, np.random.default_rng(0), np.float64, width=16, context=LENGTH)
    loss = lambda: tg.softmax_cross_entropy(made(x), t)  # noqa: E731
    if name not in TWINS:
        return made, loss, None
    return made, loss, lambda: TWINS[name](made.state_dict(), x, t)[1]


def check_network(name: str, images: Array, labels: Array, seed: int) -> Result:
    """Check a network's gradients three ways, after some updates."""
    model, loss, by_hand = network(name, images, labels)
    parameters = dict(model.named_parameters())
    optimizer = tg.optim.SGD(parameters.values(), 0.05)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    for path, parameter in parameters.items():
        parameter.name = path
    report = tg.gradcheck(
        lambda *_: loss(), tuple(parameters.values()), 2, directions=DIRECTIONS, seed=seed,
        raises=False,
    )  # fmt: skip
    result = Result(name, "network", 1, list(report.comparisons), list(report.notes))
    if by_hand is not None:
        optimizer.zero_grad()
        loss().backward()
        theirs = by_hand()
        for path, parameter in parameters.items():
            gradient = np.asarray(parameter.grad)
            error = np.abs(gradient - theirs[path]).max() / np.abs(gradient).max()
            result.by_hand[path] = float(error)
    return result


def results(names: Sequence[str], seed: int, data: str | None) -> Iterator[Result]:
    """The checks of all ops and networks, or of those named."""
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
    rows: list[Sequence[str]] = [("", "checked", "calls", "derivatives", *COLUMNS)]
    for r in found:
        worst = r.worst()
        errors = [f"{worst[column]:.1e}" if column in worst else "-" for column in COLUMNS]
        mark = "ok" if r.passed else "WRONG"
        rows.append((mark, r.name, str(r.calls), str(len(r.comparisons)), *errors))
    return "\n".join(columns(rows))


def summary(found: Sequence[Result], seconds: float) -> str:
    """The counts, the verdict, and the largest errors of all."""
    ops = [r for r in found if r.kind == "op"]
    wrong = ", ".join(r.name for r in found if not r.passed)
    worst = []
    for column in COLUMNS:
        errors = [(r.worst()[column], r.name) for r in found if column in r.worst()]
        worst += [f"{column} {error:.1e} ({name})" for error, name in sorted(errors)[-1:]]
    return (
        f"{len(ops)} ops in {sum(r.calls for r in ops)} calls and {len(found) - len(ops)} networks,"
        f" {sum(len(r.comparisons) for r in found)} derivatives, {seconds:.0f} s: "
        f"{f'WRONG: {wrong}' if wrong else 'all agree'}.\nWorst: {', '.join(worst)}"
    )


def as_json(found: Sequence[Result]) -> str:
    """All comparisons. Numbers that are not finite are strings, because JSON has no nan."""
    rows = [
        asdict(r) | {"comparisons": [c._asdict() for c in r.comparisons], "passed": r.passed,
                     "worst": r.worst()} for r in found
    ]  # fmt: skip
    content = json.dumps({"passed": all(r.passed for r in found), "results": rows})
    return json.dumps(json.loads(content, parse_constant=str), indent=1)


@reports(OSError, IDXError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 where everything agrees."""
    parser = parser_of("gradcheck", __doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="ops and networks (default: all)")
    add("--json", type=Path, metavar="FILE", help="also write every comparison to a file")
    add("--seed", type=natural, default=0, help="seed of samples and directions (default: 0)")
    add("--data", metavar="DIR", help="folder of the four MNIST files")
    options = parser.parse_args(arguments)
    known = {name for name, op in tg.OPS.items() if op.differentiable} | models.MODELS.keys()
    if strangers := [name for name in options.names if name not in known]:
        parser.error(f"neither an op with gradients nor a network: {', '.join(strangers)}")
    start = time.perf_counter()
    found = list(results(options.names, options.seed, options.data))
    print(table(found))
    for note in (note for r in found for note in r.notes):
        print(f"note: {note}")
    print(summary(found, time.perf_counter() - start))
    if options.json:
        options.json.write_text(as_json(found) + "\n", encoding="utf-8")
    return 0 if all(r.passed for r in found) else 1


if __name__ == "__main__":
    sys.exit(main())
