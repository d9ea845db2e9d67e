"""What the graph costs: chains of one op on small arrays, ours against the same in bare NumPy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_np as tg

from .report import Section, table
from .rounds import Plan
from .workloads import Array

LENGTH = 100
"""Ops in a chain, so that what a backward pass costs once is shared by many."""

# Near 1, so that no chain of products falls to denormal numbers, which are slow.
_SQUARE = np.random.default_rng(0).uniform(0.9, 1.1, (8, 8))


def _getitem_backward(g: Array, x: Array, out: Array) -> Array:
    gradient = np.zeros(x.shape, x.dtype)
    gradient[::-1] = g
    return gradient


@dataclass(frozen=True)
class Link:
    """One op on an array that it leaves in shape, and its gradient by hand from g, x and out."""

    name: str
    forward: Callable[[Any], Any]
    backward: Callable[[Array, Array, Array], Array]
    bare: Callable[[Array], Array] | None = None
    rows: int = 8

    @property
    def start(self) -> Array:
        """The chain's first array."""
        return _SQUARE[: self.rows]


LINKS = [
    Link("add", lambda x: x + _SQUARE, lambda g, x, out: g),
    Link("multiply", lambda x: x * _SQUARE, lambda g, x, out: g * _SQUARE),
    Link("tanh", tg.tanh, lambda g, x, out: g * (1 - out * out), np.tanh),
    Link("matmul", lambda x: x @ _SQUARE, lambda g, x, out: g @ _SQUARE.T),
    Link(
        "sum",
        lambda x: x.sum(axis=0, keepdims=True),
        lambda g, x, out: np.broadcast_to(g, x.shape),
        rows=1,
    ),
    Link("getitem", lambda x: x[::-1], _getitem_backward),
]


def ours_forward(link: Link) -> tg.Tensor:
    """The chain on a Tensor that requires grad."""
    z: Any = tg.Tensor(link.start, requires_grad=True)
    for _ in range(LENGTH):
        z = link.forward(z)
    tensor: tg.Tensor = z
    return tensor


def ours_both(link: Link) -> Array:
    """The chain and back: the gradient of its first array."""
    start = tg.Tensor(link.start, requires_grad=True)
    z: Any = start
    for _ in range(LENGTH):
        z = link.forward(z)
    z.backward(np.ones(link.start.shape))
    assert start.grad is not None
    return start.grad


def bare_forward(link: Link) -> Array:
    """The chain on an ndarray."""
    forward = link.bare or link.forward
    z = link.start
    for _ in range(LENGTH):
        z = forward(z)
    return z


def bare_both(link: Link) -> Array:
    """The chain and back, by hand."""
    forward, backward = link.bare or link.forward, link.backward
    z, passed = link.start, []
    for _ in range(LENGTH):
        out = forward(z)
        passed.append((z, out))
        z = out
    g = np.ones(link.start.shape)
    for x, out in reversed(passed):
        g = backward(g, x, out)
    return g


def per_op(function: Callable[[Link], Any], link: Link) -> float:
    """Microseconds an op, once through the chain."""
    start = time.perf_counter()
    function(link)
    return 1e6 * (time.perf_counter() - start) / LENGTH


def overhead(link: Link, rounds: int) -> dict[str, float]:
    """Medians of microseconds an op, ours and bare in turns; "over" is ours less bare.

    Raises AssertionError where the two differ in result.
    """
    np.testing.assert_allclose(ours_forward(link).data, bare_forward(link), rtol=1e-12)
    np.testing.assert_allclose(ours_both(link), bare_both(link), rtol=1e-12)
    found = {}
    for name, ours, bare in (
        ("forward", ours_forward, bare_forward),
        ("both", ours_both, bare_both),
    ):
        times = np.array([[per_op(ours, link), per_op(bare, link)] for _ in range(rounds)])
        found[f"{name}_bare"] = float(np.median(times[:, 1]))
        found[f"{name}_over"] = float(np.median(times[:, 0] - times[:, 1]))
    return found


def section(plan: Plan) -> Section:
    """The table of all links."""
    data = {link.name: overhead(link, 20 * plan.rounds) for link in LINKS}
    rows = [
        [name, *(f"{found[key]:.2f}" for key in
                 ("forward_bare", "forward_over", "both_bare", "both_over"))]
        for name, found in data.items()
    ]  # fmt: skip
    head = ["op", "bare, forward", "ours adds", "bare, forward and backward", "ours adds"]
    text = [
        f"Microseconds an op: chains of {LENGTH} ops on arrays of 8 × 8 numbers (float64), "
        "in bare NumPy with the gradients by hand, and what ours takes more.",
        "",
        *table(head, rows),
    ]
    return Section("What an op costs", text, data)
