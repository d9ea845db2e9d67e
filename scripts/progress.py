"""How a training run shows that it moves: a bar on a terminal, nothing but lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType


class Progress:
    """Images done, images a second, time left and the last loss, as a context manager."""

    def __init__(self, iterations: int, batch_size: int) -> None:
        from tqdm import tqdm

        self.batch_size = batch_size
        self.bar = tqdm(
            total=iterations * batch_size,
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=not sys.stderr.isatty(),
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
        self.bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
        self.bar.update(self.batch_size)

    def write(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        self.bar.write(line)
