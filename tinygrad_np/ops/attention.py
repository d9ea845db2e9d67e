"""Embeddings and attention, the parts of language models besides linear layers."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from .. import tracing
from ..arrays import as_array
from ..cases import booleans, case, integers, normal
from ..composites import composite
from ..definition import OPS, Value, op
from ..random import dropout
from ..shapes import Shape
from ..tensor import Operand, Tensor, plain
from .activation import by_rows, largest, softmax
from .elementwise import add, like, multiply, where, wide
from .linalg import matmul
from .shape import swapaxes

__all__ = ["attention_weights", "embedding", "one_hot", "scaled_dot_product_attention"]


def _check_indices(index: Any, count: int, name: str) -> None:
    """IndexError that names the first index outside of 0..count - 1, and its position."""
    stray = (index < 0) | (index >= count)
    if stray.any():
        place = [int(i) for i in np.argwhere(stray)[0]]
        where = f" at {place}" if place else ""
        raise IndexError(
            f"{name}: index {index[tuple(place)]}{where} is out of range: there are {count} rows, "
            f"0..{count - 1}"
        )


def _embedding_weight(g: Any, index: Any, weight_shape: Shape, padding_idx: int | None) -> Any:
    """g, added up for each row of index"""
    if padding_idx is not None:
        index = as_array(index)
        g = np.where((index == padding_idx % weight_shape[0])[..., None], 0, g)
    return OPS["scatter"](g, index, weight_shape)


@op(
    cases=[case(integers(4, 2, 3), normal(4, 2)), case(integers(2, 5), normal(3, 2), 2),
           case(integers(2), normal(2, 3))],
    weight=_embedding_weight,
)  # fmt: skip
def embedding(index: Any, weight: Value, padding_idx: int | None = None) -> Value:
    """The rows of ``weight`` (rows, features) that the integers ``index`` name.

    ``index`` (...) gives (..., features).

    Gradient: g added up for each row; the row ``padding_idx`` gets none. Raises TypeError for
    indices that are not integers, IndexError for one out of range.

    >>> import tinygrad_np as tg
    >>> tg.embedding([1, 0, 1], tg.Tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    """
    index = as_array(index)
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: index must be integers, got {index.dtype}")
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"padding_idx={padding_idx} is out of range: there are {rows} rows")
    tracing.check(_check_indices, index, rows, "embedding")
    return weight[index]


@op(cases=[case(integers(4, 2, 3), 4), case(integers(3, 5), 3)], constant=True)
def one_hot(index: Value, num_classes: int = -1) -> Value:
    """A row of 0, with a 1 at the class, for each integer: shape (..., num_classes).

    -1 takes the largest class there is. The result is a constant.

    >>> import tinygrad_np as tg
    >>> tg.one_hot([0, 2], 3).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    index = as_array(index)
    if index.dtype.kind not in "iu":
        raise TypeError(f"one_hot: index must be integers, got {index.dtype}")
    if num_classes == -1:
        if not index.size:
            raise ValueError("one_hot: index is empty, so num_classes must be given")
        num_classes = int(index.max()) + 1
    tracing.check(_check_indices, index, num_classes, "one_hot")
    return (index[..., None] == np.arange(num_classes)).astype(np.int64)


def _masked_softmax_x(g: Any, out: Any, mask: Any) -> Any:
    """out * (g - (g * out).sum(axis=-1, keepdims=True))"""
    # The rule names the mask so that the graph keeps it for derivations; out is 0 outside of it.
    return out * (g - (wide(g) * out).sum(axis=-1, keepdims=True))


@op(
    cases=[case(normal(2, 3, 4), booleans(3, 4)), case(normal(3, 4), booleans(3, 1)),
           case(normal(2, 2), np.tri(2, dtype=bool)), case(normal(2, 0), booleans(2, 0))],
    x=_masked_softmax_x,
)  # fmt: skip
def masked_softmax(x: Value, mask: Any) -> Value:
    """The softmax along the last axis over the elements where ``mask`` holds; 0 elsewhere.

    Rows without such an element are 0. Gradient: out (g - sum(g out)), which is 0 where out is.

    >>> import tinygrad_np as tg
    >>> tg.OPS["masked_softmax"].function([[1.0, 9.0, 1.0]], [True, False, True]).tolist()
    [[0.5, 0.0, 0.5]]
    """
    rows = by_rows(np.where(mask, x, -np.inf))
    powers = np.exp(rows - np.maximum(largest(rows.real), np.finfo(rows.dtype).min))
    total = powers.sum(axis=-1, keepdims=True)  # at least exp(0), or 0
    return like(powers / np.where(total == 0, 1, total), x)


@lru_cache(maxsize=8)
def _causal(queries: int, keys: int) -> Any:
    """Query i sees keys 0..i. All layers share one array, also in drawings and derivations."""
    mask = np.tri(queries, keys, dtype=bool)
    mask.flags.writeable = False
    return mask


@composite(
    cases=[case(normal(2, 3, 4), normal(2, 5, 4)), case(normal(3, 2), normal(3, 2), None, True),
           case(normal(2, 3), normal(4, 3), booleans(2, 4), scale=0.5),
           case(normal(2, 3), normal(4, 3), normal(2, 4))]
)  # fmt: skip
def attention_weights(
    query: Operand, key: Operand, attn_mask: Operand | None = None, is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:  # fmt: skip
    """softmax(query keyᵀ scale + mask): how much each query attends to each key.

    query (..., L, E) and key (..., S, E) give (..., L, S).

    ``attn_mask`` broadcasts to (..., L, S): booleans, where True means to take part, or numbers to
    be added. ``is_causal``: query i sees keys 0..i. ``scale`` is 1 / √E by default. The weights of
    a query that sees nothing are 0.

    >>> import numpy as np, tinygrad_np as tg
    >>> weights = tg.attention_weights(np.eye(2), np.eye(2), is_causal=True)
    >>> weights.data.round(2).tolist()
    [[1.0, 0.0], [0.33, 0.67]]
    """
    size = np.shape(query)[-1]
    factor = (1 / math.sqrt(size) if size else 1.0) if scale is None else scale
    scores = matmul(multiply(query, factor), swapaxes(key, -1, -2))
    if is_causal:
        if attn_mask is not None:
            raise ValueError("attention: give attn_mask or is_causal=True, not both")
        attn_mask = _causal(*scores.shape[-2:])
    if attn_mask is None:
        return softmax(scores)
    mask: Any = as_array(plain(attn_mask))
    if mask.dtype == bool:
        return OPS["masked_softmax"].function(scores, mask)
    blind = (mask == -np.inf).all(axis=-1, keepdims=True)
    added = where(blind, 0.0, attn_mask)
    real = added.dtype.kind != "c"  # complex steps stay what they are
    scores = add(scores, added.astype(scores.dtype) if real else added)
    return where(blind, 0.0, softmax(scores))


@composite(
    cases=[case(normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 3)),
           case(normal(3, 2), normal(3, 2), normal(3, 2), is_causal=True),
           case(normal(2, 3), normal(4, 3), normal(4, 2), booleans(2, 4), scale=0.5),
           case(normal(4, 2, 3), normal(2, 3, 3), normal(2, 3, 2), enable_gqa=True)]
)  # fmt: skip
def scaled_dot_product_attention(
    query: Operand, key: Operand, value: Operand, attn_mask: Operand | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False, *, rng: np.random.Generator | int | None = None,
) -> Tensor:  # fmt: skip
    """softmax(query keyᵀ scale + mask) value: for each query a mean of the values it attends to.

    query (..., L, E), key (..., S, E), value (..., S, Ev) give (..., L, Ev). The masks are those
    of ``attention_weights``. ``dropout_p`` is the probability by which weights are dropped, drawn
    by ``rng``. With ``enable_gqa`` groups of query heads (axis -3) share a head of key and value.
    (Vaswani et al. 2017.)

    >>> import numpy as np, tinygrad_np as tg
    >>> x = np.eye(2)
    >>> tg.scaled_dot_product_attention(x, x, x, is_causal=True).data[0].tolist()
    [1.0, 0.0]
    """
    if enable_gqa:
        times = np.shape(query)[-3] // np.shape(key)[-3]
        key = OPS["repeat"].function(key, times, -3)
        value = OPS["repeat"].function(value, times, -3)
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    return matmul(dropout(weights, dropout_p, rng=rng), value)
