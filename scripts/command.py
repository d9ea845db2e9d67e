"""What all commands share: parsers, streams that cannot fail, errors in a line, Ctrl-C."""

import argparse
import functools
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Self

from tinygrad_np.distributed import all_reduce, rank
from tinygrad_np.tables import ERRORS


def parser_of(name: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m scripts.<name>``, which prints ``doc`` as it is.

    Every command makes its parser first, so printing is made safe here: standard output and error
    can be missing (a service, ``pythonw``), and their encoding can lack characters.
    """
    for stream_name in ("stdout", "stderr"):
        stream = getattr(sys, stream_name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, stream_name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)
    return argparse.ArgumentParser(
        prog=f"python -m scripts.{name}", description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def reports(*errors: type[Exception]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Let a command print these errors in a line, and end quietly when its reader closes the pipe.

    >>> @reports(ValueError)
    ... def main(arguments=None):
    ...     raise ValueError("the file is empty")
    >>> main()
    1
    """

    def decorate(main: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(main)
        def run(arguments: Sequence[str] | None = None) -> int:
            try:
                return main(arguments)
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 0
            except errors as error:
                return failed(error)

        return run

    return decorate


def failed(error: Exception) -> int:
    """Print an error with its notes; return the exit code."""
    print("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
    return 1


def positive(text: str) -> int:
    """The type of an option that is a count."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def natural(text: str) -> int:
    """The type of an option that is a seed."""
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


class Interrupted(Exception):
    """Training was asked to stop."""


class Interrupt:
    """Inside, Ctrl-C and SIGTERM only ask to stop; a second one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        stops = signal.SIGINT, signal.SIGTERM
        self._before = {number: signal.signal(number, self._note) for number in stops}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        # os.write, because the signal may have come in the middle of a print.
        if rank() == 0:
            os.write(2, b"\nStopping after this step. Press Ctrl-C again to stop at once.\n")

    def check(self) -> None:
        """Raise Interrupted if a signal has come, to any rank."""
        if number := int(all_reduce(self.signal or 0, "max")):
            self.signal = signal.Signals(number)
            raise Interrupted

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal has stopped."""
        return 128 + (self.signal or signal.SIGINT)
