"""What ``import tinygrad_np`` costs over ``import numpy``."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

from .report import Section
from .rounds import ROOT, Plan

CODE = """
import json, time
times = [time.perf_counter()]
import numpy
times.append(time.perf_counter())
import tinygrad_np
times.append(time.perf_counter())
print(json.dumps([times[1] - times[0], times[2] - times[1]]))
"""


def import_times(bytecode: str) -> tuple[float, float]:
    """Seconds, in a fresh interpreter: NumPy alone, and then tinygrad_np.

    ``bytecode`` is the folder for compiled files: as an installed package has them.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    output = subprocess.check_output(
        [sys.executable, "-c", CODE], cwd=ROOT, env=environment, text=True
    )
    numpy, ours = json.loads(output)
    return numpy, ours


def section(plan: Plan) -> Section:
    """Medians over fresh interpreters; the first, which compiles to bytecode, does not count."""
    with tempfile.TemporaryDirectory() as bytecode:
        import_times(bytecode)
        times = [import_times(bytecode) for _ in range(plan.rounds)]
    numpy, ours = (statistics.median(column) for column in zip(*times, strict=True))
    text = [
        f"`import numpy` takes {1e3 * numpy:.0f} ms, `import tinygrad_np` {1e3 * ours:.0f} ms more "
        f"(medians of {plan.rounds} fresh interpreters)."
    ]
    return Section("Import", text, {"numpy": numpy, "tinygrad_np": ours, "runs": times})
