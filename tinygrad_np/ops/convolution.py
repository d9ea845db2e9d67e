"""Convolutions in any number of dimensions, as matrix products on blocks of images.

The windows of a block of images become the columns of a matrix, and one product with the weights
gives each row of the block's outputs: see ``blocks``.

``convolution`` is linear in its input and in its weights. The adjoint maps, ``convolution_input``
and ``convolution_weight``, are linear too, and the three are each other's gradient rules: with
them the family is closed, to any order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..cases import case, normal
from ..composites import composite
from ..definition import OPS, Value, op
from ..shapes import Shape
from ..source import said
from ..tensor import Operand, Tensor
from ..tracing import pure
from .blocks import Windows, add_product, product_of
from .elementwise import add, like, wide
from .shape import reshape, squeeze
from .windows import Pads, batched, inside, output_size, per_axis

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
]  # fmt: skip

# The three maps, on arrays


def _filters(weight: Any, groups: int, windows: Windows, dtype: Any) -> Any:
    """The weights as (groups, filters, channels, first axis of the kernel, other axes)."""
    kernel = windows.kernel
    shape = groups, len(weight) // groups, weight.shape[1], kernel[0], math.prod(kernel[1:])
    return np.ascontiguousarray(weight, dtype).reshape(shape)


@pure
def convolve(x: Any, weight: Any, stride: Shape, pads: Pads, dilation: Shape, groups: int) -> Any:
    kernel = weight.shape[2:]
    out = output_size(x.shape[2:], kernel, stride, pads, dilation)
    dtype = np.result_type(wide(x), weight)
    y = np.empty((len(x), len(weight), *out), dtype)
    windows = Windows(kernel, stride, pads, dilation, out).arranged(len(x))
    inputs, outputs = windows.by_rows(x, groups), windows.by_rows(y, groups)
    filters = _filters(weight, groups, windows, dtype).swapaxes(2, 3)
    matrix = filters.reshape(groups, 1, len(weight) // groups, -1)
    for block in windows.blocks(len(x), x.shape[1] * dtype.itemsize):
        columns = windows.columns(inputs, block, dtype)
        part = windows.part(outputs, block.images, block.places)
        part[...] = product_of(matrix, columns).reshape(part.shape)
    return like(y, x)


@pure
def transpose_convolve(
    y: Any, weight: Any, size: Shape, stride: Shape, pads: Pads, dilation: Shape, groups: int
) -> Any:
    dtype = np.result_type(wide(y), weight)
    padded = [n + sum(pad) for n, pad in zip(size, pads, strict=True)]
    x = np.zeros((len(y), weight.shape[1] * groups, *padded), dtype)
    # A first axis of length 1 avoids zeros around the rows of y: 0 times an infinite weight is nan.
    by_rows = stride[0] == 1 and np.isfinite(weight).all()
    windows = Windows(weight.shape[2:], stride, ((0, 0),) * len(size), dilation, y.shape[2:])
    windows = windows.arranged(len(y), least=8 if by_rows else math.inf)
    inputs, outputs = windows.by_rows(x, groups), windows.by_rows(y, groups)
    filters = _filters(weight, groups, windows, dtype)[:, :, :, ::-1].transpose(0, 2, 4, 3, 1)
    rows, columns = math.prod(filters.shape[1:3]), math.prod(filters.shape[3:])
    matrix = filters.reshape(groups, 1, rows, columns)
    windows_of_y = windows.transposed(inputs.shape[1])
    size_of_pixel = max(rows * groups, y.shape[1]) * dtype.itemsize
    for block in windows_of_y.blocks(len(y), size_of_pixel):
        found = windows_of_y.columns(outputs, block, dtype)
        windows.add(product_of(matrix, found), inputs, block)
    return like(x[inside(size, pads)], y)


@pure
def correlate(
    y: Any, x: Any, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape, groups: int,
) -> Any:  # fmt: skip
    dtype = np.result_type(wide(y), x)
    windows = Windows(kernel, stride, pads, dilation, y.shape[2:]).arranged(len(y))
    inputs, outputs = windows.by_rows(x, groups), windows.by_rows(y, groups)
    filters, channels = y.shape[1] // groups, x.shape[1] // groups
    total = np.zeros((groups, math.prod(kernel) * channels, filters), dtype)
    for block in windows.blocks(len(x), x.shape[1] * dtype.itemsize):
        columns = windows.columns(inputs, block, dtype)
        add_product(total, columns, windows.part(outputs, block.images, block.places))
    first, others = windows.kernel[0], math.prod(windows.kernel[1:])
    weight = total.reshape(groups, first, channels, others, filters).transpose(0, 4, 2, 1, 3)
    return like(weight.reshape(y.shape[1], channels, *kernel), y)


# The three ops


def _windows_of(
    x: Any, weight: Any, out: Shape, stride: Shape, padding: Pads, dilation: Shape, groups: int
) -> Any:
    """The convolution, cut to the first ``out`` windows along each axis."""
    y = OPS["convolution"](x, weight, None, stride, padding, dilation, groups)
    return y if y.shape[2:] == out else y[(..., *map(slice, out))]


_PLAIN: tuple[Any, ...] = ((1,), ((0, 0),), (1,), 1)
_FULL: tuple[Any, ...] = ((2, 1), ((1, 0), (1, 2)), (1, 2), 2)


@op(
    cases=[
        case(normal(2, 3, 5), normal(2, 3, 2), normal(2), *_PLAIN),
        case(normal(2, 4, 5, 4), normal(4, 2, 2, 2), None, *_FULL),
        case(normal(2, 1, 4, 4), normal(2, 1, 3, 3), normal(2), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        case(normal(0, 1, 3), normal(2, 1, 2), normal(2), *_PLAIN),
    ],
    x=said(
        "conv_transpose(g, weight)",
        lambda g, x_shape, weight, stride, padding, dilation, groups: OPS["convolution_input"](
            g, weight, x_shape[2:], stride, padding, dilation, groups
        ),
    ),
    weight=said(
        "correlate(g, x)",
        lambda g, x, weight_shape, stride, padding, dilation, groups: OPS["convolution_weight"](
            g, x, weight_shape[2:], stride, padding, dilation, groups
        ),
    ),
    bias=said(
        "the sum of g over all but the channels",
        lambda g: wide(g).sum(axis=(0, *range(2, g.ndim))),
    ),
)  # fmt: skip
def convolution(
    x: Value, weight: Value, bias: Value | None = None, stride: Shape = (), padding: Pads = (),
    dilation: Shape = (), groups: int = 1,
) -> Value:  # fmt: skip
    """The product of each window of x (N, C, ...) with each filter of ``weight``, plus bias.

    ``weight`` is (O, C / groups, ...), ``padding`` a pair (before, after) for each spatial axis.
    Gradients: dx is ``convolution_input``, dweight ``convolution_weight``, dbias the sum of g over
    all axes but the channels. See ``conv2d``.
    """
    y = convolve(x, weight, stride, padding, dilation, groups)
    if bias is None:
        return y
    bias = like(bias, x).reshape(-1, *(1,) * (x.ndim - 2))
    if np.result_type(y, bias) != y.dtype:
        return y + bias
    y += bias  # in place: a large result costs a third of the product to copy
    return y


@op(
    cases=[
        case(normal(2, 2, 4), normal(2, 3, 2), (5,), *_PLAIN),
        case(normal(2, 4, 2, 4), normal(4, 2, 2, 2), (3, 4), (2, 1), ((1, 0), (1, 1)), (1, 2), 2),
        case(normal(0, 1, 2), normal(1, 1, 2), (3,), *_PLAIN),
        case(normal(2, 1, 3), normal(1, 2, 2), (6,), (1,), ((0, 0),), (2,), 1),
        case(normal(1, 1, 1), normal(1, 1, 1), (1,), *_PLAIN),
    ],
    y=said(
        "convolution(g, weight)",
        lambda g, y_shape, weight, stride, padding, dilation, groups: _windows_of(
            g, weight, y_shape[2:], stride, padding, dilation, groups
        ),
    ),
    weight=said(
        "correlate(y, g)",
        lambda g, y, weight_shape, stride, padding, dilation, groups: OPS["convolution_weight"](
            y, g, weight_shape[2:], stride, padding, dilation, groups
        ),
    ),
)  # fmt: skip
def convolution_input(
    y: Value, weight: Value, size: Shape, stride: Shape, padding: Pads, dilation: Shape, groups: int
) -> Value:
    """The transpose of ``convolution``: each y (N, O, ...) times its filter, added to its window.

    The result has the spatial ``size``. Gradients: dy is ``convolution`` of g, dweight is
    ``convolution_weight`` of y and g.
    """
    return transpose_convolve(y, weight, size, stride, padding, dilation, groups)


@op(
    cases=[
        case(normal(2, 2, 4), normal(2, 3, 5), (2,), *_PLAIN),
        case(normal(2, 4, 2, 4), normal(2, 4, 3, 4), (2, 2), (2, 1), ((1, 0), (1, 1)), (1, 2), 2),
        case(normal(0, 1, 2), normal(0, 1, 3), (2,), *_PLAIN),
        case(normal(2, 1, 3), normal(2, 2, 6), (2,), (1,), ((0, 0),), (2,), 1),
    ],
    y=said(
        "convolution(x, g)",
        lambda g, y_shape, x, stride, padding, dilation, groups: _windows_of(
            x, g, y_shape[2:], stride, padding, dilation, groups
        ),
    ),
    x=said(
        "conv_transpose(y, g)",
        lambda g, y, x_shape, stride, padding, dilation, groups: OPS["convolution_input"](
            y, g, x_shape[2:], stride, padding, dilation, groups
        ),
    ),
)  # fmt: skip
def convolution_weight(
    y: Value, x: Value, kernel: Shape, stride: Shape, padding: Pads, dilation: Shape, groups: int
) -> Value:
    """The sum of y (N, O, ...) times its window of x (N, C, ...), over all windows.

    The result (O, C / groups, *kernel) is a filter for each channel of y. Gradients:
    dy is ``convolution`` of x by g, dx is ``convolution_input`` of y by g.
    """
    return correlate(y, x, kernel, stride, padding, dilation, groups)


# What people call


def _check_weight(name: str, x: Any, weight: Any, groups: int, transposed: bool) -> None:
    shape, channels = np.shape(weight), np.shape(x)[1]
    if len(shape) != np.ndim(x):
        raise ValueError(f"{name}: weight must have {np.ndim(x)} axes, but its shape is {shape}")
    inputs = shape[0] if transposed else shape[1] * groups
    if groups < 1 or shape[0] % groups:
        raise ValueError(
            f"{name}: groups={groups} must divide the {shape[0]} filters of weight {shape}"
        )
    if channels != inputs:
        raise ValueError(
            f"{name}: x of shape {np.shape(x)} has {channels} channels, but weight of shape "
            f"{shape} with groups={groups} needs {inputs}"
        )


def _pads(name: str, padding: Any, kernel: Shape, stride: Shape, dilation: Shape) -> Pads:
    """The zeros before and after the images along each axis.

    ``padding`` is a number, a number for each axis, "valid" or "same".
    """
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError(f'{name}: padding="same" needs stride 1, got {stride}')
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple([(total // 2, total - total // 2) for total in totals])
    if isinstance(padding, str):
        raise ValueError(f'{name}: padding={padding!r} is neither "same", "valid" nor numbers')
    return tuple([(p, p) for p in per_axis(padding, len(kernel), "padding")])


def _conv(
    axes: int, x: Operand, weight: Operand, bias: Operand | None, stride: Any, padding: Any,
    dilation: Any, groups: int,
) -> Tensor:  # fmt: skip
    name = f"conv{axes}d"
    x, had_batch = batched(name, x, axes)
    _check_weight(name, x, weight, groups, False)
    stride = per_axis(stride, axes, "stride", 1)
    dilation = per_axis(dilation, axes, "dilation", 1)
    kernel = np.shape(weight)[2:]
    pads = _pads(name, padding, kernel, stride, dilation)
    if bias is not None and np.shape(bias) != np.shape(weight)[:1]:
        raise ValueError(
            f"{name}: bias of shape {np.shape(bias)} must have one number for each of the "
            f"{np.shape(weight)[0]} filters"
        )
    y = OPS["convolution"].function(x, weight, bias, stride, pads, dilation, groups)
    return y if had_batch else squeeze(y, 0)


@composite(
    cases=[case(normal(2, 3, 5), normal(2, 3, 2), normal(2)),
           case(normal(4, 6), normal(4, 2, 3), None, 2, 1, groups=2),
           case(normal(1, 1, 5), normal(1, 1, 2), padding="same", dilation=2)]
)  # fmt: skip
def conv1d(
    x: Operand, weight: Operand, bias: Operand | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """``conv2d`` along one axis: x (N, C, W), ``weight`` (O, C / groups, KW), ``bias`` (O,).

    >>> import tinygrad_np as tg
    >>> tg.conv1d([[[1.0, 2.0, 4.0]]], [[[-1.0, 1.0]]]).tolist()
    [[[1.0, 2.0]]]
    """
    return _conv(1, x, weight, bias, stride, padding, dilation, groups)


@composite(
    cases=[case(normal(2, 3, 4, 5), normal(2, 3, 2, 3), normal(2)),
           case(normal(2, 4, 5), normal(2, 1, 2, 2), None, (2, 1), (0, 1), (1, 2), 2),
           case(normal(1, 1, 3, 3), normal(2, 1, 2, 2), padding="same")]
)  # fmt: skip
def conv2d(
    x: Operand, weight: Operand, bias: Operand | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """The cross-correlation of images with filters, which networks call convolution.

    x (N, C, H, W), or (C, H, W) without the batch; ``weight`` (O, C / groups, KH, KW); ``bias``
    (O,). Numbers or pairs: ``stride`` between windows; ``padding``, zeros on each side, or "same"
    (the output has the input's size) or "valid" (none); ``dilation`` between a filter's elements.
    ``groups`` of channels are convolved separately. The result is (N, O, H', W') with
    H' = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1.

    Gradients: dx is the transposed convolution of g, dweight the correlation of g with x, dbias
    the sum of g. Raises ValueError where shapes do not fit. (LeCun et al. 1998.)

    >>> import numpy as np, tinygrad_np as tg
    >>> edges = np.array([[[[1.0, -1.0]]]])
    >>> tg.conv2d([[[[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]]], edges).tolist()
    [[[[0.0, -1.0], [-1.0, 0.0]]]]
    """
    return _conv(2, x, weight, bias, stride, padding, dilation, groups)


@composite(
    cases=[case(normal(1, 2, 3, 3, 3), normal(2, 2, 2, 2, 2), normal(2)),
           case(normal(2, 2, 2, 3), normal(2, 1, 1, 2, 2), None, 1, (0, 0, 1), groups=2)]
)  # fmt: skip
def conv3d(
    x: Operand, weight: Operand, bias: Operand | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """``conv2d`` along three axes: x (N, C, D, H, W), ``weight`` (O, C / groups, KD, KH, KW).

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.conv3d(np.ones((1, 1, 4, 4, 4)), np.ones((2, 1, 3, 3, 3))).shape
    (1, 2, 2, 2, 2)
    """
    return _conv(3, x, weight, bias, stride, padding, dilation, groups)


def _conv_transpose(
    axes: int, x: Operand, weight: Operand, bias: Operand | None, stride: Any, padding: Any,
    output_padding: Any, groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    name = f"conv_transpose{axes}d"
    x, had_batch = batched(name, x, axes)
    _check_weight(name, x, weight, groups, True)
    stride = per_axis(stride, axes, "stride", 1)
    dilation = per_axis(dilation, axes, "dilation", 1)
    pads = per_axis(padding, axes, "padding")
    more = per_axis(output_padding, axes, "output_padding")
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
        raise ValueError(
            f"{name}: output_padding={output_padding} must be smaller than stride={stride} or "
            f"dilation={dilation}"
        )
    geometry = zip(np.shape(x)[2:], np.shape(weight)[2:], stride, pads, dilation, more, strict=True)
    size = tuple([(n - 1) * s - 2 * p + d * (k - 1) + m + 1 for n, k, s, p, d, m in geometry])
    if any(n < 1 for n in size):
        raise ValueError(f"{name}: the result would have size {size}: use less padding")
    both = tuple([(p, p) for p in pads])
    y = OPS["convolution_input"].function(x, weight, size, stride, both, dilation, groups)
    if bias is not None:
        y = add(y, reshape(bias, (-1, *(1,) * axes)))
    return y if had_batch else squeeze(y, 0)


@composite(
    cases=[case(normal(2, 2, 3), normal(2, 3, 2), normal(3)),
           case(normal(2, 3), normal(2, 1, 3), None, 2, 1, 1, 2)]
)  # fmt: skip
def conv_transpose1d(
    x: Operand, weight: Operand, bias: Operand | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """``conv_transpose2d`` along one axis: x (N, C, W), ``weight`` (C, O / groups, KW).

    >>> import tinygrad_np as tg
    >>> tg.conv_transpose1d([[[1.0, 2.0]]], [[[1.0, 10.0]]], stride=2).tolist()
    [[[1.0, 10.0, 2.0, 20.0]]]
    """
    return _conv_transpose(
        1, x, weight, bias, stride, padding, output_padding, groups, dilation
    )  # fmt: skip


@composite(
    cases=[case(normal(2, 2, 2, 3), normal(2, 3, 2, 2), normal(3)),
           case(normal(1, 2, 2, 2), normal(2, 1, 2, 3), normal(2), (2, 1), (1, 0), (1, 0), 2, 2)]
)  # fmt: skip
def conv_transpose2d(
    x: Operand, weight: Operand, bias: Operand | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of ``conv2d``, as its gradient by x: each element of x spreads over a window.

    x (N, C, H, W) or (C, H, W); ``weight`` (C, O / groups, KH, KW); ``bias`` (O,). The result has
    height (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1.

    >>> import tinygrad_np as tg
    >>> tg.conv_transpose2d([[[[1.0, 2.0]]]], [[[[1.0, 10.0]]]], stride=2).tolist()
    [[[[1.0, 10.0, 2.0, 20.0]]]]
    """
    return _conv_transpose(
        2, x, weight, bias, stride, padding, output_padding, groups, dilation
    )  # fmt: skip
