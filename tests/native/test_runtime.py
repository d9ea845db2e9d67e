"""The C runtime: it compiles without a warning, and what it relies on is there."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from tinygrad_np.native import RUNTIME, blas, blas_integer, unavailable
from tinygrad_np.native.toolchain import find_compiler


def test_the_text_compiles_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text(f"#define BLAS_INT int64_t\n{RUNTIME}")
    command = [
        *find_compiler().command,
        "-std=gnu11",
        "-O3",
        "-Wall",
        "-Wextra",
        "-Wno-unused-function",
        "-c",
        "x.c",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_layout_is_as_expected() -> None:
    assert unavailable() is None


def test_blas_by_address() -> None:
    integer = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64}[blas_integer()]
    address = blas("cblas_ddot")
    assert address
    kind = ctypes.CFUNCTYPE(
        ctypes.c_double, integer, ctypes.c_void_p, integer, ctypes.c_void_p, integer
    )
    x = np.arange(4.0)
    assert kind(address)(4, x.ctypes.data, 1, x.ctypes.data, 1) == 14.0
    assert blas("cblas_nonsense") is None
