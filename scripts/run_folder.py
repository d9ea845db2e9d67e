"""What a run leaves in its folder, besides checkpoints: settings, metrics, weights, pictures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_np as tg
from scripts import figures
from scripts.command import Nowhere
from scripts.datasets import Data
from scripts.draw_graph import write_graph
from scripts.training import Metrics, prepared, probabilities, scores
from tinygrad_np.nn import Module
from tinygrad_np.serialization import replace_file

COLUMNS = ("epoch", "train_loss", "train_accuracy", "test_accuracy")
MODEL = "model.safetensors"
SETTINGS = ("model", "dtype", "dataset", "image_shape", "classes", "pixels")
"""The settings that ``scripts.predict`` needs."""


def versions() -> dict[str, str]:
    """What the last bits of a run may depend on."""
    blas = tg.show_config(mode="dicts")["blas"]
    return {
        "tinygrad_np": tg.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "blas": " ".join(str(blas[key]) for key in ("library", "version", "kernel") if blas[key]),
        "blas_threads": str(blas["threads"]),
    }


def write_config(out: Path, settings: Mapping[str, Any], used: Mapping[str, str]) -> None:
    """config.json: the settings and the versions used, enough to repeat the run."""
    text = json.dumps({**settings, "versions": used}, indent=2)
    replace_file(out / "config.json", (text + "\n").encode())


def read_config(out: Path) -> dict[str, Any]:
    """The settings of a run; ValueError where the file is damaged or another one."""
    path = out / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is damaged: {error}") from error
    if not isinstance(config, dict) or not {*SETTINGS} <= config.keys():
        raise ValueError(f"{path}: is not of a run: it lacks some of {', '.join(SETTINGS)}")
    return config


def write_metrics(out: Path, rows: Sequence[Metrics]) -> None:
    """metrics.csv: a row for every epoch so far."""
    lines = [",".join(COLUMNS)]
    for row in rows:
        figures_of_row = (row.train_loss, row.train_accuracy, row.test_accuracy)
        lines.append(f"{row.epoch:g}," + ",".join(f"{figure:.6f}" for figure in figures_of_row))
    replace_file(out / "metrics.csv", ("\n".join(lines) + "\n").encode())


def draw_curves(out: Path, title: str, model: Module, rows: Sequence[Metrics]) -> None:
    """curves.png; where the first epochs are flat, with the model's explanation of that."""
    flat = len(rows) > 1 and rows[1].train_loss > 0.8 * rows[0].train_loss
    figures.curves(out / "curves.png", title, rows, getattr(model, "flat_start", "") * flat)


def draw(out: Path, name: str, model: Module, rows: Sequence[Metrics], data: Data) -> list[str]:
    """Draw the pictures; returns a line for each that could not be drawn."""
    right = f"{rows[-1].test_accuracy:.2%} of the test images classified correctly"
    title = f"{name} on {Path(data.name).name}: {right}"
    draw_curves(out, title, model, rows)
    images, labels = data.sets[1]
    probability = probabilities(model, scores(model, images, data.pixels.scale))
    predicted, confidence = probability.argmax(axis=1), probability.max(axis=1)
    # A network may have more outputs than the data set has classes.
    classes = [*data.classes, *map(str, range(len(data.classes), probability.shape[1]))]
    figures.confusion(out / "confusion.png", title, labels, predicted, classes)
    if images.ndim == 3:
        path = out / "predictions.png"
        figures.predictions(path, images, labels, predicted, confidence, classes)
    x = prepared(data.sets[0][0][:100], model.parameters()[0].dtype, data.pixels.scale)
    try:
        write_graph(out / "graph.svg", model, x, data.sets[0][1][:100].astype(np.int64))
    except Exception as error:  # the run itself has succeeded
        return [f"graph.svg was not drawn: {error}"]
    return []


@contextmanager
def folder_of_rank(options: argparse.Namespace) -> Iterator[None]:
    """Inside, rank 0 prints and writes to ``options.out``, others to a folder that is removed."""
    if tg.distributed.rank() == 0:
        yield
        return
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(Nowhere()):
        options.out, options.pictures = Path(folder), False
        yield


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Inside, no other process can train into the folder; ValueError where one does.

    The lock ends with the process, however that ends. Windows has none.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{out}: another process is training into this folder; choose another --out"
            ) from None
        yield
    finally:
        os.close(folder)
