"""Embeddings and multi-head attention."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import random
from ..arrays import as_array
from ..ops.attention import attention_weights, embedding
from ..ops.elementwise import add, where
from ..ops.linalg import linear, matmul
from ..ops.reduction import mean
from ..ops.shape import reshape, swapaxes
from ..tensor import Operand, Tensor, plain
from .initializers import Initializer, Rng, normal, parameter, xavier_uniform
from .linear import Linear
from .module import Module


class Embedding(Module):
    """A trained row of ``embedding_dim`` features for each of ``num_embeddings`` integers.

    ``init`` draws the rows (default: N(0, 1)); the row ``padding_idx`` starts at 0 and stays.

    >>> from tinygrad_np import nn
    >>> nn.Embedding(10, 4, rng=0)([[1, 2, 1]]).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        init: Initializer | None = None,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        if num_embeddings < 1 or embedding_dim < 1:
            raise ValueError(
                f"Embedding({num_embeddings}, {embedding_dim}): both must be at least 1"
            )
        self.weight = parameter(init or normal(1.0), (num_embeddings, embedding_dim), dtype, rng)
        self.padding_idx = padding_idx
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(f"Embedding: there is no row padding_idx={padding_idx}")
            self.weight.data[padding_idx] = 0

    def forward(self, index: Any) -> Tensor:
        """Integers (...) to (..., features)."""
        return embedding(index, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Rows and features."""
        rows, features = self.weight.shape
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{rows}, {features}{padding}"


class MultiheadAttention(Module):
    """Attention with several heads, each on its part of the features (Vaswani et al. 2017).

    Inputs are (length, batch, features), or (batch, length, features) if ``batch_first``, or
    without the batch. ``in_proj_weight`` (3 E, E) makes queries, keys and values, ``out_proj`` the
    result. As in PyTorch, True in a mask means to be left out, other than in
    ``tg.scaled_dot_product_attention``.

    >>> import numpy as np
    >>> from tinygrad_np import nn
    >>> layer = nn.MultiheadAttention(8, 2, batch_first=True, rng=0)
    >>> x = np.ones((3, 5, 8), np.float32)
    >>> y, weights = layer(x, x, x)
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        *,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: num_heads={num_heads} must divide embed_dim={embed_dim}"
            )
        generator = random.default_generator() if rng is None else np.random.default_rng(rng)
        shape = (3 * embed_dim, embed_dim)
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.dropout = dropout
        self.in_proj_weight = parameter(xavier_uniform(), shape, dtype, generator)
        self.in_proj_bias = Tensor(np.zeros(3 * embed_dim), True, dtype) if bias else None
        self.out_proj = Linear(
            embed_dim, embed_dim, bias, init=xavier_uniform(), dtype=dtype, rng=generator
        )

    def forward(
        self,
        query: Operand,
        key: Operand,
        value: Operand,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The result, and the weights (batch, L, S), of each head unless averaged; or None.

        ``key_padding_mask`` (batch, S) and ``attn_mask`` (L, S), or (batch · heads, L, S), are
        True where not to look, or numbers to be added.
        """
        if is_causal and attn_mask is None:
            raise ValueError("MultiheadAttention: is_causal=True needs attn_mask, as a hint of it")
        inputs = [x if isinstance(x, Tensor) else Tensor(x) for x in (query, key, value)]
        batched = inputs[0].ndim == 3
        if not batched:
            inputs = [x[None] for x in inputs]
        elif not self.batch_first:
            inputs = [swapaxes(x, 0, 1) for x in inputs]
        q, k, v = map(self._heads, inputs, range(3))
        mask = self._mask(attn_mask, key_padding_mask, len(inputs[0]), q.dtype)
        weights = attention_weights(q, k, mask)
        dropped = random.dropout(weights, self.dropout, self.training)
        heads = swapaxes(matmul(dropped, v), 1, 2)
        y = self.out_proj(reshape(heads, (*heads.shape[:2], self.embed_dim)))
        if not batched:
            y = y[0]
        elif not self.batch_first:
            y = swapaxes(y, 0, 1)
        if not need_weights:
            return y, None
        shown = mean(dropped, 1) if average_attn_weights else dropped
        return y, shown if batched else shown[0]

    def _heads(self, x: Tensor, i: int) -> Tensor:
        """Queries (0), keys (1) or values (2): (batch, heads, length, features of a head)."""
        if x.shape[-1] != self.embed_dim:
            raise ValueError(
                f"MultiheadAttention: inputs must have {self.embed_dim} features, got {x.shape}"
            )
        rows = slice(i * self.embed_dim, (i + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        y = linear(x, self.in_proj_weight[rows], bias)
        size = self.embed_dim // self.num_heads
        return swapaxes(reshape(y, (*y.shape[:2], self.num_heads, size)), 1, 2)

    def _mask(self, attn_mask: Any, padding: Any, batch: int, dtype: Any) -> Any:
        """Both masks as one for ``attention_weights``, or None."""
        masks = []
        if attn_mask is not None:
            shape = np.shape(attn_mask)
            mask = attn_mask if len(shape) == 2 else reshape(
                attn_mask, (batch, self.num_heads, *shape[1:])
            )  # fmt: skip
            masks.append(mask)
        if padding is not None:
            masks.append(reshape(padding, (-1, 1, 1, np.shape(padding)[-1])))
        if not masks:
            return None
        added = [_added(mask, dtype) for mask in masks]
        return added[0] if len(added) == 1 else add(*added)

    def extra_repr(self) -> str:
        """Features and heads."""
        words = f"{self.embed_dim}, {self.num_heads}"
        return words + (f", dropout={self.dropout}" if self.dropout else "")


def _added(mask: Any, dtype: Any) -> Any:
    """A mask as numbers to be added: -inf where it is True."""
    array = as_array(plain(mask))
    return where(array, -np.inf, 0.0).astype(dtype) if array.dtype == bool else mask
