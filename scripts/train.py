"""Train a network on MNIST; write its figures, curves and predictions to a folder."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import models
import tinygrad_np as tg
from scripts import run_folder
from scripts.progress import Progress
from scripts.recipes import OPTIMIZERS, RATES, RECIPES, Recipe
from scripts.training import Metrics, train
from tinygrad_np.data import load_mnist
from tinygrad_np.data.folder import DataSet
from tinygrad_np.nn import Module

EXAMPLES = f"""models: {", ".join(models.MODELS)}, or your own as module:factory, a function
that returns a tinygrad_np.nn.Module (it is passed rng and dtype if it takes them).

examples:
  python -m scripts.train three_layer
  python -m scripts.train three_layer --recipe best
  python -m scripts.train three_layer --iterations 400 --out runs/short
  python -m scripts.train three_layer --optimizer adam --epochs 5 --batch-size 100
  python -m scripts.train my_models:Net --optimizer nesterov --lr 0.02 --dtype float64
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    recipe = _recipe(options)
    name = recipe.network(options.model)
    out: Path = options.out or _default_folder(options)
    try:
        rng = tg.manual_seed(options.seed)
        model = models.make(name, rng, options.dtype)
        data = load_mnist(dtype=options.dtype, path=options.data)
        out.mkdir(parents=True, exist_ok=True)
        run_folder.write_config(
            out, {"model": name, **_told(options), **dataclasses.asdict(recipe)}
        )
        print(model.summary(), end="\n\n")
        rows = _run(model, recipe, data, rng, out)
        run_folder.draw(out, name, model, rows, data[1])
    except (OSError, ValueError, FloatingPointError) as error:
        message = "\n".join([f"error: {error}", *getattr(error, "__notes__", [])])
        print(message, file=sys.stderr)
        return 1
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    seed = RECIPES["seed"]
    add = parser.add_argument
    add("model", help="which network (see below)")
    add(
        "--recipe",
        choices=list(RECIPES),
        default="seed",
        help="settings to start from: the first "
        "seed document's (default), or the best ones found, with relu and images moved by a pixel",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--iterations", type=_positive, metavar="N", help=f"updates (default: {seed.iterations})"
    )
    length.add_argument("--epochs", type=_positive, metavar="N", help="times through the images")
    add("--batch-size", type=_positive, metavar="N", help=f"default: {seed.batch_size}")
    add(
        "--lr",
        type=float,
        metavar="RATE",
        help="learning rate (default: 0.1; for momentum and "
        "nesterov 0.01, for adam and adamw 0.001)",
    )
    add("--optimizer", choices=list(OPTIMIZERS), help=f"default: {seed.optimizer}")
    add("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    add("--dtype", choices=["float32", "float64"], default="float32", help="default: float32")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (default: runs/MODEL, or runs/MODEL_RECIPE)",
    )
    add("--data", metavar="DIR", help="folder of the four MNIST files")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed {options.seed}: a seed is not negative")
    if options.lr is not None and not 0 < options.lr < float("inf"):
        parser.error(f"--lr {options.lr}: a learning rate is positive")
    if (options.batch_size or 1) > 60_000:
        parser.error(f"--batch-size {options.batch_size}: there are 60,000 training images")
    return options


def _default_folder(options: argparse.Namespace) -> Path:
    name = options.model.replace(":", ".")
    return Path("runs") / (name if options.recipe == "seed" else f"{name}_{options.recipe}")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe with what the options change in it."""
    names = ("optimizer", "lr", "batch_size", "iterations", "epochs")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "epochs" in given or "iterations" in given:
        given = {"epochs": None, "iterations": None} | given
    if "optimizer" in given:
        given.setdefault("lr", RATES[given["optimizer"]])
    return dataclasses.replace(RECIPES[options.recipe], **given)


def _told(options: argparse.Namespace) -> dict[str, object]:
    """The options that are no settings of the recipe."""
    return {name: getattr(options, name) for name in ("recipe", "seed", "dtype", "data")}


def _run(
    model: Module, recipe: Recipe, data: DataSet, rng: np.random.Generator, out: Path
) -> list[Metrics]:
    """Train, telling how it goes; every row is written as soon as it is there."""
    iterations = recipe.updates(len(data[0][0]))
    rows: list[Metrics] = []
    start = time.perf_counter()
    with run_folder.metrics_file(out) as write, Progress(iterations, recipe.batch_size) as bar:
        bar.write(f"{'epoch':>6} {'loss':>8} {'train':>8} {'test':>8} {'seconds':>8}")
        for row in train(
            model,
            recipe.make_optimizer(model, iterations),
            data,
            iterations=iterations,
            batch_size=recipe.batch_size,
            rng=rng,
            replacement=recipe.replacement,
            augment=recipe.augmentation,
            on_update=bar.update,
        ):
            rows.append(row)
            write(row)
            bar.write(
                f"{row.epoch:6g} {row.train_loss:8.5g} {row.train_accuracy:8.2%} "
                f"{row.test_accuracy:8.2%} {row.seconds:8.2f}"
            )
    updates = sum(row.seconds for row in rows)
    best = max(rows, key=lambda row: row.test_accuracy)
    print(
        f"\nTest accuracy {rows[-1].test_accuracy:.2%} "
        f"(highest: {best.test_accuracy:.2%}, after epoch {best.epoch:g}).\n"
        f"{iterations:,} updates took {updates:.1f} s, evaluation "
        f"{time.perf_counter() - start - updates:.1f} s."
    )
    return rows


if __name__ == "__main__":
    sys.exit(main())
