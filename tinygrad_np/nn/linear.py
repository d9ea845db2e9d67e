"""Linear and bilinear layers, and how features are flattened for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from ..ops.linalg import linear
from ..ops.loss import bilinear
from ..ops.shape import reshape
from ..tensor import Operand, Tensor
from .initializers import Initializer, Rng, he_normal, parameter
from .module import Module, watch_dtype


class Linear(Module):
    """The affine layer x Wᵀ + b: ``weight`` (out, in) and ``bias`` (out,), PyTorch's layout.

    ``init`` draws the weight (default: He's, for relu), the bias starts at 0; ``rng`` is the
    generator or seed to draw from.

    >>> from tinygrad_np import nn
    >>> nn.Linear(3, 2, rng=0)([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initializer | None = None,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear({in_features}, {out_features}): both must be at least 1")
        self.weight = parameter(init or he_normal(), (out_features, in_features), dtype, rng)
        self.bias = Tensor(np.zeros(out_features), True, dtype) if bias else None

    def forward(self, x: Operand) -> Tensor:
        """x (..., in) to (..., out)."""
        watch_dtype(x, self.weight)
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The numbers of features."""
        out, given = self.weight.shape
        return f"{given}, {out}" + ("" if self.bias is not None else ", bias=False")


class Bilinear(Module):
    """x1ᵀ W x2 + b for each output feature: ``weight`` (out, in1, in2) and ``bias`` (out,).

    >>> from tinygrad_np import nn
    >>> nn.Bilinear(3, 2, 4, rng=0)
    Bilinear(3, 2, 4)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initializer | None = None,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        if min(in1_features, in2_features, out_features) < 1:
            raise ValueError("Bilinear: all numbers of features must be at least 1")
        shape = (out_features, in1_features, in2_features)
        self.weight = parameter(init or he_normal(), shape, dtype, rng)
        self.bias = Tensor(np.zeros(out_features), True, dtype) if bias else None

    def forward(self, x1: Operand, x2: Operand) -> Tensor:
        """x1 (..., in1) and x2 (..., in2) to (..., out)."""
        return bilinear(x1, x2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The numbers of features."""
        out, one, two = self.weight.shape
        return f"{one}, {two}, {out}" + ("" if self.bias is not None else ", bias=False")


class Identity(Module):
    """Returns its input.

    >>> import tinygrad_np as tg
    >>> tg.nn.Identity()([1.0, 2.0]).tolist()
    [1.0, 2.0]
    """

    def forward(self, x: Operand) -> Tensor:
        """x itself."""
        return x if isinstance(x, Tensor) else Tensor(x)


class Flatten(Module):
    """Joins the axes from ``start_dim`` to ``end_dim``: by default all except the batch.

    >>> import numpy as np
    >>> from tinygrad_np import nn
    >>> nn.Flatten()(np.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Operand) -> Tensor:
        """The elements in the same order."""
        shape = np.shape(x)
        start, end = self.start_dim % max(1, len(shape)), self.end_dim % max(1, len(shape))
        if start > end or not -len(shape) <= self.start_dim < max(1, len(shape)):
            raise ValueError(
                f"Flatten: x of shape {shape} has no axes from {self.start_dim} to {self.end_dim}"
            )
        length = int(np.prod(shape[start : end + 1]))
        return reshape(x, (*shape[:start], length, *shape[end + 1 :]))

    def extra_repr(self) -> str:
        """The axes, if they differ from the defaults."""
        usual = (self.start_dim, self.end_dim) == (1, -1)
        return "" if usual else f"start_dim={self.start_dim}, end_dim={self.end_dim}"
