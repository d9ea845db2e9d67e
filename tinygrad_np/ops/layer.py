"""What layers are made of: the affine map, and dropout as a product with a given mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cases import booleans, case, normal
from ..op import Value, op

__all__ = [
    "linear",
]  # fmt: skip


def _flat(x: Any) -> Any:
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


@op(
    cases=[case(normal(3, 4), normal(2, 4), normal(2)), case(normal(3, 4), normal(2, 4)),
           case(normal(4), normal(2, 4), normal(2)),
           case(normal(2, 3, 4), normal(2, 4), normal(2))],
    x=lambda g, weight: g @ weight,
    weight=lambda g, x: _flat(g).mT @ _flat(x),
    bias=lambda g: g,
)  # fmt: skip
def linear(x: Value, weight: Value, bias: Value | None = None) -> Value:
    """The affine map x Wᵀ + b: shapes (..., in), (out, in), (out,) give (..., out), as PyTorch's.

    Gradients: dx = g W, dW = gᵀ x, db = g summed over the rows.

    >>> import tinygrad_np as tg
    >>> tg.linear(tg.Tensor([1.0, 2.0]), tg.Tensor([[1.0, 1.0]]), tg.Tensor([0.5])).tolist()
    [3.5]
    """
    out = np.matmul(x, weight.mT)
    return out if bias is None else out + bias


@op(
    cases=[case(normal(3, 4), booleans(3, 4), 0.5), case(normal(3), booleans(3), 0.2)],
    x=lambda g, mask, p: g * (mask / (1 - p)).astype(g.dtype),
)  # fmt: skip
def masked(x: Value, mask: Value, p: float) -> Value:
    """x mask / (1 - p)."""
    return x * (mask / (1 - p)).astype(np.result_type(x.dtype, np.float16))
