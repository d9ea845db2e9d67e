"""What ops' own helpers compute, as a textbook has it: in NumPy's functions alone.

The helpers are fast, and right for singular matrices and infinite numbers too; these are to be
read. Windows are views (N, C, *outputs, *kernel) of images (N, C, ...).
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


def _framed(x: Any, pads: Any, value: float = 0) -> Any:
    if not any(map(any, pads)):
        return x
    filled: Any = {"constant_values": value} if value else {}
    return np.pad(x, ((0, 0), (0, 0), *pads), **filled)


def _cropped(x: Any, pads: Any) -> Any:
    """The images without their frame."""
    if not any(map(any, pads)):
        return x
    ends = [slice(before or None, -after or None) for before, after in pads]
    return x[(slice(None), slice(None), *ends)]


def _windows(x: Any, kernel: Shape, stride: Shape, dilation: Shape, out: Shape) -> Any:
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


def _counts(size: Shape, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape) -> Shape:
    geometry = zip(size, kernel, stride, pads, dilation, strict=True)
    return tuple([(n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in geometry])


def _grouped(array: Any, axis: int, groups: int) -> Any:
    shape = array.shape
    if groups == 1:
        return array
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def _einsum(subscripts: str, one: Any, other: Any, groups: int, axis: int) -> Any:
    """A product whose subscript g, the group, is an axis only where there are several groups."""
    if groups == 1:
        return np.einsum(subscripts.replace("g", ""), one, other)
    out = np.einsum(subscripts, one, other)
    return out.reshape(*out.shape[:axis], -1, *out.shape[axis + 2 :])


def _convolve(x: Any, weight: Any, stride: Shape, pads: Pads, dilation: Shape, groups: int) -> Any:
    kernel = weight.shape[2:]
    out = _counts(x.shape[2:], kernel, stride, pads, dilation)
    seen = _windows(_framed(x, pads), kernel, stride, dilation, out)
    h, i = OUTPUT[len(kernel)], KERNEL[len(kernel)]
    seen, weight = _grouped(seen, 1, groups), _grouped(weight, 0, groups)
    return _einsum(f"ngc{h}{i},goc{i}->ngo{h}", seen, weight, groups, 1)


def _transposed(
    y: Any, weight: Any, size: Shape, stride: Shape, pads: Pads, dilation: Shape, groups: int
) -> Any:
    kernel, channels = weight.shape[2:], weight.shape[1] * groups
    h, i = OUTPUT[len(kernel)], KERNEL[len(kernel)]
    y, weight = _grouped(y, 1, groups), _grouped(weight, 0, groups)
    pieces = _einsum(f"ngo{h},goc{i}->ngc{h}{i}", y, weight, groups, 1)
    shape = y.shape[0], channels, *[n + sum(pad) for n, pad in zip(size, pads, strict=True)]
    return _cropped(pure(added_up)(pieces, kernel, shape, stride, dilation), pads)


def _correlate(
    y: Any, x: Any, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape, groups: int
) -> Any:
    seen = _windows(_framed(x, pads), kernel, stride, dilation, y.shape[2:])
    h, i = OUTPUT[len(kernel)], KERNEL[len(kernel)]
    y, seen = _grouped(y, 1, groups), _grouped(seen, 1, groups)
    return _einsum(f"ngo{h},ngc{h}{i}->goc{i}", y, seen, groups, 0)


def _unfolded(x: Any, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape) -> Any:
    out, axes = _counts(x.shape[2:], kernel, stride, pads, dilation), len(kernel)
    seen = _windows(_framed(x, pads), kernel, stride, dilation, out)
    turned = seen.transpose(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    return turned.reshape(x.shape[0], x.shape[1] * math.prod(kernel), math.prod(out))


def _folded(y: Any, size: Shape, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape) -> Any:
    out, axes = _counts(size, kernel, stride, pads, dilation), len(kernel)
    channels = y.shape[1] // math.prod(kernel)
    turned = y.reshape(y.shape[0], channels, *kernel, *out)
    pieces = turned.transpose(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    shape = y.shape[0], channels, *[n + sum(pad) for n, pad in zip(size, pads, strict=True)]
    return _cropped(pure(added_up)(pieces, kernel, shape, stride, dilation), pads)


# Pooling


def _reach(
    size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, out: Shape
) -> Pads:
    """How far windows reach over the edge, before and after."""
    geometry = zip(size, kernel, stride, padding, dilation, out, strict=True)
    last = [(n, p, (o - 1) * s + d * (k - 1) + 1) for n, k, s, p, d, o in geometry]
    return tuple([(p, max(0, end - n - p)) for n, p, end in last])


def _last(x: Any, count: int) -> Shape:
    return tuple(range(x.ndim - count, x.ndim))


def _largest(
    x: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, out: Shape
) -> Any:
    pads = _reach(x.shape[2:], kernel, stride, padding, dilation, out)
    seen = _windows(_framed(x, pads, -np.inf), kernel, stride, dilation, out)
    return seen.max(axis=_last(seen, len(kernel)))


def _numbers(
    x: Any, out: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Any:
    """Which of its window's elements is the largest, the first of several."""
    pads = _reach(x.shape[2:], kernel, stride, padding, dilation, out.shape[2:])
    seen = _windows(_framed(x, pads, -np.inf), kernel, stride, dilation, out.shape[2:])
    return seen.reshape(*out.shape, math.prod(kernel)).argmax(axis=-1)


def _placed(
    g: Any, number: Any, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Any:
    """Each g at the element of its window that has this number."""
    pads = _reach(size, kernel, stride, padding, dilation, number.shape[2:])
    shape = (*g.shape[:2], *[n + sum(pad) for n, pad in zip(size, pads, strict=True)])
    hits = np.arange(math.prod(kernel)) == number[..., None]
    pieces = hits.reshape(*number.shape, *kernel) * g[..., *[None] * len(kernel)]
    return _cropped(pure(added_up)(pieces, kernel, shape, stride, dilation), pads)


def _sums(x: Any, kernel: Shape, stride: Shape, padding: Shape, out: Shape) -> Any:
    ones = (1,) * len(kernel)
    pads = _reach(x.shape[2:], kernel, stride, padding, ones, out)
    seen = _windows(_framed(x, pads), kernel, stride, ones, out)
    return seen.sum(axis=_last(seen, len(kernel)))


def _spread_sums(y: Any, kernel: Shape, stride: Shape, padding: Shape, size: Shape) -> Any:
    ones = (1,) * len(kernel)
    pads = _reach(size, kernel, stride, padding, ones, y.shape[2:])
    shape = (*y.shape[:2], *[n + sum(pad) for n, pad in zip(size, pads, strict=True)])
    return _cropped(pure(added_up)(y, kernel, shape, stride, ones), pads)


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
"""By the file and the name of the helper."""


def known_as(function: Any) -> str:
    """The file and the name of a helper of ours; nothing for any other function."""
    package, _, path = (getattr(function, "__module__", None) or "").partition(".ops.")
    return f"{path}.{function.__name__.lstrip('_')}" if package and path else ""
