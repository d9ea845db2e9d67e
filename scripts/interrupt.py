"""Ctrl-C, politely: the first one asks to stop, the second one stops."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(Exception):
    """Training was asked to stop."""


class Interrupt:
    """Inside, Ctrl-C and SIGTERM are noted in ``signal``; a second one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        # Not print: the signal may have come in the middle of another print.
        os.write(2, b"\nstopping after this step, with a checkpoint; once more stops at once\n")

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.signal is not None:
            raise Interrupted

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal has stopped."""
        return 128 + (self.signal or signal.SIGINT)
