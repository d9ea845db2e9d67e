"""The C compiler: finding it, its flags, and running it without a shell and with a time limit."""

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
"""The time limit of one compilation, in seconds."""

FLAGS = (
    "-std=gnu11", "-shared", "-fPIC", "-O3", "-march=native",
    "-ffp-contract=off",  # a product and a sum round twice, as in NumPy
    "-fno-math-errno",  # makes sqrt one instruction; nothing reads errno
    "-fno-trapping-math",  # lets comparisons and where become vector instructions
)  # fmt: skip
"""Each flag keeps the bits of every result; ``-ffast-math`` does not."""

INSTALL = (
    "install gcc or clang (Debian, Ubuntu: apt install gcc; macOS: xcode-select --install), "
    "or a compiler from PyPI: pip install tinygrad_np[native]"
)


class CompilerError(Exception):
    """No compiler is available, or it failed."""


class CompilerHungError(CompilerError):
    """The compiler exceeded the time limit."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the words of its command, the first one an absolute path."""

    command: tuple[str, ...]
    identity: str
    """Paths, sizes and dates of its files: they change when the compiler does."""

    def version(self) -> str:
        """The first line of ``--version``."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            found = subprocess.run(
                [*self.command, "--version"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False,
            )  # fmt: skip
            return next(iter(found.stdout.splitlines()), "").strip() or "unknown"
        return "unknown"

    def compile(self, source: str, folder: Path) -> Path:
        """Compile C source to a shared library in the folder, which should be private.

        Ignores warnings. Raises CompilerError if there is no library at the end.
        """
        (folder / "program.c").write_text(source, encoding="utf-8")
        status, said = self._run(FLAGS, folder)
        if status and "march" in said:  # some compilers do not know -march
            status, said = self._run([flag for flag in FLAGS if "march" not in flag], folder)
        library = folder / "program.so"
        if status or not library.is_file():
            how = f"was ended by signal {-status}" if status < 0 else f"failed (exit code {status})"
            raise CompilerError(f"{shlex.join(self.command)} {how}: {said[-1000:] or 'no message'}")
        return library

    def _run(self, flags: Iterable[str], folder: Path) -> tuple[int, str]:
        """The exit code and the messages. A timeout kills the compiler's children, too."""
        command = [*self.command, *flags, "program.c", "-o", "program.so", "-lm", "-pthread"]
        # To a file, because a pipe stays open as long as any descendant holds it.
        with (folder / "messages").open("w+", encoding="utf-8", errors="replace") as messages:
            process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
            )  # fmt: skip
            try:
                status = process.wait(TIMEOUT)
            except BaseException as error:  # also on Ctrl-C
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
    """The compiler that ``$TINYGRAD_NP_CC`` names, or else the first one found.

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
    """A command, perhaps of several words (``ccache gcc``), as a compiler; None if not found."""
    try:
        words = shlex.split(text)
    except ValueError:  # an unclosed quotation mark
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
