"""The default random generator, and dropout. The mask is drawn outside of dropout's op."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import tracing
from .cases import booleans, case, normal
from .composites import composite
from .definition import Value, op
from .source import said
from .tensor import Operand, Tensor

_default: list[np.random.Generator] = []  # made when first used: importing numpy.random is slow
_rows: list[Any] = [None, 0]


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the default generator from ``seed``; return it.

    >>> from tinygrad_np import random
    >>> random.manual_seed(0).random() == random.manual_seed(0).random()
    True
    """
    return set_default_generator(np.random.default_rng(seed))


def set_default_generator(rng: np.random.Generator) -> np.random.Generator:
    """Use ``rng`` wherever no generator is passed; return it.

    >>> import numpy as np, tinygrad_np as tg
    >>> rng = tg.random.set_default_generator(np.random.default_rng(0))
    >>> tg.random.default_generator() is rng
    True
    """
    _default[:] = [rng]
    return rng


def default_generator() -> np.random.Generator:
    """The generator used wherever none is passed; seed it with ``manual_seed``.

    >>> import tinygrad_np as tg
    >>> rng = tg.manual_seed(0)
    >>> tg.random.default_generator() is rng
    True
    """
    if not _default:
        _default.append(np.random.default_rng())
    return _default[0]


def is_default(rng: object) -> bool:
    """Whether this is the default generator."""
    return bool(_default) and rng is _default[0]


def share_rows(rows: slice | None, total: int = 0) -> None:
    """Draw masks for a batch of ``total`` rows, of which this process has ``rows`` (None: all)."""
    _rows[:] = [rows, total]


def rows() -> list[Any]:
    """The arguments of the last ``share_rows``."""
    return [*_rows]


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Numbers from [0, 1). If processes share a batch: this process's rows of all its numbers."""
    rows, total = _rows
    if rows is None:
        return rng.random(shape)
    if shape[:1] != (rows.stop - rows.start,):
        raise ValueError(
            f"dropout of shape {shape}: this process has {rows.stop - rows.start} of the "
            f"{total} rows of a shared batch, and masks are drawn for all of them: the first axis "
            "must be the batch. (Inside tg.distributed.alone() it may be anything.)"
        )
    bits: Any = rng.bit_generator
    if type(bits) not in (np.random.PCG64, np.random.PCG64DXSM):
        return rng.random((total, *shape[1:]))[rows]
    # These generators skip other rows' numbers at no cost, but forget a half number that was left.
    size, left = math.prod(shape[1:]), bits.state
    bits.advance(rows.start * size)
    found = rng.random(shape)
    bits.advance((total - rows.stop) * size)
    bits.state = bits.state | {key: left[key] for key in ("has_uint32", "uinteger")}
    return found


@op(
    cases=[case(normal(3, 4), booleans(3, 4), 0.5), case(normal(3), booleans(3), 0.2),
           case(normal(2, 3, 2), booleans(2, 3, 1), 0.5)],
    x=said(
        "g * mask / (1 - p)", lambda g, mask, p: g * (mask / ((1 - p) or 1)).astype(g.dtype)
    ),
)  # fmt: skip
def masked(x: Value, mask: Value, p: float) -> Value:
    """x mask / (1 - p). For p = 1 everything is masked."""
    return x * (mask / ((1 - p) or 1)).astype(np.result_type(x.dtype, np.float16))


@composite(
    cases=[case(normal(3, 4), 0.5, rng=7), case(normal(3), 0.0), case(normal(3), 0.5, False)]
)
def dropout(
    x: Operand, p: float = 0.5, training: bool = True, rng: np.random.Generator | int | None = None
) -> Tensor:
    """Inverted dropout: elements become 0 with probability ``p``, the others grow by 1 / (1 - p).

    The expected value does not change. At test time (``training=False``) x passes unchanged.
    ``rng`` draws the mask: a generator, a seed, or None for the default generator.
    Gradient: g mask / (1 - p). (Srivastava et al. 2014.)

    With p = 1 everything becomes 0. Raises ValueError unless 0 <= p <= 1.

    >>> import tinygrad_np as tg
    >>> tg.dropout(tg.Tensor([1.0, 1.0, 1.0, 1.0]), 0.5, rng=1).tolist()
    [2.0, 2.0, 0.0, 2.0]
    """
    return _dropped("dropout", x, p, training, rng, np.shape(x))


@composite(cases=[case(normal(2, 3, 2, 2), 0.5, rng=7), case(normal(2, 3, 2), 0.5, False)])
def dropout2d(
    x: Operand, p: float = 0.5, training: bool = True, rng: np.random.Generator | int | None = None
) -> Tensor:
    """``dropout`` of whole channels of images x (N, C, ...). (Tompson et al. 2015.)

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.dropout2d(np.ones((1, 2, 1, 2)), 0.5, rng=2).tolist()
    [[[[0.0, 0.0]], [[0.0, 0.0]]]]
    """
    shape = np.shape(x)
    if len(shape) < 3:
        raise ValueError(f"dropout2d: x must have axes (batch, channels, ...), got {shape}")
    return _dropped("dropout2d", x, p, training, rng, (*shape[:2], *(1,) * (len(shape) - 2)))


def _dropped(
    name: str, x: Operand, p: float, training: bool, rng: Any, shape: tuple[int, ...]
) -> Tensor:
    """x times a mask of ``shape``, drawn by ``rng``."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p={p} must be at least 0 and at most 1")
    tensor = x if isinstance(x, Tensor) else Tensor(x)
    if not training or p == 0:
        return tensor
    generator = default_generator() if rng is None else np.random.default_rng(rng)
    if isinstance(rng, int | np.integer):  # the same mask at each call
        return masked(tensor, _uniform(generator, shape) >= p, p)
    return masked(tensor, tracing.draw(lambda rng: _uniform(rng, shape), generator) >= p, p)
