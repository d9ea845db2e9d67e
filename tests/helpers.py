"""Shared by many tests: leaf Tensors that require grad."""

from typing import Any

import numpy as np

import tinygrad_np as tg


def leaf(value: Any, name: str | None = None, dtype: Any = float) -> tg.Tensor:
    """A leaf Tensor that requires grad, with a copy of the value."""
    return tg.Tensor(np.array(value, dtype), requires_grad=True, name=name)
