"""One epoch of batches."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["batches"]

Batch = tuple[NDArray[Any], NDArray[Any]]


def batches(
    x: NDArray[Any],
    t: NDArray[Any],
    batch_size: int,
    *,
    rng: np.random.Generator | None = None,
    shuffle: bool = True,
    replacement: bool = False,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """Yield one epoch of batches, pairs of the same rows of x and t.

    Args:
        x: inputs, shape (n, ...), any dtype.
        t: targets, shape (n, ...), any dtype.
        batch_size: rows in a batch, from 1 to n.
        rng: the source of the order; needed by ``shuffle`` and ``replacement``, and drawn
            from while the batches are taken, not before.
        shuffle: every row once, in a random order; otherwise in order, as views of x and t.
        replacement: draw every batch afresh, with replacement, n // batch_size batches in
            all; ``shuffle`` and ``drop_last`` then have nothing to say.
        drop_last: leave out the last batch when it is smaller than the others.

    Yields:
        ``(x_batch, t_batch)`` of shapes (batch_size, ...) and the dtypes of x and t; the last
        one holds the n % batch_size rows that remain, when some do.

    Raises:
        ValueError: x and t differ in length or are empty, batch_size is out of range, or
            ``rng`` is missing. At the call, not at the first batch.
        TypeError: batch_size is no integer, or rng no ``numpy.random.Generator``.

    >>> x, t = np.arange(5), np.arange(5) * 10
    >>> for x_batch, t_batch in batches(x, t, 2, shuffle=False):
    ...     print(x_batch, t_batch)
    [0 1] [ 0 10]
    [2 3] [20 30]
    [4] [40]
    >>> epoch = batches(x, t, 5, rng=np.random.default_rng(0))
    >>> sorted(next(epoch)[0].tolist())
    [0, 1, 2, 3, 4]
    """
    batch_size = _check(x, t, batch_size)
    if not (shuffle or replacement):
        return _in_order(x, t, batch_size, drop_last)
    if rng is None:
        option = "replacement" if replacement else "shuffle"
        raise ValueError(
            f"{option}=True needs a random generator: pass rng=np.random.default_rng(seed)"
            + ("" if replacement else ", or shuffle=False to take the rows in order")
        )
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng must be a numpy.random.Generator, got {rng!r}: "
            "pass rng=np.random.default_rng(seed)"
        )
    if replacement:
        return _with_replacement(x, t, batch_size, rng)
    return _shuffled(x, t, batch_size, rng, drop_last)


def _check(x: NDArray[Any], t: NDArray[Any], batch_size: int) -> int:
    try:
        batch_size = operator.index(batch_size)
    except TypeError:
        raise TypeError(f"batch_size must be an integer, got {batch_size!r}") from None
    if len(x) != len(t):
        raise ValueError(
            f"x and t must have the same number of rows, got {len(x)} and {len(t)} "
            f"(shapes {np.shape(x)} and {np.shape(t)})"
        )
    if len(x) == 0:
        raise ValueError("x and t are empty: there is nothing to make batches of")
    if not 1 <= batch_size <= len(x):
        raise ValueError(
            f"batch_size must be between 1 and the number of rows, {len(x)}; got {batch_size}"
        )
    return batch_size


def _starts(n: int, batch_size: int, drop_last: bool) -> range:
    return range(0, n - n % batch_size if drop_last else n, batch_size)


def _in_order(
    x: NDArray[Any], t: NDArray[Any], batch_size: int, drop_last: bool
) -> Iterator[Batch]:
    for start in _starts(len(x), batch_size, drop_last):
        rows = slice(start, start + batch_size)
        yield x[rows], t[rows]


def _shuffled(
    x: NDArray[Any], t: NDArray[Any], batch_size: int, rng: np.random.Generator, drop_last: bool
) -> Iterator[Batch]:
    order = rng.permutation(len(x))
    for start in _starts(len(x), batch_size, drop_last):
        rows = order[start : start + batch_size]
        yield x[rows], t[rows]


def _with_replacement(
    x: NDArray[Any], t: NDArray[Any], batch_size: int, rng: np.random.Generator
) -> Iterator[Batch]:
    for _ in range(len(x) // batch_size):
        rows = rng.integers(len(x), size=batch_size)
        yield x[rows], t[rows]
