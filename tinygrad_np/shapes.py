"""Shapes, and the sum that undoes broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Axis = int | Sequence[int] | None


def unbroadcast(gradient: Any, shape: Shape) -> Any:
    """Sum ``gradient`` over the axes along which ``shape`` was broadcast (broadcasting's adjoint).

    Raises ValueError if ``shape`` does not broadcast to the gradient's shape.

    >>> unbroadcast(np.ones((5, 3, 4)), (3, 1)).tolist()
    [[20.0], [20.0], [20.0]]
    """
    axes = _stretched(gradient.shape, shape)
    if gradient.dtype.char == "e":  # in float16, a sum of ones stops at 2,048
        total = gradient.astype(np.float32).sum(axis=axes).astype(gradient.dtype)
    else:
        total = gradient.sum(axis=axes)
    return total if total.shape == shape else total.reshape(shape)


@functools.lru_cache(maxsize=4096)
def _stretched(large: Shape, shape: Shape) -> tuple[int, ...]:
    """The axes of ``large`` along which ``shape`` was broadcast."""
    extra = len(large) - len(shape)
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, large[extra:], strict=True)):
        raise ValueError(f"a gradient of shape {large} does not fit an input of shape {shape}")
    inner = [i + extra for i, n in enumerate(shape) if n == 1 and large[i + extra] != 1]
    return (*range(extra), *inner)
