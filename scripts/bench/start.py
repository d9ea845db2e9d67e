"""Times that users wait for: imports, first calls, and a network from start to finish.

``python -m scripts.bench.start LIBRARY STEPS`` trains the network of ``make train`` on MNIST. It
prints a line when it has finished, then the test loss.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from .libraries import LIBRARIES, Library
from .report import MISSING, Section, table
from .rounds import BenchmarkError, Plan, Runner, ratio
from .workloads import THREE_LAYER, make_problem

ROOT = Path(__file__).parents[2]
STARTERS = ("by_hand", "eager", "compiled", "torch_eager", "jax_jit")
COMPILERS = ("compiled", "torch_compile", "jax_jit")

IMPORTS = """
import json, time
times = [time.perf_counter()]
import numpy
times.append(time.perf_counter())
import tinygrad_np
times.append(time.perf_counter())
print(json.dumps([times[1] - times[0], times[2] - times[1]]))
"""


def import_section(plan: Plan) -> Section:
    """Medians over fresh interpreters; the first, which compiles to bytecode, does not count."""
    with tempfile.TemporaryDirectory() as bytecode:  # as an installed package has it
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", IMPORTS]
        times = [
            json.loads(subprocess.check_output(command, cwd=ROOT, env=environment))
            for _ in range(plan.rounds + 1)
        ][1:]
    numpy, ours = (statistics.median(column) for column in zip(*times, strict=True))
    text = [
        f"`import numpy` takes {1e3 * numpy:.0f} ms, `import tinygrad_np` {1e3 * ours:.0f} ms more "
        f"(medians of {plan.rounds} fresh interpreters)."
    ]
    return Section("Import", text, {"numpy": numpy, "tinygrad_np": ours, "runs": times})


def train(module: str, steps: int) -> None:
    """Train the network of ``make train`` as its users would: a new batch for every step."""
    from tinygrad_np.data import load_mnist

    (x, t), (x_test, t_test) = load_mnist()
    training = LIBRARIES[module].training(make_problem(THREE_LAYER, "float32"))
    rng = np.random.default_rng(0)
    for _ in range(steps):
        rows = rng.integers(len(x), size=THREE_LAYER.sizes["batch"])
        loss = training.step(*training.convert(x[rows], t[rows]))
    training.wait(loss)
    print("finished", flush=True)
    from models.mlp_by_hand import by_hand

    assert training.parameters is not None
    parameters = [np.array(parameter) for parameter in training.parameters()]
    reference = by_hand(parameters, **{**THREE_LAYER.settings, "rate": 0.0})
    print(float(reference.step(x_test, t_test)))


def from_start(library: Library, steps: int) -> tuple[float, float]:
    """Seconds from the start of a process to the end of training, and the test loss."""
    command = [sys.executable, "-m", f"{__package__}.start", library.module, str(steps)]
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        finished = process.stdout.readline()
        seconds = time.perf_counter() - start
        rest = process.stdout.read()
    if process.returncode or not finished:
        raise BenchmarkError(f"{library.title}: its process has failed")
    return seconds, float(rest)


def start_section(libraries: list[Library], plan: Plan) -> Section:
    """Whole trainings in turns, a process each."""
    chosen = [LIBRARIES["by_hand"], *(lib for lib in libraries if lib.module in STARTERS[1:])]
    rounds = max(1, plan.rounds // 5)
    runs = [[from_start(library, plan.steps) for library in chosen] for _ in range(rounds)]
    seconds = {lib.module: [run[i][0] for run in runs] for i, lib in enumerate(chosen)}
    losses = {lib.module: runs[0][i][1] for i, lib in enumerate(chosen)}
    for module, loss in losses.items():
        if not abs(loss - losses["by_hand"]) <= 0.02 * losses["by_hand"]:
            raise BenchmarkError(f"{module}: test loss {loss}, by hand {losses['by_hand']}")
    shown = [lib for lib in chosen if lib.module != "by_hand"]
    rivals = [lib for lib in chosen if lib.module != "compiled"]
    times = [f"{statistics.median(seconds[lib.module]):.1f} s" for lib in chosen]
    rows = [["seconds", *times]]
    for ours in (lib for lib in shown if lib.ours):
        cells = {lib: ratio(seconds[ours.module], seconds[lib.module]) for lib in rivals}
        medians = [f"{cells[lib].median:.2f}" if lib in cells else MISSING for lib in chosen]
        rows.append([f"{ours.title}, divided by", *medians])
    text = [
        f"The network of `make train` ({THREE_LAYER.title}, float32): seconds from the start of "
        f"the process to the end of {plan.steps:,} steps, imports and data included (medians of "
        f"{rounds} runs, in turns).",
        "",
        *table(["", *(lib.title for lib in chosen)], rows),
    ]
    return Section("From start to finish", text, {"seconds": seconds, "losses": losses})


def first_section(libraries: list[Library], plan: Plan) -> Section:
    """The first call of a compiled step, with an empty cache of compiled code and a filled one."""
    chosen = [library for library in libraries if library.module in COMPILERS]
    rounds, data = max(1, plan.rounds // 5), dict[str, Any]()
    for library in chosen:
        times: list[list[float]] = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as cache:
                times.append([])
                for _ in range(2):
                    with Runner(library, THREE_LAYER, "float32", cache) as runner:
                        times[-1].append(runner.ask("train", 1))
        cold, cached = (statistics.median(column) for column in zip(*times, strict=True))
        data[library.module] = {"first": cold, "cached": cached, "runs": times}
    rows = []
    for library in chosen:
        row, other = data[library.module], data.get("torch_compile")
        ratios = [
            f"{row[key] / other[key]:.2f}" if other else MISSING for key in ("first", "cached")
        ]
        rows.append([library.title, f"{row['first']:.2f} s", f"{row['cached']:.2f} s", *ratios])
    text = [
        f"The first call of the compiled step ({THREE_LAYER.title}, float32): tracing, compiling "
        "and one update, imports excluded; with an empty cache of compiled code, and in a new "
        f"process with the cache filled (medians of {rounds}).",
        "",
        *table(["", "first call", "from the cache", "/ torch.compile's", "/ its cached"], rows),
    ]
    return Section("First call", text, data)


if __name__ == "__main__":
    train(sys.argv[1], int(sys.argv[2]))
