"""The matrices of a convolution: windows of images as columns, a block of images at a time.

The windows of a block are copied along every spatial axis but the first. In this copy the rows of
the image that a row of outputs needs follow each other, and those of the next row of outputs
overlap them: each row of outputs finds its columns in place (Cho and Brand, "MEC: memory-efficient
convolution for deep neural network", 2017).
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..shapes import Shape
from .windows import Pads, windows_of

BLOCK = 1 << 19
"""Bytes of columns in a block, so that they stay in the processor's cache."""
COLUMNS = 256
"""The least number of columns in a matrix product, where the images suffice for it."""
WIDE = 16
"""Rows with fewer outputs than this are narrow: the images then come last in memory."""


class _Scratch(threading.local):
    """A thread's memory for blocks. New memory from the system costs half of a convolution."""

    def __init__(self) -> None:
        self.buffers: dict[str, Any] = {}

    def array(self, name: str, shape: Sequence[int], dtype: Any) -> Any:
        """An uninitialised array. The next small one of this name overwrites it."""
        size = math.prod(shape) * dtype.itemsize
        if size > 4 * BLOCK:
            return np.empty(shape, dtype)
        buffer = self.buffers.get(name)
        if buffer is None or buffer.nbytes < size:
            buffer = self.buffers[name] = np.empty(size, np.uint8)
        return np.ndarray(shape, dtype, buffer)


scratch = _Scratch()


class Windows(NamedTuple):
    """The windows of a convolution, with a number for each spatial axis.

    The methods take images *by rows*: arrays with the axes (groups, rows, channels, images, other
    spatial axes). If ``last``, the images are the last axis instead, so that copies of many narrow
    images are long runs of memory.
    """

    kernel: Shape
    stride: Shape
    pads: Pads
    dilation: Shape
    out: Shape
    last: bool = False

    def arranged(self, count: int, least: float = 32) -> Windows:
        """The windows laid out for a number of images.

        A first axis of length 1 is added if that is faster: windows are then copied along all axes.
        It is so where windows do not overlap along the first axis, and where the rows of all
        images together have fewer than ``least`` outputs each.
        """
        last = self.out[-1] < min(count, WIDE) and self.kernel[-1] > self.stride[-1]
        few = count * math.prod(self.out[1:]) < least
        if not (few or len(self.out) == 1 or self.kernel[0] <= self.stride[0]):
            return self._replace(last=last)
        kernel, stride, pads, dilation, out, _ = self
        return Windows((1, *kernel), (1, *stride), ((0, 0), *pads), (1, *dilation), (1, *out), last)

    def transposed(self, height: int) -> Windows:
        """The windows of the outputs that each of the ``height`` rows of an image receives from.

        The stride along the first axis must be 1. Along the others a window is a single element.
        """
        ones, none = (1,) * (len(self.out) - 1), ((0, 0),) * (len(self.out) - 1)
        before = self.dilation[0] * (self.kernel[0] - 1) - self.pads[0][0]
        return Windows(
            (self.kernel[0], *ones), (1, *ones), ((before, 0), *none), (self.dilation[0], *ones),
            (height, *self.out[1:]), self.last,
        )  # fmt: skip

    @property
    def _axis(self) -> int:
        """The second spatial axis of images by rows."""
        return 3 if self.last else 4

    def by_rows(self, x: Any, groups: int) -> Any:
        """A view of x (N, C, ...) by rows."""
        count, channels, *size = x.shape
        size = [1] * (len(self.out) - len(size)) + size
        x = x.reshape(count, groups, channels // groups, *size)
        others = range(4, x.ndim)
        return x.transpose(1, 3, 2, *((*others, 0) if self.last else (0, *others)))

    def part(self, x: Any, images: slice, places: Sequence[slice] = ()) -> Any:
        """A part of x by rows: some images, and a slice along each spatial axis, or all of it."""
        rows, *others = places or [_ALL] * len(self.out)
        return x[:, rows, :, *((*others, images) if self.last else (images, *others))]

    def blocks(self, count: int, size: int) -> tuple[Block, ...]:
        """The blocks of a number of images; ``size`` is the bytes of one image's channels."""
        return _blocks(self, count, size, BLOCK, COLUMNS)

    def columns(self, x: Any, block: Block, dtype: Any) -> Any:
        """The windows of x by rows, as (groups, rows of outputs, kernel · channels, columns)."""
        out = block.out
        x = self._taps(self._framed(self.part(x, block.images), block, dtype), out[1:])
        if not x.flags.c_contiguous:
            columns = scratch.array("columns", x.shape, dtype)
            columns[...] = x
            x = columns
        groups, height, channels = x.shape[:3]
        size = channels * math.prod(self.kernel[1:])
        width = math.prod(x.shape[2 + len(self.kernel) :])
        x = x.reshape(groups, height, size, width)
        x = windows_of(x, 1, self.kernel[:1], self.stride[:1], self.dilation[:1], out[:1], 1)
        return x.swapaxes(1, 2).reshape(groups, out[0], self.kernel[0] * size, width)

    def add(self, columns: Any, x: Any, block: Block) -> None:
        """Add columns to their windows in x by rows, which has room for the padding.

        This is the adjoint of ``columns`` along all axes but the first.
        """
        reach = [slice(*span) for span in self.spans(block.places)[1:]]
        x = self.part(x, block.images, (block.places[0], *reach))
        frame = x
        if self.last:
            frame = scratch.array("frame", x.shape, x.dtype)
            frame[...] = 0
        view = self._taps(frame, block.out[1:])
        columns = columns.reshape(view.shape)
        # NumPy starts an addition up to 1 µs sooner without the axes of length 1.
        lead = [0 if n == 1 else _ALL for n in view.shape[:3]]
        tail = [0 if n == 1 else _ALL for n in view.shape[2 + len(self.kernel) :]]
        for tap in product(*map(range, self.kernel[1:])):
            element = view[*lead, *tap, *tail, ...]  # ...: a view, even of a single number
            element += columns[*lead, *tap, *tail, ...]
        if self.last:
            x += frame

    def _taps(self, x: Any, out: Shape) -> Any:
        """The windows of x by rows along all spatial axes but the first, the kernel at axis 3."""
        kernel, stride, dilation = self.kernel[1:], self.stride[1:], self.dilation[1:]
        return windows_of(x, self._axis, kernel, stride, dilation, out, 3)

    def spans(self, places: Sequence[slice]) -> tuple[tuple[int, int], ...]:
        """From where to where the windows of outputs reach in the images, along each axis."""
        sides = zip(places, self.kernel, self.stride, self.pads, self.dilation, strict=True)
        return tuple([
            (o.start * s - before, (o.stop - 1) * s + d * (k - 1) + 1 - before)
            for o, k, s, (before, _), d in sides
        ])  # fmt: skip

    def _framed(self, x: Any, block: Block, dtype: Any) -> Any:
        """The part of x by rows that the block reads, with zeros for the padding."""
        axis = self._axis
        sizes = x.shape[1], *x.shape[axis : axis + len(self.out) - 1]
        given, within, lengths = _shared(block.spans, sizes)
        x = self.part(x, _ALL, given)
        if lengths is None and not self.last and x.dtype == dtype:
            return x
        shape = [*x.shape]
        if lengths is not None:
            shape[1], shape[axis : axis + len(lengths) - 1] = lengths[0], lengths[1:]
        frame = scratch.array("frame", shape, dtype)
        if lengths is not None:
            frame[...] = 0
        self.part(frame, _ALL, within)[...] = x
        return frame


class Block(NamedTuple):
    """A part of the images, and a part of the outputs along each spatial axis.

    There are ``out`` outputs, whose windows reach over ``spans`` of the images (start and stop).
    """

    images: slice
    places: tuple[slice, ...]
    out: Shape
    spans: tuple[tuple[int, int], ...]


_ALL = slice(None)


# Kept for each geometry, this and _shared save 10 of the 40 µs of a small convolution.
@functools.lru_cache(1024)
def _blocks(windows: Windows, count: int, size: int, most: int, columns: int) -> tuple[Block, ...]:
    width, height = math.prod(windows.out[1:]), windows.out[0]
    row = max(1, size * math.prod(windows.kernel[1:]) * windows.stride[0] * width)
    enough = min(-(-columns // width), most // row)
    images = _evenly(count, max(1, enough, most // (row * height)))
    axis = 0 if height > 1 else min(1, len(windows.out) - 1)
    length = windows.out[axis]
    each = _evenly(length, max(1, most * length // (row * height * images)))
    blocks, places = [], [slice(0, n) for n in windows.out]
    for i in range(0, count, images):
        for start in range(0, length, each):
            places[axis] = slice(start, min(start + each, length))
            out = tuple([place.stop - place.start for place in places])
            spans = windows.spans(places)
            blocks.append(Block(slice(i, min(i + images, count)), tuple(places), out, spans))
    return tuple(blocks)


@functools.lru_cache(1024)
def _shared(spans: tuple[tuple[int, int], ...], sizes: Shape) -> tuple[Any, Any, Any]:
    """Slices of images and of a frame that hold the same, and the lengths of a larger frame."""
    given, within = zip(*map(_overlap, spans, sizes), strict=True)
    lengths = [stop - start for start, stop in spans]
    padded = any(part.stop - part.start != n for part, n in zip(given, lengths, strict=True))
    return given, within, lengths if padded else None


def _overlap(span: tuple[int, int], size: int) -> tuple[slice, slice]:
    """Slices of an image of this size and of a frame over ``span`` that hold the same pixels."""
    start, stop = span
    low, high = max(start, 0), max(start, 0, min(stop, size))
    return slice(low, high), slice(low - start, high - start)


def _evenly(count: int, most: int) -> int:
    """The size, at most ``most``, of the fewest blocks of about equal size."""
    return -(-count // -(-count // most)) if count else 1


def product_of(matrix: Any, columns: Any) -> Any:
    """The matrix product for each row of outputs. The next product overwrites it."""
    shape = (*columns.shape[:2], matrix.shape[2], columns.shape[3])
    return np.matmul(matrix, columns, out=scratch.array("product", shape, columns.dtype))


def add_product(total: Any, columns: Any, outputs: Any) -> None:
    """Add columns · outputsᵀ, summed over the rows of outputs, to ``total``."""
    filters = outputs.shape[2]
    beside = scratch.array("product", outputs.shape, columns.dtype)
    beside[...] = outputs
    beside = beside.reshape(*columns.shape[:2], filters, columns.shape[3]).swapaxes(2, 3)
    together = max(1, BLOCK // max(1, total.nbytes))
    for row in range(0, columns.shape[1], together):
        some = slice(row, row + together)
        total += np.matmul(columns[:, some], beside[:, some]).sum(axis=1)
