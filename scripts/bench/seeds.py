"""The second seed document's tables: our time against its own loops in plain NumPy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

import tinygrad_np as tg
from models import two_layer_loops as loops
from models.experiments import EXPERIMENTS, Experiment, batch_trainer, train_epoch
from scripts.reproduce import Images, load_images, tested

from .report import Section, table
from .rounds import Plan

Pass = Callable[[], object]
KINDS = ("plain loops", "eager", "compiled")


def passes(name: str, experiment: Experiment, images: Images) -> list[tuple[Pass, Pass]]:
    """For each kind: one more epoch of training, and one evaluation on the test images."""
    rng, weights = loops.start(experiment)
    x_train, t_train, x_test, t_test = images
    return [
        (
            lambda: loops.train_epoch(name, experiment, weights, x_train, t_train, rng),
            lambda: loops.evaluate(name, weights, x_test, t_test),
        ),
        *(_ours(experiment, images, compiled) for compiled in (False, True)),
    ]


def _ours(experiment: Experiment, images: Images, compiled: bool) -> tuple[Pass, Pass]:
    rng = np.random.RandomState(1)
    network = experiment.network(rng, printed=True)
    train_batch = batch_trainer(experiment, network)
    if compiled:
        train_batch = tg.compile(train_batch)
    return (
        lambda: train_epoch(experiment, network, train_batch, *images[:2], rng),
        lambda: tested(network, images),
    )


def seconds(run: Pass) -> float:
    """The time of one pass."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def section(plan: Plan) -> Section:
    """Medians over epochs, in turns; the tables' whole times follow from their lengths."""
    images, rounds = load_images(), max(1, plan.rounds // 3)
    data: dict[str, list[tuple[float, float]]] = {}
    for name, experiment in EXPERIMENTS.items():
        kinds = passes(name, experiment, images)
        for train, _ in kinds:  # the first epoch traces, and fills caches
            train()
        times = [[(seconds(train), seconds(test)) for train, test in kinds] for _ in range(rounds)]
        evaluations = -(-experiment.epochs // 10) + 1
        data[name] = []
        for column in zip(*times, strict=True):
            one, test = (statistics.median(part) for part in zip(*column, strict=True))
            training = experiment.epochs * one
            data[name].append((training, training + evaluations * test))
    totals = np.sum([*data.values()], axis=0)
    data["all four"] = [(float(a), float(b)) for a, b in totals]
    rows = []
    for name, ((alone, full), *others) in data.items():
        ratios = [f"{a / alone:.2f}, {b / full:.2f}" for a, b in others]
        rows.append([name, f"{alone:.0f} s, {full:.0f} s", *ratios])
    text = [
        "Training alone, and with evaluation (the document's loops evaluate image by image).",
        "",
        *table(["table", "plain loops", "eager / loops", "compiled / loops"], rows),
    ]
    return Section("The seed document's tables", text, {"kinds": KINDS, **data})
