"""Line numbers: the drawing's nodes and edges, its page and the listing point to the same lines."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import tinygrad_np as tg
from scripts.training import loss_of
from tinygrad_np.derivations.derived import Derivation


def derived(name: str = "three_layer") -> Derivation:
    rng = np.random.default_rng(0)
    model = models.make(name, rng, np.float64)
    x, t = rng.random((5, 784)), rng.integers(0, 10, 5)
    return tg.derivation(lambda x, labels: loss_of(model, x, labels), x, t, names=model)


@pytest.mark.parametrize("name", ["three_layer", "tanh_softmax_minibatch", "lenet"])
def test_the_numbers_on_a_drawing_are_those_of_the_lines(name: str) -> None:
    found = derived(name)
    lines = found.numpy().splitlines()
    source = found.draw(show=("shape", "rule")).source
    told = re.findall(r'tooltip="\((\d+)\) d(\w+) = ', source)
    assert {parameter for _, parameter in told} >= set(found.parameters)
    for number, parameter in told:
        if parameter in found.parameters:
            assert lines[int(number) - 1].split()[0] == f"d{parameter}"
    nodes = re.findall(r'label=" \((\d+)\) (\w+): ', source)
    assert {"loss", "logits"} <= {name for _, name in nodes}
    for number, name in nodes:
        assert lines[int(number) - 1].split()[0] == name


def test_edges_have_the_names_of_the_derivation() -> None:
    source = derived().draw(show="rule").source
    for words in ("dW2 = z1ᵀ @ g", "dz1 = g @ W2ᵀ", "da1 = g * z1 * (1 - z1)",
                  "db2 = sum of g over axis 0"):  # fmt: skip
        assert f'{words}"]' in source


def test_a_drawing_of_ones_own_has_the_lines_too() -> None:
    W = tg.Tensor([[1.0], [2.0]], requires_grad=True, name="W")
    with tg.record():
        loss = tg.tanh(np.ones((3, 2)) @ W).sum()
    found = tg.derivation(loss)
    number = found.line_of(W, gradient=True)
    assert f"({number}) dW = xᵀ @ g" in tg.draw(loss, derivation=found).source
    assert "lines of the derivation" not in tg.draw(loss).source


def test_the_page_shows_the_lines_with_their_numbers(tmp_path: Path) -> None:
    found: Any = derived()
    found.draw().to_html(tmp_path / "graph.html")
    page = (tmp_path / "graph.html").read_text(encoding="utf-8")
    rows = re.findall(r'<li id="line(\d+)" value="\1">(.*?)</li>', page)
    assert len(rows) == len(found.numpy().splitlines())
    number = found.result_names and next(ln.number for ln in found.lines if ln.name == "dW1")
    assert (str(number), "    dW1 = x.T @ delta1") in [(i, row.rstrip()) for i, row in rows]
    assert f'"rule": "({number}) dW1 = xᵀ @ g", "line": {number}' in page
    tg.draw(found.replay.tensor).to_html(tmp_path / "plain.html")
    assert "<ol>" not in (tmp_path / "plain.html").read_text(encoding="utf-8")


def test_a_derivation_is_printed_with_the_numbers_in_the_margin() -> None:
    found = derived()
    rows = str(found).splitlines()
    assert [row[6:] for row in rows] == found.numpy().splitlines()
    for line in found.lines:
        assert rows[line.number - 1].startswith(f"{line.number:4}      {line.text[0]}")
