"""The first seed document's network, 784-50-100-10 with sigmoids, as bare tensor expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import tinygrad_np as tg
from tinygrad_np import Tensor, nn


class ThreeLayer(nn.Module):
    """Three affine layers, x @ W + b with W of shape (in, out), and two sigmoids between them.

    Weights start as 0.01 · N(0, 1), drawn in the order W1, W2, W3; biases start at 0. ``rng`` is
    a generator or a seed.

    >>> print(ThreeLayer(rng=0).summary())
    layer  kind        parameter  shape       count
           ThreeLayer  W1         (784, 50)  39,200
           ThreeLayer  b1         (50,)          50
           ThreeLayer  W2         (50, 100)   5,000
           ThreeLayer  b2         (100,)        100
           ThreeLayer  W3         (100, 10)   1,000
           ThreeLayer  b3         (10,)          10
    total                                    45,360
    """

    flat_start = (
        "The first epochs are flat because the weights start small, 0.01 N(0, 1):\n"
        "the sigmoids' outputs, and so the logits, hardly depend on the image at first."
    )
    """A note below the curves of a run of ``scripts.train``."""

    def __init__(
        self, rng: np.random.Generator | int | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        draw = np.random.default_rng(rng).standard_normal

        def parameter(name: str, start: Any) -> Tensor:
            return Tensor(start, requires_grad=True, dtype=dtype, name=name)

        self.W1 = parameter("W1", 0.01 * draw((784, 50)))
        self.b1 = parameter("b1", np.zeros(50))
        self.W2 = parameter("W2", 0.01 * draw((50, 100)))
        self.b2 = parameter("b2", np.zeros(100))
        self.W3 = parameter("W3", 0.01 * draw((100, 10)))
        self.b3 = parameter("b3", np.zeros(10))

    def forward(self, x: Any) -> Tensor:
        """Logits (n, 10) of images (n, 784)."""
        z1 = tg.sigmoid(x @ self.W1 + self.b1)
        z2 = tg.sigmoid(z1 @ self.W2 + self.b2)
        return z2 @ self.W3 + self.b3

    def loss(self, x: Any, labels: Any) -> Tensor:
        """The mean cross-entropy of the softmax of the logits; labels are class numbers (n,)."""
        return tg.softmax_cross_entropy(self(x), labels)
