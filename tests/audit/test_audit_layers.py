"""Layers and updates in plain NumPy, as people write them, audited in two lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.audit import people
from tests.audit.people import sigmoid

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4))
SERIES = RNG.normal(size=(4, 5, 2))
IMAGES = RNG.normal(size=(2, 2, 4, 4))
LABELS = np.array([0, 1, 2, 0, 1, 2])


def step(slip: str) -> tg.AuditReport:
    net = people.TwoLayerNet(4, 5, 3, slip)
    return tg.audit_step(lambda: net.train_step(X, LABELS), net, loss=lambda: net.loss(X, LABELS))


LAYERS: dict[str, tuple[Callable[[str], tg.AuditReport], dict[str, dict[str, str]]]] = {
    "affine": (
        lambda slip: tg.audit_layer(people.Affine(6, 4, slip), RNG.normal(size=(5, 2, 3))),
        {"mean": {"b": "factor"}, "sign": {"W": "sign"}, "rows": {"b": "sum"}},
    ),
    "relu": (
        lambda slip: tg.audit_layer(people.Relu(slip), X),
        {"missing": {"x": "mask"}, "of g": {"x": "mask"}, "inverted": {"x": "mask"}},
    ),
    "batch norm": (
        lambda slip: tg.audit_layer(people.BatchNorm(4, slip), X),
        {"gamma": {"x": "derivative"}, "variance": {"x": "path"}, "mean": {"x": "path"}},
    ),
    "layer norm": (
        lambda slip: tg.audit_layer(people.LayerNorm(4, slip), X.reshape(2, 3, 4)),
        {"bias": {"b": "factor"}, "g": {"x": "derivative"}, "variance": {"x": "path"}},
    ),
    "dropout": (
        lambda slip: tg.audit_layer(people.Dropout(0.4, slip), X),
        {"missing": {"x": "mask"}, "scale": {"x": "factor"}, "twice": {"x": "factor"}},
    ),
    "convolution": (
        lambda slip: tg.audit_layer(people.Conv(2, 2, 3, slip=slip), IMAGES),
        {"overwritten": {"x": "path"}, "last": {"W": "path"}, "bias": {"b": "factor"}},
    ),
    "max pool": (
        lambda slip: tg.audit_layer(people.MaxPool(2, slip), IMAGES),
        {"mask": {"x": "mask"}, "first": {"x": "path"}, "mean": {"x": "factor"}},
    ),
    "embedding": (
        lambda slip: tg.audit_layer(people.Embedding(7, 3, slip), np.array([1, 4, 1, 6, 1])),
        {"repeated": {"W": "path"}, "mean": {"W": "factor"}, "sign": {"W": "sign"}},
    ),
    "rnn": (
        lambda slip: tg.audit_layer(people.RNN(2, 3, slip), SERIES),
        {
            "value": dict.fromkeys(("x", "Wx", "Wh", "b"), "value"),
            "late": {"Wh": "value"},
            "carry": dict.fromkeys(("x", "Wx", "Wh", "b"), "path"),
        },
    ),
    "lstm": (
        lambda slip: tg.audit_layer(people.LSTM(2, 3, slip), SERIES.transpose(1, 2, 0)),
        {
            "tanh": dict.fromkeys(("xs", "W", "b"), "derivative"),
            "gate": dict.fromkeys(("xs", "W", "b"), "derivative"),
            "cell": dict.fromkeys(("xs", "W", "b"), "path"),
        },
    ),
    "attention": (
        lambda slip: tg.audit_layer(people.Attention(4, slip), X.reshape(2, 3, 4)),
        {
            "softmax": dict.fromkeys(("x", "Wq", "Wk"), "sum"),
            "scale": dict.fromkeys(("x", "Wq", "Wk"), "factor"),
            "path": {"x": "path"},
        },
    ),
    "softmax with loss": (
        lambda slip: tg.audit_layer(people.SoftmaxWithLoss(slip), (X, LABELS)),
        {"batch": {"x": "factor"}, "sign": {"x": "sign"}, "first": {"x": "elements"}},
    ),
    "two-layer network": (
        step,
        {
            "reg": {"W2": "path"},
            "early": {"W1": "value", "b1": "value"},
            "relu": {"W1": "mask", "b1": "mask"},
        },
    ),
}
CASES = [
    pytest.param(name, slip, marks=[] if number < 2 else [pytest.mark.slow])
    for name, (_, slips) in LAYERS.items()
    for number, slip in enumerate(("", *slips))
]
"""Each layer right and with one mistake; the other mistakes are slow tests."""


@pytest.mark.parametrize(("name", "slip"), CASES)
def test_a_layer_and_its_mistakes(name: str, slip: str) -> None:
    """Right where it is right, and each mistake named in the gradients that show it alone."""
    audit, slips = LAYERS[name]
    np.random.seed(1)  # one dropout mask of 300 looks like labels: one 0 a column, say
    report = audit(slip)
    wrong = {v.name: v.kind for v in report.verdicts if not v.right}
    assert wrong == slips.get(slip, {}), str(report)


@pytest.mark.parametrize(
    "seed",
    [
        0,
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 11)),
        *(pytest.param(seed, marks=pytest.mark.minutes) for seed in range(11, 25)),
    ],
)
def test_no_false_alarm_on_right_layers(seed: int) -> None:
    """Of other sizes, on other data, some of it whole numbers, so that relu stands at its kink."""
    rng = np.random.default_rng(seed)
    n, d, h, t = (int(k) for k in rng.integers(2, 6, 4))
    x = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-1, 2)
    layers: list[tuple[Any, Any]] = [
        (people.Affine(d, h), x),
        (people.Affine(d, h), np.round(x)),
        (people.Relu(), x),
        (people.Relu(), np.round(x)),
        (people.BatchNorm(d), rng.normal(size=(n + 1, d))),
        (people.LayerNorm(d), rng.normal(size=(n, t, d))),
        (people.Dropout(float(rng.uniform(0.1, 0.9))), x),
        (people.Conv(h - 1, 2, 3), rng.normal(size=(1, 2, d + 1, d))),
        (people.MaxPool(2), rng.normal(size=(n, d, 4, 6))),
        (people.Embedding(d, h), rng.integers(0, d, n + t)),
        (people.RNN(d, h), rng.normal(size=(n, t, d))),
        (people.LSTM(d, h), rng.normal(size=(t, d, n))),
        (people.Attention(d), rng.normal(size=(n, t, d))),
        (people.SoftmaxWithLoss(), (x, rng.integers(0, d, n))),
    ]
    for layer, inputs in layers:
        report = tg.audit_layer(layer, inputs, seed=seed)
        assert report, f"{layer}\n{report}"
    net = people.TwoLayerNet(d, h, 3)
    y = rng.integers(0, 3, n)
    report = tg.audit_step(lambda: net.train_step(x, y), net, loss=lambda: net.loss(x, y))
    assert report, str(report)


OWN = [
    ("affine", "mean", "self.db = np.mean(dout, axis=0)"),
    ("affine", "sign", "self.dW = -self.dW"),
    ("affine", "rows", "self.db = dout"),
    ("relu", "of g", "return np.maximum(dout, 0)"),
    ("relu", "missing", "return dout"),
    ("batch norm", "gamma", "dxn = dout"),
    ("dropout", "twice", "return dout * self.mask * self.mask"),
    ("convolution", "overwritten", "dx[i, :, a : a + k, c : c + k] = part"),
    ("max pool", "mean", "dx = dx / (s * s)"),
    ("embedding", "repeated", "self.dW[self.ids] += dout"),
    ("rnn", "value", "dz = (dout[:, i] + carry) * (1 - np.tanh(h) ** 2)"),
    ("rnn", "carry", "dz = (dout[:, i] + carry) * (1 - h**2)"),
    ("lstm", "tanh", "dc = dc_next + dh * o"),
    ("attention", "softmax", "ds = self.a * (1 - self.a) * da"),
    ("softmax with loss", "batch", "dx[np.arange(n), self.t] -= 1"),
    ("two-layer network", "reg", "d_w2 = h.T @ d"),
    ("two-layer network", "early", 'dh = d @ p["W2"].T'),
    ("two-layer network", "relu", 'dh = d @ p["W2"].T'),
]
"""The line of a backward pass at which each of these mistakes shows first."""


@pytest.mark.parametrize(("name", "slip", "line"), OWN)
def test_the_report_names_the_line_of_their_own_backward(name: str, slip: str, line: str) -> None:
    report = LAYERS[name][0](slip)
    assert [m.own_line.partition(": ")[2] for m in report.mistakes] == [line], str(report)
    assert report.mistakes[0].own_line.startswith("people.py:")


def test_every_gradient_of_a_layer_is_audited() -> None:
    assert {v.name for v in LAYERS["attention"][0]("").verdicts} == {"x", "Wq", "Wk", "Wv", "Wo"}
    assert {v.name for v in step("").verdicts} == {"W1", "b1", "W2", "b2"}


def test_a_layer_stays_as_it_is_and_generators_are_put_back() -> None:
    layer = people.Dropout()
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    assert tg.audit_layer(layer, X)
    assert not hasattr(layer, "mask")
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]


# Styles


class Rated:
    """The update stands inside backward; samples are columns."""

    late = False

    def __init__(self) -> None:
        self.weights, self.bias = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 1))

    def forward(self, input: Any) -> Any:
        self.input = input
        return np.dot(self.weights, self.input) + self.bias

    def backward(self, output_gradient: Any, learning_rate: float) -> Any:
        before = np.dot(self.weights.T, output_gradient)
        self.weights -= learning_rate * np.dot(output_gradient, self.input.T)
        self.bias -= learning_rate * output_gradient
        return np.dot(self.weights.T, output_gradient) if self.late else before


def test_an_update_inside_backward() -> None:
    layer = Rated()
    report = tg.audit_layer(layer, RNG.normal(size=(3, 1)))
    assert report and {v.name for v in report.verdicts} == {"input", "weights", "bias"}
    layer.late = True
    report = tg.audit_layer(layer, RNG.normal(size=(3, 1)))
    assert report["weights"].right and report["input"].kind == "value"
    assert "after its update with the learning rate 1" in report.mistakes[0].words


class Parameter:
    def __init__(self, value: Any) -> None:
        self.value, self.grad = value, np.zeros_like(value)


class Objects:
    def __init__(self) -> None:
        self.W, self.b = Parameter(RNG.normal(size=(4, 2))), Parameter(np.zeros(2))

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W.value + self.b.value

    def backward(self, d: Any) -> Any:
        self.W.grad += self.x.T @ d
        self.b.grad += d.sum(axis=0)
        return d @ self.W.value.T


class Lists:
    def __init__(self) -> None:
        self.params = [RNG.normal(size=(4, 2)), np.zeros(2)]
        self.grads = [np.zeros((4, 2)), np.zeros(2)]

    def forward(self, x: Any) -> Any:
        w, b = self.params
        self.x = x
        return np.dot(x, w) + b

    def backward(self, d: Any) -> Any:
        self.grads[0][...] = self.x.T @ d
        self.grads[1][...] = d.sum(axis=0)
        return d @ self.params[0].T


class Returned:
    def __init__(self) -> None:
        self._w, self._b = RNG.normal(size=(4, 2)), np.zeros((1, 2))

    def forward(self, x: Any) -> Any:
        self._x = x
        return x @ self._w + self._b

    def backward(self, d: Any) -> Any:
        return d @ self._w.T, self._x.T @ d, d.sum(axis=0, keepdims=True)


class Summed:
    """A product by three loops, added up in place, and a generator of its own."""

    def __init__(self) -> None:
        self.W, self.rng = RNG.normal(size=(2, 4)), np.random.default_rng(3)

    def forward(self, x: Any) -> Any:
        self.x, self.keep = x, self.rng.random(x.shape) < 0.7
        out = np.zeros((len(x), 2))
        for i in range(len(x)):
            for j in range(2):
                for k in range(4):
                    out[i, j] += self.W[j, k] * x[i, k] * self.keep[i, k]
        return out

    def backward(self, d: Any) -> Any:
        self.dW = d.T @ (self.x * self.keep)
        return d @ self.W * self.keep


class Columns:
    """im2col: windows written into an array of zeros."""

    def __init__(self) -> None:
        self.W = RNG.normal(size=(2, 2, 3, 3))

    def forward(self, x: Any) -> Any:
        n, c, h, w = self.shape = x.shape
        columns = np.zeros((n, c, 3, 3, h - 2, w - 2))
        for i in range(3):
            for j in range(3):
                columns[:, :, i, j, :, :] = x[:, :, i : i + h - 2, j : j + w - 2]
        self.columns = columns.transpose(0, 4, 5, 1, 2, 3).reshape(n * (h - 2) * (w - 2), -1)
        out = self.columns @ self.W.reshape(2, -1).T
        return out.reshape(n, h - 2, w - 2, -1).transpose(0, 3, 1, 2)

    def backward(self, d: Any) -> Any:
        n, c, h, w = self.shape
        d = d.transpose(0, 2, 3, 1).reshape(-1, 2)
        self.dW = (self.columns.T @ d).T.reshape(self.W.shape)
        back = (d @ self.W.reshape(2, -1)).reshape(n, h - 2, w - 2, c, 3, 3)
        back = back.transpose(0, 3, 4, 5, 1, 2)
        dx = np.zeros(self.shape)
        for i in range(3):
            for j in range(3):
                dx[:, :, i : i + h - 2, j : j + w - 2] += back[:, :, i, j]
        return dx


class Prepared:
    """Writes to arrays that were made before."""

    def __init__(self) -> None:
        self.W, self.out = RNG.normal(size=4), np.zeros(6)

    def forward(self, x: Any) -> Any:
        self.x = x
        for i in range(len(x)):
            self.out[i] = x[i] @ self.W
        return self.out

    def backward(self, d: Any) -> Any:
        self.dW = d @ self.x
        return np.outer(d, self.W)


@pytest.mark.parametrize(
    ("layer", "x", "names"),
    [
        (Prepared(), X, {"x", "W"}),
        (Objects(), X, {"x", "W.value", "b.value"}),
        (Lists(), X, {"x", "params.0", "params.1"}),
        (Returned(), X, {"x", "_w", "_b"}),
        (Summed(), X, {"x", "W"}),
        (Columns(), IMAGES, {"x", "W"}),
    ],
)
def test_styles_of_layers(layer: Any, x: Any, names: set[str]) -> None:
    report = tg.audit_layer(layer, x)
    assert report, str(report)
    assert {v.name for v in report.verdicts} == names


def cell_forward(x: Any, prev_h: Any, prev_c: Any, Wx: Any, Wh: Any, b: Any) -> Any:
    n = prev_h.shape[1]
    a = x.dot(Wx) + prev_h.dot(Wh) + b
    i, f, o = sigmoid(a[:, :n]), sigmoid(a[:, n : 2 * n]), sigmoid(a[:, 2 * n : 3 * n])
    g = np.tanh(a[:, 3 * n :])
    c = f * prev_c + i * g
    return o * np.tanh(c), c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, c)


def cell_backward(dh: Any, dc: Any, cache: Any) -> Any:
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, c = cache
    t = np.tanh(c)
    dc = dc + dh * o * (1 - t * t)
    parts = dc * g * i * (1 - i), dc * prev_c * f * (1 - f), dh * t * o * (1 - o)
    da = np.hstack([*parts, dc * i * (1 - g * g)])
    return da @ Wx.T, da @ Wh.T, dc * f, x.T @ da, prev_h.T @ da, da.sum(axis=0)


def test_functions_with_a_cache() -> None:
    states = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3))
    weights = {"Wx": RNG.normal(size=(4, 12)), "Wh": RNG.normal(size=(3, 12)), "b": np.ones(12)}
    report = tg.audit_layer(cell_forward, states, backward=cell_backward, params=weights)
    assert report and len(report.verdicts) == 6

    def wrong(dh: Any, dc: Any, cache: Any) -> Any:
        return cell_backward(dh, 0, cache)

    report = tg.audit_layer(cell_forward, states, backward=wrong, params=weights)
    assert {v.kind for v in report.verdicts} == {"path"}


def test_params_are_named_or_placed() -> None:
    layer = people.Affine(6, 4)
    report = tg.audit_layer(layer, RNG.normal(size=(5, 6)), params=["b"])
    assert {v.name for v in report.verdicts} == {"x", "b"}
    report = tg.audit_layer(layer, RNG.normal(size=(5, 6)), params={"W": "db"})
    assert report["W"].kind in ("sum", "unknown", "shape")
    report = tg.audit_layer(layer, RNG.normal(size=(5, 6)), params={"W": "dW"})
    assert report and {v.name for v in report.verdicts} == {"x", "W"}
    with pytest.raises(ValueError, match="does not have; it has: W, b"):
        tg.audit_layer(layer, RNG.normal(size=(5, 6)), params=["V"])


def test_backward_may_be_a_method_or_a_function_of_its_own() -> None:
    layer, x = people.Affine(6, 4), RNG.normal(size=(5, 6))
    audits: list[Callable[[], tg.AuditReport]] = [
        lambda: tg.audit_layer(layer, x, backward=layer.backward),
        lambda: tg.audit_layer(layer.forward, x),
        lambda: tg.audit_layer(layer, x, backward=lambda g: layer.backward(g)),
        lambda: tg.audit_layer(layer, x, forward="forward", backward="backward"),
    ]
    for audit in audits:
        report = audit()
        assert report and {v.name for v in report.verdicts} == {"x", "W", "b"}
        assert layer.x is None and layer.dW is None


def test_a_layer_without_gradients_is_refused() -> None:
    class Nothing:
        def forward(self, x: Any) -> Any:
            return x * 2

        def backward(self, g: Any) -> None:
            return None

    with pytest.raises(ValueError, match="say where they are"):
        tg.audit_layer(Nothing(), X)
    with pytest.raises(TypeError, match="has no method forward or __call__"):
        tg.audit_layer(object(), X)
    with pytest.raises(TypeError, match="give the backward function"):
        tg.audit_layer(cell_forward, X)


# Updates


def line(w: Any, b: Any, x: Any, y: Any) -> Any:
    return ((w * x + b - y) ** 2).mean()


@pytest.mark.parametrize("lr", [None, 0.05])
def test_an_update_of_a_dict(lr: float | None) -> None:
    x, y = RNG.normal(size=(2, 8))
    p = {"w": np.array(0.3), "b": np.array(-0.2)}

    def train() -> None:
        error = p["w"] * x + p["b"] - y
        p["w"] = p["w"] - 0.05 * 2 * (error * x).mean()
        p["b"] = p["b"] - 0.05 * 2 * error.mean()

    report = tg.audit_step(train, p, lr=lr, loss=lambda: line(p["w"], p["b"], x, y))
    assert report and "divided by 0.05" in report.notes[0]
    assert p["w"] == 0.3 and p["b"] == -0.2


def test_a_batch_size_in_the_learning_rate_is_named() -> None:
    x, y = RNG.normal(size=(2, 8))
    p = {"w": np.array([0.3]), "b": np.array([-0.2])}

    def train() -> None:
        error = p["w"] * x + p["b"] - y
        p["w"] -= 0.05 * 2 * (error * x).sum()
        p["b"] -= 0.05 * 2 * error.sum()

    report = tg.audit_step(train, p, lr=0.05, loss=lambda: line(p["w"], p["b"], x, y))
    assert report["w"].kind == report["b"].kind == "factor"
    assert "8 (the batch size" in str(report)
    assert tg.audit_step(train, p, loss=lambda: line(p["w"], p["b"], x, y))


@pytest.mark.parametrize("activation", [tg.relu, lambda z: np.maximum(z, 0)])
def test_the_loss_of_an_update_may_use_ops(activation: Callable[[Any], Any]) -> None:
    p = {"w": RNG.normal(size=(4, 3)), "b": np.full(3, 0.1)}

    def train() -> None:
        h = np.maximum(X @ p["w"] + p["b"], 0)
        p["w"] = p["w"] - 0.1 * X.T @ (2 * h)
        p["b"] = p["b"] - 0.1 * 2 * h.sum(0)

    assert tg.audit_step(train, p, loss=lambda: (activation(X @ p["w"] + p["b"]) ** 2).sum())


@pytest.mark.parametrize("more", [0, 1])
def test_one_element_can_be_written_to(more: int) -> None:
    def loss(x: Any) -> Any:
        h = x.copy()
        h[0] = 0
        h[1] = x[2] * more + 1
        return (h * h).sum()

    true = np.array([0, 0, 10 + 2 * (5 * more + 1) * more])
    assert tg.audit(loss, {"x": np.array([3.0, 4.0, 5.0])}, {"x": true})


def test_a_line_is_the_users_also_where_numpy_calls_the_op() -> None:
    def loss(x: Any) -> Any:
        h = x.copy()
        h[0] = 0
        return (np.exp(h) + h / 3).sum()

    x = np.arange(1.0, 4.0)
    report = str(tg.audit(loss, {"x": x}, {"x": np.where(x > 1, np.exp(x) - 1 / 3, 0)}))
    assert "the gradient of divide has the wrong sign" in report
    assert "where: test_audit_layers.py:" in report


def test_a_line_of_a_notebook_names_its_cell(tmp_path: Path) -> None:
    cell = tmp_path / "ipykernel_42" / "757017836.py"
    space: dict[str, Any] = {"__name__": "__main__", "np": np}
    exec(compile("def loss(x):\n    return (np.exp(x) + x / 3).sum()", cell, "exec"), space)
    x = np.arange(1.0, 4.0)
    report = str(tg.audit(space["loss"], {"x": x}, {"x": np.exp(x) - 1 / 3}))
    assert "where: cell, line 2" in report and "757017836" not in report


def test_a_step_that_changes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="changed none of the parameters"):
        tg.audit_step(lambda: None, {"w": X}, loss=lambda: X.sum())


# f as NumPy code


def test_f_may_write_in_place() -> None:
    def f(x: Any) -> Any:
        out = x.copy()
        out[out < 0] = 0
        out += 1
        total = np.zeros(3)
        for i in range(3):
            total[i] = (out[i] ** 2).sum()
        return total.sum()

    assert tg.audit(f, X, 2 * (np.maximum(X, 0) + 1) * (X > 0) * (np.arange(6) < 3)[:, None])


def test_views_that_are_written_to_change_their_base() -> None:
    def f(x: Any) -> Any:
        out = np.zeros((6, 4))
        for i in range(6):
            row = out[i]
            row[...] = x[i] * (i + 1)
            row[0] *= 2
        return (out * out).sum()

    weights = np.arange(1.0, 7)[:, None] * np.array([2.0, 1, 1, 1])
    assert tg.audit(f, X, 2 * X * weights**2)


def test_numpy_itself_is_left_alone() -> None:
    before = np.zeros
    tg.audit_layer(people.MaxPool(), IMAGES)
    assert np.zeros is before and np.random.rand(3).shape == (3,)
    assert vars(people)["np"] is np
