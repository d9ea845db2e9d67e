"""Compiled libraries in the user's cache folder: owner-only, and never half-written."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from .layout import unavailable
from .toolchain import FLAGS, Compiler, CompilerError, CompilerHungError, find_compiler

_FORMAT = "1"  # raise it when a library must offer something else
MOST_LIBRARIES = 500
"""The cache keeps this many libraries, the latest; one is about 20 KB."""

_lock = threading.Lock()
_loaded: dict[str, ctypes.PyDLL | None] = {}
_state = {"warned": "", "hung": ""}


def library(source: str) -> ctypes.PyDLL | None:
    """The C source as a loaded library; the GIL is held while its functions run.

    It is compiled once, and found in the cache by later processes. None, after one RuntimeWarning
    in each process, where there is no compiler, it fails, or it hangs: run the NumPy program then.

    >>> library("double half(double x) { return x / 2; }")  # doctest: +SKIP
    <PyDLL '/home/me/.cache/tinygrad_np/native/...', handle ... at 0x...>
    """
    with _lock:
        if source not in _loaded:
            _loaded[source] = _library(source)
        return _loaded[source]


def forget() -> None:
    """Forget loaded libraries and failures, so that a newly installed compiler is found."""
    with _lock:
        _loaded.clear()
        _state.update(warned="", hung="")


def _library(source: str) -> ctypes.PyDLL | None:
    try:
        if reason := unavailable() or _state["hung"]:
            raise CompilerError(reason)
        compiler = find_compiler()
        name = key(source, compiler)
        cache = cache_folder()
        for path in cache.glob(f"{name}-*.so") if cache else ():
            with contextlib.suppress(OSError):  # damaged, foreign, or on a disk without execution
                return _load(path)
        with tempfile.TemporaryDirectory(prefix="tinygrad_np-") as folder:  # owner-only
            built = compiler.compile(source, Path(folder))
            if cache:
                with contextlib.suppress(OSError):  # for example, a full disk
                    return _load(_store(built.read_bytes(), name, cache))
            return ctypes.PyDLL(str(built))  # a loaded library outlives its file
    except (CompilerError, OSError) as error:
        if isinstance(error, CompilerHungError):  # do not wait for it again
            _state["hung"] = str(error)
        if not _state["warned"]:
            _state["warned"] = "yes"
            text = f"compiled functions run in NumPy, not as native code: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        return None


def key(source: str, compiler: Compiler) -> str:
    """The name of a library's file: a digest of everything that it depends on."""
    parts = (_FORMAT, source, *FLAGS, compiler.identity, *_processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@functools.cache
def _processor() -> tuple[str, ...]:
    """The processor's model and features: ``-march=native`` code may not run on another."""
    import numpy as np

    extensions = np.show_config(mode="dicts").get("SIMD Extensions", {})
    found = [sys.platform, platform.machine(), *extensions.get("found", ())]
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith(("model name", "flags", "Features", "CPU part")):
                found.append(line)
            elif not line.strip():  # the first core is enough
                break
    return tuple(found)


def cache_folder() -> Path | None:
    """The folder of the libraries, made where missing; None if it is not safe or not writable."""
    import platformdirs

    folder = platformdirs.user_cache_path("tinygrad_np") / "native"
    if not folder.is_absolute():  # there is no home
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not _own(status, stat.S_ISDIR):
            return None
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError:
        return None
    return folder


def _own(status: os.stat_result, kind: Callable[[int], bool]) -> bool:
    """Whether a file is of this kind (no link), belongs to this user, and only they may write."""
    return kind(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _store(content: bytes, name: str, cache: Path) -> Path:
    """Write a library under a temporary name, then rename it, so that no reader sees half of it."""
    target = cache / f"{name}-{_digest(content)}.so"
    number, draft = tempfile.mkstemp(dir=cache, suffix=".tmp")  # owner-only
    try:
        with open(number, "wb") as file:
            file.write(content)
        os.replace(draft, target)
        for old in sorted(cache.iterdir(), key=os.path.getmtime)[:-MOST_LIBRARIES]:
            old.unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # it was renamed
            os.unlink(draft)
    return target


def _load(path: Path) -> ctypes.PyDLL:
    """Load a library from the cache; raise OSError if its content does not match its name."""
    with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NOFOLLOW)) as file:
        if not _own(os.fstat(file.fileno()), stat.S_ISREG):
            raise PermissionError(f"{path} belongs to another user, or others may write to it")
        content = file.read()
    try:
        if path.stem.rpartition("-")[2] != _digest(content):
            raise OSError(f"{path} is damaged")
        return ctypes.PyDLL(str(path))
    except OSError:  # remove what cannot be loaded
        path.unlink()
        raise


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
