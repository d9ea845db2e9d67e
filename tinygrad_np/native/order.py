"""NumPy's order of additions, which gives native sums the same bits."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

# NumPy before 2.3 calls its loop on at most this many elements.
_LONGEST = 8192 if np.lib.NumpyVersion(np.__version__) < "2.3.0" else sys.maxsize


def sums_alike(array: NDArray[Any], axes: Collection[int]) -> bool:
    """Whether plain nested loops around NumPy's loop of ``np.add`` have NumPy's bits.

    NumPy leaves out axes of length 1, puts the longer strides outside, joins axes where one
    continues the other, and calls its loop along what is then innermost: pairwise where that is
    summed over, a row at a time where it is not. Where the two innermost are both summed over and
    do not join (a slice, say), NumPy copies blocks together first. A
    stride of 0 is an array that repeats itself, which NumPy orders otherwise.

    Only the array's shape and strides are read; ``axes`` are counted from 0.

    >>> x = np.zeros((150, 20))
    >>> sums_alike(x, {0}), sums_alike(x, {1}), sums_alike(x, {0, 1})
    (True, True, True)
    >>> sums_alike(x[:, :10], {0, 1})
    False
    """
    found = [
        (abs(step), step, length, axis in axes)
        for axis, (length, step) in enumerate(zip(array.shape, array.strides, strict=True))
        if length != 1
    ]
    if not all(size for size, *_ in found):
        return False
    runs: list[tuple[int, int, bool]] = []  # step, length, summed: the innermost first
    for _, step, length, summed in sorted(found, key=lambda axis: axis[0]):
        if runs and runs[-1][2] == summed and runs[-1][0] * runs[-1][1] == step:
            runs[-1] = (runs[-1][0], runs[-1][1] * length, summed)
        else:
            runs.append((step, length, summed))
    if not runs or not runs[0][2]:
        return True
    return runs[0][1] <= _LONGEST and not (len(runs) > 1 and runs[1][2])
