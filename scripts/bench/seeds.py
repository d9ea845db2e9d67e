"""The second seed document's tables: our time against its own loops in plain NumPy."""

import functools
import statistics
from collections.abc import Callable

import numpy as np

from models import two_layer_loops as loops
from models.experiments import EXPERIMENTS, Experiment
from scripts.reproduce import Images, load_images, tested, trainer

from .report import Section, table
from .rounds import Plan, clocked, in_turns

KINDS = ("plain loops", "eager", "compiled")


def passes(name: str, experiment: Experiment, images: Images) -> list[Callable[[], object]]:
    """For each kind: one more epoch of training, and one evaluation on the test images."""
    rng, weights = loops.start(experiment)
    found: list[Callable[[], object]] = [
        lambda: loops.train_epoch(name, experiment, weights, *images[:2], rng),
        lambda: loops.evaluate(name, weights, *images[2:]),
    ]
    for compiled in (False, True):
        network, train = trainer(experiment, images, printed=True, compiled=compiled)
        found += [train, functools.partial(tested, network, images)]
    return found


def section(plan: Plan) -> Section:
    """Median times of an epoch, in turns, multiplied by the number of a table's epochs."""
    images, data = load_images(), dict[str, list[tuple[float, float]]]()
    for name, experiment in EXPERIMENTS.items():
        timed = [clocked(run) for run in passes(name, experiment, images)]
        for train in timed[::2]:  # the first epoch traces, and fills caches
            train()
        medians = [statistics.median(times) for times in in_turns(timed, max(1, plan.rounds // 3))]
        evaluations = -(-experiment.epochs // 10) + 1
        data[name] = []
        for epoch, test in zip(medians[::2], medians[1::2], strict=True):
            training = experiment.epochs * epoch
            data[name].append((training, training + evaluations * test))
    totals = np.sum([*data.values()], axis=0)
    data["all four"] = [(float(a), float(b)) for a, b in totals]
    rows = []
    for name, ((alone, full), *others) in data.items():
        ratios = [f"{a / alone:.2f}, {b / full:.2f}" for a, b in others]
        rows.append([name, f"{alone:.0f} s, {full:.0f} s", *ratios])
    text = [
        "Training alone, and with evaluation (the document's loops evaluate image by image).",
        "", *table(["table", "plain loops", "eager / loops", "compiled / loops"], rows),
    ]  # fmt: skip
    return Section("The seed document's tables", text, {"kinds": KINDS, **data})
