"""Times that users wait for: imports, first calls, and a network from start to finish."""

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .libraries import LIBRARIES, Library
from .report import MISSING, Section, table
from .rounds import BenchmarkError, Plan, Runner, in_turns, ratio
from .workloads import THREE_LAYER

ROOT = Path(__file__).parents[2]
STARTERS = ("by_hand", "eager", "compiled", "torch_eager", "jax_jit")
COMPILERS = ("compiled", "torch_compile", "jax_jit")

IMPORTS = """
import timeit
print([timeit.timeit(f"import {name}", number=1) for name in ("numpy", "tinygrad_np")])
"""


def import_section(plan: Plan) -> Section:
    """Medians over fresh interpreters; the first, which compiles to bytecode, does not count."""
    with tempfile.TemporaryDirectory() as bytecode:  # as an installed package has it
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        run = functools.partial(subprocess.check_output, cwd=ROOT, env=environment)
        command = [sys.executable, "-c", IMPORTS]
        times = [json.loads(run(command)) for _ in range(plan.rounds + 1)][1:]
    numpy, ours = (statistics.median(column) for column in zip(*times, strict=True))
    text = [
        f"`import numpy` takes {1e3 * numpy:.0f} ms, `import tinygrad_np` {1e3 * ours:.0f} ms more "
        f"(medians of {plan.rounds} fresh interpreters)."
    ]
    return Section("Import", text, {"numpy": numpy, "tinygrad_np": ours, "runs": times})


def from_start(library: Library, steps: int) -> tuple[float, float]:
    """Seconds from the start of a process to the end of training, and the test loss."""
    start = time.perf_counter()
    with Runner(library, THREE_LAYER, "float32") as runner:
        runner.ask("fit", steps)
        return time.perf_counter() - start, runner.ask("test_loss")


def start_section(plan: Plan) -> Section:
    """Whole trainings in turns, a process each."""
    chosen = [LIBRARIES["by_hand"], *(lib for lib in plan.libraries if lib.module in STARTERS[1:])]
    rounds, losses = max(1, plan.rounds // 5), dict[str, float]()

    def run(library: Library) -> float:
        seconds, losses[library.module] = from_start(library, plan.steps)
        return seconds

    times = in_turns([functools.partial(run, library) for library in chosen], rounds)
    seconds = {library.module: column for library, column in zip(chosen, times, strict=True)}
    for module, loss in losses.items():
        if not abs(loss - losses["by_hand"]) <= 0.02 * losses["by_hand"]:
            raise BenchmarkError(f"{module}: test loss {loss}, by hand {losses['by_hand']}")
    rows = [["seconds", *(f"{statistics.median(column):.1f} s" for column in times)]]
    for ours in (library for library in chosen if library.ours):
        medians = [ratio(seconds[ours.module], column).median for column in times]
        rows.append([f"{ours.title}, divided by", *(f"{median:.2f}" for median in medians)])
    text = [
        f"The network of `make train` ({THREE_LAYER.title}, float32): seconds from the start of "
        f"the process to the end of {plan.steps:,} steps, imports and data included (medians of "
        f"{rounds} runs, in turns).",
        "", *table(["", *(library.title for library in chosen)], rows),
    ]  # fmt: skip
    return Section("From start to finish", text, {"seconds": seconds, "losses": losses})


def first_calls(library: Library) -> list[float]:
    """Seconds of the first step, with an empty cache of compiled code and with a filled one."""
    times = []
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(2):
            with Runner(library, THREE_LAYER, "float32", cache) as runner:
                times.append(runner.ask("train", 1))
    return times


def first_section(plan: Plan) -> Section:
    """The first call of a compiled step, with an empty cache of compiled code and a filled one."""
    rounds, data, rows = max(1, plan.rounds // 5), dict[str, Any](), list[list[str]]()
    chosen = [library for library in plan.libraries if library.module in COMPILERS]
    for library in chosen:
        times = [first_calls(library) for _ in range(rounds)]
        cold, cached = (statistics.median(column) for column in zip(*times, strict=True))
        data[library.module] = {"first": cold, "cached": cached, "runs": times}
    other = data.get("torch_compile")
    for library in chosen:
        pair = {key: data[library.module][key] for key in ("first", "cached")}
        ratios = (f"{pair[key] / other[key]:.2f}" if other else MISSING for key in pair)
        rows.append([library.title, *(f"{s:.2f} s" for s in pair.values()), *ratios])
    text = [
        f"The first call of the compiled step ({THREE_LAYER.title}, float32): tracing, compiling "
        "and one update, imports excluded; with an empty cache of compiled code, and in a new "
        f"process with the cache filled (medians of {rounds}).",
        "", *table(["", "first call", "from the cache", "/ torch.compile's", "/ its cached"], rows),
    ]  # fmt: skip
    return Section("First call", text, data)
