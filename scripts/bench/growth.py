"""How time and memory grow: with depth, width, batch, and the number of ops."""

import functools
import gc
import tracemalloc

from .overhead import LINKS, ours
from .report import Section, table
from .rounds import Plan, clocked, compare
from .workloads import GROWTH

LENGTHS = (1_000, 10_000, 100_000)
"""Ops in a chain."""


def chain(length: int) -> None:
    """A chain of ``length`` additions, forward and backward."""
    ours(LINKS[0], both=True, length=length)


def chain_memory(length: int) -> int:
    """The most bytes that a chain, forward and backward, holds at a time."""
    gc.collect()  # also empties Python's free lists of tuples, 2,000 of each size
    tracemalloc.start()
    try:
        chain(length)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def section(plan: Plan) -> Section:
    """Networks of growing size against hand-written NumPy, and growing chains of ops."""
    contenders = [library for library in plan.libraries if library.ours]
    plan = plan._replace(rounds=max(1, plan.rounds // 3))
    networks = []
    for workload in GROWTH:
        (by_hand, *others), _ = compare(contenders, workload, "float32", plan)
        ratios = [str(timing.against(by_hand)) for timing in others]
        networks.append([workload.title, f"{1e6 * by_hand.median:,.0f} µs", *ratios])
    chains = []
    for length in LENGTHS:
        timed = clocked(functools.partial(chain, length))
        one, held = min(timed() for _ in range(3)) / length, chain_memory(length) / length
        chains.append([f"{length:,}", f"{1e6 * one:.2f} µs", f"{held:,.0f} bytes"])
    text = [
        "Times of a training step in float32, divided by those of hand-written NumPy.",
        "", *table(["network", "by hand", *(library.title for library in contenders)], networks),
        "", "A chain of additions, forward and backward, eager:",
        "", *table(["ops", "time an op", "memory an op"], chains),
    ]  # fmt: skip
    return Section("Growth", text, {"networks": networks, "chains": chains})
