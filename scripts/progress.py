"""How a training run shows that it moves: a bar on a terminal, nothing but lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from scripts.command import on_terminal


class Progress:
    """Loss, accuracy, images a second and time left, as a context manager.

    ``accuracy`` is called at most twice a second, and only where there is a bar.
    """

    def __init__(
        self, updates: int, batch_size: int, done: int, accuracy: Callable[[], float]
    ) -> None:
        from tqdm import tqdm

        self.batch_size, self.accuracy = batch_size, accuracy
        self.shown = 0.0
        self.bar = tqdm(
            total=updates * batch_size,
            initial=done * batch_size,
            unit=" images",
            unit_scale=True,
            leave=False,
            dynamic_ncols=True,
            disable=not on_terminal(),
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.bar.close()

    def update(self, loss: float) -> None:
        """One more batch is done; ``loss`` is what it had."""
        if self.bar.disable:
            return
        now = time.monotonic()
        if now - self.shown >= 0.5:
            self.shown = now
            self.bar.set_postfix_str(
                f"loss {loss:.4g}, accuracy {self.accuracy():.1%}", refresh=False
            )
        self.bar.update(self.batch_size)

    def write(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        if self.bar.disable:
            print(line)  # tqdm would need a standard output
        else:
            self.bar.write(line)
