"""Compare libraries, each in its own process: check their results, then time them in turns."""

from __future__ import annotations

import functools
import gc
import itertools
import math
import multiprocessing
import os
import sys
import time
import timeit
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.mlp_by_hand import by_hand
from tinygrad_np.data import load_mnist
from tinygrad_np.tensor import Array

from .libraries import LIBRARIES, REFERENCE, Library
from .workloads import Workload, make_problem

CHECKED_STEPS = 10
TOLERANCE = {"float32": 1e-2, "float64": 1e-9}
"""How far the change of the parameters may differ from the one by hand, in the 2-norm, relative.

In float32 the change is itself a difference of rounded numbers, and a relu at its kink may fall to
either side. A wrong factor, sign or term is far above either tolerance."""

PAUSE = 0.06
"""Seconds between the turns of two libraries. OpenBLAS's threads spin for 2**26 clock cycles (26 ms
here) after their last product and occupy the next library's processors: without a pause the same
step took 1.9 ms instead of 0.4."""
WARM_UP = 0.03
"""Seconds of training before each timed round, for the same reason."""


class BenchmarkError(Exception):
    """A library failed, or its results are not those of the network trained by hand."""


class Plan(NamedTuple):
    """What to measure, and how long: rounds, seconds of training in each, steps from the start."""

    rounds: int
    seconds: float
    steps: int = 15_000
    libraries: Sequence[Library] = ()
    workloads: Sequence[Workload] = ()
    dtypes: Sequence[str] = ("float32", "float64")


class Ratio(NamedTuple):
    """The median and the quartiles of a ratio over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(seconds: Sequence[float], others: Sequence[float]) -> Ratio:
    """Times divided by others, round by round."""
    low, median, high = np.quantile(np.divide(seconds, others), [0.25, 0.5, 0.75])
    return Ratio(float(median), float(low), float(high))


def in_turns(
    timed: Sequence[Callable[[], float]], rounds: int, pause: float = 0.0
) -> list[list[float]]:
    """The seconds that each function returns, by rounds; another one begins each round."""
    found: list[list[float]] = [[] for _ in timed]
    for i in range(rounds):
        turn = i % len(timed)
        for j in [*range(turn, len(timed)), *range(turn)]:
            time.sleep(pause)
            found[j].append(timed[j]())
    return found


def clocked(function: Callable[[], object]) -> Callable[[], float]:
    """The function as one that returns the seconds it took."""
    return functools.partial(timeit.timeit, function, number=1)


@dataclass
class Timing:
    """The measurements of a library: seconds a step in each round, memory, threads."""

    contender: Library
    seconds: list[float] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)

    def against(self, other: Timing) -> Ratio:
        """Its time divided by another's, round by round."""
        return ratio(self.seconds, other.seconds)

    @property
    def median(self) -> float:
        """The median seconds of one step."""
        return float(np.median(self.seconds))


def memory(what: str) -> int:
    """This process's resident memory (``VmRSS``) or its peak (``VmHWM``) in bytes.

    Other systems than Linux only know the peak of the whole run.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().partition(f"{what}:")[2].split()[0])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class Trainer:
    """A library at work in its own process; a ``Runner`` calls its methods."""

    def __init__(self, library: Library, workload: Workload, dtype: str) -> None:
        __import__(library.package)
        self.resident, self.workload = memory("VmRSS"), workload
        problem = make_problem(workload, dtype)
        self.training = library.training(problem)
        self.batches = itertools.cycle([self.training.convert(*batch) for batch in problem.batches])

    def train(self, steps: int) -> float:
        """Make ``steps`` updates; return the seconds they took."""
        step, batches = self.training.step, self.batches
        loss: Any = None
        start = time.perf_counter()
        for _ in range(steps):
            loss = step(*next(batches))
        self.training.wait(loss)
        elapsed = time.perf_counter() - start
        if not math.isfinite(last := self.training.read(loss)):
            raise FloatingPointError(f"the loss has become {last}: nothing is measured")
        return elapsed

    def check(self, steps: int) -> list[Array] | None:
        """The losses of some steps and the parameters after them; None: nothing is trained."""
        training = self.training
        losses = [training.read(training.step(*next(self.batches))) for _ in range(steps)]
        if training.parameters is None:
            return None
        return [np.array(losses), *map(np.array, training.parameters())]

    def fit(self, steps: int) -> None:
        """Train on MNIST as users would: a new batch for every step."""
        (x, t), _ = load_mnist()
        training, rng = self.training, np.random.default_rng(0)
        for _ in range(steps):
            rows = rng.integers(len(x), size=self.workload.sizes["batch"])
            loss = training.step(*training.convert(x[rows], t[rows]))
        training.wait(loss)

    def test_loss(self) -> float:
        """The loss of the network on MNIST's test set."""
        _, (x, t) = load_mnist()
        found = self.check(0)
        assert found is not None
        return float(by_hand(found[1:], **{**self.workload.settings, "rate": 0.0}).step(x, t))

    def round(self, seconds: float) -> float:
        """The seconds of one step, of as many as take about ``seconds`` together."""
        gc.collect()
        warm = [0.0]
        while sum(warm) < WARM_UP:
            warm.append(self.train(1))
        steps = max(1, round(seconds / min(warm[1:])))
        return self.train(steps) / steps

    def usage(self) -> dict[str, Any]:
        """The peak of the memory while training, in all and above the imports', and the threads."""
        from threadpoolctl import threadpool_info

        with suppress(OSError):  # count the peak from here, where the system can
            Path("/proc/self/clear_refs").write_text("5")
        self.train(5)
        peak = memory("VmHWM")
        pools = {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()}
        return {"peak": peak, "grown": peak - self.resident, "threads": pools}


@functools.cache
def trainer(module: str, workload: Workload, dtype: str, cache: str | None) -> Trainer:
    """The trainer of this process, made when it is first asked for."""
    os.dup2(2, 1)  # the report goes to the standard output, and nothing else
    warnings.simplefilter("ignore")
    if cache is not None:
        os.environ.update(XDG_CACHE_HOME=cache, TORCHINDUCTOR_CACHE_DIR=cache)
    return Trainer(LIBRARIES[module], workload, dtype)


def work(key: tuple[str, Workload, str, str | None], command: str, *arguments: Any) -> Any:
    """Run a method of the trainer, in its own process."""
    return getattr(trainer(*key), command)(*arguments)


class Runner(ProcessPoolExecutor):
    """A library's process; use it as a context manager. ``cache``: a folder for compiled code."""

    def __init__(
        self, library: Library, workload: Workload, dtype: str, cache: str | None = None
    ) -> None:
        super().__init__(1, multiprocessing.get_context("spawn"))
        self.contender, self.key = library, (library.module, workload, dtype, cache)

    def send(self, command: str, *arguments: Any) -> Callable[[], Any]:
        """Start a method of the Trainer; returns a function that waits for its result.

        The function raises BenchmarkError where the method has failed.
        """
        future = self.submit(work, self.key, command, *arguments)

        def answer() -> Any:
            try:
                return future.result()
            except Exception as error:
                what = f"{type(error).__name__}: {error}".splitlines()[0]
                raise BenchmarkError(f"{self.contender.title}: {what}") from error

        return answer

    def ask(self, command: str, *arguments: Any) -> Any:
        """Run a method of the Trainer and wait for its result."""
        return self.send(command, *arguments)()


def compare(
    libraries: Iterable[Library], workload: Workload, dtype: str, plan: Plan
) -> tuple[list[Timing], dict[str, str]]:
    """Time each library and the reference; also return the failed ones by title, with the reason.

    Raises BenchmarkError where a library's losses or parameters differ from the reference's, and
    where the reference or one of ours fails. A peer that fails is left out.
    """
    given = [REFERENCE, *(library for library in libraries if library is not REFERENCE)]
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        runners = [stack.enter_context(Runner(library, workload, dtype)) for library in given]
        answers = [runner.send("check", CHECKED_STEPS) for runner in runners]
        for runner, answer in zip(list(runners), answers, strict=True):
            try:
                found = answer()
            except BenchmarkError as error:
                if runner.contender is REFERENCE or runner.contender.ours:
                    raise
                failures[runner.contender.title] = str(error)
                runners.remove(runner)
                continue
            if found is not None:
                check(runner.contender, workload, dtype, found, answers[0]())
        turns = [functools.partial(runner.ask, "round", plan.seconds) for runner in runners]
        seconds = in_turns(turns, plan.rounds, PAUSE)
        return [Timing(runner.contender, times, runner.ask("usage"))
                for runner, times in zip(runners, seconds, strict=True)], failures  # fmt: skip


def check(
    library: Library, workload: Workload, dtype: str, found: list[Array], expected: list[Array]
) -> None:
    """Raise BenchmarkError unless a library's losses and parameters are the reference's."""
    (losses, *ends), (expected_losses, *expected_ends) = found, expected
    where = f"{library.title}, {workload.name} ({workload.title}), {dtype}"
    tolerance = TOLERANCE[dtype]
    if not np.allclose(losses, expected_losses, rtol=tolerance, atol=0):
        raise BenchmarkError(f"{where}: losses {losses}, by hand they are {expected_losses}")
    starts = make_problem(workload, dtype).parameters
    for i, (start, end, goal) in enumerate(zip(starts, ends, expected_ends, strict=True)):
        if end.dtype != dtype or end.shape != start.shape:
            raise BenchmarkError(
                f"{where}: parameter {i} is {end.dtype} of shape {end.shape}, "
                f"not {dtype} of shape {start.shape}"
            )
        change, difference = (
            np.linalg.norm(np.subtract(goal, other, dtype=float)) for other in (start, end)
        )
        if not difference <= tolerance * change:
            raise BenchmarkError(
                f"{where}: after {len(losses)} steps parameter {i} differs from the one by hand by "
                f"{difference / change:.1e} of its change; allowed are {tolerance}"
            )
