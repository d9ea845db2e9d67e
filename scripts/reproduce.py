"""Reproduce the second seed document's tables, digit for digit, and compare them with the print.

Examples:
  python -m scripts.reproduce all
  python -m scripts.reproduce relu_sgd --epochs 31 --out runs/short
  python -m scripts.reproduce all --true-gradient
  python -m scripts.reproduce all --compiled
"""

import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tinygrad_np as tg
from models.experiments import EXPERIMENTS, Experiment, batch_trainer, train_epoch
from models.two_layer import TwoLayer
from scripts import figures
from scripts.command import parser_of, positive, reports
from tinygrad_np.data import load_mnist
from tinygrad_np.tensor import Array

TABLES = Path(__file__).parents[1] / "tests" / "scripts" / "tables"
"""The tables as the document prints them, one CSV file each."""
HEADER = "epoch,train_error,train_accuracy,test_error,test_accuracy"


class Row(NamedTuple):
    """The figures of one epoch's training pass, with dropout, and of the test set after it."""

    epoch: int
    train_error: float
    train_accuracy: float
    test_error: float
    test_accuracy: float

    def __str__(self) -> str:
        """As the document prints it: errors cut to five characters."""
        epoch, train, train_accuracy, test, test_accuracy = map(str, self)
        return ",".join([epoch, train[:5], train_accuracy, test[:5], test_accuracy])


class Images(NamedTuple):
    """The first 1,000 training images and all test images, with one-hot labels; float64."""

    x_train: Array
    t_train: Array
    x_test: Array
    t_test: Array


def load_images(path: str | None = None) -> Images:
    """MNIST as the document uses it."""
    train, test = load_mnist(normalize=False, dtype=np.uint8, path=path)
    one_hot = np.eye(10)
    return Images(train[0][:1000] / 255, one_hot[train[1][:1000]], test[0] / 255, one_hot[test[1]])


def figures_of(outputs: Array, one_hot: Array) -> tuple[float, float]:
    """The mean squared error of an image, and the share of images that are right."""
    error = np.square(one_hot - outputs).sum() / len(outputs)
    return float(error), float(np.mean(outputs.argmax(axis=1) == one_hot.argmax(axis=1)))


def trainer(
    experiment: Experiment, images: Images, *, printed: bool, compiled: bool
) -> tuple[TwoLayer, Callable[[], Array]]:
    """A network, and a function that trains it for one more epoch and returns its scores.

    With ``printed`` the backward pass is the document's, otherwise the gradient. ``compiled`` runs
    the training steps with ``tg.compile``: the digits are the same, although sums are reordered.
    """
    rng = np.random.RandomState(1)
    network = experiment.network(rng, printed=printed)
    train_batch = batch_trainer(experiment, network)
    if compiled:
        train_batch = tg.compile(train_batch)
    train = images.x_train, images.t_train
    return network, functools.partial(train_epoch, experiment, network, train_batch, *train, rng)


def run(
    experiment: Experiment, images: Images, epochs: int | None = None, *, printed: bool = True,
    compiled: bool = False,
) -> Iterator[Row | None]:  # fmt: skip
    """Train for all the experiment's epochs, or the first few; yield once an epoch.

    That is a Row every 10 epochs and at the experiment's last one, None in between.
    """
    network, train = trainer(experiment, images, printed=printed, compiled=compiled)
    for epoch in range(min(epochs or experiment.epochs, experiment.epochs)):
        scores = train()
        if epoch % 10 and epoch != experiment.epochs - 1:
            yield None
        else:
            trained = figures_of(network.outputs(scores), images.t_train)
            yield Row(epoch, *trained, *tested(network, images))


def tested(network: TwoLayer, images: Images) -> tuple[float, float]:
    """The figures of the test images."""
    with tg.no_grad():
        return figures_of(network.outputs(network(images.x_test).data), images.t_test)


def reproduce(
    name: str, images: Images, epochs: int | None, out: Path, *, printed: bool, compiled: bool
) -> bool:
    """Run one experiment; write its table and picture; return whether all rows are as recorded."""
    from tqdm import tqdm

    epochs = min(epochs or EXPERIMENTS[name].epochs, EXPERIMENTS[name].epochs)
    label = name if printed else f"{name}_true"
    start = time.perf_counter()
    passes = run(EXPERIMENTS[name], images, epochs, printed=printed, compiled=compiled)
    with tqdm(passes, label, epochs, leave=False, unit=" epochs", disable=None) as bar:
        rows = [str(row) for row in bar if row]
    (out / f"{label}.csv").write_text("\n".join([HEADER, *rows, ""]))
    recorded = zip(rows, read_table(TABLES / f"{label}.csv"), strict=False)
    differing = [(row, old) for row, old in recorded if row != old]
    seconds = time.perf_counter() - start
    print(f"{label}: {len(rows) - len(differing)}/{len(rows)} rows identical, {seconds:.1f} s")
    for row, old in differing:
        print(f"  recorded {old}\n  now      {row}")
    draw(name, out)
    return not differing


def read_table(path: Path) -> list[str]:
    """The rows of a table, without its header."""
    return path.read_text().splitlines()[1:]


def draw(name: str, out: Path) -> None:
    """Draw the errors by epoch, as printed and with the true gradient.

    A table that is not in ``out`` is drawn as it is recorded in the repository.
    """
    panels = {}
    for label, title in ((name, "As printed"), (f"{name}_true", "True gradient")):
        path = out / f"{label}.csv"
        ran = path.exists()
        rows = np.loadtxt(path if ran else TABLES / path.name, delimiter=",", skiprows=1, ndmin=2)
        panels[title if ran else f"{title} (as recorded)"] = rows
    figures.errors(out / f"{name}.png", name, panels)


@reports(OSError, ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 where every row is identical."""
    parser = parser_of("reproduce", __doc__)
    add = parser.add_argument
    add("name", choices=[*EXPERIMENTS, "all"], metavar="NAME",
        help=f"the table: {', '.join(EXPERIMENTS)}, or all, which takes some minutes")  # fmt: skip
    add("--epochs", type=positive, metavar="N", help="only the first N epochs (default: all)")
    add("--out", type=Path, default=Path("runs/reproduce"), metavar="DIR",
        help="folder to write to (default: runs/reproduce)")  # fmt: skip
    add("--true-gradient", dest="printed", action="store_false",
        help="train the same networks with the true gradient, found by autograd")  # fmt: skip
    add("--compiled", action="store_true",
        help="run the training steps with tg.compile: the same digits in less time")  # fmt: skip
    add("--data", metavar="DIR", help="folder of the four MNIST files")
    options = parser.parse_args(arguments)
    names = list(EXPERIMENTS) if options.name == "all" else [options.name]
    how = {"printed": options.printed, "compiled": options.compiled}
    images = load_images(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    same = [reproduce(name, images, options.epochs, options.out, **how) for name in names]
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
