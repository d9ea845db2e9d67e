"""Train a network on MNIST; write its figures, curves and predictions to a folder."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import inspect
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
import tinygrad_np as tg
from scripts import figures
from scripts.recipes import OPTIMIZERS, RATES, RECIPES, Recipe
from scripts.training import Metrics, scores, train, updates_per_epoch
from tinygrad_np.data import load_mnist
from tinygrad_np.nn import Module

EXAMPLES = f"""models: {", ".join(models.MODELS)}, or your own as module:factory, a function
that returns a tinygrad_np.nn.Module (it is passed rng and dtype if it takes them).

examples:
  python -m scripts.train three_layer
  python -m scripts.train three_layer --iterations 400 --out runs/short
  python -m scripts.train three_layer --optimizer adam --epochs 5 --batch-size 100
  python -m scripts.train my_models:Net --optimizer nesterov --lr 0.02 --dtype float64
"""
COLUMNS = ("epoch", "train_loss", "train_accuracy", "test_accuracy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    recipe = _recipe(options)
    out: Path = options.out or Path("runs") / options.model.replace(":", ".")
    try:
        rng = tg.manual_seed(options.seed)
        model = make_model(options.model, rng, options.dtype)
        data = load_mnist(dtype=options.dtype, path=options.data)
        out.mkdir(parents=True, exist_ok=True)
        _write_config(out / "config.json", options, recipe)
        print(model.summary(), end="\n\n")
        rows = _run(model, recipe, data, rng, out / "metrics.csv")
    except (OSError, ValueError, FloatingPointError) as error:
        print(
            "\n".join(["error: " + str(error), *getattr(error, "__notes__", [])]), file=sys.stderr
        )
        return 1
    _draw(out, options.model, model, rows, data[1])
    names = ", ".join(sorted(path.name for path in out.iterdir()))
    print(f"{out}: {names}")
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
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--iterations", type=_positive, metavar="N", help=f"updates (default: {seed.iterations})"
    )
    length.add_argument("--epochs", type=_positive, metavar="N", help="times through the images")
    add("--batch-size", type=_positive, metavar="N", help=f"default: {seed.batch_size}")
    add("--lr", type=float, metavar="RATE", help="learning rate (default: 0.1; for momentum and "
        "nesterov 0.01, for adam and adamw 0.001)")  # fmt: skip
    add("--optimizer", choices=list(OPTIMIZERS), help=f"default: {seed.optimizer}")
    add("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    add("--dtype", choices=["float32", "float64"], default="float32", help="default: float32")
    add("--out", type=Path, metavar="DIR", help="where to write (default: runs/MODEL)")
    add("--data", metavar="DIR", help="folder of the four MNIST files")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed {options.seed}: a seed is not negative")
    if options.lr is not None and not 0 < options.lr < float("inf"):
        parser.error(f"--lr {options.lr}: a learning rate is positive")
    if (options.batch_size or 1) > 60_000:
        parser.error(f"--batch-size {options.batch_size}: there are 60,000 training images")
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def _recipe(options: argparse.Namespace) -> Recipe:
    """The seed's recipe with what the options change in it."""
    names = ("optimizer", "lr", "batch_size", "iterations", "epochs")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "epochs" in given:
        given["iterations"] = None
    if "optimizer" in given:
        given.setdefault("lr", RATES[given["optimizer"]])
    return dataclasses.replace(RECIPES["seed"], **given)


def make_model(name: str, rng: np.random.Generator, dtype: str) -> Module:
    """The network called ``name``; ``rng`` and ``dtype`` are passed on if its factory takes them.

    Raises ValueError where there is none, it is no Module or has nothing to train in ``dtype``.
    """
    make = models.factory(name)
    takes = inspect.signature(make).parameters
    given = {"rng": rng, "dtype": np.dtype(dtype)}
    model: Any = make(**{key: value for key, value in given.items() if key in takes})
    if not isinstance(model, Module):
        raise ValueError(f"{name} made a {type(model).__name__}, not a tinygrad_np.nn.Module")
    found = {parameter.dtype.name for parameter in model.parameters()}
    if found != {dtype}:
        raise ValueError(
            f"{name} has parameters of {' and '.join(sorted(found)) or 'no dtype: none at all'}, "
            f"but --dtype is {dtype}"
        )
    return model


def _write_config(path: Path, options: argparse.Namespace, recipe: Recipe) -> None:
    """Everything that is needed to repeat the run."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    config = {
        "model": options.model,
        **dataclasses.asdict(recipe),
        "seed": options.seed,
        "dtype": options.dtype,
        "data": options.data,
        "versions": {
            "tinygrad_np": tg.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "blas": f"{blas.get('name')} {blas.get('version')}",
        },
    }
    path.write_text(json.dumps(config, indent=2) + "\n")


def _run(
    model: Module, recipe: Recipe, data: Any, rng: np.random.Generator, metrics: Path
) -> list[Metrics]:
    """Train, telling how it goes; every row is written as soon as it is there."""
    from tqdm import tqdm

    images = len(data[0][0])
    per_epoch = updates_per_epoch(images, recipe.batch_size, recipe.replacement)
    iterations = recipe.iterations or round((recipe.epochs or 1) * per_epoch)
    rows: list[Metrics] = []
    start = time.perf_counter()
    with (
        metrics.open("w", newline="") as file,
        tqdm(
            total=iterations * recipe.batch_size, unit=" images", unit_scale=True, leave=False,
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):  # fmt: skip

        def on_update(loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            bar.update(recipe.batch_size)

        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        bar.write(f"{'epoch':>6} {'loss':>8} {'train':>8} {'test':>8} {'seconds':>8}")
        for row in train(
            model, recipe.make_optimizer(model), data, iterations=iterations,
            batch_size=recipe.batch_size, rng=rng, replacement=recipe.replacement,
            on_update=on_update,
        ):  # fmt: skip
            rows.append(row)
            table.writerow([
                f"{row.epoch:g}", f"{row.train_loss:.6f}",
                f"{row.train_accuracy:.6f}", f"{row.test_accuracy:.6f}",
            ])  # fmt: skip
            file.flush()
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


def _draw(
    out: Path, name: str, model: Module, rows: list[Metrics], test: tuple[NDArray[Any], ...]
) -> None:
    x, labels = test
    logits = scores(model, x)
    sure = tg.softmax(logits).data.max(axis=1)
    side = round(x.shape[1] ** 0.5)
    title = f"{name}: {rows[-1].test_accuracy:.2%} of the test digits right"
    figures.curves(out / "curves.png", title, rows)
    figures.predictions(
        out / "predictions.png", x.reshape(-1, side, side), labels, logits.argmax(axis=1), sure
    )


if __name__ == "__main__":
    sys.exit(main())
