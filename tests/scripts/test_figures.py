"""Pictures: their words, and that nothing fails for unusual data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.three_layer import ThreeLayer
from scripts import figures, run_folder
from scripts.training import Metrics


def test_mistakes_say_predicted_and_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(figures, "_sheets", lambda path, parts, lines: found.extend(parts))
    images, labels = np.ones((3, 4, 4)), np.array([1, 5, 2])
    predicted, confidence = np.array([1, 4, 3]), np.array([0.9, 0.6, 0.8])
    classes = [str(i) for i in range(6)]
    figures.predictions(tmp_path / "a.png", images, labels, predicted, confidence, classes)
    (first, _, captions, marked), (mistakes, _, worst, _) = found
    assert captions == ["1", "4 (true 5)", "3 (true 2)"]
    assert marked.tolist() == [False, True, True]
    assert worst == ["3 (true 2)", "4 (true 5)"]
    assert "predicted" in first
    assert "2 of 3 test images" in mistakes


@pytest.mark.parametrize(("second", "noted"), [(2.3, True), (1.0, False)])
def test_flat_first_epochs_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: float, noted: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr(figures, "curves", lambda *given: told.append(given[3]))
    rows = [Metrics(1, 2.3, 0.1, 0.1, 1), Metrics(2, second, 0.2, 0.2, 1)]
    run_folder.draw_curves(tmp_path, "title", ThreeLayer(rng=0), rows)
    assert ("small" in told[0]) == noted


def test_pictures_of_many_classes_and_of_one_epoch(tmp_path: Path) -> None:
    labels = np.arange(40)
    classes = [f"class {i}" for i in labels]
    figures.confusion(tmp_path / "c.png", "title", labels, labels[::-1], classes)
    figures.curves(tmp_path / "d.png", "title", [Metrics(0.5, 2.3, 0.1, 0.1, 1)], "a note")
    assert (tmp_path / "c.png").exists()
    assert (tmp_path / "d.png").exists()
