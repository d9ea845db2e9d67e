"""What a drawing tells: names, values, gradients, rules, bytes, kinds, the first nan."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import graphviz
import numpy as np
import pytest

import tinygrad_np as tg
from tests.helpers import leaf
from tinygrad_np import nn
from tinygrad_np.drawing import SHOW
from tinygrad_np.drawing.dot import STYLES
from tinygrad_np.drawing.text import value_text
from tinygrad_np.drawing.walk import Vertex, walk
from tinygrad_np.tensor import Tensor

GOLDEN = Path(__file__).parent / "golden" / "graph.gv"


def small_graph() -> Tensor:
    """One of everything that a first drawing shows."""
    x = Tensor([[1.0, 2.0, 3.0]], name="x")
    w, b = leaf([[1.0, -1.0], [0.5, 0.0], [0.0, 0.25]], "W"), leaf([0.5, -0.5], "b")
    with tg.record():
        hidden = tg.sigmoid(x @ w + b)
        hidden.name = "hidden"
        loss = tg.softmax_cross_entropy(hidden * 2.0, [1])
        loss.backward()
    return loss


def by_title(vertices: list[Vertex]) -> dict[str, Vertex]:
    return {vertex.title: vertex for vertex in vertices}


def test_the_drawing_is_the_one_we_looked_at() -> None:
    # When this fails, look at the new drawing; then: print(tg.draw(small_graph()).source)
    assert tg.draw(small_graph()).source == GOLDEN.read_text(encoding="utf-8")


def test_it_is_a_digraph_and_the_same_each_time() -> None:
    drawing = tg.draw(small_graph())
    assert isinstance(drawing, graphviz.Digraph)
    assert drawing.source == tg.draw(small_graph()).source


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("shape", "1 × 2 float64"), ("value", "−0.75 … 2.5"), ("grad", "|g| 0.352"),
        ("rule", "dhidden = g * y"), ("bytes", "keeps 24 B"),
    ],
)  # fmt: skip
def test_show_selects_the_lines_of_a_label(word: str, text: str) -> None:
    loss = small_graph()
    assert text in tg.draw(loss, show=word).source
    assert text not in tg.draw(loss, show=[other for other in SHOW if other != word]).source


# Names


def test_names_come_from_tensors_modules_and_the_caller() -> None:
    net = nn.Sequential(nn.Linear(3, 2, rng=0), nn.Tanh())
    x = np.ones((4, 3), np.float32)
    named = by_title(walk(net(x).sum(), net))
    assert {"0.weight", "0.bias", "parameter"} & set(named) == {"0.weight", "0.bias"}
    parameters = dict(net.named_parameters())
    named = by_title(walk(net(x).sum(), {"batch": x, "kernel": parameters["0.weight"]}))
    assert named["batch"].kind == "input"
    assert named["kernel"].kind == "parameter"
    assert named["parameter"].shape == (2,)


def test_names_may_be_pairs_and_nothing_else() -> None:
    net = nn.Linear(3, 2, rng=0)
    loss = net(np.ones((4, 3), np.float32)).sum()
    for names in (dict(net.named_parameters()), [*net.named_parameters()], net.named_parameters()):
        assert {"weight", "bias"} <= by_title(walk(loss, names)).keys()
    for wrong in ([net.weight], {net.weight: "w"}, "w", 3, [net], net.weight, {"weight"}):
        with pytest.raises(TypeError, match="names is a module, or a dict from names to Tensors"):
            tg.draw(loss, names=wrong)  # type: ignore[arg-type]


def test_a_constant_keeps_its_name_when_its_tensor_is_gone() -> None:
    def forward() -> Tensor:
        return (Tensor([1.0, 2.0], name="mask") * leaf([3.0, 4.0], "w")).sum()

    assert by_title(walk(forward()))["mask"].kind == "input"


def test_a_frozen_parameter_keeps_its_name() -> None:
    w, x = leaf([1.0, 2.0], "w"), leaf([3.0, 4.0], "x")
    w.requires_grad = False
    assert by_title(walk((w * x).sum()))["w"].kind == "input"
    w.data = np.array([5.0, 6.0])
    assert by_title(walk((w * x).sum()))["w"].kind == "input"


def test_a_parameter_used_twice_is_drawn_once() -> None:
    w = leaf([1.0, 2.0], "w")
    vertices = walk((w * w + w).sum())
    assert [vertex.title for vertex in vertices] == ["w", "multiply", "add", "sum"]
    assert [edge.source.title for edge in vertices[1].inputs] == ["w", "w"]


# Values, gradients, bytes


def test_gradients_between_are_those_of_the_pass_that_was_run() -> None:
    w = leaf([[0.1, -0.2], [0.3, 0.4]], "w")
    x = np.array([[1.0, 2.0]])
    with tg.record():
        hidden = tg.tanh(x @ w)
        loss = (hidden * hidden).sum()
        assert not any(vertex.gradients for vertex in walk(loss)), "no backward pass has been run"
        loss.backward(np.array(3.0))
    vertices = by_title(walk(loss))
    np.testing.assert_allclose(vertices["tanh"].gradients[0], 6 * hidden.data)
    np.testing.assert_allclose(
        vertices["matmul"].gradients[0], 6 * hidden.data * (1 - hidden.data**2)
    )
    assert w.grad is not None
    np.testing.assert_array_equal(vertices["w"].gradients[0], w.grad)


def test_without_a_record_the_gradients_of_parameters_are_known() -> None:
    w = leaf([1.0, 2.0], "w")
    loss = tg.exp(w).sum()
    loss.backward()
    assert [v.title for v in walk(loss) if v.gradients] == ["w"]


def test_a_look_leaves_gradients_alone() -> None:
    loss = small_graph()
    first = [vertex.gradients for vertex in walk(loss) if vertex.kind == "parameter"]
    second = [vertex.gradients for vertex in walk(loss) if vertex.kind == "parameter"]
    np.testing.assert_equal(first, second)


def test_bytes_count_every_kept_array_once_and_no_parameter() -> None:
    w = leaf(np.ones((3, 20)), "w")
    x = np.ones((50, 3))
    hidden = tg.sigmoid(x @ w)  # keeps x for w's gradient, and its own output
    vertices = by_title(walk((hidden * hidden).sum()))
    assert vertices["matmul"].kept == x.nbytes
    assert vertices["sigmoid"].kept == hidden.data.nbytes
    assert vertices["multiply"].kept == 0, "it keeps what sigmoid keeps already"


def test_views_of_one_array_are_counted_one_by_one() -> None:
    h = leaf(np.ones((500, 12))) + 1
    q, k, v = tg.split(h, 3, axis=1)  # 16,000 bytes each: of small arrays there are copies
    assert sum(vertex.kept for vertex in walk(q * k * v)) == 4 * 16_000
    assert sum(vertex.kept for vertex in walk(q * h.T[:4].T)) == 16_000, "the same columns"
    assert (
        sum(vertex.kept for vertex in walk((q * k).sum() + (h * 2 * h).sum())) == 2 * h.data.nbytes
    )


def test_broadcast_views_take_no_bytes() -> None:
    wide = tg.broadcast_to(leaf(2.0, "w"), (100, 100))
    vertices = by_title(walk((wide * np.broadcast_to(3.0, (100, 100))).sum()))
    assert vertices["multiply"].kept == 8


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([2.3456], "2.35"), ([-1.0, 2.0], "−1 … 2"), ([], "empty"),
        ([np.nan, 1.0, np.inf], "1, 1 nan, 1 inf"), ([[1e-7, 1e9]], "1e−7 … 1e+9"),
    ],
)  # fmt: skip
def test_values_in_words(values: Any, text: str) -> None:
    assert value_text([np.array(values, float)]) == text


# nan and inf


def test_the_first_nan_is_named() -> None:
    x = leaf([-1.0, 2.0], "x")
    with tg.record(), np.errstate(all="ignore"):
        loss = (tg.log(x) + tg.exp(x)).sum()
    vertices = by_title(walk(loss))
    assert vertices["log"].trouble == "first nan"
    assert [v.title for v in vertices.values() if v.bad] == ["log", "add", "sum"]
    assert "FIRST NAN" in tg.draw(loss).source


def test_without_a_record_the_first_may_have_been_another() -> None:
    x = leaf([-1.0, 2.0], "x")
    with np.errstate(all="ignore"):
        loss = (tg.log(x) * 2.0 + 1.0).sum()
    assert [v.trouble for v in walk(loss) if v.trouble] == ["first nan seen"]


def test_the_first_nan_of_the_way_back_is_named() -> None:
    x = leaf([0.0, 4.0], "x")
    with tg.record(), np.errstate(all="ignore"):
        loss = (tg.sqrt(x) * [0.0, 1.0]).sum()
        loss.backward()  # 0 · inf
    troubled = [(v.title, v.trouble) for v in walk(loss) if v.trouble]
    assert troubled == [("x", "first nan gradient")]


def test_a_healthy_graph_has_no_trouble() -> None:
    assert not any(vertex.bad or vertex.trouble for vertex in walk(small_graph()))


# Kinds


def test_kinds_differ_in_shape_and_in_grey() -> None:
    looks = [(s.get("shape"), s.get("style"), s.get("peripheries")) for s in STYLES.values()]
    assert len(set(looks)) >= len(STYLES) - 1  # nan and inf keep the shape of their kind

    def grey(color: str) -> float:
        channels = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        return float(np.dot(channels, [0.299, 0.587, 0.114]))

    greys = sorted(
        grey(STYLES[kind]["fillcolor"])
        for kind in ("parameter", "input", "op", "output", "loss", "nan or inf")
    )
    assert min(np.diff(greys)) > 8


def test_the_legend_shows_the_kinds_that_are_there() -> None:
    source = tg.draw(small_graph()).source
    assert set(re.findall(r'"legend ([^"]+)"', source)) == {
        "parameter", "input", "constant", "op", "loss",
    }  # fmt: skip


def test_backward_ops_are_told_from_forward_ops() -> None:
    x = leaf([1.0, 2.0], "x")
    loss = (tg.tanh(x) ** 3).sum()
    slope = tg.grad(loss, x, create_graph=True)
    vertices = walk([loss, slope])
    assert {v.title for v in vertices if v.backward} >= {"multiply"}
    assert {v.title for v in vertices if v.is_op and not v.backward} == {"tanh", "power", "sum"}
    source = tg.draw([loss, (slope * slope).sum()]).source
    assert '"legend backward op"' in source
    assert "dashed" in source


def test_outputs_and_losses() -> None:
    x = leaf([1.0, 2.0], "x")
    h = tg.tanh(x)
    kinds = {v.title: v.kind for v in walk([h, h.sum()])}
    assert kinds == {"x": "parameter", "tanh": "output", "sum": "loss"}
    assert [v.title for v in walk(x)] == ["x"]


def test_a_checkpoint_is_drawn_too() -> None:
    x = leaf([1.0, 2.0], "x")
    loss = tg.checkpoint(lambda x: tg.exp(tg.sin(x)), x).sum()
    loss.backward()
    assert [v.title for v in walk(loss)] == ["x", "checkpoint", "sum"]


# Errors


def test_errors_say_what_to_do() -> None:
    x = leaf([1.0, 2.0])
    model = nn.Linear(2, 2, rng=0)
    given = [model, None, 1.0, np.ones(2), "loss", {"loss": leaf([1.0])}, model.forward, [model]]
    for value in given:
        with pytest.raises(TypeError, match="only Tensors can be drawn, got .*: give "):
            tg.draw(value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"got Linear: give what the module returns"):
        tg.trace_table(model)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="only Tensors can be drawn, got int"):
        tg.draw([3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="requires grad, or it was computed inside no_grad"):
        tg.draw(x.detach())
    with pytest.raises(ValueError, match="no Tensor"):
        tg.draw([])
    with pytest.raises(ValueError, match=r"show: \['shapes'\] unknown, choose among shape"):
        tg.draw(x.sum(), show="shapes")
    with pytest.raises(ValueError, match="rankdir='UP'"):
        tg.draw(x.sum(), rankdir="UP")


def test_names_may_hold_anything() -> None:
    name = 'a "b" \\ <c> & {d|e}\\n'
    source = tg.draw(leaf([1.0], name).sum()).source
    assert r"a \"b\" \\ <c> &amp; {d|e}\\n" in source


# The table


def test_the_table_has_a_line_per_node() -> None:
    loss = small_graph()
    lines = tg.trace_table(loss).splitlines()
    assert len(lines) == len(walk(loss)) + 2
    assert re.fullmatch(r"line +node +inputs +shape +dtype +kept +time", lines[0])
    assert re.fullmatch(r"2 +matmul +\[0, 1\] +1 × 2 +float64 +24 B +[\d.]+ [mµ]s", lines[3])
    assert re.fullmatch(r"total +5 ops +[\d.]+ k?B +[\d.]+ [mµ]s", lines[-1])


def test_importing_the_library_does_not_import_graphviz() -> None:
    code = "import sys, tinygrad_np; sys.exit('graphviz' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
