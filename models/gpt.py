"""A small GPT, a transformer that predicts the next character, as bare tensor expressions.

After Radford et al., "Language models are unsupervised multitask learners" (2019); no dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import tinygrad_np as tg
from tinygrad_np import Tensor, nn

from . import trained
from .trained import BATCHES, Array, Arrays, Trained
from .updates import Update

SPREAD = 0.02
"""The standard deviation of the weights at the start."""
HEADS, BLOCK = 4, 12
"""The usual number of heads, and the number of parameters of a block."""


class Block(nn.Module):
    """Attention, then a layer of 4 · width hidden units; each is added to the features it reads.

    ``depth`` is the number of blocks. The matrices that write to the features start smaller by
    1 / √(2 depth), so that the sum of all that is added does not grow with the depth.
    """

    def __init__(
        self, width: int, heads: int, depth: int, rng: np.random.Generator, dtype: DTypeLike
    ) -> None:
        def parameter(name: str, start: Any) -> Tensor:
            return Tensor(start, requires_grad=True, dtype=dtype, name=name)

        def matrix(name: str, rows: int, columns: int, spread: float = SPREAD) -> Tensor:
            return parameter(name, spread * rng.standard_normal((rows, columns)))

        self.heads, last = heads, SPREAD / math.sqrt(2 * depth)
        self.scale1 = parameter("scale1", np.ones(width))
        self.shift1 = parameter("shift1", np.zeros(width))
        self.W_qkv = matrix("W_qkv", width, 3 * width)
        self.b_qkv = parameter("b_qkv", np.zeros(3 * width))
        self.W_out = matrix("W_out", width, width, last)
        self.b_out = parameter("b_out", np.zeros(width))
        self.scale2 = parameter("scale2", np.ones(width))
        self.shift2 = parameter("shift2", np.zeros(width))
        self.W_up = matrix("W_up", width, 4 * width)
        self.b_up = parameter("b_up", np.zeros(4 * width))
        self.W_down = matrix("W_down", 4 * width, width, last)
        self.b_down = parameter("b_down", np.zeros(width))

    def forward(self, x: Tensor, length: int) -> Tensor:
        """Features (n · length, width), in rows, to features of the same shape."""
        width = x.shape[1]
        z = tg.layer_norm(x, width, self.scale1, self.shift1)
        x = x + (self.attention(z, length) @ self.W_out + self.b_out)
        z = tg.layer_norm(x, width, self.scale2, self.shift2)
        return x + (tg.gelu(z @ self.W_up + self.b_up, "tanh") @ self.W_down + self.b_down)

    def attention(self, x: Tensor, length: int) -> Tensor:
        """Each position's mean of the values at positions up to its own, by several heads."""
        parts = tg.split(x @ self.W_qkv + self.b_qkv, 3, axis=1)
        heads = (-1, length, self.heads, x.shape[1] // self.heads)
        q, k, v = (part.reshape(heads).swapaxes(1, 2) for part in parts)
        z = tg.scaled_dot_product_attention(q, k, v, is_causal=True)
        return z.swapaxes(1, 2).reshape(x.shape)


class GPT(nn.Module):
    """Embeddings of characters and positions, ``depth`` blocks, a norm, and the head.

    Weights start as 0.02 · N(0, 1), biases at 0; ``rng`` is a generator or a seed. The characters
    are numbers below ``vocabulary`` (73 in the text of ``data/text``); the network sees up to
    ``context`` of them. Raises ValueError where ``heads`` does not divide ``width``.

    >>> GPT(rng=0)([[7, 3, 5]]).shape
    (1, 3, 73)
    """

    def __init__(
        self,
        vocabulary: int = 73,
        depth: int = 2,
        width: int = 64,
        heads: int = HEADS,
        context: int = 64,
        rng: np.random.Generator | int | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if width % heads:
            raise ValueError(f"GPT: heads={heads} must divide width={width}")
        rng = np.random.default_rng(rng)

        def matrix(name: str, rows: int, columns: int) -> Tensor:
            start = SPREAD * rng.standard_normal((rows, columns))
            return Tensor(start, requires_grad=True, dtype=dtype, name=name)

        self.characters = matrix("characters", vocabulary, width)
        self.positions = matrix("positions", context, width)
        self.blocks = nn.ModuleList([Block(width, heads, depth, rng, dtype) for _ in range(depth)])
        self.scale = Tensor(np.ones(width), requires_grad=True, dtype=dtype, name="scale")
        self.shift = Tensor(np.zeros(width), requires_grad=True, dtype=dtype, name="shift")
        self.W_head = matrix("W_head", width, vocabulary)

    def forward(self, tokens: Any) -> Tensor:
        """Logits (n, length, vocabulary) of the next character after each of (n, length)."""
        return self._rows(tokens).reshape(*np.shape(tokens), -1)

    def loss(self, tokens: Any, following: Any) -> Tensor:
        """The mean cross-entropy, in nats, of the characters (n, length) that really follow."""
        return tg.softmax_cross_entropy(self._rows(tokens), following.reshape(-1))

    def _rows(self, tokens: Any) -> Tensor:
        """Logits (n · length, vocabulary): rows, so that every product is one of two matrices."""
        length, (context, width) = np.shape(tokens)[1], self.positions.shape
        if length > context:
            raise ValueError(f"GPT: {length} characters are more than the {context} it can see")
        x = tg.embedding(tokens, self.characters) + self.positions[:length]
        x = x.reshape(-1, width)
        for block in self.blocks:
            x = block(x, length)
        return tg.layer_norm(x, width, self.scale, self.shift) @ self.W_head


def arrays(
    rng: np.random.Generator, batch: int, vocabulary: int = 73, depth: int = 2, width: int = 64,
    context: int = 64,
) -> Arrays:  # fmt: skip
    """The parameters as the network starts, and batches of random text."""
    net = GPT(vocabulary, depth, width, HEADS, context, rng, np.float64)
    texts = [rng.integers(0, vocabulary, (batch, context + 1)) for _ in range(BATCHES)]
    return [p.data for p in net.parameters()], [(text[:, :-1], text[:, 1:]) for text in texts]


def eager(
    start: list[Array], update: Update, wrap: Callable[[Any], Any] = lambda step: step
) -> Trained:
    """A training step that begins with these parameters, passed through ``wrap``."""
    (vocabulary, width), context = start[0].shape, len(start[1])
    depth = (len(start) - 5) // BLOCK
    make = partial(GPT, vocabulary, depth, width, HEADS, context, 0)
    return trained.module(make, start, update, wrap)


def compiled(start: list[Array], update: Update) -> Trained:
    """The same step with ``tg.compile``."""
    return eager(start, update, tg.compile)
