"""Mistakes that people make, each in a network of its own, and what the audit says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.audit.people import sigmoid
from tinygrad_np.auditing import kinks, paths, problem
from tinygrad_np.auditing import passes as passes_of

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(6, 5)), RNG.normal(size=(6, 4))
LABELS = np.array([0, 1, 2, 3, 1, 0])
ONE_HOT = np.eye(4)[LABELS]
W1, W2, W3 = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 4)), RNG.normal(size=(4, 4))
B1, B2 = RNG.normal(size=3), RNG.normal(size=4)
Given = dict[str, Any]
Make = Callable[[], Any]
CASES: list[tuple[str, dict[str, str], str, Make]] = []


def case(word: str, **kinds: str) -> Callable[[Make], Make]:
    """A case: a word of the message, and the kind of each gradient's mistake ("": right)."""

    def add(make: Make) -> Make:
        CASES.append((make.__name__, kinds, word, make))
        return make

    return add


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def two_layers(slope: Callable[..., Any], name: str = "sigmoid", bias: Any = None) -> Any:
    """A network of two layers, whose hidden derivative is ``slope(g, z, h)``; and of the bias."""
    z = X @ W1 + B1
    functions: Given = {"sigmoid": sigmoid, "tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}
    h = functions[name](z)
    d = (softmax(h @ W2 + B2) - ONE_HOT) / 6
    e = slope(d @ W2.T, z, h)
    eb = e if bias is None else bias(d @ W2.T, z, h)

    def f(W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
        return tg.softmax_cross_entropy(getattr(tg, name)(X @ W1 + b1) @ W2 + b2, LABELS)

    given = {"W2": h.T @ d, "b2": d.sum(axis=0), "W1": X.T @ e, "b1": eb.sum(axis=0)}
    return f, {"W1": W1, "b1": B1, "W2": W2, "b2": B2}, given


HIDDEN = {"W2": "", "b2": ""}


@case("derivative of tanh is missing", W1="", b1="derivative", **HIDDEN)
def missing_in_the_bias_alone() -> Any:
    return two_layers(lambda g, z, h: g * (1 - h * h), "tanh", lambda g, z, h: g)


@case("the function itself", W1="derivative", b1="derivative", **HIDDEN)
def the_function_in_place_of_its_derivative() -> Any:
    return two_layers(lambda g, z, h: g * h)


@case("not multiplied", W1="derivative", b1="derivative", **HIDDEN)
def the_gradient_forgotten() -> Any:
    return two_layers(lambda g, z, h: h * (1 - h))


@case("taken at the incoming gradient", W1="value", b1="value", **HIDDEN)
def the_derivative_of_the_gradient() -> Any:
    return two_layers(lambda g, z, h: 1 - np.tanh(g) ** 2, "tanh")


@case("applied to the incoming gradient", W1="mask", b1="mask", **HIDDEN)
def relu_of_the_gradient() -> Any:
    return two_layers(lambda g, z, h: np.maximum(g, 0), "relu")


@case("as well as its mask", W1="mask", b1="mask", **HIDDEN)
def relu_of_the_gradient_too() -> Any:
    return two_layers(lambda g, z, h: np.maximum(g, 0) * (h > 0), "relu")


@case("takes its input, add 1, for its own result", W1="value", b1="value", **HIDDEN)
def the_derivative_of_the_input() -> Any:
    return two_layers(lambda g, z, h: g * z * (1 - z))


@case("learning rate 0.05", W3="", W2="value", W1="value")
def weights_updated_too_early() -> Any:
    a = sigmoid(X @ W1)
    b = sigmoid(a @ W2)
    d3 = b @ W3 - Y
    g3 = b.T @ d3
    d2 = d3 @ (W3 - 0.05 * g3).T * b * (1 - b)
    g2 = a.T @ d2
    d1 = d2 @ (W2 - 0.05 * g2).T * a * (1 - a)

    def f(W1: Any, W2: Any, W3: Any) -> Any:
        return 0.5 * ((tg.sigmoid(tg.sigmoid(X @ W1) @ W2) @ W3 - Y) ** 2).sum()

    return f, {"W1": W1, "W2": W2, "W3": W3}, {"W3": g3, "W2": g2, "W1": X.T @ d1}


def squared_softmax(jacobian: Callable[..., Any], slope: Callable[..., Any]) -> Any:
    h = sigmoid(X @ W1)
    p = softmax(h @ W2)
    d = jacobian(p - ONE_HOT, p)
    e = slope(d @ W2.T, h)

    def f(W1: Any, W2: Any) -> Any:
        return 0.5 * ((tg.softmax(tg.sigmoid(X @ W1) @ W2) - ONE_HOT) ** 2).sum()

    return f, {"W1": W1, "W2": W2}, {"W2": h.T @ d, "W1": X.T @ e}


@case("only its diagonal", W2="sum", W1="sum + value")
def softmax_by_its_diagonal_and_a_wrong_value() -> Any:
    return squared_softmax(
        lambda g, p: g * p * (1 - p), lambda g, h: g * sigmoid(h) * (1 - sigmoid(h))
    )


@case("the derivative of softmax is missing", W2="derivative", W1="derivative + value")
def softmax_left_out_and_a_wrong_value() -> Any:
    return squared_softmax(lambda g, p: g, lambda g, h: g * sigmoid(h) * (1 - sigmoid(h)))


@case("regularisation of b", W="", b="path")
def a_bias_regularised() -> Any:
    W, b = W2, B2
    h = X[:, :3]
    d = (softmax(h @ W + b) - ONE_HOT) / 6

    def f(W: Any, b: Any) -> Any:
        return tg.softmax_cross_entropy(h @ W + b, LABELS) + 0.1 * (W * W).sum()

    return f, {"W": W, "b": b}, {"W": h.T @ d + 0.2 * W, "b": d.sum(axis=0) + 0.2 * b}


def normalised(dx: Callable[..., Any], late: bool = False) -> Any:
    """Batch normalisation of six rows, with the gain before or after the division."""
    x, c = X[:, :4], Y
    gamma = np.array([0.5, -1.5, 2.0, 1.2])
    inv = 1 / np.sqrt(x.var(axis=0) + 1e-5)
    n = (x - x.mean(axis=0)) * inv

    def f(x: Any, gamma: Any) -> Any:
        mean, var = x.mean(axis=0, keepdims=True), x.var(axis=0, keepdims=True)
        if late:
            return (gamma * ((x - mean) / tg.sqrt(var + 1e-5)) * c).sum()
        return (gamma * (x - mean) / tg.sqrt(var + 1e-5) * c).sum()

    return f, {"x": x, "gamma": gamma}, {"gamma": (c * n).sum(axis=0), "x": dx(c, gamma, n, inv)}


def true_dx(d: Any, n: Any, inv: Any) -> Any:
    return inv * (d - d.mean(axis=0) - n * (d * n).mean(axis=0))


@case("treated as a constant", gamma="", x="path")
def mean_and_variance_as_constants() -> Any:
    return normalised(lambda c, gamma, n, inv: c * gamma * inv)


@case("over axis 1, not over axis 0", gamma="", x="sum")
def a_mean_over_the_wrong_axis() -> Any:
    def dx(c: Any, gamma: Any, n: Any, inv: Any) -> Any:
        d = c * gamma
        return inv * (d - d.mean(axis=1, keepdims=True) - n * (d * n).mean(axis=0))

    return normalised(dx, late=True)


@case("", gamma="", x="derivative")
def the_gain_forgotten() -> Any:
    return normalised(lambda c, gamma, n, inv: true_dx(c, n, inv), late=True)


@case("", gamma="", x="derivative")
def the_gain_forgotten_in_another_grouping() -> Any:
    return normalised(lambda c, gamma, n, inv: true_dx(c, n, inv))


@case("√3 (the width", Q="factor", K="factor")
def attention_without_its_scale() -> Any:
    Q, K, V = RNG.normal(size=(2, 4, 3)), RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 5, 6))
    c, s = RNG.normal(size=(2, 4, 6)), 1 / np.sqrt(3)
    a = softmax(Q @ K.swapaxes(-2, -1) * s)
    g = c @ V.swapaxes(-2, -1)
    g = a * (g - (a * g).sum(axis=-1, keepdims=True))

    def f(Q: Any, K: Any) -> Any:
        return (tg.softmax(Q @ tg.swapaxes(K, -2, -1) * s) @ V * c).sum()

    return f, {"Q": Q, "K": K}, {"Q": g @ K, "K": g.swapaxes(-2, -1) @ Q}


@case("only its diagonal is there", Q="sum", K="sum")
def causal_attention_whose_softmax_is_not_summed() -> Any:
    Q, K, V, c = RNG.normal(size=(4, 2, 4, 3))
    s, seen = 1 / np.sqrt(3), np.tri(4, dtype=bool)
    a = softmax(np.where(seen, Q @ K.swapaxes(-2, -1) * s, -np.inf))
    g = (c @ V.swapaxes(-2, -1)) * a * (1 - a) * s

    def f(Q: Any, K: Any) -> Any:
        return (tg.scaled_dot_product_attention(Q, K, V, is_causal=True) * c).sum()

    return f, {"Q": Q, "K": K}, {"Q": g @ K, "K": g.swapaxes(-2, -1) @ Q}


@case("comes from matmul 2 is transposed", W="transpose")
def a_transpose_for_one_use_alone() -> Any:
    x, c = X[:, :4], RNG.normal(size=(6, 4))
    h = np.tanh(x @ W3)
    d = c * (1 - np.tanh(h @ W3) ** 2)
    e = d @ W3.T * (1 - h * h)
    given = (h.T @ d).T + x.T @ e
    return lambda W: (tg.tanh(tg.tanh(x @ W) @ W) * c).sum(), {"W": W3}, {"W": given}


def correlation(dx: Any, dw: Any, turns: int = 4) -> Any:
    x, w, c = RNG.normal(size=(6, 6)), RNG.normal(size=(3, 3)), RNG.normal(size=(4, 4))

    def f(x: Any, w: Any) -> Any:
        loss: Any = 0.0
        for i in range(4):
            for j in range(4):
                loss = loss + (x[i : i + 3, j : j + 3] * w).sum() * c[i, j]
        return loss

    given = {"x": np.zeros((6, 6)), "w": np.zeros((3, 3))}
    for i in range(turns):
        for j in range(turns):
            dx(given["x"], (slice(i, i + 3), slice(j, j + 3)), c[i, j] * w)
            dw(given["w"], ..., c[i, j] * x[i : i + 3, j : j + 3])
    return f, {"x": x, "w": w}, given


def add(out: Any, at: Any, value: Any) -> None:
    out[at] += value


def put(out: Any, at: Any, value: Any) -> None:
    out[at] = value


@case("overlap overwrite each other", x="path", w="")
def overlapping_windows_overwritten() -> Any:
    return correlation(put, add)


@case("the last turn of the loop alone", x="", w="path")
def a_loop_that_keeps_its_last_turn() -> Any:
    return correlation(add, put)


@case("rotated by 180°", x="value", w="")
def a_kernel_not_rotated() -> Any:
    return correlation(lambda out, at, v: add(out, at, v[::-1, ::-1]), add)


@case("7 of 16 turns of the loop over x are left out", x="path", w="path")
def loops_that_end_too_early() -> Any:
    return correlation(add, add, turns=3)


def recurrent(
    carry: Callable[..., Any],
    outer: Callable[..., Any] = lambda t, c: c[t],
) -> Any:
    x, c = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 3))
    U, W = RNG.normal(size=(2, 3)), RNG.normal(size=(3, 3))

    def f(U: Any, W: Any) -> Any:
        h: Any = np.zeros(3)
        loss: Any = 0.0
        for t in range(5):
            h = tg.tanh(x[t] @ U + h @ W)
            loss = loss + (h * c[t]).sum()
        return loss

    h = {-1: np.zeros(3)}
    for t in range(5):
        h[t] = np.tanh(x[t] @ U + h[t - 1] @ W)
    given, back = {"U": 0 * U, "W": 0 * W}, np.zeros(3)
    for t in reversed(range(5)):
        d = (outer(t, c) + back) * (1 - h[t] ** 2)
        given["U"] += np.outer(x[t], d)
        given["W"] += np.outer(h[t - 1], d)
        back = carry(d, W)
    return f, {"U": U, "W": W}, given


@case("comes back through time", U="path", W="path")
def nothing_carried_back_through_time() -> Any:
    return recurrent(lambda d, W: 0 * d)


@case("W stands transposed", U="transpose", W="transpose")
def carried_back_by_the_matrix_itself() -> Any:
    return recurrent(lambda d, W: d @ W)


@case("is missing", U="path", W="path")
def the_last_output_alone() -> Any:
    return recurrent(lambda d, W: d @ W.T, lambda t, c: c[t] * (t == 4))


@case("inner derivative", x="derivative")
def the_inner_derivative_missing() -> Any:
    x, c = RNG.normal(size=(2, 9))
    return lambda x: (x * tg.tanh(0.5 * x**3) * c).sum(), {"x": x}, {
        "x": c * (np.tanh(0.5 * x**3) + x * (1 - np.tanh(0.5 * x**3) ** 2))
    }  # fmt: skip


@case("derivative of tanh is missing", w="derivative", b="derivative")
def a_single_neuron() -> Any:
    x, w, b = np.array(1.3), np.array(0.7), np.array(0.2)
    error = 2 * (np.tanh(w * x + b) - 1)
    given = {"w": error * x, "b": error}
    return lambda w, b: (tg.tanh(w * x + b) - 1.0) ** 2, {"w": w, "b": b}, given


@case("row 5 alone", W="sum", b="")
def the_last_sample_alone() -> Any:
    h = X[:, :3]
    d = (softmax(h @ W2 + B2) - ONE_HOT) / 6
    given = {"W": np.outer(h[-1], d[-1]), "b": d.sum(axis=0)}

    def f(W: Any, b: Any) -> Any:
        return tg.softmax_cross_entropy(h @ W + b, LABELS)

    return f, {"W": W2, "b": B2}, given


@case("is the inner product", W="sum", b="")
def an_inner_product_for_an_outer_one() -> Any:
    x, y = X[0], Y[0]
    z = sigmoid(x @ RNG.normal(size=(5, 4)) + B2)
    W = RNG.normal(size=(4, 4))
    d = z @ W + B2 - y

    def f(W: Any, b: Any) -> Any:
        return 0.5 * ((z @ W + b - y) ** 2).sum()

    return f, {"W": W, "b": B2}, {"W": np.dot(z, d), "b": d}


@pytest.mark.parametrize(
    ("kinds", "word", "make"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_mistake_is_named(kinds: dict[str, str], word: str, make: Any) -> None:
    f, inputs, given = make()
    report = tg.audit(f, inputs, given)
    assert {v.name: v.kind for v in report.verdicts} == kinds, str(report)
    assert all(v.right == (v.kind == "") for v in report.verdicts)
    assert word in str(report), str(report)


# What is right


def test_the_other_side_of_a_kink_is_right() -> None:
    x = np.vstack([X[:3], np.zeros(5)])
    z, c = x @ W1, Y[:4, :3]
    given = {"W": x.T @ (c * (z >= 0)), "b": (c * (z >= 0)).sum(axis=0)}
    inputs = {"W": W1, "b": np.zeros(3)}
    report = tg.audit(lambda W, b: (tg.relu(x @ W + b) * c).sum(), inputs, given)
    assert report and "kink" in report.notes[0] and report.notes[0].startswith("b:")
    given["W"] = given["W"] * 2
    report = tg.audit(lambda W, b: (tg.relu(x @ W + b) * c).sum(), inputs, given)
    assert report["b"].right and report["W"].kind == "factor"


@pytest.mark.parametrize("side", [0.0, 0.5, 1.0])
def test_either_side_of_a_maximum_with_a_constant(side: float) -> None:
    x, c = np.array([0.0, 1.0, -2.0]), np.array([1.0, 2.0, 3.0])
    slope = np.array([side, 1, 0])
    assert tg.audit(lambda x: (tg.maximum(0.0, x) * c).sum(), x, c * slope)


@pytest.mark.parametrize("which", ["first", "last", "each"])
def test_ties_of_a_maximum(which: str) -> None:
    """One of them, or all in equal shares, is right; the whole gradient to each is not."""
    x, c = np.array([[1.0, 3.0, 3.0], [2.0, 1.0, 0.0]]), np.array([1.0, -2.0])
    ties = (x == x.max(axis=1, keepdims=True)) * 1.0
    first = np.eye(3)[x.argmax(axis=1)]
    last = np.eye(3)[2 - x[:, ::-1].argmax(axis=1)]
    weights = {"first": first, "last": last, "each": ties}[which]
    report = tg.audit(lambda x: (x.max(axis=1) * c).sum(), x, c[:, None] * weights)
    assert bool(report) == (which != "each")
    assert report["x"].kind == ("mask" if which == "each" else "")


def test_an_epsilon_that_the_derivation_leaves_out_is_a_note() -> None:
    h = X[:, :3]
    d = (softmax(h @ W2 * 0.01) - ONE_HOT) / 6
    rows = np.arange(6)

    def f(W: Any) -> Any:
        return -tg.log(tg.softmax(h @ W)[rows, LABELS] + 1e-7).sum() / 6

    report = tg.audit(f, W2 * 0.01, h.T @ d)
    assert report and "epsilon 1e-07" in report.notes[0] and "rtol" in report.notes[0]


def test_a_gradient_that_broadcasts_is_a_shape() -> None:
    report = tg.audit(lambda w: (X @ w).sum(), {"w": np.ones(5)}, {"w": X.sum(axis=0)[None]})
    assert report["w"].kind == "shape"


def test_labels_are_no_masks_and_equal_explanations_stand_side_by_side() -> None:
    x, y = X[:, :3], np.eye(2)[[0, 1, 1, 0, 0, 1]]
    W = RNG.normal(size=(3, 2))
    p = softmax(x @ W)

    def f(W: Any) -> Any:
        p = tg.softmax(x @ W)
        return -(y * tg.log(p) + (1 - y) * tg.log(1 - p)).sum() / 6

    d = (-y / p + (1 - y) / (1 - p)) / 6 * p * (1 - p)
    report = tg.audit(f, W, x.T @ d)
    assert report["W"].kind == "factor" and "mask of" not in str(report)
    assert any("only its diagonal" in words for words in report.mistakes[0].also)


def test_the_source_line_is_named() -> None:
    def f(w: Any) -> Any:
        h = tg.tanh(X @ w)
        return (h * Y).sum()

    w = RNG.normal(size=(5, 4))
    report = tg.audit(f, w, X.T @ Y)
    assert report.mistakes[0].line.startswith("test_audit_kinds.py:")
    assert report.mistakes[0].line.endswith(": h = tg.tanh(X @ w)")
    assert "where: test_audit_kinds.py:" in str(report) and "<pre>" in report._repr_html_()


def test_unknown_says_what_can_be_seen() -> None:
    c, w = RNG.normal(size=(6, 4)), RNG.normal(size=(5, 4))
    wrong = X.T @ c
    wrong[:, 1:] = RNG.normal(size=(5, 3))
    report = tg.audit(lambda w: ((X @ w) * c).sum(), w, wrong)
    assert report["input 0" if "input 0" in str(report) else "w"].kind == "unknown"
    words = report.mistakes[0].words
    assert "right in columns 0" in words and "its cosine with the true one is" in words


# Long recurrent networks


@pytest.mark.slow
def test_a_cell_of_many_steps_takes_few_backward_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass of each mistake at each step would be some 20,000."""
    steps, passes, run = 25, list[int](), passes_of.run

    def counted(*arguments: Any) -> Any:
        passes.append(1)
        return run(*arguments)

    for module in (problem, paths, kinks):
        monkeypatch.setattr(module, "run", counted)
    x, t = RNG.normal(size=(steps, 2)), RNG.integers(0, 4, steps)
    names = "f", "i", "o", "g"
    p = {f"W{n}": 0.5 * RNG.normal(size=(5, 3)) for n in names} | {"V": RNG.normal(size=(3, 4))}

    def f(**w: Any) -> Any:
        h: Any = np.zeros(3)
        c: Any = np.ones(3)
        loss: Any = 0.0
        for k in range(steps):
            z = tg.concatenate([h, x[k]])
            i, o = tg.sigmoid(z @ w["Wi"]), tg.sigmoid(z @ w["Wo"])
            c = tg.sigmoid(z @ w["Wf"]) * c + i * tg.tanh(z @ w["Wg"])
            h = o * tg.tanh(c)
            loss = loss - tg.log_softmax(h @ w["V"])[t[k]]
        return loss

    def by_hand(slope: Any, carry: bool) -> Given:
        h, c, z, gates = {-1: np.zeros(3)}, {-1: np.ones(3)}, {}, {}
        for k in range(steps):
            z[k] = np.concatenate([h[k - 1], x[k]])
            a = {n: z[k] @ p[f"W{n}"] for n in names}
            gates[k] = {n: np.tanh(a[n]) if n == "g" else sigmoid(a[n]) for n in names}
            c[k] = gates[k]["f"] * c[k - 1] + gates[k]["i"] * gates[k]["g"]
            h[k] = gates[k]["o"] * np.tanh(c[k])
        given: Given = {n: np.zeros_like(v) for n, v in p.items()}
        dh, dc = np.zeros(3), np.zeros(3)
        for k in reversed(range(steps)):
            q = gates[k]
            d = softmax(h[k] @ p["V"]) - np.eye(4)[t[k]]
            given["V"] += np.outer(h[k], d)
            dh = dh + d @ p["V"].T
            dc = dc + dh * q["o"] * (1 - np.tanh(c[k]) ** 2)
            parts = {
                "o": dh * np.tanh(c[k]),
                "g": dc * q["i"],
                "i": dc * q["g"],
                "f": dc * c[k - 1],
            }
            da = {n: g * (1 - q[n] ** 2 if n == "g" else slope(q[n])) for n, g in parts.items()}
            for n in names:
                given[f"W{n}"] += np.outer(z[k], da[n])
            dh = sum((da[n] @ p[f"W{n}"].T)[:3] for n in names) * carry
            dc = dc * q["f"] * carry
        return given

    assert tg.audit(f, p, by_hand(lambda s: s * (1 - s), True))
    for slope, carry, kind in (
        (lambda s: sigmoid(s) * (1 - sigmoid(s)), True, "value"),
        (lambda s: s, True, "derivative"),
        (lambda s: s * (1 - s), False, "path"),
    ):
        passes.clear()
        report = tg.audit(f, p, by_hand(slope, carry))
        assert {v.name: v.kind for v in report.verdicts} == {
            "V": "", "Wf": kind, "Wi": kind, "Wo": kind, "Wg": kind
        }, str(report)  # fmt: skip
        assert len(passes) < 2_000


DEVIATIONS: dict[str, Any] = {
    "var": lambda x, d, axis: tg.sqrt(x.var(axis=axis, keepdims=True) + 1e-5),
    "mean of squares": lambda x, d, axis: tg.sqrt((d**2).mean(axis=axis, keepdims=True) + 1e-5),
    "inverse": lambda x, d, axis: 1 / tg.sqrt((d * d).mean(axis=axis, keepdims=True) + 1e-5),
}


@pytest.mark.parametrize("style", DEVIATIONS)
@pytest.mark.parametrize("wrong", ["mean", "variance", "both"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_normalisation_over_the_wrong_axis_is_named(style: str, wrong: str, axis: int) -> None:
    x, c = RNG.normal(size=(5, 4)), RNG.normal(size=(5, 4))

    def f(x: Any) -> Any:
        d = x - x.mean(axis=axis, keepdims=True)
        deviation = DEVIATIONS[style](x, d, axis)
        return ((d * deviation if style == "inverse" else d / deviation) * c).sum()

    def mean(values: Any, is_wrong: bool) -> Any:
        return values.mean(axis=1 - axis if is_wrong else axis, keepdims=True)

    inv = 1 / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    xn = (x - mean(x, False)) * inv
    share = xn * mean(c * xn, wrong != "mean")
    report = tg.audit(f, {"x": x}, {"x": inv * (c - mean(c, wrong != "variance") - share)})
    assert report["x"].kind == "sum", str(report)
    assert f"over axis {1 - axis}, not over axis {axis}" in report.mistakes[0].words
    assert ("and so is" in report.mistakes[0].words) == (wrong == "both")
