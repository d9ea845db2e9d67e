"""What the ops' helpers compute, as in a textbook: with NumPy's functions alone.

The helpers are fast, and right for singular matrices and infinite numbers, too. The functions here
are for reading. Windows are views (N, C, *outputs, *kernel) of images (N, C, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..shapes import Shape
from ..tracing import pure

Pads = tuple[tuple[int, int], ...]

OUTPUT, KERNEL = ("", "w", "hw", "dhw"), ("", "j", "ij", "lij")
"""The letters of the axes of outputs and of the kernel, for one to three spatial axes."""

erf: Any = np.vectorize(math.erf, otypes=[float])


def added_up(pieces: Any, kernel: Shape, shape: Shape, stride: Shape, dilation: Shape) -> Any:
    """Images of a shape to which each window adds its piece; pieces may be the same all over."""
    out = np.zeros(shape, pieces.dtype)
    counts = pieces.shape[2 : len(shape)]
    for place in product(*map(range, kernel)):
        taps = zip(place, counts, stride, dilation, strict=True)
        index = [slice(d * i, d * i + s * n, s) for i, n, s, d in taps]
        out[:, :, *index] += pieces if pieces.ndim == len(shape) else pieces[..., *place]
    return out


def _cofactors(x: Any) -> Any:
    return np.linalg.det(x)[..., None, None] * np.linalg.inv(x).mT


def _minors(x: Any, w: Any) -> Any:
    c = np.linalg.inv(x).mT
    share = (c * w).sum(axis=(-2, -1), keepdims=True) * c - c @ w.mT @ c
    return np.linalg.det(x)[..., None, None] * share


def _error_function(x: Any) -> Any:
    return pure(erf)(x).astype(x.dtype, copy=False)


def _normal_distribution(x: Any) -> Any:
    return (1 + _error_function(x / math.sqrt(2))) / 2


# Windows


def _windows(
    x: Any, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape, out: Shape, value: float = 0
) -> Any:
    """The windows of images in a frame that holds a value."""
    if any(map(any, pads)):
        filled: Any = {"constant_values": value} if value else {}
        x = np.pad(x, ((0, 0), (0, 0), *pads), **filled)
    reach = tuple([d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)])
    view = sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    index = [slice(None)] * 2
    for n, s, count in zip(view.shape[2:], stride, out, strict=False):
        fits = (n - 1) // s + 1 == count
        index.append(slice(None, None if fits else (count - 1) * s + 1, s if s > 1 else None))
    index += [slice(None, None, d if d > 1 else None) for d in dilation]
    while index and index[-1] == slice(None):
        index.pop()
    return view[tuple(index)] if index else view


def _added(
    pieces: Any, kernel: Shape, size: Shape, stride: Shape, pads: Pads, dilation: Shape
) -> Any:
    """Images of a size to which each window adds its piece, without their frame."""
    shape = (*pieces.shape[:2], *[n + sum(pad) for n, pad in zip(size, pads, strict=True)])
    framed = pure(added_up)(pieces, kernel, shape, stride, dilation)
    if not any(map(any, pads)):
        return framed
    ends = [slice(before or None, -after or None) for before, after in pads]
    return framed[(slice(None), slice(None), *ends)]


def _counts(size: Shape, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape) -> Shape:
    """How many windows there are along each axis."""
    geometry = zip(size, kernel, stride, pads, dilation, strict=True)
    return tuple([(n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in geometry])


# Convolutions


def _grouped(array: Any, axis: int, groups: int) -> Any:
    shape = array.shape
    if groups == 1:
        return array
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def _einsum(subscripts: str, one: Any, other: Any, groups: int, axis: int) -> Any:
    """A product whose subscript g, the group, is an axis only if there are several groups."""
    if groups == 1:
        return np.einsum(subscripts.replace("g", ""), one, other)
    out = np.einsum(subscripts, one, other)
    return out.reshape(*out.shape[:axis], -1, *out.shape[axis + 2 :])


def _convolve(x: Any, weight: Any, stride: Shape, pads: Pads, dilation: Shape, groups: int) -> Any:
    kernel = weight.shape[2:]
    out = _counts(x.shape[2:], kernel, stride, pads, dilation)
    seen = _grouped(_windows(x, kernel, stride, pads, dilation, out), 1, groups)
    h, i = OUTPUT[len(kernel)], KERNEL[len(kernel)]
    return _einsum(f"ngc{h}{i},goc{i}->ngo{h}", seen, _grouped(weight, 0, groups), groups, 1)


def _transposed(
    y: Any, weight: Any, size: Shape, stride: Shape, pads: Pads, dilation: Shape, groups: int
) -> Any:
    kernel = weight.shape[2:]
    h, i = OUTPUT[len(kernel)], KERNEL[len(kernel)]
    y, weight = _grouped(y, 1, groups), _grouped(weight, 0, groups)
    pieces = _einsum(f"ngo{h},goc{i}->ngc{h}{i}", y, weight, groups, 1)
    return _added(pieces, kernel, size, stride, pads, dilation)


def _correlate(
    y: Any, x: Any, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape, groups: int
) -> Any:
    seen = _grouped(_windows(x, kernel, stride, pads, dilation, y.shape[2:]), 1, groups)
    h, i = OUTPUT[len(kernel)], KERNEL[len(kernel)]
    return _einsum(f"ngo{h},ngc{h}{i}->goc{i}", _grouped(y, 1, groups), seen, groups, 0)


def _swapped(array: Any, axes: int) -> Any:
    """Windows with the axes of the kernel before those of the outputs, or the other way round."""
    return array.transpose(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))


def _unfolded(x: Any, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape) -> Any:
    out = _counts(x.shape[2:], kernel, stride, pads, dilation)
    seen = _swapped(_windows(x, kernel, stride, pads, dilation, out), len(kernel))
    return seen.reshape(x.shape[0], x.shape[1] * math.prod(kernel), math.prod(out))


def _folded(y: Any, size: Shape, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape) -> Any:
    out, channels = _counts(size, kernel, stride, pads, dilation), y.shape[1] // math.prod(kernel)
    pieces = _swapped(y.reshape(y.shape[0], channels, *kernel, *out), len(kernel))
    return _added(pieces, kernel, size, stride, pads, dilation)


# Pooling


def _reach(
    size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, out: Shape
) -> Pads:
    """How far windows reach over the edge, before and after."""
    geometry = zip(size, kernel, stride, padding, dilation, out, strict=True)
    last = [(n, p, (o - 1) * s + d * (k - 1) + 1) for n, k, s, p, d, o in geometry]
    return tuple([(p, max(0, end - n - p)) for n, p, end in last])


def _pooled(
    x: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, out: Shape, value: float
) -> Any:
    """The windows of a pooling: as many as there are outputs."""
    pads = _reach(x.shape[2:], kernel, stride, padding, dilation, out)
    return _windows(x, kernel, stride, pads, dilation, out, value)


def _largest(
    x: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, out: Shape
) -> Any:
    seen = _pooled(x, kernel, stride, padding, dilation, out, -np.inf)
    return seen.max(axis=tuple(range(x.ndim, seen.ndim)))


def _numbers(
    x: Any, out: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Any:
    """Which of its window's elements is the largest, the first of several."""
    seen = _pooled(x, kernel, stride, padding, dilation, out.shape[2:], -np.inf)
    return seen.reshape(*out.shape, math.prod(kernel)).argmax(axis=-1)


def _placed(
    g: Any, number: Any, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Any:
    """Each g at the element of its window that has this number."""
    hits = np.arange(math.prod(kernel)) == number[..., None]
    pieces = hits.reshape(*number.shape, *kernel) * g[..., *[None] * len(kernel)]
    pads = _reach(size, kernel, stride, padding, dilation, number.shape[2:])
    return _added(pieces, kernel, size, stride, pads, dilation)


def _sums(x: Any, kernel: Shape, stride: Shape, padding: Shape, out: Shape) -> Any:
    seen = _pooled(x, kernel, stride, padding, (1,) * len(kernel), out, 0)
    return seen.sum(axis=tuple(range(x.ndim, seen.ndim)))


def _spread_sums(y: Any, kernel: Shape, stride: Shape, padding: Shape, size: Shape) -> Any:
    ones = (1,) * len(kernel)
    pads = _reach(size, kernel, stride, padding, ones, y.shape[2:])
    return _added(y, kernel, size, stride, pads, ones)


PLAIN: dict[str, Callable[..., Any]] = {
    "linalg.cofactors": _cofactors, "linalg.minors": _minors,
    "special.error_function": _error_function,
    "special.normal_distribution": _normal_distribution,
    "convolution.convolve": _convolve, "convolution.transpose_convolve": _transposed,
    "convolution.correlate": _correlate,
    "windows.unfolded": _unfolded, "windows.folded": _folded,
    "pooling.largest": _largest, "pooling.sums": _sums, "pooling.spread_sums": _spread_sums,
    "pooling.numbers": _numbers, "pooling.placed": _placed,
}  # fmt: skip
"""The textbook's functions, by file and name of the helper."""


def known_as(function: Any) -> str:
    """The file and the name of a helper of the ops; empty for any other function."""
    package, _, path = (getattr(function, "__module__", None) or "").partition(".ops.")
    return f"{path}.{function.__name__.lstrip('_')}" if package and path else ""
