"""Derivations as equations: what matplotlib's mathtext reads."""

import functools
from typing import Any

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser

import models
import tinygrad_np as tg
from scripts.training import loss_of
from tests import tiny
from tests.registry import drawn, every_case, listed
from tinygrad_np.definition import Case, Op
from tinygrad_np.derivations.derived import Derivation

PARSER = MathTextParser("path")
NETWORKS = [
    name if name in ("three_layer", "relu_sgd") else pytest.param(name, marks=pytest.mark.slow)
    for name in models.MODELS
]
"""Each kind of loss and activation is among the first two; the others take long."""


def derived(name: str) -> Derivation:
    rng = np.random.default_rng(0)
    model = models.make(name, rng, np.float64, **tiny.SIZES)
    x, t = tiny.samples(name, 5, rng)
    return tg.derivation(lambda x, labels: loss_of(model, x, labels), x, t, names=model)


@functools.cache  # half of the ops' equations appear in several cases
def render(equation: str) -> None:
    """Have mathtext set an equation: it raises ValueError for what it does not know."""
    PARSER.parse(f"${equation}$")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_equations_of_every_network_render(name: str) -> None:
    found = derived(name)
    rows = found.latex().splitlines()[1:-1]
    assert len(rows) == len(found.equations())
    for equation in found.equations():
        render(equation)
    for row in rows:
        render(row.replace("&", "").removesuffix("\\\\"))


def test_three_layers_read_as_in_a_textbook() -> None:
    equations = derived("three_layer").equations()
    for expected in (
        r"a_{1} = x \, W_{1} + b_{1}",
        r"\delta_{2} = \delta_{3} \, W_{3}^{\top} \odot z_{2} \odot (1 - z_{2})",
        r"\dfrac{\partial L}{\partial W_{1}} = x^{\top} \, \delta_{1}",
        r"\dfrac{\partial L}{\partial b_{1}} = \sum_{\mathrm{axis}\ 0} \delta_{1}",
    ):
        assert expected in equations
    assert r"(n \times 50)" in derived("three_layer").latex()


@pytest.mark.slow
@every_case()
def test_the_equations_of_every_op_render(op: Op, case: Case) -> None:
    arrays, call = drawn(case, 0, np.float64)
    tensors: list[Any] = [
        tg.Tensor(value, requires_grad=True) if smooth else value for value, smooth in arrays
    ]
    with tg.record():
        outs = [out.sum() for out in listed(call(op, tensors)) if out.requires_grad]
    for out in outs[:1]:
        for equation in tg.derivation(out).equations():
            render(equation)


def test_notebooks_show_equations_beside_the_lines() -> None:
    found = derived("relu_sgd")
    assert found._repr_latex_().startswith("$$\n\\begin{aligned}")
    html = found._repr_html_()
    assert "<pre>dW2 = z1.T @ delta2</pre>" in html
    assert "(z1 &gt; 0)" in html
    assert r"$\dfrac{\partial L}{\partial W_{2}} = z_{1}^{\top} \, \delta_{2}$" in html
