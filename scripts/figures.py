"""Every picture that the scripts draw, with Matplotlib and without its global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.measures import ACCURACY, Measure
from tinygrad_np.tensor import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def _plot(
    axes: Axes, title: str, x: Sequence[float], y: str, lines: Mapping[str, Sequence[float]]
) -> list[Any]:
    """Lines by epoch, the first one blue and the second one red and dashed; a light grid."""
    for (label, values), color in zip(lines.items(), (BLUE, RED), strict=False):
        style, marker = "--" if color == RED else "-", "o" if len(x) < 3 else None
        axes.plot(x, values, style, color=color, label=label, marker=marker)
    axes.set_title(title, loc="left", fontsize=12)
    axes.set(xlabel="epoch", ylabel=y, xlim=(0, max(x[-1], 1)), axisbelow=True)
    axes.locator_params("x", integer=x[-1] > 4)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    return list(axes.lines)


def curves(
    path: Path, title: str, rows: Sequence[Any], note: str = "", measure: Measure = ACCURACY
) -> None:
    """Loss and ``measure`` by epoch; ``rows`` are the ``Metrics`` of the run, at least one.

    ``note`` is a remark on the curves, written below them.
    """
    epochs, losses, train, test, _ = zip(*rows, strict=True)
    figure = _figure(10, 4, title)
    left, right = figure.subplots(1, 2)
    _plot(left, "Training loss", epochs, "mean cross-entropy over the epoch", {"": losses})
    left.set_ylim(bottom=0)
    values = {"train": train, "test": test}
    named = {f"{name} (final {measure.text(v[-1])})": v for name, v in values.items()}
    lines = _plot(right, measure.name.capitalize(), epochs, measure.axis, named)
    if measure is ACCURACY:
        right.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
        right.set_ylim(top=1 + 0.03 * (1 - min(*train, *test)))  # room for a line at 100%
    figure.legend(handles=lines, loc="outside lower right", frameon=False, ncols=2)
    figure.text(0.01, 0.02, note, fontsize=9, color=GREY, va="bottom")
    _save(figure, path)


def errors(path: Path, title: str, panels: Mapping[str, Array]) -> None:
    """Training and test error by epoch, panels side by side, as the second seed draws them.

    Rows of a panel: epoch, train error, train accuracy, test error, test accuracy.
    """
    figure = _figure(10, 4.3, title)
    row = figure.subplots(1, len(panels), sharex=True, sharey=True)
    for axes, (name, rows) in zip(row, panels.items(), strict=True):
        epochs, train, _, test, accuracy = rows.T
        end = f"test accuracy {accuracy[-1]:.4g} after epoch {epochs[-1]:g}"
        both = {"training error": train, "test error": test}
        lines = _plot(axes, f"{name}\n{end}", epochs, "", both)
    longest = max(rows[-1, 0] for rows in panels.values())
    row[0].set(ylabel="mean squared error of an image", ylim=(0, None), xlim=(0, longest or 1))
    figure.legend(handles=lines, loc="outside upper right", frameon=False, ncols=2)
    _save(figure, path)


SCALE, GAP, LINE, TITLE, COLUMNS = 3, 4, 5, 12, 10
"""Sheets of images are laid out in pixels of MNIST, each of 3 × 3 pixels of the screen."""
Part = tuple[str, Array, Sequence[str], Array]
"""A title; images (n, height, width), the captions above them, and which of them are framed red."""


def _sheets(path: Path, parts: Sequence[Part], lines: int) -> None:
    """Images, ten a row, each with its caption of ``lines`` lines above; one part below another."""
    from matplotlib.patches import Rectangle

    _, height, width = 28 * np.array(parts[0][1].shape) / max(parts[0][1].shape[1:])
    row, above = height + lines * LINE + GAP, lines * LINE + 1
    tops = np.cumsum([0, *(TITLE + -(-len(images) // COLUMNS) * row for _, images, _, _ in parts)])
    page = GAP + COLUMNS * (width + GAP), tops[-1]
    figure = _figure(SCALE * page[0] / DPI, SCALE * page[1] / DPI, "", layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for (title, images, captions, marked), top in zip(parts, tops, strict=False):
        axes.text(GAP, top + TITLE / 2, title, fontsize=11, va="center")
        for i, (image, caption, mark) in enumerate(zip(images, captions, marked, strict=True)):
            left = GAP + i % COLUMNS * (width + GAP)
            upper = top + TITLE + i // COLUMNS * row + above
            axes.text(left + width / 2, upper - 1, caption, color=RED if mark else "black",
                      fontsize=9 if lines == 1 else 7.5, ha="center", va="bottom",
                      linespacing=1)  # fmt: skip
            axes.imshow(image, "gray_r", interpolation="nearest", vmin=0,
                        vmax=max(image.max(), 1e-9),
                        extent=(left, left + width, upper + height, upper))  # fmt: skip
            edge = {"edgecolor": RED, "linewidth": 2} if mark else {"edgecolor": "#bbbbbb"}
            axes.add_patch(Rectangle((left, upper), width, height, fill=False, **edge))
    axes.set(xlim=(0, page[0]), ylim=(page[1], 0), aspect="auto")
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
    share = f"{len(mistakes):,} of {len(labels):,} test images, {len(mistakes) / len(labels):.2%}"
    chosen = {
        "The first test images and their predicted classes": np.arange(len(labels)),
        f"The most confident mistakes ({share} are misclassified)": mistakes,
    }
    lines, between = (1, " ") if max(map(len, classes)) < 3 else (2, "\n")
    parts: list[Part] = []
    for title, every in chosen.items():
        rows = every[: 3 * COLUMNS]
        pairs = zip(predicted[rows], labels[rows], strict=True)
        captions = [
            classes[p] if p == t else f"{classes[p]}{between}(true {classes[t]})" for p, t in pairs
        ]
        if len(rows):
            parts.append((title, images[rows], captions, predicted[rows] != labels[rows]))
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
    shades = mistakes / max(mistakes.max(), 1)
    slanted = max(map(len, classes)) > 2
    side = max(5.0, min(12.0, 0.56 * n)) + 1.6
    # "compressed": squares leave room, which the labels may need.
    figure = _figure(side + 0.6 * slanted, side + 0.6 * slanted - 0.5, "", "compressed")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    axes = figure.subplots()
    colors = LinearSegmentedColormap.from_list("hits and mistakes", [BLUE, "white", RED])
    axes.imshow(shades - 0.25 * np.eye(n), cmap=colors, vmin=-1, vmax=1)
    for i, j in np.argwhere(counts) if n <= 25 else []:
        color = "white" if shades[i, j] > 0.6 else "black"
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=9, color=color,
                  weight="bold" if i == j else "normal")  # fmt: skip
    names = range(0, n, -(-n // 25))
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


def ratios(
    path: Path, title: str, panels: Mapping[str, Mapping[str, tuple[float, float, float]]]
) -> None:
    """Ratios (median, low, high): a panel for each workload, a row for each library."""
    from matplotlib.ticker import LogLocator

    rows = max(map(len, panels.values()))
    figure = _figure(max(9, 2 + 2.6 * len(panels)), 1.4 + 0.36 * rows, title)
    row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (workload, panel) in zip(row, panels.items(), strict=True):
        axes.set_title(workload, loc="left", fontsize=9)
        axes.grid(color="#dddddd", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.axvline(1, color="black", linewidth=0.8)
        medians, lows, highs = zip(*panel.values(), strict=True)
        axes.hlines(list(panel), lows, highs, color=BLUE, linewidth=3, alpha=0.4)
        axes.plot(medians, list(panel), "o", color=BLUE)
        for name, median in zip(panel, medians, strict=True):
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
