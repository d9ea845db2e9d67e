"""The effect of rounding on a value and on a gradient, estimated from the graph.

Each intermediate result is rounded in its last place. The derivative with respect to it says how
much that changes the value. (Linnainmaa 1976, the origin of reverse mode.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import graph
from .autodiff import connected, grad
from .graph import Node
from .modes import observed
from .tensor import Array, Tensor, plain

ULPS = 4
"""The error of an op's result, at most, in units of its last place."""


def value_noise(function: Callable[[], Tensor]) -> tuple[float, float]:
    """The rounding noise of a scalar: from the ops' results, and at most from inside the ops.

    The first is the root of the sum of squares over all intermediate results. The second takes an
    op's largest operand in place of its result, because an op such as ``log_softmax`` may subtract
    large numbers to get a small one. Both are 0 if a rule fails.
    """
    seen: dict[Node, tuple[Array, float]] = {}
    squares: list[float] = []
    hidden: list[float] = []

    def observe(node: Node, operands: Any, out: Any) -> None:
        size = np.abs(out)
        seen[node] = size, max(float(np.max(np.abs(a), initial=0.0)) for a in (out, *operands))

    def before_rules(node: Node, gradient: Any) -> None:
        if node in seen:
            eps, influence = float(np.finfo(node.dtype).eps), np.abs(gradient)
            squares.append(float(((eps / 2 * influence * seen[node][0]) ** 2).sum()))
            hidden.append(eps * float(influence.sum()) * seen[node][1])

    with np.errstate(all="ignore"):
        try:
            with observed(SimpleNamespace(observe=observe)):
                out = connected(function())
            _carry_back(out, before_rules)
        except Exception:
            return 0.0, 0.0
    found = math.sqrt(sum(squares)), sum(hidden)
    return found if np.isfinite(found).all() else (0.0, 0.0)


def rounding(function: Callable[[], Any], tensor: Any, way: Array, eps: float) -> float:
    """A bound on the rounding error of a scalar's derivative along ``way``, for a relative ``eps``.

    It is the sum over all intermediate results of the forward and the backward pass. It exceeds the
    derivative if larger terms cancel, as in p - 1 for p near 1. If the rules cannot be recorded,
    nothing is known, and the result is 0.
    """
    sizes: dict[Node, Array] = {}
    carried: list[float] = []

    def observe(node: Node, _: Any, out: Any) -> None:
        sizes[node] = np.abs(out)

    def before_rules(node: Node, gradient: Any) -> None:
        if node in sizes:
            carried.append(float((np.abs(gradient) * sizes[node]).sum()))

    with np.errstate(all="ignore"):
        try:
            with observed(SimpleNamespace(observe=observe)):
                out = connected(function())
                g = Tensor(np.ones(out.shape, out.dtype), requires_grad=True)
                derivative = grad(out, tensor, g, create_graph=True, allow_unused=True)
                along = connected((derivative * way).sum())
            for given in (g, tensor):
                if given.node is not None:
                    sizes[given.node] = np.abs(plain(given))
            _carry_back(along, before_rules)
        except Exception:
            return 0.0
    bound = ULPS * eps * sum(carried)
    return bound if math.isfinite(bound) else 0.0


def _carry_back(out: Tensor, before_rules: Callable[[Node, Any], None]) -> None:
    """Run a backward pass from a scalar; call ``before_rules`` with each node and its gradient."""
    watch = SimpleNamespace(observe=lambda *_: None, before_rules=before_rules)
    with observed(watch):
        graph.backward({out.node: np.ones(out.shape, out.dtype)} if out.node else {})
