"""NumPy's own loaded BLAS, by address.

It must be the library that NumPy has loaded. A second one (SciPy's, for example) has a second pool
of threads; the two wait for each other, which makes a step thirty times slower.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Literal


@functools.cache
def _loaded() -> tuple[ctypes.CDLL, str, str] | None:
    """The library, and the prefix and suffix of its functions' names; None without one."""
    from threadpoolctl import threadpool_info

    for info in threadpool_info():
        if info["user_api"] != "blas" or "numpy" not in info["filepath"]:
            continue
        handle = ctypes.CDLL(info["filepath"])
        for prefix in ("scipy_", ""):
            for suffix in ("64_", ""):
                if hasattr(handle, f"{prefix}cblas_sgemm{suffix}"):
                    return handle, prefix, suffix
    return None


def blas(name: str) -> int | None:
    """The address of a BLAS function, ``"cblas_sgemm"`` say; None where NumPy has none.

    Its integers are of the C type that ``blas_integer`` names.
    """
    found = _loaded()
    if found is None:
        return None
    handle, prefix, suffix = found
    function = getattr(handle, f"{prefix}{name}{suffix}", None)
    return function and ctypes.cast(function, ctypes.c_void_p).value


def blas_integer() -> Literal["int32_t", "int64_t"]:
    """The C type of the sizes that NumPy's BLAS takes."""
    found = _loaded()
    return "int64_t" if found and found[2] else "int32_t"


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, BLAS has one thread. Its others would look for work until 0.1 s after their last."""
    get, set_ = blas("openblas_get_num_threads"), blas("openblas_set_num_threads")
    threads = ctypes.CFUNCTYPE(ctypes.c_int)(get)() if get and set_ else 1
    if threads == 1:  # perhaps for a program in another thread of Python, which restores them
        yield
        return
    limit = ctypes.CFUNCTYPE(None, ctypes.c_int)(set_ or 0)
    limit(1)
    try:
        yield
    finally:
        limit(threads)
