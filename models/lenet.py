"""LeNet-5, the convolutional network of LeCun et al. 1998, as bare tensor expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import tinygrad_np as tg
from tinygrad_np import Tensor, nn

from . import trained
from .trained import Array, Arrays, Trained
from .updates import Update


class LeNet(nn.Module):
    """Two convolutions with pooling, then three affine layers, x @ W + b with W of shape (in, out).

    As LeNet-5 is built today: relu for the scaled tanh, max-pooling for the trained subsampling,
    every channel of the first convolution read by every filter of the second, and a softmax in
    place of the radial basis functions. (LeCun, Bottou, Bengio, Haffner, "Gradient-based learning
    applied to document recognition", 1998.) Weights start from N(0, 2 / in), He's initialisation,
    drawn in the order W1, ..., W5; biases start at 0. ``rng`` is a generator or a seed.

    >>> print(LeNet(rng=0).summary())
    layer  kind   parameter  shape           count
           LeNet  W1         (6, 1, 5, 5)      150
           LeNet  b1         (6,)                6
           LeNet  W2         (16, 6, 5, 5)   2,400
           LeNet  b2         (16,)              16
           LeNet  W3         (400, 120)     48,000
           LeNet  b3         (120,)            120
           LeNet  W4         (120, 84)      10,080
           LeNet  b4         (84,)              84
           LeNet  W5         (84, 10)          840
           LeNet  b5         (10,)              10
    total                                   61,706
    """

    def __init__(
        self, rng: np.random.Generator | int | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        draw = np.random.default_rng(rng).standard_normal

        def weight(name: str, shape: tuple[int, ...], fan_in: int) -> Tensor:
            start = np.sqrt(2 / fan_in) * draw(shape)
            return Tensor(start, requires_grad=True, dtype=dtype, name=name)

        def bias(name: str, size: int) -> Tensor:
            return Tensor(np.zeros(size), requires_grad=True, dtype=dtype, name=name)

        self.W1 = weight("W1", (6, 1, 5, 5), 25)
        self.b1 = bias("b1", 6)
        self.W2 = weight("W2", (16, 6, 5, 5), 150)
        self.b2 = bias("b2", 16)
        self.W3 = weight("W3", (400, 120), 400)
        self.b3 = bias("b3", 120)
        self.W4 = weight("W4", (120, 84), 120)
        self.b4 = bias("b4", 84)
        self.W5 = weight("W5", (84, 10), 84)
        self.b5 = bias("b5", 10)

    def forward(self, x: Any) -> Tensor:
        """Logits (n, 10) of images (n, 784), or (n, 28, 28), or (n, 1, 28, 28)."""
        images = tg.reshape(x, (len(x), 1, 28, 28))
        # Pooling before relu gives the same values and gradients as after it, for a quarter of the
        # work, because relu is monotonic.
        z1 = tg.relu(tg.max_pool2d(tg.conv2d(images, self.W1, self.b1, padding=2), 2))
        z2 = tg.relu(tg.max_pool2d(tg.conv2d(z1, self.W2, self.b2), 2))
        z3 = tg.relu(tg.reshape(z2, (len(x), 400)) @ self.W3 + self.b3)
        z4 = tg.relu(z3 @ self.W4 + self.b4)
        return z4 @ self.W5 + self.b5

    def loss(self, x: Any, labels: Any) -> Tensor:
        """The mean cross-entropy of the softmax of the logits; labels are class numbers (n,)."""
        return tg.softmax_cross_entropy(self(x), labels)


def arrays(rng: np.random.Generator, batch: int) -> Arrays:
    """The parameters as the network starts, and batches."""
    start = [p.data for p in LeNet(rng, np.float64).parameters()]
    return start, trained.digits(rng, batch, 784, 10)


def eager(
    start: list[Array], update: Update, wrap: Callable[[Any], Any] = lambda step: step
) -> Trained:
    """A training step that begins with these parameters, passed through ``wrap``."""
    return trained.module(LeNet, start, update, wrap)


def compiled(start: list[Array], update: Update) -> Trained:
    """The same step with ``tg.compile``."""
    return eager(start, update, tg.compile)
