"""The C compiler: which one, with what flags, run with a time limit and without a shell."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CHOICE = "TINYGRAD_NP_CC"
TIMEOUT = 60.0
"""Seconds that one run of the compiler may take: the programs are a few hundred lines."""

FLAGS = (
    "-std=gnu11", "-shared", "-fPIC", "-O3", "-march=native",
    "-ffp-contract=off",  # a product and a sum stay two roundings, as in NumPy
    "-fno-math-errno",  # sqrt is one instruction: nobody reads errno
    "-fno-trapping-math",  # comparisons and where become vector instructions: nobody reads flags
)  # fmt: skip
"""Each leaves every result as it is, bit for bit; ``-ffast-math`` does not."""

INSTALL = (
    "install gcc or clang (Debian, Ubuntu: apt install gcc; macOS: xcode-select --install), "
    "or a compiler from PyPI: pip install tinygrad_np[native]"
)


class CompilerError(Exception):
    """There is no compiler, or it failed."""


class CompilerHungError(CompilerError):
    """The compiler did not end in time."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the words of its command, the first one an absolute path."""

    command: tuple[str, ...]
    identity: str
    """Changes with the compiler: paths, sizes and dates of its files. Costs no run of it."""

    def version(self) -> str:
        """The first line that it says about its version."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            found = subprocess.run(
                [*self.command, "--version"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False,
            )  # fmt: skip
            return next(iter(found.stdout.splitlines()), "").strip() or "unknown"
        return "unknown"

    def compile(self, source: str, folder: Path) -> Path:
        """Compile C source to a shared library in the folder, which should be private.

        Warnings are of no interest. Raises CompilerError where there is no library in the end.
        """
        (folder / "program.c").write_text(source, encoding="utf-8")
        status, said = self._run(FLAGS, folder)
        if status and "march" in said:  # not every processor's compiler has it
            status, said = self._run([flag for flag in FLAGS if "march" not in flag], folder)
        library = folder / "program.so"
        if status or not library.is_file():
            how = f"was ended by signal {-status}" if status < 0 else f"failed (exit code {status})"
            raise CompilerError(f"{shlex.join(self.command)} {how}: {said[-1000:] or 'no message'}")
        return library

    def _run(self, flags: Iterable[str], folder: Path) -> tuple[int, str]:
        """The exit code, and what was said. What the compiler starts itself is ended with it."""
        command = [*self.command, *flags, "program.c", "-o", "program.so", "-lm", "-pthread"]
        # Into a file: a pipe would be waited for as long as any descendant holds it.
        with (folder / "messages").open("w+", encoding="utf-8", errors="replace") as messages:
            process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
            )  # fmt: skip
            try:
                status = process.wait(TIMEOUT)
            except BaseException as error:  # Ctrl-C as well
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                late = f"{shlex.join(self.command)} was stopped after {TIMEOUT:g} seconds"
                raise CompilerHungError(late) from None
            messages.seek(0)
            return status, messages.read().strip()


def find_compiler() -> Compiler:
    """The compiler that ``$TINYGRAD_NP_CC`` names, or else the first one that there is.

    ``$CC``, ``cc``, ``gcc``, ``clang`` and the ziglang package are tried in this order. Raises
    CompilerError.
    """
    chosen = os.environ.get(CHOICE)
    if chosen is not None:
        found = _existing(chosen)
        if found is None:
            raise CompilerError(f"{CHOICE}={chosen} is not a command that can be run")
        return found
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        found = _existing(name)
        if found is not None:
            return found
    zig = importlib.util.find_spec("ziglang")
    if zig is not None and zig.origin is not None:
        command = (sys.executable, "-m", "ziglang", "cc")
        return Compiler(command, f"ziglang {_stamp(zig.origin)}")
    raise CompilerError(f"there is no C compiler: {INSTALL}")


def _existing(text: str) -> Compiler | None:
    """A command, perhaps of several words (``ccache gcc``), as a compiler; None if it is none."""
    try:
        words = shlex.split(text)
    except ValueError:  # an open quotation mark
        return None
    path = shutil.which(words[0]) if words else None
    if path is None:
        return None
    stamps = [_stamp(found) for found in map(shutil.which, words) if found]
    return Compiler((os.path.abspath(path), *words[1:]), " ".join([*words, *stamps]))


def _stamp(path: str) -> str:
    real = os.path.realpath(path)
    status = os.stat(real)
    return f"{real} {status.st_size} {status.st_mtime_ns}"
