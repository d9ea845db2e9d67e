"""Training steps: every library on the workloads, as tables of ratios to hand-written NumPy."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from .libraries import LIBRARIES, REFERENCE, Library
from .report import Section, table
from .rounds import Plan, Timing, compare
from .workloads import Workload

Timings = Mapping[str, Timing]
"""What the libraries needed for one workload, by module."""

RIVALS = {
    "by hand": ("by_hand",),
    "by hand, tuned": ("by_hand_tuned",),
    "its GEMMs alone": ("gemms",),
    "torch, torch.compile: the faster": ("torch_eager", "torch_compile"),
    "jax.jit": ("jax_jit",),
}
"""What ours is held against."""

MISSING = "–"


def section(
    libraries: list[Library], workloads: list[Workload], dtypes: list[str], plan: Plan
) -> Section:
    """For each dtype a table of times and one of ours against each rival, and peak memory."""
    text = [
        "One training step (forward, backward, update): its time divided by that of hand-written "
        "NumPy, in the same round. Medians, and in brackets the quartiles, of "
        f"{plan.rounds} rounds; below 1 is faster."
    ]
    data: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for dtype in dtypes:
        found: dict[Workload, Timings] = {}
        for workload in workloads:
            print(f"  {workload.name} {dtype}: {workload.title}", file=sys.stderr)
            timings, failed = compare(libraries, workload, dtype, plan)
            found[workload] = {timing.contender.module: timing for timing in timings}
            failures |= failed
        data[dtype] = {workload.name: _data(timings) for workload, timings in found.items()}
        text += ["", f"**{dtype}**", "", *times(found)]
        text += ["", *against(found)]
        text += ["", *memory(found)]
    for title, failure in failures.items():
        text += ["", f"Not measured: {title}, because {failure}."]
    return Section("Training steps", text, data)


def _data(timings: Timings) -> dict[str, Any]:
    """Of one workload, for JSON: all there is."""
    reference = timings[REFERENCE.module]
    return {
        module: {
            "title": timing.contender.title,
            "microseconds": 1e6 * timing.median,
            "ratio": timing.against(reference).median,
            "quartiles": [timing.against(reference).low, timing.against(reference).high],
            "seconds_per_round": timing.seconds,
            **timing.usage,
        }
        for module, timing in timings.items()
    }


def _modules(found: Mapping[Workload, Timings]) -> Iterable[str]:
    """All libraries that were measured, in their order."""
    measured = {module for timings in found.values() for module in timings}
    return [module for module in LIBRARIES if module in measured]


def times(found: Mapping[Workload, Timings]) -> list[str]:
    """A row for each library, a column for each workload."""
    head = ["", *(f"{workload.name} {workload.title}" for workload in found)]
    rows = []
    for module in _modules(found):
        row = [LIBRARIES[module].title]
        for timings in found.values():
            timing, reference = timings.get(module), timings[REFERENCE.module]
            if timing is None:
                row.append(MISSING)
            elif timing is reference:
                row.append(f"{1e6 * timing.median:,.0f} µs")
            else:
                row.append(str(timing.against(reference)))
        rows.append(row)
    return table(head, rows)


def against(found: Mapping[Workload, Timings]) -> list[str]:
    """Ours divided by each rival: compiled, or eager where nothing is compiled."""
    measured = _modules(found)
    ours = "compiled" if "compiled" in measured else "eager"
    rivals = {
        title: [module for module in modules if module in measured]
        for title, modules in RIVALS.items()
    }
    rivals = {title: modules for title, modules in rivals.items() if modules}
    if ours not in measured:
        return []
    rows = []
    for workload, timings in found.items():
        row = [workload.name]
        for modules in rivals.values():
            present = [timings[module] for module in modules if module in timings]
            best = min(present, key=lambda timing: timing.median, default=None)
            row.append(MISSING if best is None else str(timings[ours].against(best)))
        rows.append(row)
    return table([f"{LIBRARIES[ours].title}, divided by", *rivals], rows)


def memory(found: Mapping[Workload, Timings]) -> list[str]:
    """Peak memory while training, above what was resident after the imports."""
    modules = [module for module in _modules(found) if module != "gemms"]
    rows = [
        [
            LIBRARIES[module].title,
            *(
                f"{timings[module].usage['grown'] / 1e6:,.0f} MB" if module in timings else MISSING
                for timings in found.values()
            ),
        ]
        for module in modules
    ]
    return table(["peak memory above the imports'", *(workload.name for workload in found)], rows)
