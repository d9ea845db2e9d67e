"""What a run leaves in its folder, besides checkpoints: settings, metrics, weights, pictures."""

import argparse
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

import models
import tinygrad_np as tg
from scripts import figures
from scripts.checkpoints import Checkpoints, versions
from scripts.datasets import Data
from scripts.draw_graph import write_graph
from scripts.measures import ACCURACY, Measure
from scripts.training import Metrics, probabilities, restore_model, scores
from tinygrad_np.nn import Module
from tinygrad_np.serialization import replace_file

MODEL = "model.safetensors"
SETTINGS = ("model", "dtype", "dataset", "image_shape", "classes", "pixels")
"""The settings that ``scripts.predict`` and ``scripts.sample`` need."""


def make_model(settings: Mapping[str, Any], rng: np.random.Generator) -> Module:
    """The network of a run, before its first update; of a text's sizes if it is trained on one."""
    sizes = {}
    if settings["pixels"] is None:
        sizes = {"vocabulary": len(settings["classes"]), "context": settings["image_shape"][0]}
    return models.make(settings["model"], rng, settings["dtype"], **sizes)


def load_model(run: Path, settings: Mapping[str, Any]) -> Module:
    """The network of a run with its weights: of the last checkpoint while it is not finished.

    Raises ValueError where they do not fit, FileNotFoundError where there are none.
    """
    model = make_model(settings, np.random.default_rng(0))
    if (run / MODEL).exists():
        arrays = {f"model.{name}": array for name, array in tg.load(run / MODEL).items()}
    elif found := Checkpoints(run).latest():
        print(f"The run is not finished: these are its weights after {found.updates:,} updates.")
        arrays = found.arrays
    else:
        raise FileNotFoundError(f"{run}: holds neither {MODEL} nor a checkpoint")
    restore_model(model, arrays)
    return model


def write_config(out: Path, settings: Mapping[str, Any]) -> None:
    """config.json: the settings and the versions used, enough to repeat the run."""
    text = json.dumps({**settings, "versions": versions()}, indent=2)
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


def write_metrics(out: Path, rows: Sequence[Metrics], measure: Measure) -> None:
    """metrics.csv: a row for every epoch so far."""
    lines = [f"epoch,train_loss,train_{measure.name},test_{measure.name}"]
    lines += [f"{r.epoch:g},{r.train_loss:.6f},{r.train:.6f},{r.test:.6f}" for r in rows]
    replace_file(out / "metrics.csv", ("\n".join(lines) + "\n").encode())


def draw_curves(
    out: Path, title: str, model: Module, rows: Sequence[Metrics], measure: Measure = ACCURACY
) -> None:
    """curves.png; where the first epochs are flat, with the model's explanation of that."""
    flat = len(rows) > 1 and rows[1].train_loss > 0.8 * rows[0].train_loss
    note = getattr(model, "flat_start", "") * flat
    figures.curves(out / "curves.png", title, rows, note, measure)


def draw(out: Path, name: str, model: Module, rows: Sequence[Metrics], data: Data) -> None:
    """Draw the pictures; print a line where the graph could not be drawn."""
    images, value = data.measure is ACCURACY, data.measure.text(rows[-1].test)
    what = "of the test images classified correctly" if images else "bits per character held out"
    title = f"{name} on {Path(data.name).name}: {value} {what}"
    draw_curves(out, title, model, rows, data.measure)
    if images:
        _draw_classes(out, title, model, data)
    try:
        write_graph(out / "graph.svg", model, *data.batch(100, model.parameters()[0].dtype))
    except Exception as error:  # the run itself has succeeded
        print(f"graph.svg was not drawn: {error}")


def _draw_classes(out: Path, title: str, model: Module, data: Data) -> None:
    """confusion.png and predictions.png: the predicted classes of the test images."""
    images, labels = data.sets[1]
    probability = probabilities(model, scores(model, images, data.form))
    predicted, confidence = probability.argmax(axis=1), probability.max(axis=1)
    # A network may have more outputs than the data set has classes.
    classes = [*data.classes, *map(str, range(len(data.classes), probability.shape[1]))]
    figures.confusion(out / "confusion.png", title, labels, predicted, classes)
    if images.ndim == 3:
        path = out / "predictions.png"
        figures.predictions(path, images, labels, predicted, confidence, classes)


@contextmanager
def folder_of_rank(options: argparse.Namespace) -> Iterator[None]:
    """Inside, rank 0 prints and writes to ``options.out``, others to a folder that is removed."""
    if tg.distributed.rank() == 0:
        yield
        return
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
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
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise ValueError(
            f"{out}: another process is training into this folder; choose another --out"
        ) from None
    try:
        yield
    finally:
        os.close(folder)
