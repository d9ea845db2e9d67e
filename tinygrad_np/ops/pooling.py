"""Pooling: the largest element, or the mean, of each window of an image.

Both are separable: windows of rows first, then of columns, so that a window of k × k costs 2 k
steps. Windows are described by tuples with one number for each spatial axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from ..cases import case, distinct, integers, normal
from ..composites import composite
from ..definition import OPS, Value, op
from ..shapes import Shape
from ..source import said
from ..tensor import Operand, Tensor, plain
from ..tracing import item, pure
from .elementwise import divide, like, wide
from .indexing import getitem
from .reduction import mean
from .shape import reshape, squeeze, stack
from .windows import batched, per_axis

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool1d", "avg_pool2d", "max_pool1d",
    "max_pool2d",
]  # fmt: skip


def _output(
    size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil_mode: bool
) -> Shape:
    """How many windows lie along each axis; ValueError where there is none."""
    out = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        if 2 * p > k:
            raise ValueError(f"padding {padding} must be at most half the kernel {kernel}")
        room = n + 2 * p - d * (k - 1) - 1
        count = (room + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (count - 1) * s >= n + p:  # no window may start in the padding behind
            count -= 1
        if count < 1:
            raise ValueError(
                f"windows of {kernel} with dilation {dilation} do not fit an input of {size} with "
                f"padding {padding}"
            )
        out.append(count)
    return tuple(out)


def _framed(
    x: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, out: Shape, value: Any
) -> Any:
    """x in a frame of ``value`` in which every window lies inside; x itself if none is needed."""
    geometry = zip(x.shape[2:], kernel, stride, padding, dilation, out, strict=True)
    widths = [(p, max(0, (o - 1) * s + d * (k - 1) + 1 - n - p)) for n, k, s, p, d, o in geometry]
    if not any(map(any, widths)):
        return x
    return np.pad(x, [(0, 0), (0, 0), *widths], constant_values=value)


def _tap(axis: int, ndim: int, start: int, step: int, count: int) -> Any:
    """The index of one element of each window, along one spatial axis."""
    index: list[Any] = [slice(None)] * ndim
    index[axis] = slice(start, start + (count - 1) * step + 1, step)
    return tuple(index)


# The largest element


@pure
def largest(
    x: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, out: Shape
) -> Any:
    x = _framed(x, kernel, stride, padding, dilation, out, -np.inf)
    for i in range(len(kernel)):
        taps = [
            x[_tap(2 + i, x.ndim, j * dilation[i], stride[i], out[i])] for j in range(kernel[i])
        ]
        x = taps[0].copy() if len(taps) == 1 else np.maximum(taps[0], taps[1])
        for tap in taps[2:]:
            np.maximum(x, tap, out=x)
    return x


@pure
def numbers(x: Any, out: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Any:
    """The number of each window's largest element, of the first if several are equal."""
    counts = out.shape[2:]
    inside = None
    if any(padding) and np.isneginf(out).any():  # -inf may be an element, or of the frame
        inside = _framed(np.ones(x.shape, bool), kernel, stride, padding, dilation, counts, False)
    framed = _framed(x, kernel, stride, padding, dilation, counts, -np.inf)
    unknown = bool(np.isnan(out).any())
    missed = np.ones(out.shape, bool)
    number = np.zeros(out.shape, np.int8 if math.prod(kernel) < 128 else np.int64)
    for index in _elements(kernel, stride, dilation, counts)[:-1]:
        element = framed[index]
        differs = element != out
        if inside is not None:
            differs |= ~inside[index]
        if unknown:
            differs &= ~np.isnan(element)
        missed &= differs
        number += missed
    return number


def _elements(kernel: Shape, stride: Shape, dilation: Shape, counts: Shape) -> list[Any]:
    """For each element of a window, the index that selects it in all windows."""
    return [
        (slice(None), slice(None), *[
            slice(j * d, j * d + (n - 1) * s + 1, s)
            for j, d, s, n in zip(place, dilation, stride, counts, strict=True)
        ])
        for place in product(*map(range, kernel))
    ]  # fmt: skip


def _places(
    number: Any, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Any:
    """The flat index, in the images, of each window's element with this number."""
    images, channels, *counts = number.shape
    # An element's index is that of the window's corner plus that of the element in the window.
    corner = np.arange(images * channels).reshape(images, channels, *[1] * len(size))
    corner = corner * math.prod(size)
    within = np.zeros((), int)
    for i in range(len(size)):
        step = math.prod(size[i + 1 :])
        along = (np.arange(counts[i]) * stride[i] - padding[i]) * step
        corner = corner + along.reshape(-1, *[1] * (len(size) - 1 - i))
        within = within[..., None] + np.arange(kernel[i]) * dilation[i] * step
    return corner + item(within.reshape(-1), number)


@pure
def placed(
    g: Any, number: Any, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Any:
    """Zeros, and each g added to the element of its window with this number."""
    shape = (*g.shape[:2], *size)
    sides = zip(kernel, stride, dilation, number.shape[2:], size, strict=True)
    apart = not any(padding) and all(
        d * (k - 1) < s and (n - 1) * s + d * (k - 1) < length for k, s, d, n, length in sides
    )  # no two windows overlap, and none of them, as with ceil_mode, reaches beyond the array
    if not apart or g.dtype.char not in "efd":
        out = np.zeros(math.prod(shape), wide(g).dtype)
        at = _places(number, size, kernel, stride, padding, dilation)
        np.add.at(out, at.reshape(-1), wide(g).reshape(-1))
        return like(out.reshape(shape), g)
    out = np.zeros(shape, g.dtype)
    unsigned = f"u{g.itemsize}"  # the bits times 0 are 0, what g may be
    for i, index in enumerate(_elements(kernel, stride, dilation, number.shape[2:])):
        np.multiply(g.view(unsigned), number == i, out=out.view(unsigned)[index])
    return out


@op(
    cases=[
        case(normal(2, 2, 2), integers(2, 2, 2, 2), (5,), (2,), (2,), (0,), (1,)),
        case(
            normal(2, 1, 3, 2), integers(6, 2, 1, 3, 2), (5, 5), (2, 3), (1, 2), (0, 0), (2, 1),
        ),
        case(
            normal(1, 1, 2, 2), integers(2, 1, 1, 2, 2), (3, 4), (1, 2), (2, 2), (0, 0), (1, 1),
        ),
    ],
    g=said("g at these places", lambda g, number, size, kernel, stride, padding, dilation: (
        OPS["getitem"](g.reshape(-1), _places(number, size, kernel, stride, padding, dilation))
    )),
)  # fmt: skip
def window_place(
    g: Value, number: Any, size: Shape, kernel: Shape, stride: Shape, padding: Shape,
    dilation: Shape,
) -> Value:  # fmt: skip
    """Each g (N, C, ...) added to element ``number`` of its window, in zeros of ``size``.

    Gradient: g at these elements.
    """
    return placed(g, number, size, kernel, stride, padding, dilation)


def _max_pool_x(
    g: Any, x: Any, out: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    ceil_mode: bool,
) -> Any:  # fmt: skip
    """g at the largest of its window"""
    # ceil_mode is read so that the graph keeps it: a derivation calls the op again.
    number = numbers(plain(x), plain(out), kernel, stride, padding, dilation)
    return OPS["window_place"](g, number, x.shape[2:], kernel, stride, padding, dilation)


@op(
    cases=[
        case(distinct(2, 2, 5), (2,), (2,), (0,), (1,), False),
        case(distinct(2, 1, 4, 5), (2, 3), (1, 2), (1, 1), (2, 1), True),
        case(distinct(1, 2, 3, 3), (1, 2), (2, 1), (0, 0), (1, 1), False),
        case(distinct(1, 2, 5, 4), (2, 2), (2, 2), (0, 0), (1, 1), True),
    ],
    analytic=False, x=_max_pool_x,
)  # fmt: skip
def max_pooling(
    x: Value, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil_mode: bool
) -> Value:
    """The largest element of each window of x (N, C, ...). See ``max_pool2d``.

    Gradient: each g goes to its window's largest element, the first if several are equal.
    """
    out = _output(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    return largest(x, kernel, stride, padding, dilation, out)


# Sums, and their adjoint


@pure
def sums(x: Any, kernel: Shape, stride: Shape, padding: Shape, out: Shape) -> Any:
    given, ones = x, (1,) * len(kernel)
    x = _framed(wide(x), kernel, stride, padding, ones, out, 0)
    for i in range(len(kernel)):
        taps = [x[_tap(2 + i, x.ndim, j, stride[i], out[i])] for j in range(kernel[i])]
        x = taps[0].copy() if len(taps) == 1 else taps[0] + taps[1]
        for tap in taps[2:]:
            x += tap
    return like(x, given)


@pure
def spread_sums(y: Any, kernel: Shape, stride: Shape, padding: Shape, size: Shape) -> Any:
    given, y = y, wide(y)
    for i in reversed(range(len(kernel))):
        counts = y.shape[2 + i]
        length = max(padding[i] + size[i], (counts - 1) * stride[i] + kernel[i])
        x = np.zeros((*y.shape[: 2 + i], length, *y.shape[3 + i :]), y.dtype)
        for j in range(kernel[i]):
            x[_tap(2 + i, x.ndim, j, stride[i], counts)] += y
        y = x[_tap(2 + i, x.ndim, padding[i], 1, size[i])]
    return like(y, given)


@op(
    cases=[case(normal(2, 2, 5), (2,), (2,), (0,), (2,)),
           case(normal(2, 1, 4, 5), (2, 3), (1, 2), (1, 1), (5, 3)),
           case(normal(1, 2, 3, 3), (1, 2), (2, 1), (0, 0), (2, 2))],
    x=said(
        "g at each element of its window",
        lambda g, x_shape, kernel, stride, padding: OPS["window_spread"](
            g, kernel, stride, padding, x_shape[2:]
        ),
    ),
)  # fmt: skip
def window_sum(x: Value, kernel: Shape, stride: Shape, padding: Shape, out: Shape) -> Value:
    """The sum of each window of x (N, C, ...), ``out`` windows along each axis."""
    return sums(x, kernel, stride, padding, out)


@op(
    cases=[case(normal(2, 2, 2), (2,), (2,), (0,), (5,)),
           case(normal(2, 1, 5, 3), (2, 3), (1, 2), (1, 1), (4, 5)),
           case(normal(1, 2, 2, 2), (1, 2), (2, 1), (0, 0), (3, 3))],
    y=said(
        "the sum of g over each window",
        lambda g, y_shape, kernel, stride, padding: OPS["window_sum"](
            g, kernel, stride, padding, y_shape[2:]
        ),
    ),
)  # fmt: skip
def window_spread(y: Value, kernel: Shape, stride: Shape, padding: Shape, size: Shape) -> Value:
    """Each y (N, C, ...) added to every element of its window: the adjoint of ``window_sum``."""
    return spread_sums(y, kernel, stride, padding, size)


# What people call


def _max_pool(
    axes: int, x: Operand, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool,
) -> Tensor:  # fmt: skip
    x, had_batch = batched(f"max_pool{axes}d", x, axes)
    kernel = per_axis(kernel_size, axes, "kernel_size", 1)
    stride = kernel if stride is None else per_axis(stride, axes, "stride", 1)
    padding, dilation = per_axis(padding, axes, "padding"), per_axis(dilation, axes, "dilation", 1)
    y = OPS["max_pooling"].function(x, kernel, stride, padding, dilation, ceil_mode)
    return y if had_batch else squeeze(y, 0)


@composite(cases=[case(distinct(2, 2, 5), 2), case(distinct(2, 5), 3, 1, 1, 2)], analytic=False)
def max_pool1d(
    x: Operand, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """``max_pool2d`` along one axis: x (N, C, W) or (C, W).

    >>> import tinygrad_np as tg
    >>> tg.max_pool1d([[[1.0, 2.0, 3.0, 6.0]]], 2).tolist()
    [[[2.0, 6.0]]]
    """
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode)


@composite(
    cases=[case(distinct(2, 1, 4, 5), 2), case(distinct(2, 5, 5), (3, 2), 2, (1, 0), 1, True)],
    analytic=False,
)
def max_pool2d(
    x: Operand, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The largest element of each window of images x (N, C, H, W) or (C, H, W).

    Numbers or pairs: ``kernel_size``; ``stride`` between windows (None: the kernel's size);
    ``padding`` with -inf on each side, at most half the kernel; ``dilation`` between a window's
    elements. With ``ceil_mode`` a last window may reach over the edge.
    Gradient: each g goes to its window's largest element, the first if several are equal.

    >>> import tinygrad_np as tg
    >>> tg.max_pool2d([[[[1.0, 2.0, 3.0, 4.0], [8.0, 7.0, 6.0, 5.0]]]], 2).tolist()
    [[[[8.0, 6.0]]]]
    """
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode)


def _avg_pool(
    axes: int, x: Operand, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None,
) -> Tensor:  # fmt: skip
    x, had_batch = batched(f"avg_pool{axes}d", x, axes)
    kernel = per_axis(kernel_size, axes, "kernel_size", 1)
    stride = kernel if stride is None else per_axis(stride, axes, "stride", 1)
    padding = per_axis(padding, axes, "padding")
    if divisor_override == 0:
        raise ValueError(f"avg_pool{axes}d: divisor_override must not be 0")
    out = _output(x.shape[2:], kernel, stride, padding, (1,) * axes, ceil_mode)
    y = OPS["window_sum"].function(x, kernel, stride, padding, out)
    if divisor_override is not None:
        counts: Any = divisor_override
    else:
        counts = _counts(x.shape[2:], kernel, stride, padding, out, count_include_pad)
        same = (counts == counts.flat[0]).all()
        counts = int(counts.flat[0]) if same else counts.astype(x.dtype)
    y = divide(y, counts)
    return y if had_batch else squeeze(y, 0)


def _counts(
    size: Shape, kernel: Shape, stride: Shape, padding: Shape, out: Shape, include: bool
) -> Any:
    """The number of elements of each window that lie in the image, or also in its padding."""
    counts = np.ones((), int)
    for n, k, s, p, o in zip(size, kernel, stride, padding, out, strict=True):
        start = np.arange(o) * s - p
        stop = np.minimum(start + k, n + p)
        along = stop - start if include else np.minimum(stop, n) - np.maximum(start, 0)
        counts = counts[..., None] * along
    return counts


@composite(cases=[case(normal(2, 2, 5), 2), case(normal(2, 5), 3, 2, 1, True, False)])
def avg_pool1d(
    x: Operand, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """``avg_pool2d`` along one axis: x (N, C, W) or (C, W).

    >>> import tinygrad_np as tg
    >>> tg.avg_pool1d([[[1.0, 2.0, 3.0, 6.0]]], 2).tolist()
    [[[1.5, 4.5]]]
    """
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@composite(
    cases=[case(normal(2, 1, 4, 5), 2),
           case(normal(2, 5, 5), (3, 2), 2, (1, 0), True, False),
           case(normal(1, 1, 3, 3), 2, 1, 1, divisor_override=3)]
)  # fmt: skip
def avg_pool2d(
    x: Operand, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of images x (N, C, H, W) or (C, H, W).

    ``kernel_size``, ``stride``, ``padding`` (with zeros) and ``ceil_mode`` as for ``max_pool2d``.
    The sum is divided by the window's number of elements, without those in the padding if
    ``count_include_pad`` is False, or by ``divisor_override``.

    Gradient: each g, divided by the same number, goes to every element of its window.

    >>> import tinygrad_np as tg
    >>> tg.avg_pool2d([[[[1.0, 2.0, 3.0, 4.0], [8.0, 7.0, 6.0, 5.0]]]], 2).tolist()
    [[[[4.5, 4.5]]]]
    """
    return _avg_pool(
        2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )  # fmt: skip


def _adaptive(axes: int, x: Operand, output_size: Any) -> Tensor:
    x, had_batch = batched(f"adaptive_avg_pool{axes}d", x, axes)
    sizes: Sequence[Any] = output_size if np.ndim(output_size) else (output_size,) * axes
    wanted = tuple([n if o is None else o for n, o in zip(x.shape[2:], sizes, strict=True)])
    wanted = per_axis(wanted, axes, "output_size", 1)
    if not all(x.shape[2:]):
        raise ValueError(f"adaptive_avg_pool{axes}d: x of shape {x.shape} has nothing to average")
    for axis, (n, o) in enumerate(zip(x.shape[2:], wanted, strict=True), 2):
        if n % o == 0:
            x = mean(reshape(x, (*x.shape[:axis], o, n // o, *x.shape[axis + 1 :])), axis + 1)
            continue
        parts = [(i * n // o, -(-(i + 1) * n // o)) for i in range(o)]
        front = (slice(None),) * axis
        means = [mean(getitem(x, (*front, slice(start, stop))), axis) for start, stop in parts]
        x = stack(means, axis)
    return x if had_batch else squeeze(x, 0)


@composite(cases=[case(normal(2, 2, 6), 3), case(normal(2, 5), 3)])
def adaptive_avg_pool1d(x: Operand, output_size: Any) -> Tensor:
    """``adaptive_avg_pool2d`` along one axis: x (N, C, W) or (C, W).

    >>> import tinygrad_np as tg
    >>> tg.adaptive_avg_pool1d([[[1.0, 2.0, 3.0, 6.0]]], 2).tolist()
    [[[1.5, 4.5]]]
    """
    return _adaptive(1, x, output_size)


@composite(cases=[case(normal(2, 1, 4, 5), 1), case(normal(2, 4, 5), (2, 3)),
                  case(normal(1, 1, 3, 4), (None, 2))])  # fmt: skip
def adaptive_avg_pool2d(x: Operand, output_size: Any) -> Tensor:
    """The mean of each of ``output_size`` windows, which are about equally large.

    x (N, C, H, W) or (C, H, W); the size is a number or a pair, None keeps an axis. Window i of o
    along an axis of length n goes from floor(i n / o) to ceil((i + 1) n / o).

    >>> import tinygrad_np as tg
    >>> tg.adaptive_avg_pool2d([[[[1.0, 2.0, 3.0, 6.0]]]], (1, 2)).tolist()
    [[[[1.5, 4.5]]]]
    """
    return _adaptive(2, x, output_size)
