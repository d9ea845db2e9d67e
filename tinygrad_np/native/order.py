"""In which order NumPy adds, so that the sums of native code have its bits."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def sums_alike(shape: Sequence[int], strides: Sequence[int], axes: Collection[int]) -> bool:
    """Whether ``each`` of ``runtime.h``, with NumPy's loop of ``np.add``, has NumPy's bits.

    NumPy leaves out axes of length 1, puts the longer strides outside, joins axes where one
    continues the other, and calls its loop along what is then innermost: pairwise where that is
    summed over, a row at a time where it is not. ``each`` does the same. Where the two innermost
    are both summed over and do not join (a slice, say), NumPy copies blocks together first. A
    stride of 0 is an array that repeats itself, which NumPy orders otherwise.

    ``axes`` are counted from 0.

    >>> sums_alike((150, 10), (40, 4), {0}), sums_alike((150, 10), (40, 4), {0, 1})
    (True, True)
    >>> sums_alike((150, 10), (80, 4), {0, 1})
    False
    """
    found = sorted(
        (
            (abs(step), length, axis in axes, step)
            for axis, (length, step) in enumerate(zip(shape, strides, strict=True))
            if length != 1
        ),
        key=lambda it: it[0],
    )
    if not all(size for size, *_ in found):
        return False
    joined = found[:1]
    for _, length, summed, step in found[1:]:
        _, inner, also, small = joined[-1]
        if summed == also and step == inner * small:
            joined[-1] = (0, inner * length, summed, small)
        else:
            joined.append((0, length, summed, step))
    return not (len(joined) > 1 and joined[0][2] and joined[1][2])
