"""Training steps: every library on the workloads, as tables of ratios to hand-written NumPy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from .libraries import LIBRARIES, REFERENCE, Library
from .report import MISSING, Section, table
from .rounds import Plan, Timing, compare
from .workloads import Workload

Found = Mapping[Workload, Mapping[str, Timing]]
"""The timings of the libraries, by module, on each workload."""

RIVALS = {
    "by hand": ("by_hand",),
    "by hand, tuned": ("by_hand_tuned",),
    "its GEMMs alone": ("gemms",),
    "faster of torch and torch.compile": ("torch_eager", "torch_compile"),
    "jax.jit (donated)": ("jax_jit",),
}
"""What ours is divided by."""


def section(
    libraries: list[Library], workloads: list[Workload], dtypes: list[str], plan: Plan
) -> Section:
    """For each dtype: the times, the ratio of ours to each rival, and peak memory."""
    text = [
        "One training step (forward, backward, update): its time divided by that of hand-written "
        "NumPy, in the same round. Medians, and in brackets the quartiles, of "
        f"{plan.rounds} rounds; below 1 is faster."
    ]
    data: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for dtype in dtypes:
        found: dict[Workload, dict[str, Timing]] = {}
        for workload in workloads:
            print(f"  {workload.name} {dtype}: {workload.title}", file=sys.stderr)
            able = [library for library in libraries if library.function(workload.network)]
            timings, failed = compare(able, workload, dtype, plan)
            found[workload] = {timing.contender.module: timing for timing in timings}
            failures |= failed
        data[dtype] = {workload.name: _data(timings) for workload, timings in found.items()}
        text += ["", f"**{dtype}**", "", *times(found), "", *against(found), "", *memory(found)]
    for title, failure in failures.items():
        text += ["", f"Not measured: {title}, because {failure}."]
    return Section("Training steps", text, data)


def _data(timings: Mapping[str, Timing]) -> dict[str, Any]:
    """All measurements of one workload, for JSON."""
    reference, data = timings[REFERENCE.module], {}
    for module, timing in timings.items():
        ratio = timing.against(reference)
        data[module] = {
            "title": timing.contender.title,
            "microseconds": 1e6 * timing.median,
            "ratio": ratio.median,
            "quartiles": [ratio.low, ratio.high],
            "seconds_per_round": timing.seconds,
            **timing.usage,
        }
    return data


def _modules(found: Found) -> list[str]:
    """All libraries that were measured, in their order."""
    measured = {module for timings in found.values() for module in timings}
    return [module for module in LIBRARIES if module in measured]


def _rows(found: Found, modules: list[str], cell: Callable[[Timing, Any], str]) -> list[list[str]]:
    """A row for each library, a column for each workload."""
    return [
        [
            LIBRARIES[module].title,
            *(cell(t[module], t) if module in t else MISSING for t in found.values()),
        ]
        for module in modules
    ]


def times(found: Found) -> list[str]:
    """The reference's times, and those of the others divided by them."""

    def cell(timing: Timing, timings: Mapping[str, Timing]) -> str:
        reference = timings[REFERENCE.module]
        is_reference = timing is reference
        return f"{1e6 * timing.median:,.0f} µs" if is_reference else str(timing.against(reference))

    head = ["", *(f"{workload.name} {workload.title}" for workload in found)]
    return table(head, _rows(found, _modules(found), cell))


def against(found: Found) -> list[str]:
    """Ours divided by each rival: compiled, or eager where compiled was not measured."""
    measured = _modules(found)
    ours = "compiled" if "compiled" in measured else "eager"
    rivals = {
        title: modules for title, modules in RIVALS.items() if not {*modules}.isdisjoint(measured)
    }
    rows = []
    for workload, timings in found.items():
        row = [workload.name]
        for modules in rivals.values():
            present = [timings[module] for module in modules if module in timings]
            best = min(present, key=lambda timing: timing.median, default=None)
            known = best is not None and ours in timings
            row.append(str(timings[ours].against(best)) if known and best else MISSING)
        rows.append(row)
    return table([f"{LIBRARIES[ours].title}, divided by", *rivals], rows)


def memory(found: Found) -> list[str]:
    """Peak memory while training, above what was resident after the imports."""
    modules = [module for module in _modules(found) if module != "gemms"]
    head = ["peak memory above the imports'", *(workload.name for workload in found)]
    return table(head, _rows(found, modules, lambda t, _: f"{t.usage['grown'] / 1e6:,.0f} MB"))
