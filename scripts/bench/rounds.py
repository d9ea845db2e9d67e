"""Libraries against each other: each in its own process, results compared first, then in turns."""

from __future__ import annotations

import functools
import gc
import itertools
import math
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from .libraries import LIBRARIES, REFERENCE, Library
from .workloads import Problem, Workload, make_problem

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


@dataclass(frozen=True)
class Ratio:
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


@dataclass(frozen=True)
class Plan:
    """How long to measure: rounds, seconds of training in each, steps from the process's start."""

    rounds: int
    seconds: float
    steps: int = 15_000


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

    def __init__(self, library: Library, problem: Problem) -> None:
        __import__(library.package)
        self.resident = memory("VmRSS")
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

    def train_for(self, seconds: float, together: int) -> float:
        """Train for ``seconds`` or more, ``together`` updates at a time; return the time of one."""
        steps, elapsed = 0, 0.0
        while elapsed < seconds:
            elapsed += self.train(together)
            steps += together
        return elapsed / steps

    def check(self, steps: int, file: str) -> bool:
        """Write losses and parameters after some steps to a file; False: nothing is trained."""
        training = self.training
        losses = [training.read(training.step(*next(self.batches))) for _ in range(steps)]
        if training.parameters is not None:
            np.savez(file, np.array(losses), *training.parameters())
        return training.parameters is not None

    def round(self, seconds: float) -> float:
        """The seconds of one step."""
        gc.collect()
        one = self.train_for(WARM_UP, 1)
        return self.train_for(seconds, max(1, round(seconds / 5 / one)))

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
    return Trainer(LIBRARIES[module], make_problem(workload, dtype))


def work(key: tuple[str, Workload, str, str | None], command: str, *arguments: Any) -> Any:
    """Run a method of the trainer, in its own process."""
    return getattr(trainer(*key), command)(*arguments)


class Runner:
    """A library's process; use it as a context manager. ``cache``: a folder for compiled code."""

    def __init__(
        self, library: Library, workload: Workload, dtype: str, cache: str | None = None
    ) -> None:
        self.contender, self.key = library, (library.module, workload, dtype, cache)
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def send(self, command: str, *arguments: Any) -> None:
        """Start a method of the Trainer; ``answer`` waits for its result."""
        self.future = self.pool.submit(work, self.key, command, *arguments)

    def answer(self) -> Any:
        """The result of the last command; BenchmarkError where it failed."""
        try:
            return self.future.result()
        except Exception as error:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise BenchmarkError(f"{self.contender.title}: {what}") from error

    def ask(self, command: str, *arguments: Any) -> Any:
        """Run a method of the Trainer and wait for its result."""
        self.send(command, *arguments)
        return self.answer()


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
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runners = [stack.enter_context(Runner(library, workload, dtype)) for library in given]
        for runner in runners:
            runner.send("check", CHECKED_STEPS, str(folder / f"{runner.contender.module}.npz"))
        for runner in list(runners):
            try:
                trained = runner.answer()
            except BenchmarkError as error:
                if runner.contender is REFERENCE or runner.contender.ours:
                    raise
                failures[runner.contender.title] = str(error)
                runners.remove(runner)
                continue
            if trained:
                check(runner.contender, workload, dtype, folder)
        return take_turns(runners, plan), failures


def check(library: Library, workload: Workload, dtype: str, folder: Path) -> None:
    """Raise BenchmarkError unless a library's results, in ``folder``, are the reference's."""
    (losses, *ends), (expected_losses, *expected_ends) = (
        list(np.load(folder / f"{name}.npz").values())
        for name in (library.module, REFERENCE.module)
    )
    where = f"{library.title}, {workload.name} ({workload.title}), {dtype}"
    tolerance = TOLERANCE[dtype]
    if not np.allclose(losses, expected_losses, rtol=tolerance, atol=0):
        raise BenchmarkError(f"{where}: losses {losses}, by hand they are {expected_losses}")
    starts = make_problem(workload, dtype).parameters
    for i, (start, end, expected) in enumerate(zip(starts, ends, expected_ends, strict=True)):
        if end.dtype != dtype or end.shape != start.shape:
            raise BenchmarkError(
                f"{where}: parameter {i} is {end.dtype} of shape {end.shape}, "
                f"not {dtype} of shape {start.shape}"
            )
        change = np.linalg.norm(np.subtract(expected, start, dtype=float))
        difference = np.linalg.norm(np.subtract(end, expected, dtype=float))
        if not difference <= tolerance * change:
            raise BenchmarkError(
                f"{where}: after {len(losses)} steps parameter {i} differs from the one by hand by "
                f"{difference / change:.1e} of its change; allowed are {tolerance}"
            )


def take_turns(runners: Sequence[Runner], plan: Plan) -> list[Timing]:
    """Let the runners train in turns."""
    timings = [Timing(runner.contender) for runner in runners]
    for i in range(plan.rounds):
        turn = i % len(runners)  # another one begins each time, so that none is always first
        for j in [*range(turn, len(runners)), *range(turn)]:
            time.sleep(PAUSE)
            timings[j].seconds.append(runners[j].ask("round", plan.seconds))
    for runner, timing in zip(runners, timings, strict=True):
        timing.usage = runner.ask("usage")
    return timings
