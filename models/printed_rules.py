"""The second seed document's backward pass as ops: correct forward, deliberately wrong backward.

Each rule is the one that the document's code applies, so ``loss.backward()`` yields the updates
behind its tables. The ops are removed from ``tinygrad_np.OPS``, where every rule is proven.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_np as tg
from tinygrad_np.cases import booleans, case, normal


@tg.op(cases=[case(normal(3, 4))], analytic=False, x=lambda g, out: g * (out >= 0))
def relu_of_output(x: Any) -> Any:
    """relu, its derivative taken as ``output >= 0``: always true, so that nothing is masked."""
    return np.maximum(x, 0)


@tg.op(cases=[case(normal(3, 4), booleans(3, 4))], x=lambda g, mask: g * mask)
def dropout_unscaled(x: Any, mask: Any) -> Any:
    """x · 2 · mask, whose gradient forgets the factor 2."""
    return x * (mask * 2)


@tg.op(cases=[case(normal(3, 4), booleans(3, 4))], x=lambda g, out, mask: g * (1 - out**2) * mask)
def tanh_dropout(x: Any, mask: Any) -> Any:
    """tanh(x) · 2 · mask = h, whose gradient is (1 - h²) · mask: tanh's derivative at 2 tanh(x)."""
    return np.tanh(x) * (mask * 2)


for _op in (relu_of_output, dropout_unscaled, tanh_dropout):
    del tg.OPS[_op.__name__]
