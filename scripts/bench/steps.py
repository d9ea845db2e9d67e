"""Training steps: every library on the workloads, as tables of ratios to hand-written NumPy."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from .libraries import LIBRARIES, REFERENCE
from .report import MISSING, Section, table
from .rounds import Plan, Timing, compare
from .workloads import GROWTH, Workload

Timings = Mapping[str, Timing]
"""The timings of the libraries on a workload, by module."""

RIVALS = {
    "by hand": ("by_hand",),
    "by hand, tuned": ("by_hand_tuned",),
    "its GEMMs alone": ("gemms",),
    "faster of torch and torch.compile": ("torch_eager", "torch_compile"),
    "jax.jit (donated)": ("jax_jit",),
}
"""The libraries by whose times ours is divided."""


def section(plan: Plan) -> Section:
    """For each dtype: the times, the ratio of ours to each rival, and peak memory."""
    text = [
        "One training step (forward, backward, update): its time divided by that of hand-written "
        "NumPy, in the same round. Medians, and in brackets the quartiles, of "
        f"{plan.rounds} rounds; below 1 is faster."
    ]
    data: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for dtype in plan.dtypes:
        found: dict[Workload, Timings] = {}
        for workload in plan.workloads:
            print(f"  {workload.name} {dtype}: {workload.title}", file=sys.stderr)
            able = [library for library in plan.libraries if library.function(workload.network)]
            timings, failed = compare(able, workload, dtype, plan)
            found[workload] = {timing.contender.module: timing for timing in timings}
            failures |= failed
        data[dtype] = {workload.name: _data(timings) for workload, timings in found.items()}
        text += ["", f"**{dtype}**", *tables(found)]
    for title, failure in failures.items():
        text += ["", f"Not measured: {title}, because {failure}."]
    return Section("Training steps", text, data)


def _data(timings: Timings) -> dict[str, Any]:
    """All measurements of one workload, for JSON."""
    ratios = {module: t.against(timings[REFERENCE.module]) for module, t in timings.items()}
    return {
        module: {
            "title": timing.contender.title, "microseconds": 1e6 * timing.median,
            "ratio": ratios[module].median, "quartiles": ratios[module][1:],
            "seconds_per_round": timing.seconds, **timing.usage,
        }
        for module, timing in timings.items()
    }  # fmt: skip


def tables(found: Mapping[Workload, Timings]) -> list[str]:
    """Times, divided by the reference's; ours divided by each rival's; peak memory."""
    measured = [m for m in LIBRARIES if any(m in timings for timings in found.values())]

    def rows(modules: list[str], cell: Callable[[Timing, Timing], str]) -> list[list[str]]:
        """A row for each library, a column for each workload."""
        return [
            [LIBRARIES[m].title, *(cell(t[m], t[REFERENCE.module]) if m in t else MISSING
                                   for t in found.values())]
            for m in modules
        ]  # fmt: skip

    def time(timing: Timing, by_hand: Timing) -> str:
        whole = f"{1e6 * timing.median:,.0f} µs"
        return whole if timing is by_hand else str(timing.against(by_hand))

    # Compiled, or eager where compiled was not measured.
    ours = "compiled" if "compiled" in measured else "eager"
    rivals = {title: modules for title, modules in RIVALS.items() if {*modules} & {*measured}}

    def best(timings: Timings, modules: tuple[str, ...]) -> str:
        present = [timings[module] for module in modules if module in timings]
        if not present or ours not in timings:
            return MISSING
        return str(timings[ours].against(min(present, key=lambda timing: timing.median)))

    against = [[w.name, *(best(t, modules) for modules in rivals.values())]
               for w, t in found.items()]  # fmt: skip
    trained = [module for module in measured if module != "gemms"]
    memory = rows(trained, lambda timing, _: f"{timing.usage['grown'] / 1e6:,.0f} MB")
    return [
        "", *table(["", *(f"{w.name} {w.title}" for w in found)], rows(measured, time)),
        "", *table([f"{LIBRARIES[ours].title}, divided by", *rivals], against),
        "", *table(["peak memory above the imports'", *(w.name for w in found)], memory),
    ]  # fmt: skip


def growth_section(plan: Plan) -> Section:
    """Ours on networks of growing size, against hand-written NumPy."""
    ours = [library for library in plan.libraries if library.ours]
    plan = plan._replace(rounds=max(1, plan.rounds // 3))
    rows = []
    for workload in GROWTH:
        (by_hand, *others), _ = compare(ours, workload, "float32", plan)
        ratios = [str(timing.against(by_hand)) for timing in others]
        rows.append([workload.title, f"{1e6 * by_hand.median:,.0f} µs", *ratios])
    text = [
        "Times of a training step in float32, divided by those of hand-written NumPy.",
        "", *table(["network", "by hand", *(library.title for library in ours)], rows),
    ]  # fmt: skip
    return Section("Growth", text, {"networks": rows})
