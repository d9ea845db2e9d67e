"""Dropout, of elements and of channels."""

from __future__ import annotations

import numpy as np

from .. import random
from ..tensor import Operand, Tensor
from .initializers import Rng
from .module import Module


class Dropout(Module):
    """Inverted dropout with probability ``p`` while training, nothing in ``eval`` mode.

    >>> import numpy as np, tinygrad_np as tg
    >>> dropout = tg.nn.Dropout(0.5, rng=1)
    >>> dropout(np.ones(4)).tolist(), dropout.eval()(np.ones(4)).tolist()
    ([2.0, 2.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(self, p: float = 0.5, rng: Rng = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p} must be at least 0 and at most 1")
        self.p = p
        self.rng = None if rng is None else np.random.default_rng(rng)

    def forward(self, x: Operand) -> Tensor:
        """See ``tg.dropout``."""
        return random.dropout(x, self.p, self.training, self.rng)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class Dropout2d(Dropout):
    """``Dropout`` of whole channels of images.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.Dropout2d(0.5, rng=2)(np.ones((1, 3, 1, 2))).tolist()
    [[[[0.0, 0.0]], [[0.0, 0.0]], [[2.0, 2.0]]]]
    """

    def forward(self, x: Operand) -> Tensor:
        """See ``tg.dropout2d``."""
        return random.dropout2d(x, self.p, self.training, self.rng)
