"""Memory that processes of one machine share, and the arrays of another process, lent by it.

An array in such memory need not be copied for another process, which reads it where it lies.
"""

from __future__ import annotations

import functools
import itertools
import mmap
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])

_numbers = itertools.count()
_made: dict[int, tuple[int, int, int]] = {}
"""Of each piece of memory made here, by its number: file, address and size."""


def lends(function: Any) -> bool:
    """Whether a function's result is memory that it keeps; see ``lending``."""
    return hasattr(function, "lends")


def lending(function: F) -> F:
    """Decorator for a function whose result lies in memory that changes only after the step."""
    function.lends = True  # type: ignore[attr-defined]
    return function


def open_memory(file: int | str, nbytes: int, access: int = mmap.ACCESS_WRITE) -> mmap.mmap:
    """The memory behind a file of this process, or behind a path of another one's.

    Huge pages, where the system has them for shared memory, save 2% of a step of 14 ms.
    """
    if isinstance(file, str):
        with open(file, "r+b") as other:
            return open_memory(other.fileno(), nbytes, access)
    memory = mmap.mmap(file, nbytes, access=access)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def path_of(file: int, process: int | None = None) -> str:
    """The path by which another process of the same user finds a file of this one."""
    return f"/proc/{process or os.getpid()}/fd/{file}"


def allocate(nbytes: int) -> NDArray[np.uint8]:
    """Memory that other processes can read. It has no name, so it ends with the processes."""
    file, number, nbytes = os.memfd_create("tinygrad_np"), next(_numbers), max(nbytes, 1)
    os.ftruncate(file, nbytes)
    array: NDArray[np.uint8] = np.ndarray(nbytes, np.uint8, open_memory(file, nbytes))
    _made[number] = file, array.ctypes.data, nbytes
    weakref.finalize(array, _drop, number)
    return array


def _drop(number: int) -> None:
    os.close(_made.pop(number)[0])


def _find(array: Array) -> tuple[int, int, int, int] | None:
    """The number, file and size of the memory that an array lies in, and its offset there.

    None where it lies elsewhere, or not in one piece.
    """
    address = array.__array_interface__["data"][0]
    for number, (file, start, nbytes) in _made.items():
        inside = start <= address and address + array.nbytes <= start + nbytes
        if inside and array.flags.c_contiguous:
            return number, file, nbytes, address - start
    return None


@functools.lru_cache(64)
def _opened(process: int, number: int, file: int, nbytes: int) -> mmap.mmap:
    """Another process's memory. The number makes it another one where a file's number returns."""
    return open_memory(path_of(file, process), nbytes, mmap.ACCESS_READ)


@functools.lru_cache(1024)
def _borrowed(process: int, *place: int, shape: tuple[int, ...], dtype: Any) -> Array:
    number, file, nbytes, offset = place
    return np.ndarray(shape, dtype, _opened(process, number, file, nbytes), offset)


class Pair:
    """Two processes on one machine that read each other's arrays."""

    def __init__(self, both: Any) -> None:
        self.both = both
        self.copies: list[Array] = []
        self.begin()

    def begin(self) -> None:
        """Forget the arrays of earlier exchanges. Call it when both have read them."""
        self.lent: list[list[Array]] = []
        """Of each exchange, the other one's arrays."""
        self.free = self.copies.copy()

    def exchange(self, arrays: Sequence[Array]) -> int:
        """Let each read the other's arrays, which have the same shapes; the exchange's number.

        What does not lie in shared memory is copied there. The other one may read the arrays until
        both ``begin`` anew.
        """
        places = [_find(x) or _find(self._copy(x)) for x in arrays]
        table = np.array([(os.getpid(), *place) for place in places if place])
        tables = np.empty((2, *table.shape), table.dtype)
        self.both.Allgather(table, tables)
        other = tables[1 - self.both.rank].tolist()
        self.lent.append([_borrowed(*row, shape=x.shape, dtype=x.dtype)
                          for row, x in zip(other, arrays, strict=True)])  # fmt: skip
        return len(self.lent) - 1

    def _copy(self, array: Array) -> Array:
        fitting = next((free for free in self.free if free.nbytes == array.nbytes), None)
        if fitting is None:
            self.copies.append(fitting := allocate(array.nbytes))
        else:
            self.free = [free for free in self.free if free is not fitting]
        copy: Array = np.ndarray(array.shape, array.dtype, fitting)
        copy[...] = array
        return copy
