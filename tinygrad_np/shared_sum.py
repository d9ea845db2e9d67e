"""The sum of the ranks' arrays, through memory that the ranks of one machine share.

Each rank writes its array into a row of its own, adds up one slice of all rows, and then reads the
whole sum. So MPI copies nothing inside a machine, and each element is added by one rank only.
Between machines, the ranks with the same slice add it up by an Allreduce.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shared_memory import Array, open_memory, path_of


def _shared(node: Any, nbytes: int) -> mmap.mmap:
    """Memory that all ranks of a machine see. It has no name, so it ends with the processes."""
    file = -1
    if node.rank == 0:
        with contextlib.suppress(OSError):  # then no rank finds the file
            file = os.memfd_create("tinygrad_np")
            os.ftruncate(file, nbytes)
    try:
        return open_memory(node.bcast(path_of(file)), nbytes)
    finally:
        node.Barrier()
        if file >= 0:
            os.close(file)


def can_share(node: Any) -> bool:
    """Whether this rank sees the memory of the first rank of its machine."""
    if not hasattr(os, "memfd_create"):  # Linux has it
        return False
    try:
        _shared(node, mmap.PAGESIZE).close()
    except OSError:  # a machine without /proc, or ranks in separate containers
        return False
    return True


class SharedSum:
    """Adds up the ranks' arrays.

    ``node`` is the communicator of the ranks on this machine, ``across`` that of the ranks with the
    same number on all machines. A ``node`` of one rank shares no memory.
    """

    def __init__(self, mpi: Any, node: Any, across: Any) -> None:
        self.mpi, self.node, self.across = mpi, node, across
        self.rows: NDArray[np.uint8] = np.empty((1, 0), np.uint8)

    def is_short_of(self, nbytes: int) -> bool:
        """Whether ``reserve`` must be called first, on all ranks."""
        return nbytes > int(self.rows.shape[1])

    def reserve(self, nbytes: int) -> None:
        """Make room for arrays of so many bytes. All ranks must call it together."""
        row = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if self.node.size == 1:
            self.rows = np.empty((1, row), np.uint8)
            return
        shape = self.node.size + 1, row  # the last row is the sum
        self.rows = np.ndarray(shape, np.uint8, _shared(self.node, math.prod(shape)))

    def own(self, count: int, dtype: np.dtype[Any]) -> Array:
        """Where this rank writes its array of so many elements."""
        return self._rows(count, dtype)[int(self.node.rank)]

    def total(self, count: int, dtype: np.dtype[Any], out: Array) -> None:
        """Write the sum to ``out``. Call it when all ranks have written their own rows.

        The rows are added in the order of the ranks, so all ranks get the same bits.
        """
        rows, i, size = self._rows(count, dtype), self.node.rank, self.node.size
        slices = [row[count * i // size : count * (i + 1) // size] for row in rows]
        if size > 1:
            np.add(slices[0], slices[1], out=slices[-1])
            for row in slices[2:-1]:
                np.add(slices[-1], row, out=slices[-1])
        if self.across.size > 1:
            self.across.Allreduce(self.mpi.IN_PLACE, slices[-1], self.mpi.SUM)
        if size > 1:
            self.node.Barrier()
        np.copyto(out, rows[-1], casting="same_kind")

    def _rows(self, count: int, dtype: np.dtype[Any]) -> list[Array]:
        return list(self.rows[:, : count * dtype.itemsize].view(dtype))
