"""Arrays that change between the forward pass, which saves them, and the backward pass.

A gradient rule must read the values that the op read. There is a guard for each way in which an
array can change:

- Small arrays, and index and condition arrays of any size: the graph saves copies.
- Parameters: an optimiser writes to them in place, and notes the time on their nodes (``writing``).
- Arrays that ``Tensor.data`` has handed out (``hand_out``): if a graph holds the array at that
  time, its checksum is kept and compared. As long as the user may hold it, later ops save copies.
- Large ndarrays among the operands: a sample of their elements is kept and compared.

Traced arrays (see ``tracing.py``) are neither copied nor sampled: a tracer keeps their values.
"""

from __future__ import annotations

import itertools
import sys
import weakref
import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import messages
from .arrays import Array

SMALL = 4096
"""The graph saves copies of arrays up to this many bytes: 0.1 µs each, less than any check."""
_SAMPLE = 32

ticks = itertools.count(1)
"""Numbers nodes and changes in the order of time."""


class ChangedArrayError(RuntimeError):
    """An array that a backward pass needs has changed since the forward pass.

    >>> import numpy as np, tinygrad_np as tg
    >>> w = tg.Tensor(np.ones(1000), requires_grad=True)
    >>> loss = (w * w).sum()
    >>> w.data[:] = 2.0
    >>> loss.backward()
    Traceback (most recent call last):
    ...
    tinygrad_np.changes.ChangedArrayError: input 0 (x) of op 'multiply', ...
    """


class _Loan(NamedTuple):
    """Memory that was handed out. ``checksum`` is None if no graph held it at that time."""

    array: weakref.ref[Array]
    owner: weakref.ref[Array]
    tick: int
    checksum: int | None


handed_out: dict[int, _Loan] = {}
"""The memory that users may write to, by the id of the array that owns it."""
_last_change = [0]


def last_change() -> int:
    """The tick of the latest change. The arrays of younger nodes need no check."""
    return _last_change[0]


def _owner(array: Any) -> Any:
    while isinstance(base := getattr(array, "base", None), np.ndarray):
        array = base
    return array


def writing() -> int:
    """A new tick, for ``written`` of the leaves whose arrays are now written to in place."""
    now = _last_change[0] = next(ticks)
    return now


def memory_of(array: Any) -> int:
    """Identifies an array's memory: equal for an array and its views."""
    return id(_owner(array))


def hand_out(array: weakref.ref[Array]) -> None:
    """Note that the user is given an array, and may write to it."""
    key, now, checksum = memory_of(array()), next(ticks), None
    if key in handed_out:  # everything saved since then is a copy
        return
    owner = weakref.ref(_owner(array()), lambda _: handed_out.pop(key, None))
    if not _is_idle(array, owner):
        checksum, _last_change[0] = checksum_of(_owner(array())), now
    handed_out[key] = _Loan(array, owner, now, checksum)


def _holders(array: weakref.ref[Array]) -> int:
    found = array()
    return sys.getrefcount(found)


_ONE = _holders(weakref.ref(_known := np.empty(0)))


def _is_idle(array: weakref.ref[Array], owner: weakref.ref[Array]) -> bool:
    """Whether only the Tensor holds an array: no graph, no user, and no view of it."""
    return _holders(owner) == _ONE and (array() is owner() or _holders(array) == _ONE)


def take_back() -> None:
    """Forget the arrays that were handed out and that nobody holds any more."""
    for key, loan in list(handed_out.items()):
        if _is_idle(loan.array, loan.owner):
            del handed_out[key]


def kept(array: Array) -> Array:
    """A large array as the graph saves it: itself, unless it was handed out."""
    return array.copy("K") if handed_out and id(_owner(array)) in handed_out else array


def copied(value: Any) -> Any:
    """A setting of an op as the graph saves it: arrays and lists in it are copied."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list):
        return [copied(item) for item in value]
    return tuple(map(copied, value)) if type(value) is tuple else value


UNCHANGING = frozenset([int, float, bool, str, slice, type(None), type(Ellipsis), np.int64])
"""Types of settings that need no copy."""


class Excerpt(NamedTuple):
    """Elements at equal distances. They show whether a buffer has been filled again."""

    place: int
    elements: Array
    before: bytes


def sample_of(place: int, array: Array) -> Excerpt:
    """A sample of the constant that is saved at a place."""
    if array.flags.forc:
        elements = array.ravel("K")[:: array.size // _SAMPLE | 1]
    else:
        elements = array[tuple([slice(None, None, n // 8 | 1) for n in array.shape])]
    return Excerpt(place, elements, elements.tobytes())


def checksum_of(array: Array) -> int:
    """A checksum over all bytes of an array."""
    return zlib.crc32(array.ravel("K").view(np.uint8).data)


def is_other(samples: Iterable[Excerpt]) -> bool:
    """Whether one of the sampled constants has changed."""
    return True in [elements.tobytes() != before for _, elements, before in samples]


def find_change(
    saved: tuple[Any, ...],
    places: Collection[int],
    samples: Iterable[Excerpt],
    since: int,
    written: Mapping[int, int],
) -> tuple[int, str] | None:
    """The first of these places whose saved array changed after the tick ``since``, and advice.

    ``written`` maps memory to the tick at which an optimiser wrote to it.
    """
    for sample in samples:
        if sample.place in places and is_other([sample]):
            return sample.place, messages.REFILLED
    for place in sorted(places):
        owner = _owner(saved[place])
        if written.get(id(owner), 0) > since:
            return place, messages.UPDATED
        loan = handed_out.get(id(owner))
        if loan is not None and loan.checksum is not None and loan.tick > since:  # noqa: SIM102
            if checksum_of(owner) != loan.checksum:
                return place, messages.WRITTEN_TO
    return None
