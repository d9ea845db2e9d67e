"""How time and memory grow: with depth, width, batch, and the number of ops."""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import Any

import numpy as np

import tinygrad_np as tg

from .libraries import Library
from .report import Section, table
from .rounds import Plan, compare
from .workloads import GROWTH

LENGTHS = (1_000, 10_000, 100_000)
"""Ops in a chain."""


def chain(length: int) -> float:
    """A chain of so many additions, forward and backward; the seconds it took.

    Raises AssertionError where its gradient is not 1.
    """
    x = tg.Tensor(np.zeros(8), requires_grad=True)
    start = time.perf_counter()
    z = x
    for _ in range(length):
        z = z + 1.0
    z.sum().backward()
    elapsed = time.perf_counter() - start
    assert x.grad is not None
    assert (x.grad == 1).all()
    return elapsed


def chain_memory(length: int) -> int:
    """The most bytes that a chain, forward and backward, holds at a time."""
    gc.collect()  # empties Python's lists of free tuples, 2,000 of each size, which nobody counts
    tracemalloc.start()
    try:
        chain(length)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def section(libraries: list[Library], plan: Plan) -> Section:
    """Networks of growing size against hand-written NumPy, and growing chains of ops."""
    ours = [library for library in libraries if library.ours]
    plan = Plan(max(1, plan.rounds // 3), plan.seconds)
    data: dict[str, Any] = {}
    rows = []
    for series, workloads in GROWTH.items():
        for workload in workloads:
            (by_hand, *others), _ = compare(ours, workload, "float32", plan)
            ratios = [timing.against(by_hand) for timing in others]
            rows.append([workload.name, f"{1e6 * by_hand.median:,.0f} µs", *map(str, ratios)])
            data.setdefault(series, {})[workload.name] = {
                timing.contender.module: timing.seconds for timing in (by_hand, *others)
            }
    head = ["network, relu, float32", "by hand", *(library.title for library in ours)]
    text = ["Times of a training step, divided by those of hand-written NumPy.", ""]
    text += table(head, rows)
    rows = []
    for length in LENGTHS:
        seconds = min(chain(length) for _ in range(3))
        held = chain_memory(length)
        data.setdefault("chain", {})[length] = {"seconds": seconds, "bytes": held}
        rows.append(
            [f"{length:,}", f"{1e6 * seconds / length:.2f} µs", f"{held / length:,.0f} bytes"]
        )
    text += ["", "A chain of additions, forward and backward, eager:", ""]
    text += table(["ops", "time an op", "memory an op"], rows)
    return Section("How it grows", text, data)
