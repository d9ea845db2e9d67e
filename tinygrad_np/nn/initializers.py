"""Initial values of weights. All initialisers can be pickled.

``shape`` is (out, in), the layout of Linear's weight, or (out, in, ...), that of a convolution's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from .. import random
from ..tensor import Array, Tensor

Initializer = Callable[[tuple[int, ...], "np.random.Generator"], Array]
"""Draws an array of weights: ``initializer((out, in), rng)``."""

Rng = np.random.Generator | int | None
"""A generator, a seed, or None for the default generator."""


def parameter(
    init: Initializer, shape: tuple[int, ...], dtype: DTypeLike, rng: Rng = None
) -> Tensor:
    """A trained Tensor, drawn by ``init``."""
    generator = random.default_generator() if rng is None else np.random.default_rng(rng)
    return Tensor(init(shape, generator), requires_grad=True, dtype=dtype)


def ones() -> Initializer:
    """Ones, for the factors of normalizations.

    >>> import tinygrad_np as tg
    >>> tg.nn.Linear(2, 1, init=tg.nn.ones()).weight.tolist()
    [[1.0, 1.0]]
    """
    return _ones


def _ones(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return np.ones(shape)


def normal(std: float = 0.01) -> Initializer:
    """N(0, std²), as in the first seed document.

    >>> import tinygrad_np as tg
    >>> tg.nn.Linear(784, 100, init=tg.nn.normal(0.01), rng=0).weight.data.std().round(3)
    np.float32(0.01)
    """
    return partial(_normal, std)


def _normal(std: float, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.normal(0.0, std, shape)


def zeros() -> Initializer:
    """Zeros, for biases.

    >>> import tinygrad_np as tg
    >>> tg.nn.Linear(2, 1, init=tg.nn.zeros()).weight.tolist()
    [[0.0, 0.0]]
    """
    return _zeros


def _zeros(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return np.zeros(shape)


def he_normal(gain: float = math.sqrt(2)) -> Initializer:
    """N(0, gain² / in), for relu. He, Zhang, Ren, Sun, "Delving deep into rectifiers" (2015).

    >>> import tinygrad_np as tg
    >>> tg.nn.Linear(784, 100, init=tg.nn.he_normal(), rng=0).weight.data.std().round(3)
    np.float32(0.051)
    """
    return partial(_he_normal, gain)


def _he_normal(gain: float, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.normal(0.0, gain / math.sqrt(math.prod(shape[1:])), shape)


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """U(±gain √(6 / (in + out))), for tanh and sigmoid.

    Glorot, Bengio, "Understanding the difficulty of training deep feedforward networks" (2010).

    >>> import tinygrad_np as tg
    >>> tg.nn.Linear(784, 100, init=tg.nn.xavier_uniform(), rng=0).weight.data.max().round(3)
    np.float32(0.082)
    """
    return partial(_xavier_uniform, gain)


def _xavier_uniform(gain: float, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    window = math.prod(shape[2:])
    bound = gain * math.sqrt(6 / ((shape[0] + shape[1]) * window))
    return rng.uniform(-bound, bound, shape)


def lecun_normal() -> Initializer:
    """N(0, 1 / in). LeCun, Bottou, Orr, Müller, "Efficient backprop" (1998).

    >>> import tinygrad_np as tg
    >>> tg.nn.Linear(784, 100, init=tg.nn.lecun_normal(), rng=0).weight.data.std().round(3)
    np.float32(0.036)
    """
    return he_normal(1.0)
