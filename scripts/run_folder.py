"""What a training run leaves in its folder, besides checkpoints: settings, figures, pictures."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_np as tg
from scripts import figures
from scripts.datasets import Data
from scripts.draw_graph import write_graph
from scripts.training import Metrics, prepared, probabilities, scores
from tinygrad_np.nn import Module
from tinygrad_np.serialization import replace_file

COLUMNS = ("epoch", "train_loss", "train_accuracy", "test_accuracy")
MODEL = "model.safetensors"
SETTINGS = ("model", "dtype", "dataset", "image_shape", "classes")
"""What the run's network is used by."""


def versions() -> dict[str, str]:
    """What a run's last bits may depend on."""
    blas = tg.show_config(mode="dicts")["blas"]
    named = " ".join(str(blas[key]) for key in ("library", "version", "kernel") if blas[key])
    return {
        "tinygrad_np": tg.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "blas": named,
        "blas_threads": str(blas["threads"]),
    }


def write_config(out: Path, settings: Mapping[str, Any], told: Mapping[str, str]) -> None:
    """config.json: the settings and what they run on, enough to repeat the run."""
    text = json.dumps({**settings, "versions": told}, indent=2)
    replace_file(out / "config.json", (text + "\n").encode())


def read_config(out: Path) -> dict[str, Any]:
    """What ``write_config`` wrote; ValueError where it is damaged or another file."""
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
    lines += [
        f"{row.epoch:g},{row.train_loss:.6f},{row.train_accuracy:.6f},{row.test_accuracy:.6f}"
        for row in rows
    ]
    replace_file(out / "metrics.csv", ("\n".join(lines) + "\n").encode())


def write_model(out: Path, model: Module) -> None:
    """model.safetensors: the weights, and nothing else: the same ones make the same file."""
    tg.save(model, out / MODEL)


def draw(out: Path, name: str, model: Module, rows: Sequence[Metrics], data: Data) -> list[str]:
    """The pictures; returns what could not be drawn, in words."""
    title = (
        f"{name} on {Path(data.name).name}: {rows[-1].test_accuracy:.2%} of the test images right"
    )
    figures.curves(out / "curves.png", title, rows)
    images, labels = data.sets[1]
    probability = probabilities(model, scores(model, images, data.pixels.scale))
    predicted = probability.argmax(axis=1)
    unknown = range(len(data.classes), probability.shape[1])  # the network may tell more apart
    classes = [*data.classes, *map(str, unknown)]
    figures.confusion(out / "confusion.png", title, labels, predicted, classes)
    if images.ndim == 3:
        figures.predictions(
            out / "predictions.png", images, labels, predicted, probability.max(axis=1), classes
        )
    x = prepared(data.sets[0][0][:100], model.parameters()[0].dtype, data.pixels.scale)
    try:
        write_graph(out / "graph.svg", model, x, data.sets[0][1][:100].astype(np.int64))
    except Exception as error:  # the run is done, whatever becomes of its drawing
        return [f"graph.svg was not drawn: {error}"]
    return []


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Inside, no other process trains into the folder; ValueError where one does.

    The lock ends with the process, however that ends. Windows has none.
    """
    try:
        import fcntl
        import os
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
