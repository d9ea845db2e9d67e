"""The second seed document's networks, 784-hidden-10 without biases, as tensor expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import tinygrad_np as tg
from tinygrad_np import Tensor, nn, tracing

from .printed_rules import dropout_unscaled, relu_of_output, tanh_dropout

Array = NDArray[Any]
Mask = Array | None
"""Zeros and ones (n, hidden) while training with dropout, None otherwise."""


class TwoLayer(nn.Module):
    """Base class of the networks: weights W1 and W2, drawn in this order from U(-a, a).

    ``rng`` is a generator of either kind, or a seed. With ``printed`` the backward pass is the one
    that the seed document used for its tables, and not the gradient.
    """

    hidden: int
    ranges: tuple[float, float]

    def __init__(
        self,
        rng: np.random.Generator | np.random.RandomState | int | None = None,
        dtype: DTypeLike = np.float64,
        printed: bool = False,
    ) -> None:
        self.rng = rng if isinstance(rng, np.random.RandomState) else np.random.default_rng(rng)
        self.printed = printed
        shapes = (784, self.hidden), (self.hidden, 10)
        w1, w2 = (
            2 * a * self.rng.random(shape) - a for a, shape in zip(self.ranges, shapes, strict=True)
        )
        self.W1 = Tensor(w1, requires_grad=True, dtype=dtype, name="W1")
        self.W2 = Tensor(w2, requires_grad=True, dtype=dtype, name="W2")

    def objective(self, scores: Any, one_hot: Array) -> Tensor:
        """The function to minimise: half the squared error, averaged over the batch."""
        return tg.mse_loss(scores, one_hot, "sum") / (2 * len(one_hot))

    def outputs(self, scores: Array) -> Array:
        """The values to compare with the labels: the scores themselves."""
        return scores

    def draw_mask(self, x: Array) -> Mask:
        """A dropout mask for a batch; None where the network has no dropout."""
        return None

    def loss(self, x: Array, labels: Array) -> Tensor:
        """``objective`` of images (n, 784) and class numbers (n,)."""
        one_hot = (labels[:, np.newaxis] == np.arange(10)).astype(self.W1.dtype)
        return self.objective(
            self.forward(x, self.draw_mask(x) if self.training else None), one_hot
        )

    def forward(self, x: Any, mask: Mask = None) -> Tensor:
        """Scores (n, 10) of images (n, 784)."""
        raise NotImplementedError


class ReluNetwork(TwoLayer):
    """``relu_sgd``: 40 hidden units, relu."""

    hidden, ranges = 40, (0.1, 0.1)

    def forward(self, x: Any, mask: Mask = None) -> Tensor:
        """relu(x W1) W2."""
        relu = relu_of_output if self.printed else tg.relu
        return relu(x @ self.W1) @ self.W2


class DropoutNetwork(TwoLayer):
    """``dropout_sgd`` and ``dropout_minibatch``: 100 hidden units, relu, dropout of ½."""

    hidden, ranges = 100, (0.1, 0.1)

    def draw_mask(self, x: Array) -> Mask:
        """A fair coin for every hidden unit of every image."""
        shape = len(x), self.hidden
        drawn = tracing.draw(lambda rng: rng.random(shape), self.rng)  # a new draw at each replay
        mask: Array = (drawn < 0.5).astype(self.W1.dtype)
        return mask

    def forward(self, x: Any, mask: Mask = None) -> Tensor:
        """(relu(x W1) · 2 · mask) W2."""
        return self.activations(x, mask) @ self.W2

    def activations(self, x: Any, mask: Mask = None) -> Tensor:
        """The hidden layer's output: relu(x W1) · 2 · mask."""
        relu, drop = (relu_of_output, dropout_unscaled) if self.printed else (tg.relu, dropout)
        h = relu(x @ self.W1)
        return h if mask is None else drop(h, mask)


class TanhNetwork(DropoutNetwork):
    """``tanh_softmax_minibatch``: 100 hidden units, tanh, dropout, softmax; scores are logits."""

    ranges = 0.01, 0.1

    def forward(self, x: Any, mask: Mask = None) -> Tensor:
        """(tanh(x W1) · 2 · mask) W2; as printed, relu replaces tanh where nothing is dropped."""
        a = x @ self.W1
        if mask is None:
            h = tg.relu(a) if self.printed else tg.tanh(a)
        else:
            h = tanh_dropout(a, mask) if self.printed else dropout(tg.tanh(a), mask)
        return h @ self.W2

    def objective(self, scores: Any, one_hot: Array) -> Tensor:
        """The mean cross-entropy, divided by the batch size a second time, as printed."""
        return tg.softmax_cross_entropy(scores, one_hot) / len(one_hot)

    def outputs(self, scores: Array) -> Array:
        """Probabilities."""
        return tg.softmax(scores).data


def dropout(x: Any, mask: Array) -> Tensor:
    """x · 2 · mask, with autograd's own gradient."""
    return tg.multiply(x, mask * 2)
