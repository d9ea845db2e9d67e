"""What is on a drawing's edges: each op's rules as mathematics, confirmed on its cases."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.helpers import leaf
from tests.registry import drawn, listed
from tinygrad_np.cases import case, normal
from tinygrad_np.definition import OPS, Case, Op
from tinygrad_np.drawing.fold import fold
from tinygrad_np.drawing.text import rule_text
from tinygrad_np.drawing.walk import walk

IN_WORDS = {
    "convolution bias", "cumprod x", "cumsum x", "einsum operands", "embedding weight", "gelu x",
    "getitem x", "joined arrays", "linear_recurrence a", "linear_recurrence b", "max_pooling x",
    "minors x", "padded x", "prelu weight", "prod x", "tile x", "transpose x", "window_place g",
    "window_spread y", "window_sum x",
}  # fmt: skip
"""Rules that no short formula says."""


NOT_ALWAYS = {
    "roll x", "softplus x", "binary_cross_entropy_with_logits logits", "matmul x",
    "binary_cross_entropy_with_logits targets",
}  # fmt: skip
"""Formulas that leave something out: an axis, a threshold, weights, a vector's second axis."""


def labels_of(loss: tg.Tensor, **names: Any) -> list[str]:
    return [rule_text(vertex, edge) for vertex in walk(loss, names) for edge in vertex.inputs]


def test_operands_have_the_users_names() -> None:
    W1, b1 = leaf(np.ones((3, 2)), "W1"), leaf(np.ones(2), "layers.0.bias")
    images = np.ones((5, 3))
    hidden = tg.sigmoid(images @ W1 + b1)
    hidden.name = "hidden"
    assert labels_of((hidden * hidden).sum(), images=images) == [
        "", "dW1 = imagesᵀ @ g", "dx = g", "dbias = sum of g over axis 0",
        "dx = g * hidden * (1 - hidden)", "dhidden = g * hidden", "dhidden = g * hidden", "dx = g",
    ]  # fmt: skip


def test_a_name_means_one_thing_on_an_edge() -> None:
    y, g = leaf([1.0, 2.0], "y"), leaf([1.0, 2.0], "g")
    assert labels_of((y * tg.exp(leaf([1.0, 2.0], "x"))).sum())[1:3] == [
        "dy = g * y′", "dy′ = g * y",
    ]  # fmt: skip
    assert labels_of((g * 2).sum())[0] == "dx = g * y"


def test_each_of_several_arrays_has_its_own_name() -> None:
    a, b = leaf([1.0], "a"), leaf([2.0], "b")
    assert labels_of(tg.concatenate([a, b, a * 2]).sum())[2:5] == [
        f"d{name} = the part of g where this array went" for name in ("a", "b", "arrays")
    ]


def test_sums_over_broadcast_axes_are_shown() -> None:
    def labels(x: Any, y: Any, function: Any) -> list[str]:
        return labels_of(function(leaf(x, "x"), leaf(y, "y")).sum())[:2]

    ones = np.ones
    for x, y, function, expected in [
        (ones((4, 3)), ones(3), tg.multiply, ["dx = g * y", "dy = sum of g * x over axis 0"]),
        (ones((4, 1)), ones((2, 1, 3)), tg.add,
         ["dx = sum of g over axes 0, 2", "dy = sum of g over axis 1"]),
        (ones((2, 4, 3)), ones((3, 5)), tg.matmul,
         ["dx = g @ yᵀ", "dy = sum of xᵀ @ g over axis 0"]),
        (ones((5, 1)), ones((1, 5)), tg.matmul, ["dx = g @ yᵀ", "dy = xᵀ @ g"]),
        (ones(3), ones((2, 3, 5)), tg.matmul, ["dx = sum of g @ yᵀ over axis 0", "dy = xᵀ @ g"]),
        (ones((4, 3)), ones((2, 3)), tg.linear, ["dx = g @ y", "dy = gᵀ @ x"]),
        (np.array([np.eye(3)] * 2), ones(3), tg.linalg.solve,
         ["dx = -solve(xᵀ, g) @ outᵀ", "dy = sum of solve(xᵀ, g) over axis 0"]),
    ]:  # fmt: skip
        assert labels(x, y, function) == expected


def test_drawing_after_backward_gives_the_labels_of_before() -> None:
    rng = np.random.default_rng(0)
    W, b = leaf(rng.normal(size=(300, 4)), "W"), leaf(np.zeros(4), "b")
    images, classes = rng.normal(size=(20, 300)), rng.integers(0, 4, 20)
    loss = tg.softmax_cross_entropy(tg.dropout(images @ W + b, 0.5, rng=0), classes)
    before = labels_of(loss, images=images)
    assert "dW = imagesᵀ @ g" in before
    assert "dlogits = (softmax(logits) - one_hot(labels)) * g / n" in before
    loss.backward()
    after = labels_of(loss, images=images)
    assert [text for text in after if text] == [text for text in before if text]


def test_a_rule_of_several_statements_says_its_formula_in_its_docstring() -> None:
    def slope(g: Any, x: Any) -> Any:
        """g * 3 * x ** 2."""
        square = x * x
        return g * 3 * square

    def short(g: Any, x: Any, y: Any) -> Any:
        return g * x * np.sinh(y)

    def long(g: Any, x: Any) -> Any:
        square = x * x
        return g * 4 * square * x

    @tg.op(cases=[case(normal(3))], x=slope)
    def cube(x: Any) -> Any:
        """The third power."""
        return x**3

    @tg.op(cases=[case(normal(3), normal())], x=lambda g, y: g * np.cosh(y), y=short)
    def scaled(x: Any, y: Any) -> Any:
        """x cosh(y)."""
        return x * np.cosh(y)

    @tg.op(cases=[case(normal(3))], x=long)
    def fourth(x: Any) -> Any:
        """The fourth power."""
        return x**4

    try:
        assert labels_of(cube(leaf([1.0, 2.0], "v")))[0] == "dv = g * 3 * v²"
        assert labels_of(scaled(leaf([1.0, 2.0]), leaf([[3.0]], "s")))[:2] == [
            "dx = sum of g * cosh(s) over axis 0", "ds = sum of g * x * sinh(s) over axis 1",
        ]  # fmt: skip
        assert labels_of(fourth(leaf([1.0, 2.0], "v")))[0] == 'dv = rule of op "fourth"'
    finally:
        del tg.OPS["cube"], tg.OPS["scaled"], tg.OPS["fourth"]


def test_repeated_layers_of_other_names_fold_into_one() -> None:
    h: Any = np.ones((2, 3))
    for i in range(6):
        h = tg.tanh(h @ leaf(np.eye(3), f"W{i}") + leaf(np.ones(3), f"b{i}"))
    vertices, _ = fold(walk(h.sum()), True, None)
    texts = {rule_text(v, edge) for v in vertices for edge in v.inputs}
    assert {"dx = g @ yᵀ", "dy = xᵀ @ g", "dy = sum of g over axis 0"} <= texts


# Each formula says what its rule computes


def meaning(op: Op, node: Any, target: tuple[int, ...]) -> dict[str, Any]:
    """What the names in the formulas of an op stand for, given what its node has saved."""
    places = op.inputs if op.variadic is None else ("",) * len(node.parents)
    given = dict(zip((*places, "out", *op.extras), node.saved, strict=True))
    geometry = [given.get(name) for name in ("stride", "padding", "dilation", "groups")]
    axis = given.get("axis")

    def one_hot(labels: Any) -> Any:
        return labels if labels.dtype.kind == "f" else np.eye(target[-1])[labels % target[-1]]

    def where(condition: Any, x: Any, y: Any) -> Any:
        rows = np.ndim(condition) == np.ndim(x) - 1 and "labels" in given
        return np.where(condition[..., None] if rows else condition, x, y)

    def convolution(x: Any, weight: Any) -> Any:
        found = OPS["convolution"].forward(x, weight, None, *geometry)
        return found[(..., *map(slice, target[2:]))]

    n: Any = np.prod(target, dtype=int) // max(1, np.prod(node.shape, dtype=int))
    if "labels" in given:
        n = np.prod(target[:-1], dtype=int)
        n = np.sum(np.reshape(given["labels"] != given.get("ignore_index", np.nan), (n, -1))[:, 0])
    if given.get("reduction", "mean") != "mean":
        n = 1
    return {
        **{name: getattr(np, name) for name in np.__all__}, **given,
        "np": np, "OPS": OPS, "n": n, "LN2": np.log(2), "LN10": np.log(10),
        "wide": lambda x: x, "spread": lambda x, shape, axis: x, "weighted": lambda x: x,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "softmax": lambda x: tg.softmax(x).data,
        "one_hot": one_hot, "solve": np.linalg.solve,
        "mean": lambda x: x.mean(axis=axis, keepdims=True),
        "convolution": convolution, "where": where,
        "conv_transpose": lambda y, weight: (
            OPS["convolution_input"].forward(y, weight, target[2:], *geometry)
        ),
        "correlate": lambda y, x: (
            OPS["convolution_weight"].forward(y, x, target[2:], *geometry)
        ),
        "unfold": lambda x: (
            OPS["windows_unfolded"].forward(x, given["kernel"], *geometry[:3])
        ),
        "fold": lambda y: (
            OPS["windows_folded"].forward(y, target[2:], given["kernel"], *geometry[:3])
        ),
    }  # fmt: skip


def confirmed(op: Op, case: Case) -> dict[str, bool]:
    """By input: whether the formula gives the gradient. What it does not fit is left out."""
    arrays, call = drawn(case, 0, np.float64)
    tensors = [leaf(value) if smooth else value for value, smooth in arrays]
    [out] = listed(call(op, tensors))
    node = out.node
    if node is None:
        return {}
    assert node.saved is not None
    [vertex] = [v for v in walk(out) if v.title == op.name]
    g = np.random.default_rng(0).normal(size=out.shape)
    edges = [edge for edge in vertex.inputs if edge.rule]
    parents = [parent for parent in node.parents if parent is not None]
    leaves = {t.node: t for t in tensors if isinstance(t, tg.Tensor)}
    spaces = [meaning(op, node, parent.shape) for parent in parents]
    true = tg.grad(out, [leaves[parent] for parent in parents], g)
    found: dict[str, bool] = {}
    for edge, space, gradient in zip(edges, spaces, true, strict=True):
        if f"{op.name} {edge.input}" in IN_WORDS:
            continue
        try:
            with np.errstate(all="ignore"):
                value = np.asarray(eval(edge.rule, {**space, "g": g}))
            value = value.sum(axis=edge.axes) if edge.axes else value
            same = value.size == gradient.size
            value = value.reshape(gradient.shape) if same else value + np.zeros(gradient.shape)
        except NameError as error:
            pytest.fail(
                f"op {op.name!r}: d{edge.input} = {edge.rule} is not a formula ({error}). Say in "
                "the rule's docstring what it computes"
            )
        except (ValueError, TypeError, AttributeError, np.linalg.LinAlgError):
            continue  # vectors, or axes that are not the last
        found[edge.input] = bool(np.allclose(value, gradient.data))
    return found


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.gradients], ids=lambda op: op.name)
def test_the_formula_on_an_edge_is_what_the_rule_computes(op: Op) -> None:
    words = {name for name in op.gradients if f"{op.name} {name}" in IN_WORDS}
    for name in words:
        with pytest.raises(SyntaxError):
            compile(op.formula(name), "<formula>", "eval")
    if words == op.gradients.keys():
        return
    found: dict[str, list[bool]] = {name: [] for name in op.gradients.keys() - words}
    for sample in op.cases:
        for name, right in confirmed(op, sample).items():
            found[name].append(right)
    for name, rights in found.items():
        enough = any(rights) if f"{op.name} {name}" in NOT_ALWAYS else rights and all(rights)
        assert enough, f"d{name} = {op.formula(name)}: {rights}"
