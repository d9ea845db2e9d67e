"""How much of a gradient rounding may have left: a bound from the graph of its own computation."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import graph
from .autodiff import connected, grad
from .graph import Node
from .tensor import Array, Tensor

ULPS = 4
"""How many units in its last place an op's result may be off."""


def rounding(function: Callable[[], Any], tensor: Any, way: Array, eps: float) -> float:
    """How far rounding to a relative ``eps`` may move the derivative of a scalar along ``way``.

    The derivative is computed as a recorded graph. Each intermediate result in it, of the forward
    and the backward pass, is off by some ``eps`` times its size; the derivative by that result says
    how far this carries: the sum of both, multiplied, is the bound. It is large against the
    derivative where larger terms cancel, as in p - 1 for p near 1. (Linnainmaa 1976.)

    0 where the rules cannot be recorded: nothing is known then.
    """
    sizes: dict[Node, Array] = {}
    carried: list[float] = []

    def observe(node: Node, _: Any, out: Any) -> None:
        sizes[node] = np.abs(out)

    def before_rules(node: Node, gradient: Any) -> None:
        if node in sizes:
            carried.append(float((np.abs(gradient) * sizes[node]).sum()))

    watch = SimpleNamespace(observe=observe)
    with np.errstate(all="ignore"):
        try:
            with graph.observed(watch):
                out = connected(function())
                g = Tensor(np.ones(out.shape, out.dtype), requires_grad=True)
                derivative = grad(out, tensor, g, create_graph=True, allow_unused=True)
                along = connected((derivative * way).sum())
            for given in (g, tensor):
                if given._node is not None:
                    sizes[given._node] = np.abs(given.data)
            watch.before_rules = before_rules
            with graph.observed(watch):
                seed = np.ones(along.shape, along.dtype)
                graph.backward({along._node: seed} if along._node else {})
        except Exception:
            return 0.0
    bound = ULPS * eps * sum(carried)
    return bound if np.isfinite(bound) else 0.0
