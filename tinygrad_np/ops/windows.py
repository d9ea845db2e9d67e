"""Windows of images: how many there are, where they lie in memory, and as columns of a matrix.

With stride 1 the columns keep the rows' full width, so that each is a single run of memory; the
few outputs too many between the rows are left out at the end. Where these would be more than the
others, or with larger strides, each window is copied by itself.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..cases import case, normal
from ..composites import composite
from ..definition import OPS, Value, op
from ..shapes import Shape
from ..source import said
from ..tensor import Operand, Tensor
from ..tracing import pure
from .elementwise import like, wide
from .shape import expand_dims, squeeze

__all__ = ["fold", "unfold"]

Pads = tuple[tuple[int, int], ...]
"""Zeros before and after, for each spatial axis."""

BLOCK = 1 << 20
"""Bytes of columns made at a time. A step of LeNet-5 (batch 64, one thread) takes 10 ms with 2^17,
7.4 with 2^18, 6.9 with 2^19, 6.6 with 2^20, and more memory beyond; torch's takes 4.1."""


# Geometry


def per_axis(value: Any, count: int, name: str, least: int = 0) -> tuple[int, ...]:
    """One number for all spatial axes, or one for each, as a tuple; ValueError if it is neither."""
    values = (value,) * count if isinstance(value, int | np.integer) else tuple(value)
    if len(values) == 1:
        values *= count
    if len(values) != count or not all(isinstance(v, int | np.integer) for v in values):
        raise ValueError(f"{name}={value!r}: give an integer, or one for each of {count} axes")
    if any(v < least for v in values):
        raise ValueError(f"{name}={value!r} must be at least {least}")
    return tuple(map(int, values))


def output_size(size: Shape, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape) -> Shape:
    """How many windows fit along each axis; ValueError where none does."""
    out = tuple([
        (n + before + after - d * (k - 1) - 1) // s + 1
        for n, k, s, (before, after), d in zip(size, kernel, stride, pads, dilation, strict=True)
    ])  # fmt: skip
    if any(n < 1 for n in out) or not all(kernel):
        raise ValueError(
            f"windows of {kernel} with dilation {dilation} do not fit an input of {size} with "
            f"padding {pads}: use a smaller kernel or more padding"
        )
    return out


class _Scratch(threading.local):
    """A thread's memory for columns. To get it anew from the system took a third of the time."""

    buffer: Any = None

    def memory(self, size: int) -> Any:
        if self.buffer is None or self.buffer.nbytes < size:
            self.buffer = np.empty(size, np.uint8)
        return self.buffer


_scratch = _Scratch()


def _length(out: Shape, row: Sequence[int]) -> int:
    """From the first output to the last, where rows (all axes but the first) have these lengths."""
    return 1 + sum((n - 1) * math.prod(row[i:]) for i, n in enumerate(out))


class Windows:
    """The windows of a padded array (N, C, ...), and how outputs lie beside them in memory.

    They are taken in blocks: some images, or of a large image some rows of outputs.
    """

    def __init__(
        self, x: Any, kernel: Shape, stride: Shape, dilation: Shape, out: Shape, runs: bool
    ) -> None:
        count, channels, *size = x.shape
        steps = x.strides[2:]
        row = size[1:]
        if not runs or any(s != 1 for s in stride) or _length(out, row) > 2 * math.prod(out):
            runs, row = False, list(out[1:])
        self.steps: list[int] = [
            math.prod(row[i:]) for i in range(len(out))
        ]  # from output to output
        self.kernel, self.out, self.runs = kernel, out, runs
        along: Sequence[int] = (_length(out, row),) if runs else out
        apart = (
            x.strides[-1:] if runs else [s * step for s, step in zip(stride, steps, strict=True)]
        )
        taps = [d * step for d, step in zip(dilation, steps, strict=True)]
        self.view: Any = as_strided(
            x, (channels, *kernel, count, *along), (x.strides[1], *taps, x.strides[0], *apart)
        )
        output = channels * math.prod(kernel) * x.itemsize
        self.images = min(count, BLOCK // max(1, output * self.length(out[0])))
        self.rows = out[0] if self.images else max(1, BLOCK // max(1, output * self.steps[0]))
        self.images = max(1, self.images)
        self.count = count

    def length(self, rows: int) -> int:
        """From the first output to the last, of some rows."""
        counts = (rows, *self.out[1:])
        return 1 + int(sum((n - 1) * step for n, step in zip(counts, self.steps, strict=True)))

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Images, and rows of outputs."""
        for i in range(0, self.count, self.images):
            images = slice(i, min(i + self.images, self.count))
            for row in range(0, self.out[0], self.rows):
                yield images, slice(row, min(row + self.rows, self.out[0]))

    def part(self, images: slice, rows: slice) -> Any:
        """The view (C, *kernel, images, outputs) of a block's windows."""
        if self.runs:
            start = rows.start * self.steps[0]
            rows = slice(start, start + self.length(rows.stop - rows.start))
        return self.view[(slice(None),) * (1 + len(self.kernel)) + (images, rows)]

    def columns(self, images: slice, rows: slice) -> Any:
        """The windows of a block as (C, kernel, images · outputs)."""
        view = self.part(images, rows)
        columns = self.matrix(view.shape, view.dtype)
        columns[...] = view
        return columns.reshape(view.shape[0], math.prod(self.kernel), -1)

    def matrix(self, shape: Shape, dtype: Any) -> Any:
        """An array for the columns of one block, the same at each call while they are small."""
        size = math.prod(shape) * dtype.itemsize
        if size > BLOCK:
            return np.empty(shape, dtype)
        return np.ndarray(shape, dtype, _scratch.memory(size))

    def beside(self, y: Any, dtype: Any) -> Any:
        """Outputs (images, channels, ...) of a block in rows (channels, images · length).

        In between are zeros.
        """
        rows = np.zeros((y.shape[1], len(y) * self.length(y.shape[2])), dtype)
        self.pixels(rows, len(y), y.shape[2])[...] = y
        return rows

    def pixels(self, matrix: Any, images: int, rows: int) -> Any:
        """A matrix (channels, images · length) of a block's outputs, as (images, channels, ...)."""
        length, step = self.length(rows), matrix.itemsize
        strides = [step * n for n in (length, images * length, *self.steps)]
        shape = (images, matrix.shape[0], rows, *self.out[1:])
        return np.ndarray(shape, matrix.dtype, matrix, 0, strides)


def framed(x: Any, pads: Pads, dtype: Any) -> Any:
    """A contiguous array with zeros around the images."""
    if not any(map(any, pads)):
        return np.ascontiguousarray(x, dtype)
    size = [n + sum(pad) for n, pad in zip(x.shape[2:], pads, strict=True)]
    out = np.zeros((*x.shape[:2], *size), dtype)
    out[inside(x.shape[2:], pads)] = x
    return out


def inside(size: Shape, pads: Pads) -> Any:
    return (..., *[slice(pad[0], pad[0] + n) for n, pad in zip(size, pads, strict=True)])


def batched(name: str, x: Operand, axes: int) -> tuple[Tensor, bool]:
    """x as a Tensor with a batch axis, and whether it had one."""
    ndim = np.ndim(x)
    if ndim == axes + 1:
        return expand_dims(x, 0), False
    if ndim != axes + 2:
        names = ", ".join(("depth", "height", "width")[3 - axes :])
        raise ValueError(
            f"{name}: x must have {axes + 2} axes (batch, channels, {names}), or {axes + 1} "
            f"without the batch, but its shape is {np.shape(x)}"
        )
    return x if isinstance(x, Tensor) else Tensor(x), True


# Windows as columns


@pure
def _unfolded(x: Any, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape) -> Any:
    out = output_size(x.shape[2:], kernel, stride, pads, dilation)
    windows = Windows(framed(x, pads, x.dtype), kernel, stride, dilation, out, runs=False)
    columns = np.moveaxis(windows.view, 1 + len(kernel), 0)
    return columns.reshape(len(x), x.shape[1] * math.prod(kernel), math.prod(out))


@pure
def _folded(y: Any, size: Shape, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape) -> Any:
    out = output_size(size, kernel, stride, pads, dilation)
    padded = [n + sum(pad) for n, pad in zip(size, pads, strict=True)]
    channels = y.shape[1] // math.prod(kernel)
    x = np.zeros((len(y), channels, *padded), wide(y).dtype)
    view: Any = Windows(x, kernel, stride, dilation, out, runs=False).view
    columns = np.moveaxis(y.reshape(len(y), channels, *kernel, *out), 0, 1 + len(kernel))
    for place in product(*map(range, kernel)):
        view[(slice(None), *place)] += columns[(slice(None), *place)]
    return like(x[inside(size, pads)], y)


@op(
    cases=[case(normal(2, 2, 3, 4), (2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1)),
           case(normal(1, 2, 4, 3), (2, 2), (2, 1), ((1, 1), (0, 0)), (2, 1))],
    x=said("fold(g)", lambda g, x_shape, kernel, stride, padding, dilation: OPS["windows_folded"](
        g, x_shape[2:], kernel, stride, padding, dilation
    )),
)  # fmt: skip
def windows_unfolded(
    x: Value, kernel: Shape, stride: Shape, padding: Pads, dilation: Shape
) -> Value:
    """The windows of x (N, C, ...) as columns (N, C · kernel, windows). Gradient: added up."""
    return _unfolded(x, kernel, stride, padding, dilation)


@op(
    cases=[case(normal(2, 12, 4), (3, 4), (2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1)),
           case(normal(1, 8, 4), (4, 3), (2, 2), (2, 1), ((1, 1), (0, 0)), (2, 1))],
    y=said("unfold(g)", lambda g, kernel, stride, padding, dilation: OPS["windows_unfolded"](
        g, kernel, stride, padding, dilation
    )),
)  # fmt: skip
def windows_folded(
    y: Value, size: Shape, kernel: Shape, stride: Shape, padding: Pads, dilation: Shape
) -> Value:
    """Columns added up where their windows lie: the adjoint of ``windows_unfolded``."""
    return _folded(y, size, kernel, stride, padding, dilation)


@composite(
    cases=[case(normal(2, 2, 3, 4), (2, 3)), case(normal(2, 4, 3), 2, (2, 1), (1, 0), (2, 1))]
)
def unfold(
    x: Operand, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The windows of images x (N, C, H, W) as columns: (N, C KH KW, windows).

    Gradient: g added up where the windows overlap (``fold``).

    >>> import tinygrad_np as tg
    >>> tg.unfold([[[[1.0, 2.0, 3.0]]]], (1, 2)).tolist()
    [[[1.0, 2.0], [2.0, 3.0]]]
    """
    x, had_batch = batched("unfold", x, 2)
    kernel, stride = per_axis(kernel_size, 2, "kernel_size", 1), per_axis(stride, 2, "stride", 1)
    dilation = per_axis(dilation, 2, "dilation", 1)
    pads = tuple([(p, p) for p in per_axis(padding, 2, "padding")])
    y = OPS["windows_unfolded"].function(x, kernel, stride, pads, dilation)
    return y if had_batch else squeeze(y, 0)


@composite(
    cases=[
        case(normal(2, 12, 4), (3, 4), (2, 3)),
        case(normal(8, 4), (4, 3), 2, (2, 1), (1, 0), (2, 1)),
    ]
)
def fold(
    x: Operand, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Tensor:  # fmt: skip
    """Columns (N, C KH KW, windows) added up to images ``(N, C, *output_size)``. See ``unfold``.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.fold(np.ones((1, 4, 4)), (3, 3), 2).tolist()
    [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
    """
    had_batch = np.ndim(x) == 3
    x = x if had_batch else expand_dims(x, 0)
    kernel, stride = per_axis(kernel_size, 2, "kernel_size", 1), per_axis(stride, 2, "stride", 1)
    dilation = per_axis(dilation, 2, "dilation", 1)
    pads = tuple([(p, p) for p in per_axis(padding, 2, "padding")])
    size = per_axis(output_size, 2, "output_size", 1)
    y = OPS["windows_folded"].function(x, size, kernel, stride, pads, dilation)
    return y if had_batch else squeeze(y, 0)
