"""How time and memory grow: with depth, width, batch, and the number of ops."""

from __future__ import annotations

import gc
import time
import tracemalloc
from dataclasses import replace

import numpy as np

import tinygrad_np as tg

from .libraries import Library
from .report import Section, table
from .rounds import Plan, compare
from .workloads import GROWTH

LENGTHS = (1_000, 10_000, 100_000)
"""Ops in a chain."""


def chain(length: int) -> float:
    """The seconds of a chain of ``length`` additions, forward and backward.

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
    gc.collect()  # also empties Python's free lists of tuples, 2,000 of each size
    tracemalloc.start()
    try:
        chain(length)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def section(libraries: list[Library], plan: Plan) -> Section:
    """Networks of growing size against hand-written NumPy, and growing chains of ops."""
    ours = [library for library in libraries if library.ours]
    plan = replace(plan, rounds=max(1, plan.rounds // 3))
    networks = []
    for workload in GROWTH:
        (by_hand, *others), _ = compare(ours, workload, "float32", plan)
        ratios = [str(timing.against(by_hand)) for timing in others]
        networks.append([workload.title, f"{1e6 * by_hand.median:,.0f} µs", *ratios])
    chains = []
    for length in LENGTHS:
        one = min(chain(length) for _ in range(3)) / length
        held = chain_memory(length) / length
        chains.append([f"{length:,}", f"{1e6 * one:.2f} µs", f"{held:,.0f} bytes"])
    text = [
        "Times of a training step in float32, divided by those of hand-written NumPy.",
        "",
        *table(["network", "by hand", *(library.title for library in ours)], networks),
        "",
        "A chain of additions, forward and backward, eager:",
        "",
        *table(["ops", "time an op", "memory an op"], chains),
    ]
    return Section("Growth", text, {"networks": networks, "chains": chains})
