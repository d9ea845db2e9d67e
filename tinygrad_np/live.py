"""Live progress of a training loop: curves in notebooks, one line in terminals."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

EVERY = 0.5
"""Seconds between two drawings."""


class LiveChart:
    """Call it once a step with the numbers to show: ``chart(loss=0.3, accuracy=0.91)``.

    In a notebook it draws one curve for each name, and a progress bar; elsewhere tqdm's bar with
    the latest numbers. It draws at most twice a second, so that it costs little time. ``total`` is
    the number of steps, None if unknown. ``history`` maps each name to a list of (step, value).
    ``close`` ends the chart; the last of ``total`` steps calls it.

    Raises TypeError for a value that is not a number.

    >>> import tinygrad_np as tg
    >>> import io
    >>> chart = tg.LiveChart(total=2, file=io.StringIO())
    >>> for loss in (0.5, 0.25):
    ...     chart(loss=loss)
    >>> chart.history
    {'loss': [(1, 0.5), (2, 0.25)]}
    """

    def __init__(self, total: int | None = None, *, file: Any = None) -> None:
        self.total = total
        self.step = 0
        self.history: dict[str, list[tuple[int, float]]] = {}
        self.start = time.perf_counter()
        self._drawn = 0.0
        self._display = _notebook_display() if file is None else None
        self._bar: Any = None
        if self._display is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="step", file=file or sys.stderr)

    def __call__(self, **values: Any) -> None:
        """Note the numbers of one step (also arrays and Tensors of one element)."""
        numbers = {name: _number(name, value) for name, value in values.items()}
        self.step += 1
        for name, number in numbers.items():
            self.history.setdefault(name, []).append((self.step, number))
        if self._bar is not None:
            self._bar.update()
        now = time.perf_counter()
        if self.step == self.total:
            self.close()
        elif now - self._drawn >= EVERY:
            self._drawn = now
            self._draw()

    def close(self) -> None:
        """Draw the latest numbers, and end the bar."""
        self._draw()
        if self._bar is not None:
            self._bar.close()

    def status(self) -> str:
        """The step, the speed and the latest numbers in one line."""
        of = f" of {self.total:,}" if self.total else ""
        speed = self.step / max(time.perf_counter() - self.start, 1e-9)
        latest = [f"{name} {points[-1][1]:.4g}" for name, points in self.history.items()]
        return ", ".join([f"step {self.step:,}{of}", f"{speed:,.3g} steps/s", *latest])

    def _repr_html_(self) -> str:
        share = f"value='{self.step}' max='{self.total}'" if self.total else ""
        bar = f"<progress {share} style='width:100%; max-width:40em'></progress>"
        return f"<div>{bar}<div>{self.status()}</div>{self._curves()}</div>"

    def _draw(self) -> None:
        if self._bar is not None:
            latest = {name: f"{points[-1][1]:.4g}" for name, points in self.history.items()}
            self._bar.set_postfix(latest)
        elif self._display is not None:
            self._display.update(self)

    def _curves(self) -> str:
        """One small chart for each name, side by side, as SVG."""
        if not self.history:
            return ""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3.5 * len(self.history), 2.5), layout="constrained")
        for axes, (name, points) in zip(
            figure.subplots(1, len(self.history), squeeze=False)[0], self.history.items(),
            strict=True,
        ):  # fmt: skip
            axes.plot(*zip(*points, strict=True))
            axes.set(title=name, xlabel="step")
            axes.grid(alpha=0.3)
        text = io.StringIO()
        figure.savefig(text, format="svg")
        svg = text.getvalue()
        return f"<div style='max-width:100%; background:white'>{svg[svg.index('<svg') :]}</div>"


def _number(name: str, value: Any) -> float:
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError):
        raise TypeError(f"LiveChart: {name} must be one number, got {value!r}") from None


def _notebook_display() -> Any:
    """An output cell of the notebook that can be updated; None outside of notebooks."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)
