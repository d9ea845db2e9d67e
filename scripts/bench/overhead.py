"""What the graph costs: chains of one op on small arrays, ours against the same in bare NumPy.

And how time and memory grow with a chain's length.
"""

import functools
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_np as tg
from models.trained import Array

from .report import Section, table
from .rounds import Plan, clocked, in_turns

LENGTH = 100
"""Ops in a chain: many, so that the fixed cost of a backward pass is shared."""
LENGTHS = (1_000, 10_000, 100_000)
"""Ops in longer and longer chains."""

# Near 1, so that no chain of products falls to denormal numbers, which are slow.
_SQUARE = np.random.default_rng(0).uniform(0.9, 1.1, (8, 8))


class Link(NamedTuple):
    """One op on an array whose shape it keeps, and its gradient by hand from g, x and out."""

    name: str
    forward: Callable[[Any], Any]
    backward: Callable[[Array, Array, Array], Array]
    bare: Callable[[Array], Array] | None = None
    rows: int = 8


def _reversed(g: Array, x: Array, out: Array) -> Array:
    gradient = np.zeros(x.shape, x.dtype)
    gradient[::-1] = g
    return gradient


LINKS = [
    Link("add", lambda x: x + _SQUARE, lambda g, x, out: g),
    Link("multiply", lambda x: x * _SQUARE, lambda g, x, out: g * _SQUARE),
    Link("tanh", tg.tanh, lambda g, x, out: g * (1 - out * out), np.tanh),
    Link("matmul", lambda x: x @ _SQUARE, lambda g, x, out: g @ _SQUARE.T),
    Link("sum", lambda x: x.sum(axis=0, keepdims=True),
         lambda g, x, out: np.broadcast_to(g, x.shape), rows=1),
    Link("getitem", lambda x: x[::-1], _reversed),
]  # fmt: skip


def ours(link: Link, both: bool, length: int = LENGTH) -> Array:
    """The chain on a Tensor: its result, or with ``both`` the gradient of its first array."""
    start = tg.Tensor(_SQUARE[: link.rows], requires_grad=True)
    z: Any = start
    for _ in range(length):
        z = link.forward(z)
    if both:
        z.backward(np.ones(start.shape))
    return np.asarray(start.grad if both else z.data)


def bare(link: Link, both: bool) -> Array:
    """The same in NumPy, the gradient by hand."""
    forward = link.bare or link.forward
    z, passed = _SQUARE[: link.rows], []
    for _ in range(LENGTH):
        out = forward(z)
        if both:
            passed.append((z, out))
        z = out
    g = np.ones(z.shape)
    for x, out in reversed(passed):
        g = link.backward(g, x, out)
    return g if both else z


def overhead(link: Link, rounds: int) -> dict[str, float]:
    """Medians of microseconds an op, ours and bare in turns; "over" is ours less bare.

    Raises AssertionError where the two results differ.
    """
    found = {}
    for name, both in (("forward", False), ("both", True)):
        np.testing.assert_allclose(ours(link, both), bare(link, both), rtol=1e-12)
        chains = [clocked(functools.partial(function, link, both)) for function in (ours, bare)]
        whole, alone = 1e6 / LENGTH * np.array(in_turns(chains, rounds))
        found[f"{name}_bare"] = float(np.median(alone))
        found[f"{name}_over"] = float(np.median(whole - alone))
    return found


def chain_memory(length: int) -> int:
    """The most bytes that a chain of additions, forward and backward, holds at a time."""
    gc.collect()  # also empties Python's free lists of tuples, 2,000 of each size
    tracemalloc.start()
    try:
        ours(LINKS[0], True, length)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def section(plan: Plan) -> Section:
    """The table of all links, and of longer and longer chains of additions."""
    data = {link.name: overhead(link, 20 * plan.rounds) for link in LINKS}
    rows = [[name, *(f"{value:.2f}" for value in found.values())] for name, found in data.items()]
    chains = []
    for length in LENGTHS:
        timed = clocked(functools.partial(ours, LINKS[0], True, length))
        one, held = min(timed() for _ in range(3)) / length, chain_memory(length) / length
        chains.append([f"{length:,}", f"{1e6 * one:.2f} µs", f"{held:,.0f} bytes"])
    head = ["op", "bare, forward", "ours adds", "bare, forward and backward", "ours adds"]
    text = [
        f"Microseconds an op: chains of {LENGTH} ops on arrays of 8 × 8 numbers (float64), "
        "in bare NumPy with the gradients by hand, and what ours adds to that.",
        "", *table(head, rows), "", "A chain of additions, forward and backward, eager:",
        "", *table(["ops", "time an op", "memory an op"], chains),
    ]  # fmt: skip
    return Section("Cost of an op", text, data | {"chains": chains})
