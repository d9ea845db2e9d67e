"""Libraries against each other: each in its own process, results compared first, then in turns."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .libraries import REFERENCE, Library
from .workloads import Workload, make_problem

ROOT = Path(__file__).parents[2]
CHECKED_STEPS = 10
TOLERANCE = {"float32": 1e-2, "float64": 1e-9}
"""How far the change of the parameters may differ from the one by hand, in the 2-norm, relative.

In float32 the change is itself a difference of rounded numbers, and a relu at its kink may fall to
either side; a wrong factor, sign or term is far above either bound."""

PAUSE = 0.06
"""Seconds between two libraries' turns. OpenBLAS's threads spin for 2**26 clock cycles (26 ms here)
after their last product, and take the next library's processors for as long: without a pause the
same step took 1.9 ms instead of 0.4."""


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


@dataclass
class Timing:
    """What a library needed: seconds a step in each round, memory, its threads."""

    contender: Library
    seconds: list[float] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)

    def against(self, other: Timing) -> Ratio:
        """Its time divided by another's, round by round."""
        ratios = np.divide(self.seconds, other.seconds)
        low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        return Ratio(float(median), float(low), float(high))

    @property
    def median(self) -> float:
        """The median seconds of one step."""
        return float(np.median(self.seconds))


class Runner:
    """A library's process; see ``runner.py``. Use as a context manager."""

    def __init__(self, library: Library, workload: Workload, dtype: str) -> None:
        self.contender = library
        self.errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  # closed by __exit__
        work = json.dumps(dataclasses.asdict(workload))
        command = [sys.executable, "-m", f"{__package__}.runner", library.module, work, dtype]
        self.process = subprocess.Popen(
            command, cwd=ROOT, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def send(self, *command: Any) -> None:
        """Give a command; the process works on it meanwhile."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
        except BrokenPipeError:
            raise self._failure("its process has ended") from None

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the last command."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process has ended"}
        if "error" in answer:
            raise self._failure(answer["error"])
        return answer

    def ask(self, *command: Any) -> dict[str, Any]:
        """Give a command and wait for the answer."""
        self.send(*command)
        return self.answer()

    def _failure(self, what: str) -> BenchmarkError:
        self.errors.seek(0)
        print(self.errors.read()[-4000:], file=sys.stderr)
        return BenchmarkError(f"{self.contender.title}: {what}")


@dataclass(frozen=True)
class Plan:
    """How long to measure: rounds, and seconds of training in each."""

    rounds: int
    seconds: float


def compare(
    libraries: Iterable[Library], workload: Workload, dtype: str, plan: Plan
) -> tuple[list[Timing], dict[str, str]]:
    """Time each library against the reference; also those that failed, by title, and how.

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
                checked = runner.answer()["checked"]
            except BenchmarkError as error:
                if runner.contender is REFERENCE or runner.contender.ours:
                    raise
                failures[runner.contender.title] = str(error)
                runners.remove(runner)
                continue
            if checked:
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
        change = np.subtract(expected, start, dtype=float)
        difference = np.linalg.norm(np.subtract(end, expected, dtype=float))
        if not difference <= tolerance * np.linalg.norm(change):
            raise BenchmarkError(
                f"{where}: after {len(losses)} steps parameter {i} differs from the one by hand by "
                f"{difference / np.linalg.norm(change):.1e} of its change; allowed are {tolerance}"
            )


def take_turns(runners: Sequence[Runner], plan: Plan) -> list[Timing]:
    """Let the runners train in turns; the first one's times are the reference for all."""
    timings = [Timing(runner.contender) for runner in runners]
    for i in range(plan.rounds):
        turn = i % len(runners)  # begin with another each time, so that none is always first
        for j in [*range(turn, len(runners)), *range(turn)]:
            time.sleep(PAUSE)
            timings[j].seconds.append(runners[j].ask("round", plan.seconds)["seconds"])
    for runner, timing in zip(runners, timings, strict=True):
        timing.usage = runner.ask("usage")
    return timings
