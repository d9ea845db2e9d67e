"""One library in a process of its own, which trains when it is told to.

``python -m scripts.bench.runner LIBRARY WORKLOAD DTYPE`` (the workload in JSON) answers each line
of its input, a command and its arguments as a JSON list, with a JSON object:

- ``["check", STEPS, FILE]`` trains from the initial parameters, writes losses and parameters to an
  .npz file;
- ``["round", SECONDS]`` trains for about so long, gives the seconds of one step;
- ``["usage"]`` trains a few steps; gives the peak of the resident memory in bytes, how far that is
  above what was resident after the imports, and the sizes of the thread pools.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from . import memory
from .libraries import LIBRARIES, Training
from .workloads import Workload, make_problem

WARM_UP = 0.03
"""Seconds of training before each timed round: for as long, the threads of the library whose turn
it was before may still spin, waiting for work."""

Answer = dict[str, Any]


class Trainer:
    """Answers the commands about one training."""

    def __init__(self, training: Training, resident: int) -> None:
        self.training = training
        self.resident = resident
        self.batches = itertools.cycle(training.batches)

    def train(self, steps: int) -> float:
        """So many updates; the seconds they took."""
        step, batches, wait = self.training.step, self.batches, self.training.wait
        loss: Any = None
        start = time.perf_counter()
        for _ in range(steps):
            loss = step(*next(batches))
        wait(loss)
        elapsed = time.perf_counter() - start
        if not math.isfinite(float(loss)):
            raise FloatingPointError(f"the loss has become {float(loss)}: nothing is measured")
        return elapsed

    def train_for(self, seconds: float, together: int) -> float:
        """Updates for at least so long, ``together`` between two looks at the clock; one's time."""
        steps, elapsed = 0, 0.0
        while elapsed < seconds:
            elapsed += self.train(together)
            steps += together
        return elapsed / steps

    def check(self, steps: int, file: str) -> Answer:
        training = self.training
        losses = [float(training.step(*next(self.batches))) for _ in range(steps)]
        if training.parameters is not None:
            np.savez(file, np.array(losses), *training.parameters())
        return {"checked": training.parameters is not None}

    def round(self, seconds: float) -> Answer:
        gc.collect()
        one = self.train_for(WARM_UP, 1)
        return {"seconds": self.train_for(seconds, max(1, round(seconds / 5 / one)))}

    def usage(self) -> Answer:
        memory.reset_peak()
        self.train(5)
        peak = memory.peak()
        pools = {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()}
        return {"peak": peak, "grown": peak - self.resident, "threads": pools}


def main(library: str, workload: str, dtype: str) -> None:
    # The answers alone go to the standard output: whatever libraries print there is kept out.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    given = json.loads(workload)
    problem = make_problem(Workload(**{**given, "sizes": tuple(given["sizes"])}), dtype)
    trainer: Trainer | None = None
    for line in sys.stdin:
        try:
            if trainer is None:
                LIBRARIES[library].load()
                resident = memory.resident()
                trainer = Trainer(LIBRARIES[library].training(problem), resident)
            command, *arguments = json.loads(line)
            method: Callable[..., Answer] = getattr(trainer, command)
            answer = method(*arguments)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
