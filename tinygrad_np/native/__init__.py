"""The base of native execution: a compiler, a cache of libraries, NumPy's loops and BLAS in C.

Nothing here knows what a program is: it takes C source, and gives addresses.
"""

import ctypes
from pathlib import Path

from .cache import library as library
from .layout import unavailable as unavailable
from .numpy_blas import blas as blas
from .numpy_blas import blas_integer as blas_integer
from .numpy_blas import one_blas_thread as one_blas_thread
from .numpy_loops import loop as loop
from .order import sums_alike as sums_alike
from .report import describe as describe


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


RUNTIME = _text("runtime.h")
"""C text at the head of generated source, after ``#define BLAS_INT`` (see ``blas_integer``)."""
PARALLEL, VECTORS = _text("parallel.h"), _text("vectors.h")
CONVOLUTION, POOLING, PRODUCT = map(_text, ("convolution.h", "pooling.h", "product.h"))
"""What some programs have besides. REAL in it stands for float or double."""


def pool(function: str) -> int:
    """The address of one of pool.h's functions; 0 where C cannot be compiled."""
    text = f"#define BLAS_INT {blas_integer()}\n{RUNTIME}\n{PARALLEL}\n{_text('pool.h')}"
    if (found := library(text)) is None:
        return 0
    for name in ("get", "set"):
        address = blas(f"openblas_{name}_num_threads")
        ctypes.c_void_p.in_dll(found, f"{name}_blas_threads").value = address
    return ctypes.cast(found[function], ctypes.c_void_p).value or 0
