"""Gradients at the borders: float16's range, zeros at second order, infinities, singular matrices.

What is right is computed in float64 or by another formula, never by the op itself.
"""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.helpers import leaf
from tests.oracles import ORACLES
from tests.registry import assert_close

inf, nan = np.inf, np.nan
MANY = 70_000  # more than the largest float16, 65,504


def gradient(f: Any, *values: Any, dtype: Any = float) -> Any:
    """The gradients of sum(f(*values)), as lists: one, or one for each value."""
    tensors = [leaf(v, dtype=dtype) for v in values]
    f(*tensors).sum().backward()
    found = [None if t.grad is None else t.grad.tolist() for t in tensors]
    return found[0] if len(found) == 1 else found


def hessian(f: Any, x: Any) -> Any:
    x = np.array(x, float)
    return tg.hessian(f, x).data.reshape(x.size, x.size)


# float16: counts and sums above 65,504

_MANY = (np.arange(MANY) % 4).astype(np.float16)
_FEW = np.full(MANY, 300, np.float16)  # the squares alone are too large
REDUCTIONS: dict[str, tuple[Any, Any]] = {
    "mean": (tg.mean, _MANY),
    "var": (tg.var, _MANY),
    "var of large": (tg.var, np.where(np.arange(8) % 2, 300, 60).astype(np.float16)),
    "std": (tg.std, _MANY),
    "std of large": (tg.std, np.where(np.arange(8) % 2, 6e4, -6e4).astype(np.float16)),
    "max": (tg.max, np.ones(MANY, np.float16)),
    "min": (tg.min, np.ones(MANY, np.float16)),
    "norm": (tg.norm, _MANY),
    "norm of large": (tg.norm, np.full(100, 300, np.float16)),
    "norm of tiny": (tg.norm, np.full(100, 1e-6, np.float16)),
    "norm inf": (lambda x: tg.norm(x, inf), np.ones(MANY, np.float16)),
    "norm 3": (lambda x: tg.norm(x, 3), np.full(9, 100, np.float16)),
    "norm 3 of many": (lambda x: tg.norm(x, 3), _MANY),
    "norm 1.5": (lambda x: tg.norm(x, 1.5), np.full(9, 3000, np.float16)),
    "logsumexp": (tg.logsumexp, np.zeros(MANY, np.float16)),
    "sum of ones": (lambda x: tg.sum(x.reshape(-1, 10), axis=0)[0], np.ones(5000 * 10, np.float16)),
    "cumsum of ones": (lambda x: tg.cumsum(x)[-1], np.ones(5000, np.float16)),
    "einsum": (lambda x: tg.einsum("ij->j", x.reshape(-1, 10))[0], np.ones(50_000, np.float16)),
    "einsum of two": (
        lambda x: tg.einsum("ij,ik->jk", x[:, None], x[:, None])[0, 0],
        np.ones(5000, "e"),
    ),
    "prod": (tg.prod, np.array([1e3, 1e3, 1e-3, 1e-3], np.float16)),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_float16_reductions_of_many_and_of_large(name: str) -> None:
    f, values = REDUCTIONS[name]
    half, wide = leaf(values, dtype=np.float16), leaf(values, dtype=np.float64)
    outs = f(half), f(wide)
    assert outs[0].dtype == np.float16
    assert outs[0].item() == pytest.approx(outs[1].item(), rel=2e-3)
    (right,) = tg.grad(outs[1], [wide])
    for create_graph in (True, False):
        (found,) = tg.grad(outs[0], [half], create_graph=create_graph)
        assert found.dtype == np.float16
        assert_close(found.data, right.data, rtol=4e-3, atol=6e-8)


def test_float16_second_derivatives_of_many() -> None:
    f: Any
    for f in (tg.var, lambda x: tg.mean(x * x), lambda x: tg.std(x) ** 2):
        found = []
        for dtype in (np.float16, np.float64):
            x = leaf(_MANY, dtype=dtype)
            first = tg.grad(f(x), x, create_graph=True)
            found.append(tg.grad(first, x, _MANY).data)
        assert_close(found[0], found[1], rtol=1e-2, atol=2e-7)


def test_float16_gradients_of_broadcast_inputs() -> None:
    bias = leaf(np.zeros(10), dtype=np.float16)
    (bias + np.zeros((5000, 10), np.float16)).sum().backward()
    assert bias.grad is not None
    assert bias.grad.tolist() == [5000] * 10  # one after the other, they would stop at 2,048


@pytest.mark.parametrize("f", [tg.softmax, tg.log_softmax])
def test_float16_softmax_of_many_classes(f: Any) -> None:
    x = leaf(np.zeros(MANY), dtype=np.float16)
    out = f(x)
    right = 1 / MANY if f is tg.softmax else -np.log(MANY)
    assert_close(out.data, np.full(MANY, right, np.float16), rtol=1e-3)
    g = np.ones(MANY, np.float16)
    g[0] = 2
    (found,) = tg.grad(out, [x], g)
    # out (g - mean g), or g - mean g
    scale = 1 / MANY if f is tg.softmax else 1
    assert_close(found.data, (g - np.mean(g, dtype=float)) * scale, rtol=1e-2, atol=2e-3 * scale)


def test_float16_losses_of_many_and_of_large() -> None:
    n = MANY
    x = leaf(np.zeros((n, 2)), dtype=np.float16)
    out = tg.softmax_cross_entropy(x, np.zeros(n, int))
    out.backward()
    assert out.item() == pytest.approx(np.log(2), rel=1e-3)
    assert_close(x.grad, np.full((n, 2), [-0.5 / n, 0.5 / n]), rtol=0.01, atol=6e-8)
    x = leaf(np.zeros((1, n)), dtype=np.float16)
    out = tg.softmax_cross_entropy(x, np.array([3]))
    assert out.item() == pytest.approx(np.log(n), rel=1e-3)
    for loss in (tg.mse_loss, tg.binary_cross_entropy_with_logits):
        x = leaf(np.ones(n), dtype=np.float16)
        out = loss(x, np.zeros(n, np.float16))
        out.backward()
        slope = 2 if loss is tg.mse_loss else 1 / (1 + np.exp(-1))
        assert out.item() == pytest.approx(1 if loss is tg.mse_loss else np.log1p(np.e), rel=1e-3)
        assert_close(x.grad, np.full(n, slope / n), rtol=0.01)
    x = leaf(
        [300, 0, 0, 0], dtype=np.float16
    )  # its square is too large, the mean of squares is not
    assert tg.mse_loss(x, np.zeros(4, np.float16)).item() == np.float16(22_500)
    assert tg.mse_loss(leaf([1] * 9, dtype=np.float16), np.zeros(9), "sum").dtype == np.float16


@pytest.mark.parametrize("kind", [tg.optim.Adam, tg.optim.AdamW])
def test_adam_in_float16(kind: Any) -> None:
    w, wide = leaf([1.0, 1.0, 1.0], dtype=np.float16), leaf([1.0, 1.0, 1.0])
    optimizers = [kind([p], lr=0.01) for p in (w, wide)]
    for _ in range(3):
        for p, optimizer in zip((w, wide), optimizers, strict=True):
            p.grad = np.array([0.0, 1e-4, 300.0], p.dtype)  # squares: nothing, and too large
            optimizer.step()
    assert w.dtype == np.float16
    assert_close(w.data, wide.data, rtol=2e-3)
    again = kind([w], lr=0.01)
    again.load_state_dict(optimizers[0].state_dict())
    for mine, other in zip(again.state[0], optimizers[0].state[0], strict=True):
        np.testing.assert_array_equal(mine, other)


# Lengths whose squares are too large, or too small


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("large", [True, False])
def test_lengths_of_huge_and_of_tiny_vectors(large: bool, dtype: Any) -> None:
    limits = np.finfo(dtype)
    size = dtype(2.0 ** (limits.maxexp * 3 // 4 * (1 if large else -1)))
    x = np.array([3, 4, 0], dtype) * size
    f: Any
    for f, value, slope in (
        (tg.norm, 5, [0.6, 0.8, 0]),
        (lambda x: tg.norm(x, 3), 91 ** (1 / 3), [9 / 91 ** (2 / 3), 16 / 91 ** (2 / 3), 0]),
        (lambda x: tg.norm(x, 1), 7, [1, 1, 0]),
        (lambda x: tg.norm(x, inf), 4, [0, 1, 0]),
        (tg.std, np.std([3, 4, 0]), (np.array([3, 4, 0]) - 7 / 3) / 3 / np.std([3, 4, 0])),
    ):
        tolerance = 8 * float(limits.eps)
        assert_close(f(x).data / size, value, rtol=tolerance)
        assert_close(gradient(f, x, dtype=dtype), slope, rtol=tolerance, atol=tolerance)
        rows = np.stack([x, np.array([3, 4, 0], dtype), 0 * x])
        both = gradient(lambda x, f=f: sum(f(row) for row in x), rows, dtype=dtype)
        assert_close(both, [slope, slope, [0, 0, 0]], rtol=tolerance, atol=tolerance)
    assert_close(tg.norm(rows, axis=1).data / [size, 1, 1], [5, 5, 0], rtol=tolerance)


# Second order at 0: the limit of the second derivative where it has one, else nan

SMOOTH: dict[str, tuple[Any, float]] = {
    "norm²": (lambda x: tg.norm(x) ** 2, 2),
    "norm · norm": (lambda x: tg.multiply(*[tg.norm(x)] * 2), 2),
    "square(norm)": (lambda x: tg.square(tg.norm(x)), 2),
    "norm³": (lambda x: tg.norm(x) ** 3, 0),
    "norm⁴": (lambda x: tg.norm(x) ** 4, 0),
    "cos(norm)": (lambda x: tg.cos(tg.norm(x)), -1),
    "exp(-norm²)": (lambda x: tg.exp(-(tg.norm(x) ** 2)), -2),
    "√(norm² + 1)": (lambda x: tg.sqrt(tg.norm(x) ** 2 + 1), 1),
    "norm(2x)²": (lambda x: tg.norm(2 * x) ** 2, 8),
    "norm² times another": (lambda x: tg.norm(x) ** 2 * (3 + x.sum()), 6),
    "norm, axis": (lambda x: (tg.norm(x.reshape(2, 1), axis=1) ** 2).sum(), 2),
    "norm, keepdims": (lambda x: (tg.norm(x[None], axis=1, keepdims=True) ** 2).sum(), 2),
    "|norm|²": (lambda x: tg.abs(tg.norm(x)) ** 2, 2),
    "norm(|x|)²": (lambda x: tg.norm(tg.abs(x)) ** 2, 2),
    "hypot²": (lambda x: tg.hypot(x[0], x[1]) ** 2, 2),
    "cosh(hypot)": (lambda x: tg.cosh(tg.hypot(x[0], x[1])), 1),
    "abs²": (lambda x: (tg.abs(x) ** 2).sum(), 2),
    "abs³": (lambda x: (tg.abs(x) ** 3).sum(), 0),
    "cos(abs)": (lambda x: tg.cos(tg.abs(x)).sum(), -1),
    "log cosh": (lambda x: (tg.abs(x) + tg.softplus(-2 * tg.abs(x))).sum(), 1),
    "abs": (lambda x: tg.abs(x).sum(), 0),
    "huber": (lambda x: tg.where(tg.abs(x) < 1, x * x / 2, tg.abs(x) - 0.5).sum(), 1),
    "norm of order 1": (lambda x: tg.norm(x, 1), 0),
    "norm of order 3, cubed": (lambda x: tg.norm(x, 3) ** 3, 0),
    "norm that does not count": (lambda x: 0 * tg.norm(x) + (x**2).sum(), 2),
    "elu": (lambda x: tg.elu(x).sum(), 1),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives_at_0_that_have_a_value(name: str) -> None:
    f, value = SMOOTH[name]
    assert_close(hessian(f, [0.0, 0.0]), value * np.eye(2), atol=1e-12)


@pytest.mark.parametrize("f", [tg.maximum, tg.minimum])
def test_the_shares_at_a_tie_are_constants_to_second_derivatives(f: Any) -> None:
    found = [hessian(lambda x: f(x, -x) ** 2, x) for x in (-1.0, 0.0, 1.0)]
    assert np.ravel(found).tolist() == [2, 0, 2]
    assert np.ravel(hessian(lambda x: abs(x) ** 2, 0.0)).tolist() == [2]


def test_second_derivatives_of_std_squared_are_those_of_var() -> None:
    for shape, axis, ddof in (((3,), None, 0), ((2, 3), 1, 1), ((3, 2), 0, 0)):
        x = np.full(shape, 1.5)
        n = x.size if axis is None else shape[axis]
        found = hessian(lambda x, axis=axis, ddof=ddof: (tg.std(x, axis, ddof) ** 2).sum(), x)
        index = np.arange(x.size).reshape(shape)
        group = index * 0 if axis is None else index // 3 if axis == 1 else index % 2
        same = group.ravel()[:, None] == group.ravel()
        assert_close(found, 2 / (n - ddof) * (np.eye(x.size) - same / n), atol=1e-12)


def test_rows_of_length_0_beside_others() -> None:
    x = np.array([[0.0, 0, 0], [1, 2, 2], [0, 0, 0]])
    assert_close(hessian(lambda x: (tg.norm(x, axis=1) ** 2).sum(), x), 2 * np.eye(9), atol=1e-12)
    assert_close(hessian(lambda x: (tg.abs(x) ** 2).sum(), x), 2 * np.eye(9), atol=1e-12)


WITHOUT: dict[str, Any] = {
    "norm": tg.norm,
    "exp(norm)": lambda x: tg.exp(tg.norm(x)),
    "(norm - 1)²": lambda x: (tg.norm(x) - 1) ** 2,
    "norm · sum": lambda x: tg.norm(x) * x.sum(),
    "two norms": lambda x: tg.norm(x) * tg.norm(2 * x + x[::-1]),
    "norm of order 3": lambda x: tg.norm(x, 3),
    "norm of order 3, squared": lambda x: tg.norm(x, 3) ** 2,
    "norm of order ½": lambda x: tg.norm(x, 0.5),
    "norm of order inf, squared": lambda x: tg.norm(x, inf) ** 2,
    "norm of order 1, squared": lambda x: tg.norm(x, 1) ** 2,
    "hypot": lambda x: tg.hypot(x[0], x[1]),
    "std": tg.std,
    "x |x|": lambda x: (x * tg.abs(x)).sum(),
    "(Σ|x|)²": lambda x: tg.abs(x).sum() ** 2,
    "arctan2": lambda x: tg.arctan2(x[0], x[1]),
    "arctan2 · hypot²": lambda x: tg.arctan2(x[0], x[1]) * tg.hypot(x[0], x[1]) ** 2,
}


@pytest.mark.parametrize("name", WITHOUT)
def test_second_derivatives_at_0_that_do_not_exist_are_nan(name: str) -> None:
    assert np.isnan(np.diag(hessian(WITHOUT[name], [0.0, 0.0]))).all()
    x = leaf([0.0, 0.0])
    first = tg.grad(WITHOUT[name](x), x, create_graph=True)  # recorded, it has its value yet
    assert first.tolist() == [0, 0]


def test_norms_of_low_order_at_a_single_0() -> None:
    assert np.isnan(hessian(lambda x: tg.norm(x, 1.5), [0.0, 2.0])[0, 0])
    assert np.isnan(hessian(lambda x: tg.norm(x, 1) ** 2, [0.0, 2.0])[0, 0])
    assert hessian(lambda x: tg.norm(x, 1), [0.0, 2.0]).tolist() == [[0, 0], [0, 0]]
    assert hessian(lambda x: tg.norm(x, 3), [0.0, 2.0])[0, 0] == 0


def test_second_derivatives_at_0_compiled() -> None:
    def second(x: tg.Tensor) -> Any:
        f = tg.norm(x) ** 2 + (tg.abs(x) ** 2).sum() + tg.hypot(x[0], x[1]) ** 2
        return tg.grad(tg.grad(f, x, create_graph=True)[0], x)

    compiled = tg.compile(second)
    for values in ([0.0, 0.0], [0.0, 0.0], [1.0, 2.0], [0.0, 0.0]):
        assert_close(compiled(leaf(values)).data, [6, 0], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_second_derivatives_at_0_keep_the_dtype(dtype: Any) -> None:
    for f in (tg.norm, tg.std, tg.abs):
        x = leaf([0.0, 0.0], dtype=dtype)
        second = tg.grad(tg.grad((f(x) ** 2).sum(), x, create_graph=True)[0], x)
        assert second.dtype == dtype
        assert second.tolist() == ([0.5, -0.5] if f is tg.std else [2, 0])


# Infinite inputs


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-inf, -inf], [0, 0]),
        ([inf, 1.0], [1, 0]),
        ([inf, -inf], [1, 0]),
        ([inf, inf], [0.5, 0.5]),
        ([-inf, 3.0], [0, 1]),
        ([inf, 1e4], [1, 0]),
    ],
)
def test_logsumexp_and_logaddexp_of_infinities(values: Any, expected: Any, dtype: Any) -> None:
    assert_close(gradient(tg.logsumexp, values, dtype=dtype), expected)
    assert_close(gradient(lambda x: tg.logaddexp(x[0], x[1]), values, dtype=dtype), expected)
    table = [values, [0.0, 0.0]]
    f: Any
    found = gradient(lambda x: tg.logsumexp(x, axis=1), table, dtype=dtype)
    assert_close(found, [expected, [0.5, 0.5]])
    for f in (tg.logsumexp, lambda x: tg.logaddexp(x[0], x[1])):
        x = leaf(values, dtype=dtype)
        first = tg.grad(f(x), x, create_graph=True)
        assert_close(first.data, expected)
        if values != [inf, inf]:
            assert_close(tg.grad(first[0], x).data, [0, 0])


def test_logsumexp_and_logaddexp_of_nan() -> None:
    f: Any
    with np.errstate(invalid="ignore"):
        for f in (tg.logsumexp, lambda x: tg.logaddexp(x[0], x[1])):
            assert np.isnan(gradient(f, [nan, 1.0])).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_with_a_masked_logit(reduction: str, dtype: Any) -> None:
    values = np.array([[1.0, -inf, 2.0], [0.5, 0.0, -inf]])
    labels = np.array([[0.25, 0.0, 0.75], [0.0, 1.0, 0.0]], dtype)
    rest = [values[0, [0, 2]], values[1, :2]]
    p = [np.exp(row) / np.exp(row).sum() for row in rest]
    losses = np.array([-(0.25 * np.log(p[0][0]) + 0.75 * np.log(p[0][1])), -np.log(p[1][1])])
    right = np.array([[p[0][0] - 0.25, 0, p[0][1] - 0.75], [p[1][0], p[1][1] - 1, 0]])
    x = leaf(values, dtype=dtype)
    out = tg.softmax_cross_entropy(x, labels, reduction)
    out.sum().backward()
    tolerance = 8 * float(np.finfo(dtype).eps)
    expected = {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]
    assert_close(out.data, expected, rtol=tolerance)
    assert_close(x.grad, right / (2 if reduction == "mean" else 1), rtol=tolerance, atol=tolerance)
    # A masked class that is the label: the loss is infinite, and says so.
    with np.errstate(all="ignore"):
        wrong = tg.softmax_cross_entropy(leaf(values, dtype=dtype), np.eye(3, dtype=dtype)[[1, 2]])
    assert wrong.item() == inf


def test_cross_entropy_with_a_masked_logit_has_second_derivatives() -> None:
    labels = np.array([0.0, 0.0, 1.0])
    found = hessian(lambda x: tg.softmax_cross_entropy(x, labels), [1.0, -inf, 2.0])
    p = np.exp([1.0, -inf, 2.0]) / np.exp([1.0, 2.0]).sum()
    assert_close(found, np.diag(p) - np.outer(p, p), atol=1e-15)


def test_softmax_of_masked_logits() -> None:
    values, p = [0.0, -inf, 0.0], np.array([0.5, 0, 0.5])
    g = np.array([1.0, 5.0, 3.0])
    assert_close(gradient(lambda x: tg.softmax(x) * g, values), p * (g - p @ g))
    assert_close(gradient(lambda x: tg.log_softmax(x)[0], values), [0.5, 0, -0.5])
    assert_close(hessian(lambda x: tg.log_softmax(x)[0], values), np.outer(p, p) - np.diag(p))
    assert np.isfinite(hessian(lambda x: (tg.softmax(x) * g).sum(), values)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_binary_cross_entropy_of_infinite_logits(dtype: Any) -> None:
    x = leaf([-inf, inf, -inf, inf], dtype=dtype)
    targets = np.array([0.0, 1.0, 0.5, 0.0], dtype)
    out = tg.binary_cross_entropy_with_logits(x, targets, "none")
    out.sum().backward()
    assert out.tolist() == [0, 0, inf, inf]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, -0.5, 1]
    for kind in (bool, np.int8, np.uint8, int):
        out = tg.binary_cross_entropy_with_logits(
            leaf([2.0, -3.0], dtype=dtype), np.array([1, 1], kind)
        )
        right = (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(3.0))) / 2
        assert out.item() == pytest.approx(right, rel=2e-3)


# Angles and lengths at the origin


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arctan2_and_hypot_at_the_origin(dtype: Any) -> None:
    for f in (tg.arctan2, tg.hypot):
        assert gradient(f, 0.0, 0.0, dtype=dtype) == [0, 0]
        assert gradient(f, [0.0, 3.0], [0.0, 4.0], dtype=dtype)[0][0] == 0
        assert gradient(lambda y, f=f: f(y, 0.0), 0.0, dtype=dtype) == 0
    assert gradient(tg.arctan2, 0.0, -0.0, dtype=dtype) == [0, 0]


# Infinite gradients of elements that did not win


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_no_nan_comes_through_maximum_and_max(dtype: Any) -> None:
    with np.errstate(divide="ignore"):
        assert gradient(lambda x: tg.sqrt(tg.maximum(x, 0)), [-1.0, 4.0], dtype=dtype) == [0, 0.25]
        assert gradient(lambda x: tg.sqrt(-tg.minimum(x, 0)), [1.0, -4.0], dtype=dtype)[0] == 0
        assert gradient(lambda x: tg.sqrt(tg.max(x)), [-1.0, 0.0], dtype=dtype) == [0, inf]
        found = gradient(lambda x: tg.sqrt(tg.max(x, axis=1)), [[0.0, -2.0], [4.0, 0.0]])
        assert found == [[inf, 0], [0.25, 0]]
    x = leaf([-1.0, 4.0], dtype=dtype)
    first = tg.grad(tg.sqrt(tg.maximum(x, 0) + 1), x, [inf, 1.0], create_graph=True)
    assert first[0].item() == 0


def test_where_passes_0_times_an_infinite_slope_as_nan() -> None:
    x = [0.0, 4.0]
    with np.errstate(all="ignore"):
        found = gradient(lambda x: tg.where(x > 0, tg.sqrt(x), 0.0), x)
    assert np.isnan(found[0])  # 0 · inf, in the rule of sqrt
    inner = gradient(lambda x: tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), 0.0), x)
    assert inner == [0, 0.25]


# The determinant of singular matrices

SINGULAR = {
    "of rank 1": [[1.0, 2.0], [2.0, 4.0]],
    "zero": [[0.0, 0.0], [0.0, 0.0]],
    "of rank 2": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]],
    "of rank 1, 3 x 3": np.outer([1.0, 2, 3], [4.0, 5, 6]).tolist(),
    "of rank 0, 3 x 3": np.zeros((3, 3)).tolist(),
    "nearly singular": [[1.0, 2.0], [2.0, 4.0000000000001]],
    "nearly of rank 1": (np.outer([1.0, 2, 3], [4.0, 5, 6]) + 1e-9 * np.eye(3)).tolist(),
    "permuted": np.eye(4)[[1, 0, 3, 2]].tolist(),
    "regular": [[2.0, 1.0], [-1.0, 3.0]],
    "1 x 1": [[0.0]],
    "4 x 4 of rank 3": np.vander([1.0, 2, 3, 3]).tolist(),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SINGULAR)
def test_derivatives_of_the_determinant(name: str, dtype: Any) -> None:
    x = np.array(SINGULAR[name], dtype)
    w = np.sin(np.arange(1.0, x.size + 1)).reshape(x.shape).astype(dtype)
    wide = x.astype(np.longdouble)
    n = len(x)
    scale = max(1.0, np.abs(x).max()) ** (n - 1)
    tolerance = 64 * float(np.finfo(dtype).eps) * scale
    assert_close(gradient(tg.det, x, dtype=dtype), ORACLES["cofactors"](wide), atol=tolerance)
    second = ORACLES["minors"](wide, w.astype(np.longdouble))
    assert_close(tg.hvp(tg.det, x, w).data, second, atol=tolerance)
    stacked = gradient(tg.det, np.stack([x, x.T]), dtype=dtype)
    assert_close(stacked[1], ORACLES["cofactors"](wide.T), atol=tolerance)


def test_third_derivatives_of_the_determinant_of_regular_matrices() -> None:
    x = np.random.default_rng(0).normal(size=(3, 3)) + 2 * np.eye(3)
    u, v, w = np.random.default_rng(1).normal(size=(3, 3, 3))
    # The determinant is trilinear in its rows, and so is its third derivative in directions.
    total = 0.0
    for a in (u, v, w):
        for b in (u, v, w):
            for c in (u, v, w):
                if a is not b and b is not c and a is not c:
                    total += np.linalg.det(np.stack([a[0], b[1], c[2]]))
    t = leaf(x)
    first = tg.grad(tg.det(t), t, create_graph=True)
    second = tg.grad((first * u).sum(), t, create_graph=True)
    third = tg.grad((second * v).sum(), t)
    assert (third.data * w).sum() == pytest.approx(total, rel=1e-9)


def test_the_determinant_of_a_matrix_with_nan_has_gradient_nan() -> None:
    x = np.stack([np.eye(2), np.full((2, 2), nan)])
    with np.errstate(invalid="ignore"):
        found = np.array(gradient(tg.det, x))
    assert_close(found[0], np.eye(2))
    assert np.isnan(found[1]).all()
    assert gradient(tg.det, np.zeros((3, 0, 0))) == [[]] * 3


@pytest.mark.parametrize("name", ["sum", "max", "min", "prod", "norm", "logsumexp"])
@pytest.mark.parametrize("axis", [0, -1])
def test_a_0d_array_is_reduced_along_its_axis_as_numpy_does(name: str, axis: int) -> None:
    x = tg.Tensor(2.0, requires_grad=True)
    tg.OPS[name].function(x, axis=axis).backward()
    assert x.grad == 1.0


def test_recorded_gradients_of_an_infinite_element_beside_a_0() -> None:
    f: Any
    for f in (lambda x: tg.abs(x).sum(), lambda x: tg.hypot(x, np.ones(2) * 0).sum()):
        x = leaf([0.0, -inf])
        with np.errstate(invalid="ignore"):
            plain = tg.grad(f(x), x).data
            assert_close(tg.grad(f(x), x, create_graph=True).data, plain)


def test_std_of_denormal_numbers_has_a_gradient() -> None:
    x = np.array([1e-310, 3e-310, -4e-310])
    assert_close(gradient(tg.std, x), gradient(tg.std, x * 1e300), rtol=1e-9)


def test_the_second_derivatives_of_prelu_at_0_are_those_of_its_left_side() -> None:
    x, weight = leaf([0.0]), leaf([0.25])
    first = tg.grad(tg.prelu(x, weight).sum(), [x, weight], create_graph=True)
    assert tg.grad(first[0].sum(), weight, retain_graph=True).tolist() == [1]
    assert tg.grad(first[1].sum(), x).tolist() == [1]
