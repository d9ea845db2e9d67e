"""The second seed document's tables: our time against its own loops in plain NumPy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

import tinygrad_np as tg
from scripts import seed_loops
from scripts.reproduction import (
    EXPERIMENTS,
    Experiment,
    Images,
    batch_trainer,
    figures_of,
    load_images,
    train_epoch,
)  # fmt: skip

from .report import Section, table
from .rounds import Plan

Epoch = Callable[[], object]
KINDS = ("plain loops", "eager", "compiled")


def passes(name: str, experiment: Experiment, images: Images) -> list[tuple[Epoch, Epoch]]:
    """For each kind: one more epoch of training, and one evaluation on the test images."""
    rng, weights = seed_loops.start(experiment)
    found: list[tuple[Epoch, Epoch]] = [
        (
            lambda: seed_loops.train_epoch(name, experiment, weights, images, rng),
            lambda: seed_loops.evaluate(name, weights, images),
        )
    ]
    for compiled in (False, True):
        found.append(_ours(experiment, images, compiled))
    return found


def _ours(experiment: Experiment, images: Images, compiled: bool) -> tuple[Epoch, Epoch]:
    rng = np.random.RandomState(1)
    network = experiment.network(rng, printed=True)
    train_batch = batch_trainer(experiment, network)
    if compiled:
        train_batch = tg.compile(train_batch)

    def evaluate() -> object:
        with tg.no_grad():
            outputs = network.outputs(network(images.x_test).data)
        return figures_of(outputs, images.t_test)

    return lambda: train_epoch(experiment, network, train_batch, images, rng), evaluate


def seconds(run: Epoch) -> float:
    """How long one pass takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def section(plan: Plan) -> Section:
    """Medians over epochs in turns; the tables' whole times follow from their numbers of epochs."""
    images, rounds = load_images(), max(1, plan.rounds // 3)
    rows, data = [], {}
    whole = {kind: [0.0, 0.0] for kind in KINDS}
    for name, experiment in EXPERIMENTS.items():
        kinds = passes(name, experiment, images)
        for train, _ in kinds:  # the first epoch traces, and fills caches
            train()
        times = [[(seconds(train), seconds(test)) for train, test in kinds] for _ in range(rounds)]
        evaluations = -(-experiment.epochs // 10) + 1
        cells = []
        for kind, column in zip(KINDS, zip(*times, strict=True), strict=True):
            train, test = (statistics.median(part) for part in zip(*column, strict=True))
            training, full = (
                experiment.epochs * train,
                experiment.epochs * train + evaluations * test,
            )
            whole[kind][0] += training
            whole[kind][1] += full
            cells.append((training, full))
        data[name] = dict(zip(KINDS, cells, strict=True))
        rows.append([name, *_cells(cells)])
    rows.append(["all four", *_cells([(a, b) for a, b in whole.values()])])
    head = ["table", "plain loops", "eager / loops", "compiled / loops"]
    text = [
        "Training alone, and with evaluation (the loops': image by image, as the document's).",
        "",
    ]
    return Section("The seed's tables", [*text, *table(head, rows)], data)


def _cells(cells: list[tuple[float, float]]) -> list[str]:
    (training, full), *ours = cells
    return [
        f"{training:.0f} s, {full:.0f} s",
        *(f"{a / training:.2f}, {b / full:.2f}" for a, b in ours),
    ]
