"""Ops that move, join and copy elements without changing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..cases import case, normal
from ..composites import composite
from ..definition import OPS, Value, op
from ..shapes import Axis, Shape
from ..source import said
from ..tensor import Operand, Tensor, plain

__all__ = [
    "broadcast_to", "concatenate", "expand_dims", "flip", "hstack", "moveaxis", "pad", "ravel",
    "repeat", "reshape", "roll", "split", "squeeze", "stack", "swapaxes", "tile", "transpose",
    "vstack",
]  # fmt: skip

# One array with its elements in another arrangement


@op(
    cases=[case(normal(3, 4), (2, 6)), case(normal(3, 4), -1), case(normal(), (1, 1)),
           case(normal(0, 3), (3, 0))],
    numpy=np.reshape, x=lambda g, x_shape: g.reshape(x_shape),
)  # fmt: skip
def reshape(x: Value, shape: Any) -> Value:
    """x in another shape, its elements in the same order; one length may be -1.

    >>> import tinygrad_np as tg
    >>> tg.reshape(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]), -1).shape
    (4,)
    """
    return x.reshape(shape)


@op(
    cases=[case(normal(3, 4)), case(normal())],
    numpy=np.ravel,
    x=lambda g, x_shape: g.reshape(x_shape),
)
def ravel(x: Value) -> Value:
    """The elements of x as a vector.

    >>> import tinygrad_np as tg
    >>> tg.ravel([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    return x.reshape(-1)


@op(
    cases=[case(normal(2, 3, 4)), case(normal(2, 3, 4), (1, 2, 0)), case(normal(2, 3), (-1, 0))],
    numpy=(np.transpose, np.permute_dims),
    x=said(
        "g, transposed back",
        lambda g, axes: g.transpose(None if axes is None or g.ndim < 2 else _inverse(axes)),
    ),
)  # fmt: skip
def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """x with its axes in another order; None reverses them. Gradient: g with the order undone.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.transpose(np.zeros((2, 3, 4)), (0, 2, 1)).shape
    (2, 4, 3)
    """
    return x.transpose(axes)


def _inverse(axes: Sequence[int]) -> tuple[int, ...]:
    order = [axis % len(axes) for axis in axes]
    return tuple([order.index(i) for i in range(len(order))])


@op(
    cases=[case(normal(2, 3, 4), 0, 2), case(normal(2, 3), -1, -2)],
    numpy=np.swapaxes, x=lambda g, axis1, axis2: g.swapaxes(axis1, axis2),
)  # fmt: skip
def swapaxes(x: Value, axis1: int, axis2: int) -> Value:
    """x with two axes exchanged.

    >>> import tinygrad_np as tg
    >>> tg.swapaxes([[1.0, 2.0], [3.0, 4.0]], 0, 1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return x.swapaxes(axis1, axis2)


@op(
    cases=[case(normal(2, 3, 4), 0, -1), case(normal(2, 3, 4), (0, 1), (1, 2))],
    numpy=np.moveaxis, x=lambda g, source, destination: np.moveaxis(g, destination, source),
)  # fmt: skip
def moveaxis(x: Value, source: Any, destination: Any) -> Value:
    """x with some axes moved to other positions; the other axes stay in order.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.moveaxis(np.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    return np.moveaxis(x, source, destination)


@op(
    cases=[case(normal(1, 3, 1)), case(normal(1, 3, 1), axis=0)],
    numpy=np.squeeze, x=lambda g, x_shape: g.reshape(x_shape),
)  # fmt: skip
def squeeze(x: Value, axis: Axis = None) -> Value:
    """x without its axes of length 1, or without those named in ``axis``.

    >>> import tinygrad_np as tg
    >>> tg.squeeze([[1.0, 2.0]]).tolist()
    [1.0, 2.0]
    """
    return np.squeeze(x, axis)


@op(
    cases=[case(normal(3, 4), 0), case(normal(3, 4), (0, -1)), case(normal(), 0)],
    numpy=np.expand_dims, x=lambda g, x_shape: g.reshape(x_shape),
)  # fmt: skip
def expand_dims(x: Value, axis: Any) -> Value:
    """x with new axes of length 1 at the positions ``axis``.

    >>> import tinygrad_np as tg
    >>> tg.expand_dims([1.0, 2.0], 1).tolist()
    [[1.0], [2.0]]
    """
    return np.expand_dims(x, axis)


@op(
    cases=[case(normal(4), (3, 4)), case(normal(3, 1), (2, 3, 4)), case(normal(), (2,))],
    numpy=np.broadcast_to, x=lambda g: g,
)  # fmt: skip
def broadcast_to(x: Value, shape: Shape) -> Value:
    """x repeated to a larger shape, without a copy. Gradient: g summed over the repetitions.

    >>> import tinygrad_np as tg
    >>> tg.broadcast_to([1.0, 2.0], (2, 2)).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    return np.broadcast_to(x, shape)


@op(
    cases=[case(normal(3, 4)), case(normal(3, 4), 1), case(normal(2, 3, 4), (0, 2))],
    numpy=np.flip, x=lambda g, axis: np.flip(g, axis),
)  # fmt: skip
def flip(x: Value, axis: Axis = None) -> Value:
    """x with its elements in reverse order along ``axis`` (None: all axes).

    >>> import tinygrad_np as tg
    >>> tg.flip([1.0, 2.0, 3.0]).tolist()
    [3.0, 2.0, 1.0]
    """
    return np.flip(x, axis)  # type: ignore[arg-type]


@op(
    cases=[case(normal(5), 2), case(normal(3, 4), 1, 0), case(normal(3, 4), (1, -2), (0, 1))],
    numpy=np.roll,
    x=said("roll(g, -shift)", lambda g, shift, axis: np.roll(g, -np.asarray(shift, int), axis)),
)  # fmt: skip
def roll(x: Value, shift: Any, axis: Any = None) -> Value:
    """x with its elements shifted along ``axis``; those pushed out at the end return at the start.

    >>> import tinygrad_np as tg
    >>> tg.roll([1.0, 2.0, 3.0], 1).tolist()
    [3.0, 1.0, 2.0]
    """
    return np.roll(x, shift, axis)


# Several arrays joined into one


def _part(g: Any, i: int, arrays_shape: tuple[Shape, ...], axis: int) -> Any:
    """the part of g where this array went"""
    start = sum([shape[axis] for shape in arrays_shape[:i]])
    along = slice(start, start + arrays_shape[i][axis])
    return g[(slice(None),) * (axis % g.ndim) + (along,)]


@op(
    cases=[case(normal(2, 3), normal(1, 3)),
           case(normal(2, 1), normal(2, 3), normal(2, 0), axis=-1)],
    arrays=_part,
)  # fmt: skip
def joined(*arrays: Value, axis: int = 0) -> Value:
    """Arrays end to end along ``axis``: ``concatenate``, with the arrays as arguments."""
    return np.concatenate(arrays, axis)


def _listed(arrays: Any) -> list[Any]:
    if isinstance(arrays, Tensor) and not arrays.ndim:
        raise ValueError("a sequence of Tensors is needed, got a 0-d Tensor")
    return list(arrays)


@composite(
    cases=[case([normal(2, 3), normal(1, 3)]), case([normal(2, 1), normal(2, 3)], axis=1),
           case([normal(2, 2), normal(3)], axis=None)],
    numpy=np.concatenate,
)  # fmt: skip
def concatenate(arrays: Sequence[Operand], axis: int | None = 0) -> Tensor:
    """A list of arrays joined along an existing axis; ``axis=None`` flattens them first.

    Gradient: each array gets its part of g.

    >>> import tinygrad_np as tg
    >>> tg.concatenate([tg.Tensor([1.0]), [2.0, 3.0]]).tolist()
    [1.0, 2.0, 3.0]
    """
    parts = _listed(arrays)
    if axis is None:
        parts, axis = [ravel(part) for part in parts], 0
    return joined(*parts, axis=axis)


@composite(
    cases=[case([normal(2, 3), normal(2, 3)]), case([normal(3), normal(3)], axis=-1)],
    numpy=np.stack,
)
def stack(arrays: Sequence[Operand], axis: int = 0) -> Tensor:
    """A list of arrays of the same shape, joined along a new axis.

    >>> import tinygrad_np as tg
    >>> tg.stack([[1.0, 2.0], [3.0, 4.0]], axis=1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return joined(*[expand_dims(part, axis) for part in _listed(arrays)], axis=axis)


@composite(
    cases=[case([normal(2, 3), normal(1, 3)]), case([normal(3), normal(3)])], numpy=np.vstack
)
def vstack(arrays: Sequence[Operand]) -> Tensor:
    """Arrays stacked vertically: joined along the first axis, vectors as rows.

    >>> import tinygrad_np as tg
    >>> tg.vstack([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    rows = [part if np.ndim(part) > 1 else reshape(part, (1, -1)) for part in _listed(arrays)]
    return joined(*rows, axis=0)


@composite(
    cases=[case([normal(2, 3), normal(2, 1)]), case([normal(3), normal(2)])], numpy=np.hstack
)
def hstack(arrays: Sequence[Operand]) -> Tensor:
    """Arrays side by side: joined along the second axis, vectors along their only axis.

    >>> import tinygrad_np as tg
    >>> tg.hstack([[1.0], [2.0, 3.0]]).tolist()
    [1.0, 2.0, 3.0]
    """
    parts = [part if np.ndim(part) else reshape(part, 1) for part in _listed(arrays)]
    return joined(*parts, axis=0 if parts and np.ndim(parts[0]) == 1 else 1)


# One array split into several, or repeated


@composite(
    cases=[case(normal(6, 2), 3), case(normal(5), [1, 3]), case(normal(2, 4), 2, axis=1)],
    numpy=np.split,
)  # fmt: skip
def split(x: Operand, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Parts of ``x`` along ``axis``: a number of equal parts, or parts cut at the given indices.

    Raises ValueError where the axis does not divide into equal parts.

    >>> import tinygrad_np as tg
    >>> [part.tolist() for part in tg.split([1.0, 2.0, 3.0, 4.0], 2)]
    [[1.0, 2.0], [3.0, 4.0]]
    """
    length = np.shape(x)[axis]
    if isinstance(indices_or_sections, int | np.integer):
        parts = int(indices_or_sections)
        if parts < 1 or length % parts:
            raise ValueError(
                f"split: an axis of length {length} does not divide into {parts} parts"
            )
        cuts = [length // parts * i for i in range(1, parts)]
    else:
        cuts = list(indices_or_sections)
    front = (slice(None),) * (axis % np.ndim(x))
    bounds = zip([0, *cuts], [*cuts, length], strict=True)
    return [OPS["getitem"].function(x, (*front, slice(start, stop))) for start, stop in bounds]


@composite(
    cases=[case(normal(3, 2), 2), case(normal(3, 2), 2, axis=1),
           case(normal(3), [1, 0, 2], axis=0)],
    numpy=np.repeat,
)  # fmt: skip
def repeat(x: Operand, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element (``axis=None``) or slice repeated. Gradient: g summed over the repetitions.

    >>> import tinygrad_np as tg
    >>> tg.repeat([1.0, 2.0], 2).tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    length = np.size(x) if axis is None else np.shape(x)[axis]
    counts = np.broadcast_to(plain(repeats), length)
    return OPS["take"].function(x, np.repeat(np.arange(length), counts), axis)


def _tile_x(g: Any, x_shape: Shape, reps: Any) -> Any:
    """the sum of g over the copies"""
    times = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    times = (1,) * (len(x_shape) - len(times)) + times
    shape = (1,) * (len(times) - len(x_shape)) + x_shape
    pairs = [n for pair in zip(times, shape, strict=True) for n in pair]
    return g.reshape(pairs).sum(axis=tuple(range(0, len(pairs), 2))).reshape(x_shape)


@op(
    cases=[case(normal(3, 2), 2), case(normal(2), (3, 2)), case(normal(2, 3), (2, 1))],
    numpy=np.tile,
    x=_tile_x,
)
def tile(x: Value, reps: Any) -> Value:
    """The whole array repeated ``reps`` times along each axis. Gradient: g summed over the copies.

    >>> import tinygrad_np as tg
    >>> tg.tile([1.0, 2.0], 2).tolist()
    [1.0, 2.0, 1.0, 2.0]
    """
    return np.tile(x, reps)


def _unpadded(g: Any, x_shape: Shape, pad_width: Any, constant_values: float) -> Any:
    """g without the frame"""
    # constant_values is read so that the graph keeps it: a derivation calls the op again.
    starts = np.broadcast_to(pad_width, (len(x_shape), 2))[:, 0].tolist()
    return g[tuple([slice(start, start + n) for start, n in zip(starts, x_shape, strict=True)])]


@op(
    cases=[case(normal(3, 2), 1), case(normal(3), (1, 2), 0.5),
           case(normal(2, 3), ((1, 0), (0, 2)))],
    x=_unpadded,
)  # fmt: skip
def padded(x: Value, pad_width: Any, constant_values: float = 0) -> Value:
    """``x`` in a frame of constants: ``pad``, mode "constant"."""
    return np.pad(x, pad_width, constant_values=constant_values)


@composite(
    cases=[case(normal(3, 2), 1), case(normal(3), (1, 2), constant_values=0.5),
           case(normal(4, 3), ((1, 2), (2, 0)), "edge"), case(normal(4), 2, "reflect"),
           case(normal(4), 2, "symmetric"), case(normal(4, 2), ((2, 1), (0, 0)), "wrap")],
    numpy=np.pad,
)  # fmt: skip
def pad(x: Operand, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Tensor:
    """``x`` with a frame. Modes as in NumPy: "constant", "edge", "reflect", "symmetric", "wrap".

    ``pad_width`` is one number, (before, after), or one such pair an axis. Gradient: g at the
    elements of x, and at their copies.

    >>> import tinygrad_np as tg
    >>> tg.pad([1.0, 2.0], (1, 2)).tolist()
    [0.0, 1.0, 2.0, 0.0, 0.0]
    """
    if mode == "constant":
        return padded(x, pad_width, constant_values)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(
            f"pad: mode={mode!r} is none of 'constant', 'edge', 'reflect', 'symmetric', 'wrap'"
        )
    widths = np.broadcast_to(pad_width, (np.ndim(x), 2)).tolist()
    for axis, (before, after) in enumerate(widths):
        index = np.pad(np.arange(np.shape(x)[axis]), (before, after), mode)  # type: ignore[call-overload]
        x = OPS["take"].function(x, index, axis)
    return x if isinstance(x, Tensor) else Tensor(x)
