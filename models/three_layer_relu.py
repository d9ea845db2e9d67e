"""The first seed's sizes, 784-50-100-10, from layers: relu, He's initialisation."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_np import nn


def three_layer_relu(
    rng: np.random.Generator | int | None = None, dtype: DTypeLike = np.float32
) -> nn.Sequential:
    """The sizes and the 45,360 parameters of ``ThreeLayer``, with relu in place of the sigmoids.

    >>> print(three_layer_relu(rng=0).summary())
    layer  kind    parameter  shape       count
    0      Linear  weight     (50, 784)  39,200
    0      Linear  bias       (50,)          50
    1      ReLU    -          -               0
    2      Linear  weight     (100, 50)   5,000
    2      Linear  bias       (100,)        100
    3      ReLU    -          -               0
    4      Linear  weight     (10, 100)   1,000
    4      Linear  bias       (10,)          10
    total                                45,360
    """
    generator = np.random.default_rng(rng)
    return nn.Sequential(
        nn.Linear(784, 50, rng=generator, dtype=dtype),
        nn.ReLU(),
        nn.Linear(50, 100, rng=generator, dtype=dtype),
        nn.ReLU(),
        nn.Linear(100, 10, rng=generator, dtype=dtype),
    )
