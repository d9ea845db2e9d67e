"""Training in many processes: measured on this machine, predicted for a cluster.

``python -m scripts.bench.ranks SECONDS`` is what each rank runs; rank 0 prints what it measured.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_np as tg
from tinygrad_np import distributed

from .report import Section, table
from .rounds import BenchmarkError, Plan, ratio
from .workloads import WORKLOADS, Problem, make_problem

WORKLOAD = WORKLOADS["W4"]
BATCH = WORKLOAD.settings["batch"]
NODES = (8, 64)
"""Numbers of nodes, with one rank each, for which times are predicted."""
NETWORKS = {"this machine's memory": None, "10 Gbit/s Ethernet": (30e-6, 1.1e9),
            "100 Gbit/s InfiniBand": (3e-6, 11e9)}  # fmt: skip
"""Latency in seconds and bandwidth in bytes a second, assumed; None: measured on this machine."""


def launch(ranks: int, *command: str) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment for so many ranks with one BLAS thread each."""
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec") or "mpiexec"
    environment = {
        **os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        # For Open MPI: allow more ranks than cores, and root, as in a container.
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }  # fmt: skip
    return [mpiexec, "-n", str(ranks), sys.executable, *command], environment


def section(plan: Plan) -> Section:
    """W4 in 1 to N ranks, where N is the number of cores, and predictions for more nodes."""
    title = "Many machines"
    try:
        import mpi4py  # noqa: F401
    except ImportError:
        return Section(title, ["Not measured: it needs `pip install -e '.[mpi]'`."], {})
    cores = tg.show_config(mode="dicts")["processor"]["cores"]
    counts = range(1, cores + 1)
    rounds = [[_measure(ranks, plan.seconds) for ranks in counts] for _ in range(plan.rounds)]
    rows = []
    one = [found[0]["step"] for found in rounds]
    for i, ranks in enumerate(counts):
        each = [found[i]["step"] for found in rounds]
        efficiency = ratio(one, [ranks * seconds for seconds in each])
        rows.append([str(ranks), f"{1e3 * float(np.median(each)):.1f} ms", str(efficiency)])
    text = [
        f"Workload {WORKLOAD.name} ({WORKLOAD.title}), float32, compiled: the ranks on this "
        "machine share one batch, with one BLAS thread each. One rank is one process, which "
        "exchanges nothing. Efficiency: the time of one rank, divided by ranks × time. Medians, "
        f"and in brackets the quartiles, of {plan.rounds} rounds.",
        "", *table(["ranks", "time of a step", "efficiency"], rows),
    ]  # fmt: skip
    if cores > 1:
        pair = {key: _median(rounds, 1, key) for key in ("bytes", "short", "long")}
        parts = {p: _median(rounds, 1, f"part {p}") for p in (1, *NODES)}
        text += _predicted(pair, float(np.median(one)), parts)
    return Section(title, text, rounds)


def _median(rounds: list[Any], i: int, key: str) -> float:
    return float(np.median([found[i][key] for found in rounds]))


def _measure(ranks: int, seconds: float) -> Any:
    command, environment = launch(ranks, "-m", "scripts.bench.ranks", str(seconds))
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{ranks} ranks: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def exchange_seconds(ranks: int, nbytes: float, latency: float, bandwidth: float) -> float:
    """The time of an Allreduce by recursive halving and doubling, after a short one.

    It takes 2 log2(ranks) latencies, and each rank sends and receives 2 (ranks - 1) / ranks of the
    bytes; the short one takes log2(ranks) latencies. (Thakur, Rabenseifner, Gropp 2005.)
    """
    return 3 * math.log2(ranks) * latency + 2 * (ranks - 1) / ranks * nbytes / bandwidth


def _predicted(found: dict[str, float], one: float, parts: dict[int, float]) -> list[str]:
    """Predicted times of a step.

    ``found`` holds the times of exchanges, ``one`` is the time of one process for a batch, and
    ``parts[p]`` that of a rank for 1/p of a batch, without the exchange.
    """
    nbytes = found["bytes"]
    measured = found["short"], nbytes / (found["long"] - found["short"])
    rows = []
    for (network, given), ranks in itertools.product(NETWORKS.items(), NODES):
        exchange = exchange_seconds(ranks, nbytes, *(given or measured))
        same, grown = parts[ranks], parts[1]
        rows.append([
            network, str(ranks), f"{1e3 * exchange:.1f} ms",
            f"{1e3 * (same + exchange):.1f} ms", f"{one / (same + exchange) / ranks:.2f}",
            f"{1e3 * (grown + exchange):.1f} ms", f"{one / (grown + exchange):.2f}",
        ])  # fmt: skip
    batch = WORKLOAD.settings["batch"]
    return [
        "",
        f"An Allreduce of two ranks on this machine takes {1e6 * found['short']:.1f} µs for 8 "
        f"bytes and {1e3 * found['long']:.2f} ms for {nbytes / 1e6:.1f} MB, the size of the "
        f"gradients: a latency of {1e6 * measured[0]:.1f} µs and a bandwidth of "
        f"{measured[1] / 1e9:.1f} GB/s.",
        "",
        "**Predictions, not measurements**, for P nodes with one rank each: the time of a step is "
        "the measured time of one rank for its part of the batch, plus 3 log2(P) latencies and the "
        "transfer of 2 (P - 1) / P of the gradients' bytes. Latencies and bandwidths of the "
        "networks are assumed.",
        "",
        *table(["network", "nodes", "exchange", f"batch {batch} in all", "efficiency",
                f"batch {batch} each", "efficiency"], rows),
    ]  # fmt: skip


# What each rank runs


def main(seconds: float) -> None:
    """Measure; rank 0 prints the medians as JSON."""
    distributed.init(required=True)
    if hasattr(os, "sched_setaffinity"):  # each rank on a core of its own
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[distributed.rank() % len(cores)]})
    problem = make_problem(WORKLOAD, "float32")
    found: dict[str, float] = {"step": step_seconds(problem, seconds, 1)}
    gradients = np.zeros(sum(array.size for array in problem.parameters), np.float32)
    found["bytes"] = gradients.nbytes
    for name, array in (("short", gradients[:2]), ("long", gradients)):
        found[name] = _timed(functools.partial(distributed.all_reduce, array), seconds)
    with distributed.alone():
        found |= {f"part {p}": step_seconds(problem, seconds, p) for p in (1, *NODES)}
    if distributed.rank() == 0:
        print(json.dumps(found))


def _timed(function: Callable[[], Any], seconds: float) -> float:
    """The median time of a call, among as many calls as the seconds allow, and at least five.

    All ranks make the same number of calls.
    """
    function()
    start = time.perf_counter()
    function()
    once = float(distributed.all_reduce(time.perf_counter() - start, "max"))
    times = []
    for _ in range(max(5, round(seconds / once))):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def step_seconds(problem: Problem, seconds: float, parts: int) -> float:
    """The median time of a step on a batch of 1/parts of the workload's size."""
    parameters = [tg.Tensor(array, True) for array in problem.copies()]
    optimizer = tg.optim.SGD(parameters, problem.workload.settings["rate"])

    @tg.compile
    def step(x: Any, t: Any) -> tg.Tensor:
        for i in range(0, len(parameters) - 2, 2):
            x = tg.relu(x @ parameters[i] + parameters[i + 1])
        loss = tg.softmax_cross_entropy(x @ parameters[-2] + parameters[-1], t)
        loss.backward()
        distributed.average_gradients(parameters)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    rows = problem.workload.settings["batch"] // parts
    x, t = problem.batches[0]
    mine = distributed.share(x[:rows], t[:rows])
    return _timed(lambda: step(*mine), seconds)


if __name__ == "__main__":
    main(float(sys.argv[1]))
