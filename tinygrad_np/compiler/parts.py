"""C for a task that runs in parts, one thread each, and the headers that such tasks need."""

from __future__ import annotations

from .. import native
from .c_code import CArray
from .fusion import Names

_ALONE = 1 << 23
"""Multiplications for which a further thread pays: starting and joining one takes 17 µs."""


def headers(names: Names, type_: str, *texts: str) -> None:
    """Put C texts of ``native`` before the functions, for one type of numbers."""
    for text in (native.PARALLEL, native.VECTORS, *texts):
        names.head(text.replace("REAL", type_))


def in_parts(names: Names, task: str, work: int, most: int, *places: CArray) -> str:
    """The C call that runs a task in at most ``most`` parts; its value is their number."""
    threads = names.address("blas_threads", native.blas("openblas_get_num_threads") or 0)
    words = ", ".join(f"(void *){place.pointer}" for place in places)
    return f"parallel({threads}, {min(most, work // _ALONE + 1)}, {task}, (void *[]){{{words}}});"
