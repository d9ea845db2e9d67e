"""The audit of gradients derived by hand: each diagnosis, each form of call, each error."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np.cases import case, normal
from tinygrad_np.data import load_mnist
from tinygrad_np.random import masked

RNG = np.random.default_rng(7)
X = RNG.normal(size=(6, 4))
W = RNG.normal(size=(4, 5))
B = RNG.normal(size=5)
S = RNG.normal(size=(4, 4))
T = RNG.normal(size=(6, 5))
KEPT = RNG.random((6, 5)) >= 0.5


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def kinds(report: tg.AuditReport) -> list[str]:
    return [mistake.kind for mistake in report.mistakes]


# One layer, tanh(x W + b) against targets, by hand: what everything below departs from


def layer(W: Any, b: Any) -> tg.Tensor:
    return tg.square(tg.tanh(X @ W + b) - T).mean()


def by_hand(W: Any, b: Any) -> dict[str, Any]:
    h = np.tanh(X @ W + b)
    delta = 2 * (h - T) / T.size * (1 - h**2)
    return {"W": X.T @ delta, "b": delta.sum(axis=0)}


RIGHT = by_hand(W, B)
WEIGHTS = {"W": W, "b": B}


def test_right_gradients_are_right() -> None:
    report = tg.audit(layer, WEIGHTS, RIGHT)
    assert report and report.mistakes == () and report.first is None
    verdict = report["W"]
    assert verdict.right and verdict.kind == "" and verdict.relative < 1e-14
    assert report.numerical and report.numerical.worst.relative < 1e-6


@pytest.mark.parametrize(
    "call",
    [
        lambda: tg.audit(layer, WEIGHTS, by_hand),
        lambda: tg.audit(layer, (W, B), lambda W, b: tuple(by_hand(W, b).values())),
        lambda: tg.audit(layer, [W, B], [RIGHT["W"], RIGHT["b"]]),
        lambda: tg.audit(layer, [tg.Tensor(W, True), tg.Tensor(B)], tuple(RIGHT.values())),
        lambda: tg.audit(lambda W: layer(W, B), W, RIGHT["W"]),
        lambda: tg.audit(lambda b: layer(W, b), B, list(RIGHT["b"])),
        lambda: tg.audit(lambda W: layer(W, B), [W], [RIGHT["W"]]),
        lambda: tg.audit(lambda W: layer(W, B), [W], lambda W: [RIGHT["W"]]),
        lambda: tg.audit(lambda W: layer(W, B), (W,), RIGHT["W"]),
        lambda: tg.audit(layer, WEIGHTS, {"W": tg.Tensor(RIGHT["W"])}),
        lambda: tg.audit(layer, (W, B), (None, RIGHT["b"])),
    ],
)
def test_every_form_of_inputs_and_gradients(call: Any) -> None:
    assert call()


def test_inputs_and_gradients_are_left_as_they_are() -> None:
    before = W.copy(), RIGHT["W"].copy()

    def vandal(W: Any, b: Any) -> Any:
        found = by_hand(W, b)
        W += 1
        return found

    assert tg.audit(layer, WEIGHTS, vandal)
    tg.audit(layer, WEIGHTS, {"W": RIGHT["W"] * 2})
    assert np.array_equal(W, before[0]) and np.array_equal(RIGHT["W"], before[1])


def test_float32_is_judged_as_float32() -> None:
    single = {name: array.astype(np.float32) for name, array in WEIGHTS.items()}
    given = by_hand(single["W"], single["b"])
    assert tg.audit(layer, single, {k: v.astype(np.float32) for k, v in given.items()})
    report = tg.audit(layer, WEIGHTS, {"W": (RIGHT["W"] * 2).astype(np.float32)})
    assert "is 2 times" in report.mistakes[0].words
    assert not tg.audit(layer, WEIGHTS, {"W": RIGHT["W"] * (1 + 1e-6)})
    assert tg.audit(layer, WEIGHTS, {"W": RIGHT["W"] * (1 + 1e-6)}, rtol=1e-5)


def test_rounding_in_a_gradient_that_cancels_is_no_mistake() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)).astype("f4"), rng.integers(4, size=30)
    shift = np.float32(0.5)
    p = np.exp(x + shift) / np.exp(x + shift).sum(axis=1, keepdims=True)
    g = (p - np.eye(4, dtype="f4")[y]) / np.float32(30)

    def f(x: Any, shift: Any) -> Any:  # softmax is the same for all shifts
        return tg.softmax_cross_entropy(x + shift, y)

    assert 1e-9 < abs(g.sum()) < 1e-6
    assert tg.audit(f, {"x": x, "shift": shift}, {"x": g, "shift": g.sum()})
    wrong = tg.audit(f, {"x": x, "shift": shift}, {"x": g, "shift": g[0].sum() + 1e-3})
    assert not wrong["shift"].right
    small = {"w": np.float32(1e-3), "v": np.float32(2)}  # of which nothing cancels
    assert not tg.audit(lambda w, v: w * 1e-3 + v, small, {"w": 1.001e-3, "v": 1.0})["w"].right


def test_a_tolerance_of_nothing_is_one() -> None:
    assert not tg.audit(layer, WEIGHTS, {"W": RIGHT["W"] * (1 + 1e-12)}, rtol=0.0)


@pytest.mark.parametrize("consumed", [True, False])
def test_weights_that_f_closes_over_are_no_part_of_it(consumed: bool) -> None:
    net = tg.nn.Linear(4, 5, rng=0, dtype=np.float64)
    scale = tg.exp(net.weight.sum(axis=1))  # computed before f
    if consumed:
        scale.sum().backward()

    def f(x: Any) -> Any:
        return (tg.tanh(net(x)) * scale).sum()

    x = tg.Tensor(X, requires_grad=True)
    true = tg.grad(f(x), x, retain_graph=True).data
    assert tg.audit(f, X, true)
    report = tg.audit(f, X, 2 * true)
    assert kinds(report) == ["factor"]
    missing = (scale.data * np.ones((6, 5))) @ net.weight.data
    report = tg.audit(f, X, missing)
    assert [(m.kind, m.where, m.words) for m in report.mistakes] == [
        ("derivative", "tanh", "the derivative of tanh is missing")
    ]


@pytest.mark.parametrize("recording", [True, False])
def test_f_may_take_gradients_itself(recording: bool) -> None:
    def penalty(x: Any) -> Any:
        return tg.square(tg.grad((x**3).sum(), x, create_graph=True)).sum()

    with contextlib.nullcontext() if recording else tg.no_grad():
        assert tg.audit(penalty, X, 36 * X**3)
        assert kinds(tg.audit(penalty, X, 18 * X**3)) == ["factor"]


def test_a_checkpoint_is_one_op() -> None:
    report = tg.audit(
        lambda W, b: tg.checkpoint(layer, W, b), WEIGHTS, {"W": RIGHT["W"], "b": -RIGHT["b"]}
    )
    assert report["W"].right and kinds(report) == ["sign"]


# Each diagnosis


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (2, "2"),
        (0.5, "½"),
        (-2, "−2"),
        (6, "6 (the batch size)"),
        (1 / 6, "0.166667 (the inverse of the batch size)"),
        (-1 / 6, "-0.166667 (−1 × the inverse of the batch size)"),
        (5, "5 (the width"),
        (30, "30 (the number of elements of"),
        (0.7312, "0.7312"),
    ],
)
def test_a_constant_factor_is_named(number: float, name: str) -> None:
    report = tg.audit(layer, WEIGHTS, {k: number * v for k, v in RIGHT.items()})
    assert kinds(report) == ["factor"]
    assert f"is {name}" in report.mistakes[0].words
    assert report.mistakes[0].explains == ("b", "W")
    assert report["W"].kind == "factor" and "as given" in report.mistakes[0].evidence


def test_the_factors_of_dropout_are_named() -> None:
    p = 0.2

    def f(W: Any) -> Any:
        return (masked(tg.tanh(X @ W), KEPT, p) * T).sum()

    scale = KEPT / (1 - p)
    back = T * (1 - np.tanh(X @ W) ** 2)
    assert tg.audit(f, W, X.T @ (back * scale))
    once = tg.audit(f, W, X.T @ (back * KEPT))
    assert kinds(once) == ["factor"]
    assert "0.8 (1 − p for the mask of masked)" in once.mistakes[0].words
    assert once["W"].where == "masked"
    twice = tg.audit(f, W, X.T @ (back * scale * scale))
    assert kinds(twice) == ["factor"]
    assert "1.25 (what the mask of masked multiplies with)" in twice.mistakes[0].words
    forgotten = tg.audit(f, W, X.T @ back)
    assert kinds(forgotten) == ["mask"]
    assert forgotten.mistakes[0].words == "the mask of masked is missing"


def test_a_sign() -> None:
    report = tg.audit(layer, WEIGHTS, {"W": -RIGHT["W"], "b": RIGHT["b"]})
    assert kinds(report) == ["sign"] and report["W"].where == "W"
    report = tg.audit(lambda W: tg.abs(W @ B).sum(), W, np.tile(B, (4, 1)))
    assert kinds(report) == ["sign"] and report["W"].where == "abs"


def test_a_transpose() -> None:
    given = tg.audit(layer, WEIGHTS, {"W": RIGHT["W"].T})
    assert kinds(given) == ["transpose"] and not given["W"].right
    assert "shape (5, 4), not (4, 5)" in given.mistakes[0].words

    def f(W: Any) -> Any:
        return tg.sin(tg.tanh(X @ W) @ S).sum()

    h = np.tanh(X @ S)
    delta = np.cos(h @ S)
    assert tg.audit(f, S, X.T @ (delta @ S.T * (1 - h**2)))
    assert kinds(tg.audit(f, S, X.T @ (delta @ S.T * (1 - h**2)).copy())) == []
    inside = tg.audit(f, S, X.T @ (delta @ S * (1 - h**2)))
    assert kinds(inside) == ["transpose"]
    assert kinds(tg.audit(f, S, (X.T @ (delta @ S.T * (1 - h**2))).T)) == ["transpose"]


def test_masks() -> None:
    z = X @ W

    def f(W: Any) -> Any:
        return (tg.relu(X @ W) * T).sum()

    report = tg.audit(f, W, X.T @ T)
    assert kinds(report) == ["mask"]
    assert report.mistakes[0].rule == "relu: dx = g * (out > 0)"
    extra = tg.audit(
        lambda W: (tg.tanh(X @ W) * T).sum(), W, X.T @ (T * (1 - np.tanh(z) ** 2) * (z > 0))
    )
    assert kinds(extra) == ["mask"] and "multiplied by the mask" in extra.mistakes[0].words
    clipped = tg.audit(lambda W: (tg.clip(X @ W, -1, 1) * T).sum(), W, X.T @ T)
    assert kinds(clipped) == ["mask"] and clipped["W"].where == "clip"


def test_the_derivative_of_an_activation() -> None:
    h = sigmoid(X @ W)
    slope = h * (1 - h)

    def f(W: Any) -> Any:
        return (tg.sigmoid(X @ W) * T).sum()

    assert kinds(tg.audit(f, W, X.T @ T)) == ["derivative"]
    assert kinds(tg.audit(f, W, X.T @ (T * slope**2))) == ["derivative"]


def test_sums() -> None:
    h = np.tanh(X @ W + B)
    delta = 2 * (h - T) / T.size * (1 - h**2)
    rows = tg.audit(layer, WEIGHTS, {"b": delta})
    assert kinds(rows) == ["sum"]
    assert "lacks a sum over axis 0; it has shape (6, 5), not (5,)" in rows.mistakes[0].words
    mean = tg.audit(layer, WEIGHTS, {"b": delta * 6})
    assert kinds(mean) == ["sum"] and "a mean over axis 0" in mean.mistakes[0].words
    assert kinds(tg.audit(layer, WEIGHTS, {"b": delta[0]})) == ["sum"]
    assert kinds(tg.audit(layer, WEIGHTS, {"W": X[:, :, None] * delta[:, None]})) == ["sum"]
    much = tg.audit(layer, WEIGHTS, {"W": RIGHT["W"].sum(axis=0)})
    assert kinds(much) == ["sum"] and "one sum too many, over axis 0" in much.mistakes[0].words
    kept = tg.audit(layer, WEIGHTS, {"b": delta.sum(axis=0, keepdims=True)})
    assert kinds(kept) == ["shape"]


def test_a_sum_over_the_wrong_axis() -> None:
    x = RNG.normal(size=(5, 4))
    t = RNG.normal(size=(5, 5))
    given = {"W": x.T @ t, "b": t.sum(axis=1)}
    report = tg.audit(lambda W, b: ((x @ W + b) * t).sum(), WEIGHTS, given)
    assert kinds(report) == ["sum"] and "wrong axis" in report.mistakes[0].words


def test_the_sum_in_the_softmax() -> None:
    p = np.exp(X @ W)
    p /= p.sum(axis=1, keepdims=True)

    def f(W: Any) -> Any:
        return (tg.softmax(X @ W) * T).sum()

    assert tg.audit(f, W, X.T @ (p * (T - (p * T).sum(axis=1, keepdims=True))))
    report = tg.audit(f, W, X.T @ (T * p * (1 - p)))
    assert kinds(report) == ["sum"] and report["W"].where == "softmax"


def test_a_derivative_at_the_wrong_value() -> None:
    z = X @ W
    h = sigmoid(z)

    def f(W: Any) -> Any:
        return (tg.sigmoid(X @ W) * T).sum()

    at_output = tg.audit(f, W, X.T @ (T * sigmoid(h) * (1 - sigmoid(h))))
    assert kinds(at_output) == ["value"]
    assert at_output.mistakes[0].words == (
        "the derivative of sigmoid is taken at its result, not at its input"
    )
    of_input = tg.audit(f, W, X.T @ (T * z * (1 - z)))
    assert kinds(of_input) == ["value"]
    assert "takes its input, matmul, for its own result" in of_input.mistakes[0].words

    def scaled(W: Any) -> Any:
        return tg.square(tg.tanh(X @ W) * (2 * KEPT)).sum()

    h = np.tanh(z) * 2 * KEPT
    after = tg.audit(scaled, W, X.T @ (2 * h * 2 * KEPT * (1 - h**2)))
    assert kinds(after) == ["value"] and after["W"].where == "tanh"


def test_a_path() -> None:
    def f(x: Any) -> Any:
        return (tg.sin(x) * tg.exp(x)).sum()

    x = X[0]
    assert tg.audit(f, x, (np.cos(x) + np.sin(x)) * np.exp(x))
    report = tg.audit(f, x, np.cos(x) * np.exp(x))
    assert kinds(report) == ["path"]
    assert report.mistakes[0].words == "the gradient of x that comes from exp is missing"
    assert kinds(tg.audit(layer, WEIGHTS, {"W": 0 * W, "b": RIGHT["b"]})) == ["path"]


def test_a_few_elements() -> None:
    wrong = RIGHT["W"].copy()
    wrong[1, 2] += 1
    report = tg.audit(layer, WEIGHTS, {"W": wrong})
    assert kinds(report) == ["elements"]
    assert "right but for 1 of 20 elements: (1, 2)" in report.mistakes[0].words
    assert report["W"].at == (1, 2) and report["W"].difference == pytest.approx(1)
    wrong = RIGHT["W"].copy()
    wrong[3] = RNG.normal(size=5)
    report = tg.audit(layer, WEIGHTS, {"W": wrong})
    assert kinds(report) == ["elements"]
    assert "all at index 3 of axis 0" in report.mistakes[0].words


def test_when_nothing_fits_it_says_so() -> None:
    report = tg.audit(layer, WEIGHTS, {"W": RNG.normal(size=W.shape), "b": RIGHT["b"]})
    assert kinds(report) == ["unknown"] and "no mistake tried" in str(report)
    assert report["b"].right
    report = tg.audit(layer, WEIGHTS, {"W": np.ones(7)})
    assert kinds(report) == ["unknown"] and "shape (7,)" in report.mistakes[0].words


def test_an_op_that_refuses_what_is_tried_in_the_place_of_its_input() -> None:
    singular = np.ones((4, 4))
    inverse = np.linalg.inv(S)
    wrong = inverse.T @ singular @ inverse.T
    report = tg.audit(lambda x: (tg.inv(x) * singular).sum(), S, wrong)
    assert kinds(report) == ["sign"]


def test_an_input_that_f_does_not_use() -> None:
    inputs = {"x": X, "y": T}
    assert tg.audit(lambda x, y: x.sum(), inputs, {"x": np.ones((6, 4)), "y": 0 * T})
    report = tg.audit(lambda x, y: x.sum(), inputs, {"x": np.ones((6, 4)), "y": T})
    assert kinds(report) == ["unknown"] and "does not depend on y" in report.mistakes[0].words
    assert report["x"].right


def test_inf_inside_f_is_no_error() -> None:
    future = np.triu(np.ones((4, 4), bool), 1)

    def f(x: Any) -> Any:
        return (tg.softmax(tg.where(future, -np.inf, x)) * S).sum()

    p = np.exp(np.where(future, -np.inf, X[:4]))
    p /= p.sum(axis=1, keepdims=True)
    right = p * (S - (p * S).sum(axis=1, keepdims=True))
    assert tg.audit(f, X[:4], right)
    assert kinds(tg.audit(f, X[:4], p * S * (1 - p))) == ["sum"]


def test_a_deep_network_is_audited_in_time() -> None:
    count, size = 60, 5
    x = RNG.normal(size=(4, size))
    weights = {f"W{i}": RNG.normal(size=(size, size)) * 0.6 for i in range(count)}

    def f(**w: Any) -> Any:
        h: Any = x
        for i in range(count):
            h = tg.tanh(h @ w[f"W{i}"]) if i % 2 else tg.relu(h @ w[f"W{i}"]) + h
        return h.sum()

    leaves = {name: tg.Tensor(array, True) for name, array in weights.items()}
    f(**leaves).backward()
    given = {name: leaf.grad * 1.0 for name, leaf in leaves.items() if leaf.grad is not None}
    assert tg.audit(f, weights, given)
    given.update({f"W{i}": 0.5 * given[f"W{i}"] for i in range(30)})
    report = tg.audit(f, weights, given)
    assert kinds(report) == ["factor"] and len(report.mistakes[0].explains) == 30


def test_nan_in_a_gradient_is_named() -> None:
    wrong = RIGHT["W"].copy()
    wrong[2, 1] = np.nan
    report = tg.audit(layer, WEIGHTS, {"W": wrong, "b": RIGHT["b"]})
    assert kinds(report) == ["nan"] and not report
    assert "1 of 20 elements" in report.mistakes[0].words
    assert "(2, 1)" in report.mistakes[0].evidence and report["b"].right


def test_a_wrong_rule_is_not_blamed_on_the_hand() -> None:
    @tg.op(cases=[case(normal(3))], x=lambda g, x: g * 3 * x)
    def cubed(x: Any) -> Any:
        """x³, with a wrong rule."""
        return x**3

    del tg.OPS["cubed"]
    report = tg.audit(lambda x: cubed(x).sum(), X[0], 3 * X[0] ** 2)
    assert kinds(report) == ["autograd"] and "numerical" in report.mistakes[0].words
    report = tg.audit(lambda x: cubed(x).sum(), X[0], 3 * X[0])
    assert not report


def test_a_kink_is_no_false_alarm() -> None:
    x = np.array([0.0, 1.0, -2.0])
    report = tg.audit(lambda x: tg.relu(x).sum(), x, np.array([0.0, 1.0, 0.0]))
    assert report and any("kink" in note for note in report.numerical.notes)


def test_a_kink_is_no_false_alarm_whatever_the_input_is_called() -> None:
    @tg.op(cases=[case(normal(3))], analytic=False, x=lambda g, x: g * np.where(x > 0, 1, -0.5))
    def crooked(x: Any) -> Any:
        return np.maximum(x, 0)

    del tg.OPS["crooked"]
    for name in ("w", "first layer w"):
        x = tg.Tensor([0.0], name=name)
        report = tg.audit(lambda x: crooked(x).sum(), x, np.array([-0.5]))
        assert report, str(report)


def test_many_kinks_at_once_are_no_false_alarm() -> None:
    """A row of zeros and no bias: every relu stands at 0, and differences settle nowhere."""
    x = np.vstack([X[:3], np.zeros(4)])
    b = np.zeros(5)
    z = x @ W
    for seed in range(20):
        t = np.random.default_rng(seed).normal(size=(4, 5))
        report = tg.audit(
            lambda W, b, t=t: (tg.relu(x @ W + b) * t).sum(),
            {"W": W, "b": b},
            {"W": x.T @ (t * (z > 0)), "b": (t * (z > 0)).sum(axis=0)},
        )
        assert report, str(report)


# Several mistakes, and the walk from the loss down


def three(W1: Any, W2: Any, W3: Any) -> Any:
    z1 = X @ W1
    z2 = tg.relu(z1) @ W2
    z3 = tg.tanh(z2) @ W3
    return tg.square(z3).sum(), {"z1": z1, "z2": z2, "z3": z3}


DEEP = {"W1": W, "W2": RNG.normal(size=(5, 4)), "W3": RNG.normal(size=(4, 3))}


def three_by_hand(
    double: float = 1, slope: bool = True, mask: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    z1 = X @ DEEP["W1"]
    h1 = np.maximum(z1, 0)
    h2 = np.tanh(h1 @ DEEP["W2"])
    d3 = 2 * h2 @ DEEP["W3"] * double
    d2 = d3 @ DEEP["W3"].T * (1 - h2**2 if slope else 1)
    d1 = d2 @ DEEP["W2"].T * (z1 > 0 if mask else 1)
    gradients = {"W1": X.T @ d1, "W2": h1.T @ d2, "W3": h2.T @ d3}
    return gradients, {"z1": d1, "z2": d2, "z3": d3}


def test_a_mistake_in_each_layer() -> None:
    gradients, _ = three_by_hand(0.5, False, False)
    report = tg.audit(three, DEEP, gradients)
    assert kinds(report) == ["factor", "derivative", "mask"]
    assert [m.explains for m in report.mistakes] == [("W3", "W2", "W1"), ("W2", "W1"), ("W1",)]
    assert report["W1"].kind == "factor + derivative + mask"
    assert report["W1"].where == "z3, tanh, relu"


@pytest.mark.parametrize(
    ("slips", "first", "rule"),
    [
        ({"double": 2.0}, "z3", "square: dx = g * 2 * x"),
        ({"slope": False}, "z2", "tanh: dx = g * (1 - out * out)"),
        ({"mask": False}, "z1", "relu: dx = g * (out > 0)"),
        ({"slope": False, "mask": False}, "z2", "tanh: dx = g * (1 - out * out)"),
    ],
)
def test_the_first_wrong_delta_and_its_rule(slips: Any, first: str, rule: str) -> None:
    gradients, deltas = three_by_hand(**slips)
    for given in (None, gradients):
        report = tg.audit(three, DEEP, given, deltas=deltas)
        assert report.first is not None and report.first.name == first
        assert report.mistakes[0].rule == rule
        assert f"From the loss down, {first} is the first that is wrong" in str(report)
    assert tg.audit(three, DEEP, deltas=three_by_hand()[1])


def test_a_delta_that_nothing_explains_is_taken_as_given_below() -> None:
    gradients, deltas = three_by_hand()
    z1, h2 = X @ DEEP["W1"], np.tanh(np.maximum(X @ DEEP["W1"], 0) @ DEEP["W2"])
    odd = RNG.normal(size=deltas["z2"].shape)
    deltas["z2"] = odd
    deltas["z1"] = odd @ DEEP["W2"].T * (z1 > 0)
    gradients["W1"] = X.T @ deltas["z1"]
    gradients["W2"] = np.maximum(z1, 0).T @ odd
    report = tg.audit(three, DEEP, gradients, deltas=deltas)
    assert kinds(report) == ["unknown"] and report.mistakes[0].where == "z2"
    assert report["z3"].right and report["W3"].right and h2.shape == odd.shape


def test_names_given_to_tensors_serve_as_well() -> None:
    def f(W: Any) -> Any:
        z = X @ W
        z.name = "z"
        return tg.square(z).sum()

    report = tg.audit(f, W, deltas={"z": X @ W})
    assert kinds(report) == ["factor"] and report.first is not None
    assert report.first.name == "z" and "½" in report.mistakes[0].words


# The report


def test_the_report_reads_as_a_table_and_diagnoses() -> None:
    report = tg.audit(layer, WEIGHTS, {"W": 2 * RIGHT["W"], "b": RIGHT["b"]})
    lines = str(report).splitlines()
    assert lines[0].startswith("gradient  shape   difference  relative  at")
    assert lines[1].split()[0] == "b" and lines[1].endswith("right")
    assert lines[2].split()[0] == "W" and lines[2].endswith("factor")
    assert lines[3] == "1. factor: the gradient of W is 2 times the true one"
    with pytest.raises(KeyError, match="no gradient of 'c' was audited, but: b, W"):
        report["c"]


def line_by_line(W: Any, b: Any) -> dict[str, Any]:
    h = np.tanh(X @ W + b)
    error = 2 * (h - T) / T.size
    delta = error * (1 - h)
    return {"W": X.T @ delta, "b": delta.sum(axis=0)}


def test_the_report_points_at_the_line_of_a_backward_pass_given_as_a_function() -> None:
    report = tg.audit(layer, WEIGHTS, line_by_line)
    number = line_by_line.__code__.co_firstlineno + 3
    line = f"test_audit.py:{number}: delta = error * (1 - h)"
    assert [m.own_line for m in report.mistakes] == [line]
    assert f"in your backward pass: {line}" in str(report)
    assert tg.audit(layer, WEIGHTS, line_by_line(W, B)).mistakes[0].own_line == ""


def test_the_report_says_what_where_why_and_what_is_right() -> None:
    lines = str(tg.audit(layer, WEIGHTS, line_by_line)).splitlines()
    assert lines[3] == "1. derivative: 1 − out is used in place of the derivative of tanh"
    assert lines[4].startswith("   where: test_audit.py:")
    assert lines[5] == "   the right rule, tanh: dx = g * (1 - out * out)"
    assert lines[6].startswith("   evidence: with this mistake b and W come out as given (off by ")


def test_a_gradient_of_another_shape_has_no_numbers_in_the_table() -> None:
    report = tg.audit(layer, WEIGHTS, {"W": RIGHT["W"].T})
    assert str(report).splitlines()[1].split() == [
        "W", "(4,", "5)", "-", "-", "-", "-", "-", "transpose"
    ]  # fmt: skip


# Errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: tg.audit(lambda x: x * 2, X, X),
            ValueError,
            r"no scalar but shape \(6, 4\)",
        ),
        (lambda: tg.audit(lambda x: 1.0, X, X), TypeError, "must return a Tensor.*got float"),
        (lambda: tg.audit(lambda x: tg.Tensor(1.0), X, X), ValueError, "none of the inputs"),
        (lambda: tg.audit(lambda x: x.sum(), np.arange(3), X), TypeError, "x is int64"),
        (lambda: tg.audit(lambda x: x.sum(), X > 0, X), TypeError, "x is bool"),
        (lambda: tg.audit(lambda x: x.sum(), X + 0j, X), TypeError, "x is complex128"),
        (lambda: tg.audit(lambda x: x.sum(), np.ones((0, 3)), X), ValueError, "length 0"),
        (lambda: tg.audit(lambda x: x.sum(), X * np.nan, X), ValueError, "x holds nan or inf"),
        (lambda: tg.audit(lambda x: tg.log(x).sum(), X, X), ValueError, "f is nan at"),
        (
            lambda: tg.audit(lambda x: tg.exp(1000 * x).sum(), X, X),
            ValueError,
            "f is infinite at",
        ),
        (lambda: tg.audit(layer, WEIGHTS), ValueError, "nothing to audit"),
        (lambda: tg.audit(layer, WEIGHTS, {"V": W}), ValueError, "gradients for V.*are W, b"),
        (lambda: tg.audit(layer, (W, B), (W,)), ValueError, "1 gradients for 2 inputs, W, b"),
        (lambda: tg.audit(layer, WEIGHTS, {"W": W + 0j}), TypeError, "W must hold real numbers"),
        (lambda: tg.audit(layer, WEIGHTS, deltas={"W": W}), ValueError, "W is an input"),
        (
            lambda: tg.audit(lambda x: (x.sum(), {"z": X}), X, X, deltas={"z": X}),
            ValueError,
            "no Tensors .* called 'z'",
        ),
        (lambda: tg.audit(layer, {}, {}), ValueError, "nothing to audit"),
        (lambda: tg.audit(three, DEEP, deltas={"z9": X}), ValueError, "'z9'; there are: .*z1"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_function_that_draws_is_refused() -> None:
    rng = np.random.default_rng(0)

    def f(x: Any) -> Any:
        return tg.dropout(x, 0.5, rng=rng).sum()

    with pytest.raises(ValueError, match="two different results"):
        tg.audit(f, X, X)


# The second seed document


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    (images, labels), _ = load_mnist(dtype=np.float64)
    return images[:40], labels[:40]  # a batch that is tried in less time than one of 100


@pytest.mark.parametrize(
    ("name", "defects"),
    [
        ("relu_sgd", ["mask: the mask of relu is missing"]),
        (
            "dropout_sgd",
            [
                "mask: the mask of relu is missing",
                "factor: the gradient of multiply is ½ (1 − p for the mask of multiply) times",
            ],
        ),
        (
            "dropout_minibatch",
            [
                "mask: the mask of relu is missing",
                "factor: the gradient of multiply is ½ (1 − p for the mask of multiply) times",
            ],
        ),
        pytest.param(
            "tanh_softmax_minibatch",
            [
                "factor: the gradient of matmul 2 is 0.025 (the inverse of the batch size) times",
                "value: the rule of tanh reads multiply, not its own result",
                "factor: the gradient of multiply is ½ (1 − p for the mask of multiply) times",
            ],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_seeds_printed_rules(name: str, defects: list[str], digits: tuple[Any, Any]) -> None:
    from scripts.audit_seeds import audit_printed, audit_twin

    report = audit_printed(name, *digits)
    assert not report and len(report.mistakes) == len(defects)
    for mistake, defect in zip(report.mistakes, defects, strict=True):
        assert str(mistake).startswith(defect)
    assert report["W2"].right == (name != "tanh_softmax_minibatch")
    twin = audit_twin(name, *digits)
    assert twin and twin.mistakes == ()
