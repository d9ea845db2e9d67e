"""What all commands share: parsers, streams that cannot fail, errors, progress, Ctrl-C."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from tinygrad_np.distributed import all_reduce, rank
from tinygrad_np.tables import ERRORS


class Nowhere(io.TextIOBase):
    """A stream that accepts everything and shows nothing."""

    def write(self, text: str) -> int:
        return len(text)


def parser_of(name: str, doc: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``python -m scripts.<name>``, whose texts are printed as they are.

    Every command makes its parser first, so printing is made safe here: standard output and error
    can be missing (a service, ``pythonw``), and their encoding can lack characters.
    """
    for stream_name in ("stdout", "stderr"):
        stream = getattr(sys, stream_name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, stream_name, Nowhere())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)
    return argparse.ArgumentParser(
        prog=f"python -m scripts.{name}", description=doc, epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def on_terminal() -> bool:
    """Whether standard error is a terminal, where a progress bar can be drawn."""
    stream = sys.stderr
    return stream is not None and not getattr(stream, "closed", False) and stream.isatty()


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


class Progress:
    """A bar with loss, accuracy, images a second and time left; only on a terminal.

    ``measure`` says how good the network is; it is called at most twice a second. ``unit`` names
    what batches are of.
    """

    def __init__(
        self, updates: int, batch_size: int, done: int, measure: Callable[[], str],
        unit: str = "images",
    ) -> None:  # fmt: skip
        from tqdm import tqdm

        self.batch_size, self.measure, self.shown = batch_size, measure, 0.0
        self.bar = tqdm(
            total=updates * batch_size, initial=done * batch_size, unit=f" {unit}", unit_scale=True,
            leave=False, dynamic_ncols=True, disable=rank() > 0 or not on_terminal(),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def update(self, loss: float) -> None:
        """Count one more batch, of this loss."""
        if self.bar.disable:
            return
        if (now := time.monotonic()) - self.shown >= 0.5:
            self.shown = now
            text = f"loss {loss:.4g}, {self.measure()}"
            self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(self.batch_size)

    def write(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        if self.bar.disable:
            print(line)  # tqdm would need a standard output
        else:
            self.bar.write(line)


class Interrupted(Exception):
    """Training was asked to stop."""


class Interrupt:
    """Inside, Ctrl-C and SIGTERM only ask to stop; a second one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
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
            os.write(2, b"\nstopping after this step, with a checkpoint; once more stops at once\n")

    def check(self) -> None:
        """Raise Interrupted if a signal has come, to any rank."""
        if number := int(all_reduce(self.signal or 0, "max")):
            self.signal = signal.Signals(number)
            raise Interrupted

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal has stopped."""
        return 128 + (self.signal or signal.SIGINT)
