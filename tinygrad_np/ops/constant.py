"""NumPy functions whose results carry no gradient: on Tensors they work as on their arrays."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..numpy_calls import NUMPY
from ..tensor import Function, Tensor, plain


def _on_arrays(function: Function) -> Function:
    """The function itself, applied to the arrays inside the Tensors; gives ndarrays."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*map(plain, args), **{key: plain(value) for key, value in kwargs.items()})

    return call


for _function in (
    np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like,
    np.allclose, np.isclose, np.array_equal, np.argsort, np.count_nonzero, np.nonzero,
    np.result_type, np.iscomplexobj, np.isrealobj, np.may_share_memory, np.shares_memory,
    np.isinf, np.signbit, np.logical_xor,
):  # fmt: skip
    NUMPY[_function] = _on_arrays(_function)


def _full_like(a: Any, fill_value: Any, *args: Any, **kwargs: Any) -> Any:
    """``np.full_like``, whose fill value must not be cut off its graph."""
    if isinstance(fill_value, Tensor):
        fill_value.refuse_to_be("the elements of an ndarray")
    return np.full_like(plain(a), plain(fill_value), *args, **kwargs)


NUMPY[np.full_like] = _full_like
