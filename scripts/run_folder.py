"""What a training run leaves in its folder: config.json, metrics.csv and pictures."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_np as tg
from scripts import figures
from scripts.training import Metrics, scores
from tinygrad_np.nn import Module

COLUMNS = ("epoch", "train_loss", "train_accuracy", "test_accuracy")


def write_config(out: Path, settings: Mapping[str, Any]) -> None:
    """The settings, and what they ran on: enough to repeat the run."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    versions = {
        "tinygrad_np": tg.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "blas": f"{blas.get('name')} {blas.get('version')}",
    }
    text = json.dumps({**settings, "versions": versions}, indent=2)
    (out / "config.json").write_text(text + "\n")


@contextmanager
def metrics_file(out: Path) -> Iterator[Callable[[Metrics], None]]:
    """A function that adds a row to metrics.csv, on disk at once."""
    with (out / "metrics.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)

        def write(row: Metrics) -> None:
            figures = (row.train_loss, row.train_accuracy, row.test_accuracy)
            table.writerow([f"{row.epoch:g}", *(f"{figure:.6f}" for figure in figures)])
            file.flush()

        yield write


def draw(
    out: Path, name: str, model: Module, rows: Sequence[Metrics], test: tuple[NDArray[Any], ...]
) -> None:
    """curves.png, and predictions.png of the test images (n, pixels)."""
    title = f"{name}: {rows[-1].test_accuracy:.2%} of the test digits right"
    figures.curves(out / "curves.png", title, rows)
    x, labels = test
    probabilities = tg.softmax(scores(model, x)).data
    side = math.isqrt(x.shape[1])
    figures.predictions(
        out / "predictions.png",
        x.reshape(-1, side, side),
        labels,
        probabilities.argmax(axis=1),
        probabilities.max(axis=1),
    )
