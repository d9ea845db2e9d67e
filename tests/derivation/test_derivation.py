"""``tg.derivation``: what it takes, what it names, what it refuses."""

import keyword
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.derivation.test_ops import assert_near, run
from tinygrad_np import nn
from tinygrad_np.cases import case, normal

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4))
LABELS = RNG.integers(0, 3, 6)


def leaf(*shape: int, name: str | None = None, dtype: Any = np.float64) -> tg.Tensor:
    rng = np.random.default_rng(len(shape))
    return tg.Tensor(rng.normal(size=shape), requires_grad=True, name=name, dtype=dtype)


def body(source: str) -> list[str]:
    """The statements, without comments."""
    lines = [line.strip().partition("  #")[0].strip() for line in source.splitlines()]
    start = next(i for i, line in enumerate(lines) if line == "# Forward")
    return [line for line in lines[start:] if line and not line.startswith("#")]


# What it is of


def test_a_loss_before_backward() -> None:
    W, b = leaf(4, 3, name="W"), leaf(3, name="b")
    loss = tg.softmax_cross_entropy(X @ W + b, LABELS)
    derived = tg.derivation(loss, names={"x": X, "labels": LABELS, "W": W, "b": b})
    assert derived.known
    _, gradients = run(derived.numpy(), derived.inputs)
    loss.backward()
    assert_near(gradients["W"], W.grad, "W")
    assert_near(gradients["b"], b.grad, "b")


def test_values_that_nobody_kept_are_not_needed_for_the_source() -> None:
    W, b = leaf(4, 3, name="W"), leaf(3, name="b")
    derived = tg.derivation(tg.tanh(X @ W + b).sum())
    assert not derived.known
    assert "b" not in derived.inputs
    inputs = derived.inputs | {"b": b.data}
    assert_near(run(derived.numpy(), {**inputs, "W": W.data})[1]["b"],
                (1 - np.tanh(X @ W.data + b.data) ** 2).sum(axis=0), "b")  # fmt: skip
    with pytest.raises(tg.DerivationError, match=r"values of the parameters are not known"):
        derived.compare({"W": W.data})


def test_a_recorded_loss_after_backward() -> None:
    W = leaf(4, 3, name="W")
    with tg.record():
        loss = (X @ W + X[:, :3]).sum()
        loss.backward()
    assert tg.derivation(loss).known
    unrecorded = tg.tanh(X @ W).sum()
    unrecorded.backward()
    with pytest.raises(tg.DerivationError, match=r"before loss.backward\(\)"):
        tg.derivation(unrecorded)


def test_a_constant_that_no_rule_reads_has_to_be_recorded() -> None:
    W = leaf(4, name="W")
    with pytest.raises(tg.DerivationError, match=r"op 'add'.*tg.record"):
        tg.derivation((W + X).sum())
    with tg.record():
        loss = (W + X).sum()
    assert tg.derivation(loss, names={"x": X}).inputs["x"] is X


def test_a_function_of_arrays_is_differentiated_by_these() -> None:
    derived = tg.derivation(lambda W, b: tg.tanh(X @ W + b).sum(), RNG.normal(size=(4, 2)), 1.5)
    assert derived.parameters == ("W", "b")
    assert_near(run(derived.numpy(), derived.inputs)[1]["b"], tg.grad(
        tg.tanh(X @ (W := leaf(4, 2)) + (b := tg.Tensor(1.5, requires_grad=True))).sum(), [W, b]
    )[1].data, "b") if np.allclose(derived.inputs["W"], leaf(4, 2).data) else None  # fmt: skip


def test_a_step_further_rows_do_not_move_the_generator() -> None:
    layer = nn.Dropout(0.5, rng=np.random.default_rng(0))
    W = leaf(4, 2, name="W")
    tg.derivation(lambda x: layer(x @ W).sum(), X)
    other = np.random.default_rng(0)
    other.random(12)
    twin = nn.Dropout(0.5, rng=np.random.default_rng(0))
    twin(tg.Tensor(np.ones((6, 2))))
    ones = tg.Tensor(np.ones(50))
    np.testing.assert_array_equal(layer(ones).data, twin(ones).data)


def test_frozen_parameters_are_inputs() -> None:
    W, V = leaf(4, 3, name="W"), leaf(3, 2, name="V")
    V.requires_grad = False
    derived = tg.derivation(lambda x: tg.tanh(x @ W @ V).sum(), X, names={"V": V})
    assert derived.parameters == ("W",)
    assert "V" in derived.inputs


def test_a_causal_mask_is_written_out_and_labels_are_inputs() -> None:
    W = leaf(4, 4, name="W")
    mask, labels = np.tri(4, 4, dtype=bool), np.arange(4)

    def loss(x: Any) -> tg.Tensor:
        return tg.softmax_cross_entropy(tg.where(mask, x @ W, 0.0), labels)

    source = tg.derivation(loss, RNG.normal(size=(4, 4))).numpy()
    assert "def loss_and_gradients(x, labels, W):" in source
    assert "np.where(np.tri(4, 4, dtype=bool), " in source


def test_float32_stays() -> None:
    W = leaf(4, 3, name="W", dtype=np.float32)
    derived = tg.derivation(
        lambda x, labels: tg.softmax_cross_entropy(x @ W, labels), X.astype(np.float32), LABELS
    )
    loss, gradients = run(derived.numpy(), derived.inputs)
    assert loss.dtype == gradients["W"].dtype == np.float32


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (lambda: leaf(3) * 2, ValueError, r"shape \(3,\): reduce it"),
        (lambda: tg.Tensor(1.0), ValueError, "no graph leads to"),
        (lambda: 3.0, TypeError, "not of a float"),
        (lambda: lambda: 3.0, TypeError, "must return a scalar Tensor, got float"),
    ],
)
def test_what_it_is_not_of(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        tg.derivation(given())


def test_a_checkpoint_has_no_rules_to_write_out() -> None:
    W = leaf(4, 3, name="W")
    with tg.record():
        loss = tg.checkpoint(lambda w: tg.tanh(X @ w), W).sum()
    with pytest.raises(tg.DerivationError, match="without tg.checkpoint"):
        tg.derivation(loss)


def test_an_op_that_leaves_numpy_is_refused() -> None:
    special = pytest.importorskip("scipy.special")

    @tg.op(cases=[case(normal(3))], x=lambda g, x: g * 2 / np.sqrt(np.pi) * np.exp(-x * x))
    def error_function(x: Any) -> Any:
        """The error function."""
        return special.erf(x)

    try:
        with pytest.raises(tg.DerivationError, match=r"'error_function' calls .*erf.*NumPy"):
            tg.derivation(lambda w: error_function(w).sum(), np.ones(3))
    finally:
        del tg.OPS["error_function"]


def test_an_argument_that_no_rule_reads_is_seen_to_be_missing() -> None:
    @tg.op(cases=[case(normal(3), 2.0)], x=lambda g: g)
    def shifted_by(x: Any, offset: float = 1.0) -> Any:
        """x + offset."""
        return x + offset

    try:
        with pytest.raises(tg.DerivationError, match="'shifted_by' gives another result"):
            tg.derivation(lambda w: shifted_by(w, 3.0).sum(), np.ones(3))
        tg.derivation(lambda w: shifted_by(w).sum(), np.ones(3))
    finally:
        del tg.OPS["shifted_by"]


def test_rules_of_ones_own_are_written_out() -> None:
    @tg.op(cases=[case(normal(3))], x=lambda g, x: g * 3 * x**2)
    def cube(x: Any) -> Any:
        """The third power."""
        return x**3

    try:
        lines = body(tg.derivation(lambda x: cube(x).sum(), np.arange(1.0, 4.0)).numpy())
    finally:
        del tg.OPS["cube"]
    assert "dx = 3 * x ** 2" in lines


# How it reads


def test_names_are_the_users() -> None:
    x, first, second = X, leaf(4, 5), leaf(5, 3)

    def loss(images: Any) -> tg.Tensor:
        hidden = tg.tanh(images @ first)
        hidden.name = "hidden"
        return (hidden @ second).sum()

    source = tg.derivation(loss, x, names={"encoder.0.weight": first, "lambda": second}).numpy()
    lines = body(source)
    assert "hidden = np.tanh(a1)" in lines
    assert any(line.startswith("dhidden = ") for line in lines)
    assert "def loss_and_gradients(images, weight_0, lambda2):" in source


def test_names_that_python_does_not_take() -> None:
    names = [*keyword.kwlist[:3], "np", "n", "sum", "a b", "∂x", "1", "loss"]
    leaves = {name: leaf(2) for name in names}
    derived = tg.derivation(
        lambda: tg.concatenate([t * i for i, t in enumerate(leaves.values(), 2)]).sum(),
        names=leaves,
    )
    _, gradients = run(derived.numpy(), derived.inputs)
    assert len(gradients) == len(names)
    assert all(name.isidentifier() for name in derived.parameters)


def test_sums_over_broadcast_axes_are_written_out() -> None:
    W, b, s = leaf(4, 3, name="W"), leaf(3, name="b"), leaf(name="s")
    source = tg.derivation(lambda x: (tg.tanh(x @ W + b) * s).sum(), X).numpy()
    assert "db = np.sum(delta1, axis=0)" in source
    assert "# add: summed over the broadcast axis 0" in source
    assert any(line.startswith("ds = np.sum(") for line in body(source))


def test_common_subexpressions_are_shared_and_nothing_is_dead() -> None:
    W = leaf(4, 3, name="W")
    lines = body(tg.derivation(lambda x: (tg.tanh(x @ W) * tg.tanh(x @ W)).sum(), X).numpy())
    assert sum("np.tanh(" in line for line in lines) == 1
    text = "\n".join(lines)
    for line in lines[:-1]:
        name = line.split(" ")[0]
        assert text.count(name) > 1, name


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.sum(), "dx = np.ones((6, 4))"),
        (lambda x: -(-x).sum(), "dx = np.ones((6, 4))"),
        (lambda x: (2 * x).mean(), "dx = np.full((6, 4), 1 / 12)"),
        (lambda x: (x * x).sum() / 2, "dx = x"),
        (lambda x: (x - 2 * (-x)).sum(), "loss = np.sum(x + 2 * x)"),
        (lambda x: tg.exp(-x).sum(), "dx = -h1"),
        (lambda x: (1 / x).sum(), "dx = -h1 / x"),
        (lambda x: tg.relu(x).sum(), "dx = 1.0 * (h1 > 0)"),
        (lambda x: tg.norm(x) ** 2 / 2, "loss = h1 ** 2 / 2"),
        (lambda x: tg.norm(x), "loss = np.sqrt(np.sum(x ** 2))"),
        (lambda x: tg.std(x, axis=0).sum(), "h1 = np.sqrt(np.mean(difference ** 2, axis=0))"),
        (lambda x: tg.logsumexp(x), "powers = np.exp(x - loss)"),
        (lambda x: tg.gelu(x, "tanh").sum(), "h1 = x * gate"),
        (lambda x: tg.sigmoid(x).mean(), "dx = h1 / 24 * (1 - h1)"),
        (lambda x: (x.T.T.reshape(4, 6).reshape(6, 4) ** 2).sum(), "loss = np.sum(x ** 2)"),
        (lambda x: (x[2] ** 2).sum(), "dx[2] = 2 * x[2]"),
        (lambda x: (x[[1, 1]] ** 2).sum(), "np.add.at(dx, [1, 1], 2 * h1)"),
    ],
)
def test_what_a_person_would_not_write_is_left_out(function: Any, expected: str) -> None:
    assert expected in body(tg.derivation(function, X).numpy())


def test_time_steps_read_as_a_person_writes_them() -> None:
    Wx, Wh, b = leaf(3, 5, name="Wx"), leaf(5, 5, name="Wh"), leaf(5, name="b")

    def loss(xs: Any) -> tg.Tensor:
        h: Any = np.zeros((len(xs), 5))
        for k in range(xs.shape[1]):
            h = tg.tanh(xs[:, k] @ Wx + h @ Wh + b)
        total: tg.Tensor = (h * h).sum()
        return total

    xs = RNG.normal(size=(4, 3, 3))
    derived = tg.derivation(loss, xs)
    lines = body(derived.numpy())
    for expected in (
        "a1 = xs[:, 0] @ Wx + np.zeros((n, 5)) @ Wh + b",
        "a2 = xs[:, 1] @ Wx + z1 @ Wh + b",
        "delta2 = (delta3 @ Wh.T) * (1 - z2 * z2)",
        "dWx = xs[:, 2].T @ delta3 + xs[:, 1].T @ delta2 + xs[:, 0].T @ delta1",
    ):
        assert expected in lines
    loss(xs).backward()
    for name, gradient in run(derived.numpy(), derived.inputs)[1].items():
        assert_near(gradient, {"Wx": Wx, "Wh": Wh, "b": b}[name].grad, name)


def test_attention_layer_norm_and_embedding() -> None:
    E, W, U, gain = leaf(7, 8, name="E"), leaf(8, 8, name="W"), leaf(8, 7), leaf(8, name="gain")
    mask = np.triu(np.full((5, 5), -np.inf), 1)

    def loss(ids: Any, targets: Any) -> tg.Tensor:
        x = E[ids]
        x = (
            (x - x.mean(axis=-1, keepdims=True))
            / tg.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
            * gain
        )
        q = (x @ W).reshape(len(ids), 5, 2, 4).transpose(0, 2, 1, 3)
        a = tg.softmax(q @ q.mT / 2 + mask)
        x = x + (a @ q).transpose(0, 2, 1, 3).reshape(len(ids), 5, 8)
        return tg.softmax_cross_entropy(tg.gelu(x, "tanh") @ U, targets)

    ids, targets = RNG.integers(0, 7, (3, 5)), RNG.integers(0, 7, (3, 5))
    derived = tg.derivation(loss, ids, targets, names={"U": U})
    assert "    n = len(ids)\n" in derived.numpy()
    loss(ids, targets).backward()
    leaves = {"E": E, "W": W, "U": U, "gain": gain}
    for name, gradient in run(derived.numpy(), derived.inputs)[1].items():
        assert_near(gradient, leaves[name].grad, name)


def test_convolutions_and_pooling_read_as_windows_and_loops() -> None:
    K, b = leaf(2, 1, 3, 3, name="K"), leaf(2, name="b")

    def loss(x: Any) -> tg.Tensor:
        z = tg.relu(tg.conv2d(x, K, b, padding=1))
        return (tg.max_pool2d(z, 2) ** 2).sum()

    x = RNG.normal(size=(5, 1, 6, 6))
    derived = tg.derivation(loss, x)
    lines = body(derived.numpy())
    for expected in (
        "padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))",
        "windows = sliding_window_view(padded, (3, 3), axis=(2, 3))",
        'a1 = np.einsum("nchwij,ocij->nohw", windows, K) + b[:, None, None]',
        "windows2 = sliding_window_view(z1, (2, 2), axis=(2, 3))[:, :, ::2, ::2]",
        "hits = np.arange(4) == windows2.reshape(n, 2, 3, 3, 4).argmax(axis=-1)[..., None]",
        "for row, col in np.ndindex(2, 2):",
        "dz1[:, :, row:row + 6:2, col:col + 6:2] += pieces[..., row, col]",
        'dK = np.einsum("nohw,nchwij->ocij", delta1, windows)',
        "db = np.sum(delta1, axis=(0, 2, 3))",
    ):
        assert expected in lines
    loss(x).backward()
    found = run(derived.numpy(), derived.inputs)[1]
    assert_near(found["K"], K.grad, "K")
    assert_near(found["b"], b.grad, "b")
    equation = r"(a_{1})_{nohw} = \sum_{c, i, j} (x)_{nchwij} \, (K)_{ocij}".replace(
        "x", r"\mathrm{windows}"
    )
    assert equation in tg.derivation(lambda x: tg.conv2d(x, K).sum(), x).equations()


def test_numbers_known_as_roots_keep_float32() -> None:
    W = leaf(4, 3, name="W", dtype=np.float32)
    derived = tg.derivation(lambda x: tg.erf(x @ W).sum(), X.astype(np.float32))
    assert "z1 = erf(a1).astype(np.float32)" in derived.numpy()
    assert "2 / math.sqrt(math.pi)" in derived.numpy()
    assert run(derived.numpy(), derived.inputs)[1]["W"].dtype == np.float32


def test_gelu_in_float32_reads_as_in_float64() -> None:
    def lines(dtype: Any) -> list[str]:
        W = leaf(4, 3, name="W", dtype=dtype)
        return body(tg.derivation(lambda x: tg.gelu(x @ W).sum(), X.astype(dtype)).numpy())

    assert "gate = (1 + erf(a1 / math.sqrt(2))) / 2" in lines(np.float64)
    assert [line.replace(".astype(np.float32)", "") for line in lines(np.float32)] == lines(float)


def test_the_size_of_the_batch_is_n_where_it_is_any_size() -> None:
    W = leaf(4, 3, name="W")

    def loss(x: Any, labels: Any) -> tg.Tensor:
        one_hot = np.eye(3)[labels]
        return tg.mse_loss(tg.tanh(x @ W), one_hot) / len(x)

    derived = tg.derivation(loss, X, LABELS)
    assert "    n = len(x)\n" in derived.numpy()
    assert "2 * difference / (3 * n ** 2)" in derived.numpy()
    for count in (2, 6, 11):
        x, labels = RNG.normal(size=(count, 4)), RNG.integers(0, 3, count)
        W.grad = None
        loss(x, labels).backward()
        inputs = derived.inputs | {"x": x, "targets": np.eye(3)[labels]}
        assert_near(run(derived.numpy(), inputs)[1]["W"], W.grad, str(count))


def test_a_number_that_only_happens_to_be_the_batchs_size_stays() -> None:
    W = leaf(4, 6, name="W")
    lines = body(tg.derivation(lambda x: (tg.tanh(x @ W) / 6).sum(), X).numpy())
    assert any("/ 6" in line for line in lines)
    assert "n = len" not in "".join(lines)


# Lines for others to point at


def test_lines_of_tensors_and_their_gradients() -> None:
    W, b = leaf(4, 3, name="W"), leaf(3, name="b")
    with tg.record():
        a = X @ W
        h = tg.tanh(a + b)
        loss = h.sum()
    derived = tg.derivation(loss, names={"x": X})
    lines = derived.numpy().splitlines()

    def text(tensor: tg.Tensor, gradient: bool = False) -> str:
        number = derived.line_of(tensor, gradient)
        return "" if number is None else lines[number - 1].partition("  #")[0].strip()

    assert text(a) == "a1 = x @ W + b"  # part of this line
    assert text(h) == "z1 = np.tanh(a1)"
    assert text(loss) == "loss = np.sum(z1)"
    assert text(W, gradient=True) == "dW = x.T @ delta1"
    assert text(b, gradient=True) == "db = np.sum(delta1, axis=0)"
    assert text(a, gradient=True) == "delta1 = 1 - z1 * z1"
    assert derived.line_of(W) is None
    for line in derived.lines:
        assert line.text[0] in lines[line.number - 1]
