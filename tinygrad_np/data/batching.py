"""One epoch of batches."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Yield one epoch of batches: pairs of the same rows of x and t, of any shapes (n, ...).

    Args:
        x: inputs, of any dtype.
        t: targets, of any dtype.
        batch_size: rows in a batch, from 1 to n.
        rng: the random generator for ``shuffle`` and ``replacement``; it is drawn from while the
            batches are taken.
        shuffle: every row once, in random order; otherwise in order, as views of x and t.
        replacement: draw n // batch_size batches with replacement; ``shuffle`` and ``drop_last``
            have no effect then.
        drop_last: leave out the last batch if it is smaller than the others.

    Raises, when it is called, not at the first batch:
        ValueError: x and t differ in length or are empty, or batch_size is out of range.
        TypeError: batch_size is not an integer, or rng not a ``numpy.random.Generator``.

    >>> import numpy as np, tinygrad_np as tg
    >>> x, t = np.arange(5), np.arange(5) * 10
    >>> for x_batch, t_batch in tg.data.batches(x, t, 2, shuffle=False):
    ...     print(x_batch, t_batch)
    [0 1] [ 0 10]
    [2 3] [20 30]
    [4] [40]
    """
    n = len(x)
    try:
        size = operator.index(batch_size)
    except TypeError:
        raise TypeError(f"batch_size must be an integer, got {batch_size!r}") from None
    if n != len(t):
        raise ValueError(
            f"x and t must have the same number of rows, got {n} and {len(t)} "
            f"(shapes {np.shape(x)} and {np.shape(t)})"
        )
    if n == 0:
        raise ValueError("x and t are empty: there is nothing to make batches of")
    if not 1 <= size <= n:
        raise ValueError(f"batch_size must be between 1 and the number of rows, {n}; got {size}")
    if (shuffle or replacement) and not isinstance(rng, np.random.Generator):
        word, way_out = ("replacement", "") if replacement else ("shuffle", ", or shuffle=False")
        raise TypeError(
            f"{word}=True needs a random generator, got rng={rng!r}: pass "
            f"rng=np.random.default_rng(seed){way_out}"
        )
    source: Any = rng

    def epoch() -> Iterator[Batch]:
        order = source.permutation(n) if shuffle and not replacement else None
        for start in range(0, n - n % size if replacement or drop_last else n, size):
            rows: Any = slice(start, start + size)
            if replacement:
                rows = source.integers(n, size=size)
            elif order is not None:
                rows = order[rows]
            yield x[rows], t[rows]

    return epoch()
