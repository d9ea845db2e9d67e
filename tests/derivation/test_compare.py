"""Somebody's own derivation beside the true one: where they part."""

import inspect
from typing import Any

import numpy as np
import pytest

import models
import tinygrad_np as tg
from models import three_layer_by_hand
from tinygrad_np.derivations.derived import Derivation

RIGHT = """
def backward(x, labels, W1, b1, W2, b2):
    n = len(x)
    z1 = np.tanh(x @ W1 + b1)
    e = np.exp(z1 @ W2 + b2)
    y = e / e.sum(axis=1, keepdims=True)
    d2 = y.copy()
    d2[np.arange(n), labels] -= 1
    d2 /= n
    dW2 = z1.T @ d2
    db2 = d2.sum(axis=0)
    d1 = d2 @ W2.T * (1 - z1 ** 2)
    return {"W1": x.T @ d1, "b1": d1.sum(axis=0), "W2": dW2, "b2": db2}
"""
MISTAKES = {
    "the mean over the batch forgotten": ("    d2 /= n\n", "", "d2[np.arange(n), labels] -= 1"),
    "the derivative of tanh forgotten": (" * (1 - z1 ** 2)", "", "d1 = d2 @ W2.T"),
    "the derivative at another place": (
        "1 - z1 ** 2", "1 - np.tanh(z1) ** 2", "d1 = d2 @ W2.T * (1 - np.tanh(z1) ** 2)"
    ),
    "the wrong sum": ("d2.sum(axis=0)", "d2.sum(axis=1)[:3]", "db2 = d2.sum(axis=1)[:3]"),
    "the wrong array": ("z1.T @ d2", "np.ones_like(z1).T @ d2",
                        "dW2 = np.ones_like(z1).T @ d2"),
    "a sign": ('x.T @ d1, "b1"', '-x.T @ d1, "b1"', '"W1": -x.T @ d1'),
}  # fmt: skip


def network() -> Derivation:
    rng = np.random.default_rng(0)
    W1, W2 = (tg.Tensor(rng.normal(size=s), requires_grad=True) for s in ((4, 5), (5, 3)))
    b1, b2 = (tg.Tensor(rng.normal(size=s), requires_grad=True) for s in (5, 3))

    def loss(x: Any, labels: Any) -> tg.Tensor:
        return tg.softmax_cross_entropy(tg.tanh(x @ W1 + b1) @ W2 + b2, labels)

    names = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    return tg.derivation(loss, rng.normal(size=(6, 4)), rng.integers(0, 3, 6), names=names)


def test_a_right_derivation_is_right() -> None:
    found = network().compare(RIGHT)
    assert found
    assert found.first is None
    assert found.report is None
    assert not found.missing
    assert "Every gradient is right." in str(found)
    assert [row.equal for row in found.rows].count(None) == 2  # n, and e, which is not shifted


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_first_line_that_differs_is_marked(mistake: str) -> None:
    old, new, line = MISTAKES[mistake]
    assert old in RIGHT
    source = RIGHT.replace(old, new)
    found = network().compare(source)
    assert not found
    assert found.first is not None
    if mistake == "the mean over the batch forgotten":  # the first line that is scaled wrongly
        assert "d2" in found.first.text
    else:
        assert found.first.text == line
        assert (
            source.splitlines()[(found.first.number or 0) - 1].strip() == line
            or "return" in (source.splitlines()[(found.first.number or 0) - 1])
        )
    assert {"W1", "b1", "W2", "b2"} >= {row.text[1:3] for row in found.rows if row.text[0] == '"'}
    assert len([row for row in found.rows if row.line and row.text[0] == '"']) == 4
    assert found.report is not None
    assert found.report.mistakes
    text = str(found)
    assert "->" in text
    assert "What tg.audit says:" in text
    assert "<td style='text-align:left'>-&gt;</td>" in found._repr_html_()
    assert found.report.mistakes[0].words in text


def test_what_should_stand_where_a_line_differs_is_shown() -> None:
    found = network().compare(RIGHT.replace("1 - z1 ** 2", "1 - np.tanh(z1) ** 2"))
    assert found.first is not None
    assert found.first.line is not None
    assert found.first.line.text == ["delta1 = (delta2 @ W2.T) * (1 - z1 * z1)"]


def test_our_own_source_agrees_with_itself() -> None:
    derived = network()
    found = derived.compare(derived.numpy())
    assert found
    assert all(row.equal for row in found.rows if row.text != "n = len(x)")


def test_functions_and_dicts_of_parameters() -> None:
    rng = np.random.default_rng(0)
    model: Any = models.make("three_layer", rng, np.float64)
    x, t = rng.random((5, 784)), rng.integers(0, 10, 5)
    derived = tg.derivation(model.loss, x, t)
    found = derived.compare(three_layer_by_hand.loss_and_gradients)
    assert found
    source, start = inspect.getsourcelines(three_layer_by_hand.loss_and_gradients)
    for row in found.rows:
        assert row.number is not None
        assert row.text in source[row.number - start]


def test_gradients_alone() -> None:
    derived = network()
    space: dict[str, Any] = {}
    exec(derived.numpy(), space)
    _, gradients = space["loss_and_gradients"](**derived.inputs)
    assert derived.compare(gradients)
    found = derived.compare({**gradients, "W1": gradients["W1"] * 2})
    assert not found
    assert found.first is not None
    assert (found.first.text, found.first.line and found.first.line.name) == ("dW1", "dW1")
    assert found.report is not None
    assert found.report["W1"].kind == "factor"
    assert "From the loss down, dW1 is the first that differs." in str(found)
    assert derived.compare({"b2": gradients["b2"]}).missing == ("W1", "b1", "W2")


def test_what_cannot_be_compared_says_why() -> None:
    derived = network()
    with pytest.raises(tg.DerivationError, match="'p', 'q', which are not inputs"):
        derived.compare("def f(p, q):\n    return p\n")
    with pytest.raises(tg.DerivationError, match="there is no parameter 'W9'"):
        derived.compare({"W9": np.ones(3)})
    with pytest.raises(TypeError, match="compare takes the source"):
        derived.compare(3)  # type: ignore[arg-type]
