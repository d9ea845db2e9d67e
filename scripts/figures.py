"""Every picture that the scripts draw, with Matplotlib and without its global state."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]

BLUE, RED, GREY = "#1f5fa8", "#c62828", "#666666"
DPI = 120


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _plain(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and axis labels, a light grid, no box."""
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def curves(path: Path, title: str, rows: Sequence[Any]) -> None:
    """Loss and accuracies by epoch; ``rows`` are the ``Metrics`` of the run, at least one."""
    epochs = [row.epoch for row in rows]
    marker = "o" if len(rows) < 3 else None
    figure = _figure(10, 4)
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    left.plot(epochs, [row.train_loss for row in rows], color=BLUE, marker=marker)
    _plain(left, "Training loss", "epoch", "mean cross-entropy over the epoch")
    left.set_ylim(bottom=0)
    last = rows[-1]
    for name, style, color in (("train", "-", BLUE), ("test", "--", RED)):
        values = [100 * getattr(row, f"{name}_accuracy") for row in rows]
        label = f"{name}: {values[-1]:.2f}% at the end"
        right.plot(epochs, values, style, color=color, marker=marker, label=label)
    _plain(right, "Accuracy", "epoch", "% of all images")
    lowest = min(min(row.train_accuracy, row.test_accuracy) for row in rows)
    right.set_ylim(top=100 + 3 * (1 - lowest))  # room for the line at 100
    right.legend(loc="lower right", frameon=False)
    for axes in (left, right):
        axes.set_xlim(0, max(last.epoch, 1))
        axes.xaxis.get_major_locator().set_params(integer=last.epoch > 4)
    _save(figure, path)


# Sheets of images are laid out in screen pixels: a pixel of MNIST covers 3 × 3 of them

IMAGE, GAP, LINE, TITLE, COLUMNS = 84, 12, 16, 36, 10


def _shown(images: Array) -> tuple[int, int]:
    """Height and width in screen pixels of each image (n, height, width)."""
    height, width = images.shape[1:]
    scale = IMAGE / max(height, width)
    scale = round(scale) if scale > 1 else scale
    return max(1, round(scale * height)), max(1, round(scale * width))


def _sheet_size(images: Array, count: int, lines: int) -> tuple[int, int]:
    """Width and height in screen pixels of so many images, with a title above."""
    height, width = _shown(images)
    rows = -(-count // COLUMNS)
    return GAP + COLUMNS * (width + GAP), TITLE + rows * (height + lines * LINE + 8) + GAP


def _page(width: int, height: int) -> tuple[Figure, Axes]:
    """A figure, and axes all over it that count screen pixels from its upper left corner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.autoscale(False)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure, axes


def _sheet(
    axes: Axes, top: int, title: str, images: Array, captions: Sequence[str], marked: Array,
    lines: int,
) -> None:  # fmt: skip
    """Images, ten a row, each with its caption of so many lines above; those marked are framed."""
    from matplotlib.patches import Rectangle

    height, width = _shown(images)
    axes.text(GAP, top + TITLE / 2, title, fontsize=11, va="center")
    for i, (image, caption, mark) in enumerate(zip(images, captions, marked, strict=True)):
        left = GAP + i % COLUMNS * (width + GAP)
        row = height + lines * LINE + 8
        upper = top + TITLE + i // COLUMNS * row + lines * LINE + 4
        color = RED if mark else "black"
        axes.text(
            left + width / 2, upper - 3, caption, color=color, fontsize=9, ha="center", va="bottom",
            linespacing=1,
        )  # fmt: skip
        axes.imshow(
            image, cmap="gray_r", vmin=0, vmax=max(image.max(), 1e-9), interpolation="nearest",
            aspect="auto", extent=(left, left + width, upper + height, upper),
        )  # fmt: skip
        axes.add_patch(
            Rectangle(
                (left, upper), width, height, fill=False, edgecolor=RED if mark else "#bbbbbb",
                linewidth=2 if mark else 0.6,
            )
        )  # fmt: skip


def contact_sheet(path: Path, title: str, images: Array, labels: Array) -> None:
    """Digits (n, height, width), ten a row, each with its label above."""
    figure, axes = _page(*_sheet_size(images, len(images), 1))
    _sheet(axes, 0, title, images, [str(n) for n in labels], np.zeros(len(images), bool), 1)
    _save(figure, path)


def predictions(
    path: Path, images: Array, labels: Array, predicted: Array, sure: Array, classes: Sequence[str]
) -> None:
    """The first 30 images with what the network takes them for, and its 30 surest mistakes.

    ``images`` (n, height, width); ``labels``, ``predicted`` and ``sure`` (the probability of the
    prediction) are (n,). Mistakes are framed in red, and say what the image is.
    """
    surest = np.argsort(-sure, kind="stable")
    mistakes = surest[predicted[surest] != labels[surest]]
    rate = 100 * len(mistakes) / len(labels)
    first = np.arange(min(3 * COLUMNS, len(labels)))
    parts = [("The first test images, and what the network takes them for", first)]
    if len(mistakes):
        title = f"Its surest mistakes, of {len(mistakes):,} among {len(labels):,} test images"
        parts.append((f"{title} ({rate:.2f}%)", mistakes[: 3 * COLUMNS]))
    lines = 1 if max(map(len, classes)) < 3 else 2
    between = ", is " if lines == 1 else "\nis "
    sizes = [_sheet_size(images, len(rows), lines) for _, rows in parts]
    figure, axes = _page(sizes[0][0], sum(height for _, height in sizes))
    top = 0
    for (title, rows), (_, height) in zip(parts, sizes, strict=True):
        wrong = predicted[rows] != labels[rows]
        captions = [
            classes[predicted[i]] + (between + classes[labels[i]] if miss else "")
            for i, miss in zip(rows, wrong, strict=True)
        ]
        _sheet(axes, top, title, images[rows], captions, wrong, lines)
        top += height
    _save(figure, path)


def confusion(
    path: Path, title: str, labels: Array, predicted: Array, classes: Sequence[str]
) -> None:
    """How often each class (a row) is taken for each other (a column), and for itself.

    Mistakes are red, the more the darker, relative to the commonest; hits are blue. Beside each
    row stands the share of the class that is right. Numbers are left out beyond 25 classes.
    """
    from matplotlib.colors import LinearSegmentedColormap

    n = len(classes)
    counts = np.zeros((n, n), int)
    np.add.at(counts, (labels, predicted), 1)
    hits, totals = np.diag(counts), counts.sum(axis=1)
    mistakes = counts - np.diag(hits)
    slanted = max(map(len, classes)) > 2
    side = max(5.0, min(12.0, 0.56 * n))
    figure = _figure(side + (2.2 if slanted else 1.6), side + (1.7 if slanted else 1.1))
    figure.set_layout_engine("compressed")  # squares leave room, which labels may need
    axes = figure.subplots()
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    reds = LinearSegmentedColormap.from_list("mistakes", ["white", RED])
    axes.imshow(mistakes, cmap=reds, vmin=0, vmax=max(mistakes.max(), 1))
    own = np.ma.masked_array(np.ones((n, n)), ~np.eye(n, dtype=bool))
    axes.imshow(own, cmap=LinearSegmentedColormap.from_list("hits", [BLUE, BLUE]), alpha=0.25)
    if n <= 25:
        for i, j in zip(*np.nonzero(counts), strict=True):
            dark = i != j and mistakes[i, j] > 0.6 * mistakes.max()
            axes.text(
                j, i, f"{counts[i, j]}", ha="center", va="center", fontsize=9,
                color="white" if dark else "black", fontweight="bold" if i == j else None,
            )  # fmt: skip
    names = list(range(n)) if n <= 25 else list(range(0, n, -(-n // 25)))
    axes.set_xticks(names, [classes[i] for i in names], rotation=45 if slanted else 0)
    axes.set_yticks(names, [classes[i] for i in names])
    right = axes.secondary_yaxis("right")
    shares = [f"{hits[i] / totals[i]:.1%}" if totals[i] else "none" for i in names]
    right.set_yticks(names, shares)
    for each in (axes, right):
        each.tick_params(length=0)
    axes.set_xlabel("what the network takes it for")
    axes.set_ylabel("what the image is", labelpad=8)
    right.set_ylabel("of these right", labelpad=8)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e4e4", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    right.spines[:].set_visible(False)
    _save(figure, path)


def errors(path: Path, name: str, panels: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> None:
    """Training and test error by epoch, one panel beside the other, as the second seed draws them.

    A panel is a title and rows (epoch, train error, train accuracy, test error, test accuracy).
    """
    figure = _figure(10, 4.3)
    figure.suptitle(name, x=0.01, ha="left", fontsize=13, fontweight="bold")
    left, *others = figure.subplots(1, len(panels), sharex=True, sharey=True)
    for axes, (title, rows) in zip([left, *others], panels, strict=True):
        epochs, train, _, test, accuracy = zip(*rows, strict=True)
        marker = "o" if len(rows) < 3 else None
        axes.plot(epochs, train, color=BLUE, marker=marker, label="training error")
        axes.plot(epochs, test, color=RED, marker=marker, label="test error")
        end = f"test accuracy {accuracy[-1]:.4g} after epoch {epochs[-1]:g}"
        _plain(axes, f"{title}\n{end}", "epoch", "")
        axes.legend(frameon=False)
    left.set_ylabel("mean squared error of an image")
    left.set_ylim(bottom=0)
    left.set_xlim(left=0)
    _save(figure, path)


def ratios(
    path: Path, title: str, panels: Mapping[str, Mapping[str, tuple[float, float, float]]],
    marked: Container[str],
) -> None:  # fmt: skip
    """Times divided by a reference's: a panel for each workload, a row for each library.

    The ratios are (median, low, high); ``marked`` libraries are drawn in blue.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    values = [value for panel in panels.values() for three in panel.values() for value in three]
    figure = _figure(max(9, 2 + 2.6 * len(panels)), 1.4 + 0.32 * len(names))
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (workload, panel) in zip(row, panels.items(), strict=True):
        _plain(axes, "", "", "")
        axes.set_title(workload, loc="left", fontsize=9)
        axes.set_xscale("log")
        axes.axvline(1, color="black", linewidth=0.8)
        for name, (median, low, high) in panel.items():
            color, y = BLUE if name in marked else GREY, names.index(name)
            axes.plot([low, high], [y, y], color=color, linewidth=3, alpha=0.4)
            axes.plot(median, y, "o", color=color)
            axes.annotate(
                f"{median:.2f}", (median, y), xytext=(0, 5), textcoords="offset points",
                ha="center", fontsize=8, color=color,
            )  # fmt: skip
    axes.set_ylim(len(names) - 0.5, -0.7)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(min(values) / 1.5, max(values) * 1.5)
    low, high = axes.get_xlim()
    steps = (1,) if high / low > 100 else (1, 2, 5)
    marks = (step * 10.0**power for power in range(-3, 4) for step in steps)
    ticks = [mark for mark in marks if low <= mark <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    _save(figure, path)
