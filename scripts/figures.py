"""Every picture that the scripts draw, with Matplotlib and without its global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scripts.measures import ACCURACY, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]

BLUE, RED, GREY = "#1f5fa8", "#c62828", "#666666"
DPI = 120


def _figure(width: float, height: float, title: str, layout: Any = "constrained") -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _plain(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and axis labels, a light grid, no box."""
    axes.set_title(title, loc="left", fontsize=12)
    axes.set(xlabel=x, ylabel=y, axisbelow=True)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def curves(
    path: Path, title: str, rows: Sequence[Any], note: str = "", measure: Measure = ACCURACY
) -> None:
    """Loss and ``measure`` by epoch; ``rows`` are the ``Metrics`` of the run, at least one.

    ``note`` is a remark on the curves, written below them.
    """
    epochs = [row.epoch for row in rows]
    marker = "o" if len(rows) < 3 else None
    figure = _figure(10, 4, title)
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row.train_loss for row in rows], color=BLUE, marker=marker)
    _plain(left, "Training loss", "epoch", "mean cross-entropy over the epoch")
    left.set_ylim(bottom=0)
    for name, style, color in (("train", "-", BLUE), ("test", "--", RED)):
        values = [measure.factor * getattr(row, name) for row in rows]
        label = f"{name} (final {measure.text(values[-1] / measure.factor)})"
        right.plot(epochs, values, style, color=color, marker=marker, label=label)
    _plain(right, measure.name.capitalize(), "epoch", measure.axis)
    if measure is ACCURACY:
        lowest = min(min(row.train, row.test) for row in rows)
        right.set_ylim(top=100 + 3 * (1 - lowest))  # room for a line at 100
    figure.legend(loc="outside lower right", frameon=False, ncols=2)
    if note:
        figure.text(0.01, 0.02, note, fontsize=9, color=GREY, va="bottom")
    for axes in (left, right):
        axes.set_xlim(0, max(epochs[-1], 1))
        axes.xaxis.get_major_locator().set_params(integer=epochs[-1] > 4)
    _save(figure, path)


# Sheets of images are laid out in screen pixels: a pixel of MNIST covers 3 × 3 of them.

IMAGE, GAP, LINE, TITLE, COLUMNS = 84, 12, 16, 36, 10
Part = tuple[str, Array, Sequence[str], Array]
"""A title; images (n, height, width), the captions above them, and which of them are framed red."""


def _sheets(path: Path, parts: Sequence[Part], lines: int) -> None:
    """Images, ten a row, each with its caption of ``lines`` lines above; one part below another."""
    from matplotlib.patches import Rectangle

    height, width = parts[0][1].shape[1:]
    scale = IMAGE / max(height, width)
    scale = round(scale) if scale > 1 else scale
    height, width = max(1, round(scale * height)), max(1, round(scale * width))
    row = height + lines * LINE + 8
    heights = [TITLE + -(-len(images) // COLUMNS) * row + GAP for _, images, _, _ in parts]
    page = GAP + COLUMNS * (width + GAP), sum(heights)
    figure = _figure(page[0] / DPI, page[1] / DPI, "", layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(autoscale_on=False, xlim=(0, page[0]), ylim=(page[1], 0))
    top = 0
    for (title, images, captions, marked), part in zip(parts, heights, strict=True):
        axes.text(GAP, top + TITLE / 2, title, fontsize=11, va="center")
        for i, (image, caption, mark) in enumerate(zip(images, captions, marked, strict=True)):
            left = GAP + i % COLUMNS * (width + GAP)
            upper = top + TITLE + i // COLUMNS * row + lines * LINE + 4
            axes.text(left + width / 2, upper - 3, caption, color=RED if mark else "black",
                      fontsize=9 if lines == 1 else 7.5, ha="center", va="bottom",
                      linespacing=1)  # fmt: skip
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=max(image.max(), 1e-9), aspect="auto",
                        interpolation="nearest",
                        extent=(left, left + width, upper + height, upper))  # fmt: skip
            axes.add_patch(Rectangle((left, upper), width, height, fill=False,
                                     edgecolor=RED if mark else "#bbbbbb",
                                     linewidth=2 if mark else 0.6))  # fmt: skip
        top += part
    _save(figure, path)


def contact_sheet(path: Path, title: str, images: Array, labels: Array) -> None:
    """Digits (n, height, width), ten a row, each with its label above."""
    _sheets(path, [(title, images, [str(n) for n in labels], np.zeros(len(images), bool))], 1)


def predictions(
    path: Path, images: Array, labels: Array, predicted: Array, confidence: Array,
    classes: Sequence[str],
) -> None:  # fmt: skip
    """The first 30 test images with their predicted classes, and the 30 most confident mistakes.

    ``images`` (n, height, width); ``labels``, ``predicted`` and ``confidence`` (the probability of
    the predicted class) are (n,). Mistakes are framed in red; their caption adds the true class.
    """
    order = np.argsort(-confidence, kind="stable")
    mistakes = order[predicted[order] != labels[order]]
    chosen = [("The first test images and their predicted classes", np.arange(len(labels)))]
    if len(mistakes):
        count = (
            f"{len(mistakes):,} of {len(labels):,} test images, {len(mistakes) / len(labels):.2%}"
        )
        chosen.append((f"The most confident mistakes ({count} are misclassified)", mistakes))
    lines = 1 if max(map(len, classes)) < 3 else 2
    between = " " if lines == 1 else "\n"
    parts: list[Part] = []
    for title, every in chosen:
        rows = every[: 3 * COLUMNS]
        wrong = predicted[rows] != labels[rows]
        captions = []
        for i, miss in zip(rows, wrong, strict=True):
            true = f"{between}(true {classes[labels[i]]})" if miss else ""
            captions.append(classes[predicted[i]] + true)
        parts.append((title, images[rows], captions, wrong))
    _sheets(path, parts, lines)


def confusion(
    path: Path, title: str, labels: Array, predicted: Array, classes: Sequence[str]
) -> None:
    """The confusion matrix: how often each true class (a row) is predicted as each class.

    Mistakes are red, darker where more frequent; correct predictions are blue. Beside each row
    stands the share that is correct. Numbers are left out beyond 25 classes.
    """
    from matplotlib.colors import LinearSegmentedColormap

    n = len(classes)
    counts = np.zeros((n, n), int)
    np.add.at(counts, (labels, predicted), 1)
    hits, totals = np.diag(counts), counts.sum(axis=1)
    mistakes = counts - np.diag(hits)
    slanted = max(map(len, classes)) > 2
    side = max(5.0, min(12.0, 0.56 * n))
    # "compressed": squares leave room, which the labels may need.
    figure = _figure(
        side + (2.2 if slanted else 1.6), side + (1.7 if slanted else 1.1), "", "compressed"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    axes = figure.subplots()
    reds = LinearSegmentedColormap.from_list("mistakes", ["white", RED])
    axes.imshow(mistakes, cmap=reds, vmin=0, vmax=max(mistakes.max(), 1))
    own = np.ma.masked_array(np.ones((n, n)), ~np.eye(n, dtype=bool))
    axes.imshow(own, cmap=LinearSegmentedColormap.from_list("hits", [BLUE, BLUE]), alpha=0.25)
    for i, j in zip(*np.nonzero(counts if n <= 25 else np.zeros((n, n))), strict=True):
        color = "white" if i != j and mistakes[i, j] > 0.6 * mistakes.max() else "black"
        weight = "bold" if i == j else "normal"
        text = {"ha": "center", "va": "center", "fontsize": 9, "color": color, "weight": weight}
        axes.text(j, i, f"{counts[i, j]}", text)
    names = list(range(0, n, -(-n // 25)))
    axes.set_xticks(names, [classes[i] for i in names], rotation=45 if slanted else 0)
    axes.set_yticks(names, [classes[i] for i in names])
    right = axes.secondary_yaxis("right")
    right.set_yticks(names, [f"{hits[i] / totals[i]:.1%}" if totals[i] else "none" for i in names])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true", labelpad=8)
    right.set_ylabel("correct", labelpad=8)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e4e4", linewidth=0.8)
    for each in (axes, right):
        each.tick_params(which="both", length=0)
        each.spines[:].set_visible(False)
    _save(figure, path)


def errors(path: Path, name: str, panels: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> None:
    """Training and test error by epoch, panels side by side, as the second seed draws them.

    A panel is a title and rows (epoch, train error, train accuracy, test error, test accuracy).
    """
    figure = _figure(10, 4.3, name)
    row = figure.subplots(1, len(panels), sharex=True, sharey=True)
    for axes, (title, rows) in zip(row, panels, strict=True):
        epochs, train, _, test, accuracy = zip(*rows, strict=True)
        marker = "o" if len(rows) < 3 else None
        lines = axes.plot(epochs, train, color=BLUE, marker=marker, label="training error")
        lines += axes.plot(epochs, test, color=RED, marker=marker, label="test error")
        end = f"test accuracy {accuracy[-1]:.4g} after epoch {epochs[-1]:g}"
        _plain(axes, f"{title}\n{end}", "epoch", "")
    row[0].set(ylabel="mean squared error of an image", ylim=(0, None), xlim=(0, None))
    figure.legend(handles=lines, loc="outside upper right", frameon=False, ncols=2)
    _save(figure, path)


def ratios(
    path: Path, title: str, panels: Mapping[str, Mapping[str, tuple[float, float, float]]]
) -> None:
    """Ratios (median, low, high): a panel for each workload, a row for each library."""
    from matplotlib.ticker import LogLocator

    names = max(map(len, panels.values()))
    figure = _figure(max(9, 2 + 2.6 * len(panels)), 1.4 + 0.36 * names, title)
    row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (workload, panel) in zip(row, panels.items(), strict=True):
        _plain(axes, "", "", "")
        axes.set_title(workload, loc="left", fontsize=9)
        axes.axvline(1, color="black", linewidth=0.8)
        for name, (median, low, high) in panel.items():
            axes.plot([low, high], [name, name], color=BLUE, linewidth=3, alpha=0.4)
            axes.plot(median, name, "o", color=BLUE)
            axes.annotate(f"{median:.2f}", (median, name), xytext=(0, 5),
                          textcoords="offset points", ha="center", fontsize=8,
                          bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip
    row[0].set_xscale("log")
    row[0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    row[0].xaxis.set_major_formatter("{x:g}")
    row[0].minorticks_off()
    row[0].margins(x=0.15, y=0.1)
    row[0].invert_yaxis()
    _save(figure, path)
