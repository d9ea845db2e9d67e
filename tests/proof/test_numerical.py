"""Numerical derivatives: methods, steps, arguments put back, and refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_np as tg
from tests.registry import assert_close
from tinygrad_np.numerical import Probe, probe
from tinygrad_np.tensor import Tensor, plain

X = np.array([[0.5, -1.25], [2.0, 0.125]])


def cube(x: Any) -> Any:
    return (x * x * x).sum()


# Methods and their precision


@pytest.mark.parametrize(
    ("method", "precision"),
    [("auto", 1e-15), ("complex", 1e-15), ("richardson", 1e-11), ("central", 1e-8)],
)
def test_methods_have_their_precision(method: Any, precision: float) -> None:
    found = tg.numerical_gradient(cube, X, method)
    assert found.dtype == np.float64
    assert_close(found, 3 * X**2, precision)


@pytest.mark.parametrize(
    ("f", "method"),
    [
        (lambda x: tg.tanh(x).sum(), "complex"),
        (lambda x: tg.softmax_cross_entropy(x, [0, 1]), "complex"),
        (lambda x: tg.relu(x).sum(), "richardson"),
        (lambda x: tg.logaddexp(x, 1.0).sum(), "richardson"),
        (lambda x: x[0, 0] * tg.abs(Tensor([2.0])).sum(), "complex"),  # abs, but not of x
        (lambda x: tg.checkpoint(tg.sin, x).sum(), "richardson"),  # its inside is not seen
        (lambda x: tg.astype(x, "float64").sum(), "richardson"),
        (lambda x: np.sum(x * x), "complex"),  # NumPy's functions reach the ops
        (lambda x: float((x * x).sum().data), "richardson"),  # no graph to read
        (lambda x: (x * abs(x.data)).sum(), "richardson"),  # more than the graph shows
        (lambda x: (x.data**2).sum(), "richardson"),
    ],
)  # fmt: skip
def test_auto_decides_by_the_graph_and_tests_its_decision(f: Any, method: str) -> None:
    assert probe(f, X).method == method


def test_dependencies_outside_the_graph_are_differentiated_too() -> None:
    assert_close(tg.numerical_gradient(lambda x: (x * abs(x.data)).sum(), X), 2 * abs(X), 1e-10)
    assert_close(tg.numerical_gradient(lambda x: (x.detach() * x).sum(), X), 2 * X, 1e-10)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e-3, 1.0, 1e4, 1e12])
@pytest.mark.parametrize(
    ("f", "derivative"),
    [
        (np.log, lambda x: 1 / x),
        (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
        (np.square, lambda x: 2 * x),
    ],
)
def test_steps_fit_the_argument(f: Any, derivative: Any, scale: float) -> None:
    x = np.array([1.5, 2.5]) * scale
    for way in (lambda a: np.sum(f(a)), lambda a: float(np.sum(f(np.asarray(a))))):
        assert_close(tg.numerical_gradient(way, x), derivative(x), 1e-7)


def test_the_derivative_next_to_a_kink_is_one_sided() -> None:
    x = np.array([1e-3, -1e-3, 1e-4, -1e-5])
    assert_close(tg.numerical_gradient(lambda x: tg.relu(x).sum(), x), [1, 0, 1, 0], 1e-9, 1e-9)


def test_fast_changes_are_followed() -> None:
    x = np.array([0.3, -2.0])
    found = tg.numerical_gradient(lambda a: float(np.sin(500 * a).sum()), x)
    assert_close(found, 500 * np.cos(500 * x), 1e-7)


@pytest.mark.parametrize("x", [1e5, -1e6, 3.7e6, 1e8])
@pytest.mark.parametrize("sine", [tg.sin, np.sin])
def test_functions_that_repeat_between_the_first_steps_are_followed(x: float, sine: Any) -> None:
    assert_close(tg.numerical_gradient(lambda a: sine(a) + 10, x), np.cos(x), 1e-6)


@pytest.mark.parametrize("gap", [1e-7, 1e-8, 1e-9])
def test_the_edge_of_a_domain_may_be_near(gap: float) -> None:
    x = 1 - gap
    for f in (tg.arctanh, lambda a: float(np.arctanh(a))):
        assert_close(tg.numerical_gradient(f, np.array(x)), 1 / (1 - x * x), 1e-6)


def test_a_rounded_function_is_stepped_over() -> None:
    found = tg.numerical_gradient(lambda a: round(float(np.exp(a)), 9), np.array(0.3))
    assert_close(found, np.exp(0.3), 1e-5)


def test_error_estimates_hold() -> None:
    x = np.linspace(-2, 2, 9) + 0.05
    gradient, errors = probe(lambda a: float(np.sum(np.exp(np.sin(3 * a)))), x).gradient()
    true = 3 * np.cos(3 * x) * np.exp(np.sin(3 * x))
    assert (np.abs(gradient - true) <= 3 * errors).all()
    assert errors.max() < 1e-9


@pytest.mark.parametrize("x", [1e-7, 1e-5, 1e-3, 0.5])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
def test_error_estimates_hold_where_f_is_far_from_zero(offset: float, x: float) -> None:
    def far(f: Any) -> Any:
        return lambda t: float(offset + 1e-3 * f(t))

    for f, true in ((np.sin, np.cos(x)), (np.square, 2 * x), (np.sqrt, 0.5 / np.sqrt(x))):
        derivative, error = probe(far(f), x).along(np.array(1.0))
        assert abs(derivative - 1e-3 * true) <= max(3 * error, 1e-12 * true)


@given(
    hnp.arrays(
        float, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3), elements=st.floats(-3, 3)
    )
)
@settings(max_examples=50, deadline=None)
def test_arrays_of_any_shape(x: Any) -> None:
    for method in ("complex", "richardson"):
        found = tg.numerical_gradient(lambda a: tg.sin(a).sum(), x, method)
        assert found.shape == x.shape
        assert_close(found, np.cos(x), 1e-9, 1e-9)


@pytest.mark.parametrize("dtype", ["float16", "float32", "longdouble", "int64", "bool"])
def test_arguments_of_any_dtype(dtype: str) -> None:
    x = np.array([1, 0, 1], dtype)
    for argument in (x, x.tolist(), Tensor(x)):
        found = tg.numerical_gradient(lambda a: (a * a * 1.5).sum(), argument)
        assert found.dtype.kind == "f"
        assert found.dtype.itemsize >= 8
        assert_close(found, [3, 0, 3], 1e-12, 1e-12)


def test_numbers_and_empty_arrays() -> None:
    assert tg.numerical_gradient(lambda x: x * x, 3.0) == 6
    assert tg.numerical_gradient(lambda x: x.sum(), np.ones((0, 2))).shape == (0, 2)


# Directions


@pytest.mark.parametrize("f", [cube, lambda x: tg.softplus(x).sum(), lambda x: float(np.sum(x**2))])
def test_directional_derivatives_are_projections_of_the_gradient(f: Any) -> None:
    direction = np.array([[1.0, -2.0], [0.0, 1e3]])
    found = tg.directional_derivative(f, X, direction)
    assert found == pytest.approx((tg.numerical_gradient(f, X) * direction).sum(), rel=1e-9)


def test_a_direction_of_zeros() -> None:
    assert tg.directional_derivative(lambda x: tg.abs(x).sum(), X, np.zeros((2, 2))) == 0


def test_directions_of_large_arrays_cost_few_calls() -> None:
    calls = 0

    def f(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return tg.softplus(x).sum()

    x = np.linspace(-1, 1, 100_000)
    direction = np.ones_like(x)
    found = tg.directional_derivative(f, x, direction)
    assert found == pytest.approx((1 / (1 + np.exp(-x))).sum(), rel=1e-9)
    assert calls < 20


# The argument is put back


class Refusal(Exception):
    pass


def after(count: int, f: Any) -> Any:
    """f, which refuses from its call number ``count`` on."""
    calls = iter(range(1000))

    def limited(*args: Any) -> Any:
        if next(calls) >= count:
            raise Refusal
        return f(*args)

    return limited


@pytest.mark.parametrize("count", [0, 1, 2, 4])
@pytest.mark.parametrize("method", ["auto", "richardson", "central"])
@pytest.mark.parametrize("kind", ["tensor", "leaf", "array", "closure"])
def test_the_argument_is_put_back_also_when_f_raises(kind: str, method: Any, count: int) -> None:
    array = X.copy()
    x: Any = {"tensor": Tensor(array), "leaf": Tensor(array, requires_grad=True)}.get(kind, array)
    kept = x.data if isinstance(x, Tensor) else x
    node = getattr(x, "node", None)
    f = {"closure": lambda _: float(np.sum(array**2))}.get(kind, cube)
    with pytest.raises(Refusal):
        tg.numerical_gradient(after(count, f), x, method)
    tg.numerical_gradient(f, x, method)
    assert np.array_equal(array, X)
    if isinstance(x, Tensor):
        assert x.data is kept
        assert np.array_equal(x.data, X)
        assert x.dtype == np.float64
        assert x.node is node
    assert tg.is_recording()


def test_f_may_write_to_its_argument() -> None:
    def rude(x: Any) -> float:
        total = float(np.sum(x**2))
        x[...] = 7
        return total

    array = X.copy()
    assert_close(tg.numerical_gradient(rude, array), 2 * X, 1e-9)
    assert np.array_equal(array, X)


def test_f_may_read_x_from_its_closure() -> None:
    w = Tensor(X, requires_grad=True)
    assert_close(tg.numerical_gradient(lambda _: cube(w), w), 3 * X**2, 1e-15)
    array = X.copy()
    assert_close(tg.numerical_gradient(lambda _: float(np.sum(array**3)), array), 3 * X**2, 1e-9)
    assert_close(tg.numerical_gradient(lambda _: Tensor(array**3).sum(), array), 3 * X**2, 1e-9)


@pytest.mark.parametrize("given", [X, Tensor(X, requires_grad=True)])
def test_f_may_take_gradients_itself(given: Any) -> None:
    def penalty(x: Any) -> Any:
        x = x if isinstance(x, Tensor) and x.requires_grad else Tensor(plain(x), requires_grad=True)
        return tg.square(tg.grad(cube(x), x, create_graph=True)).sum()

    assert_close(tg.numerical_gradient(penalty, given), 36 * X**3, 1e-9)


def test_observers_do_not_see_the_trials() -> None:
    with tg.debug():  # log is nan where the first steps lead to
        found = tg.numerical_gradient(lambda x: tg.log(x).sum(), 1e-3, "richardson")
    assert_close(found, 1e3, 1e-9)


@pytest.mark.parametrize("method", ["central", "richardson"])
@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_whole_numbers_do_not_wrap_around(method: Any, dtype: Any) -> None:
    def falling(x: Any) -> Any:
        return dtype(x < 1.0)

    assert tg.numerical_gradient(falling, 0.0, method) == 0
    assert probe(falling, 1.0, method).along(np.array(1.0))[0] < 0
    assert np.isnan(tg.numerical_gradient(falling, 1.0, method))  # a jump


def test_float32_leaves_are_checked_in_float64() -> None:
    w = Tensor(X, requires_grad=True, dtype=np.float32)
    found = tg.numerical_gradient(lambda _: tg.tanh(w).sum(), w)
    assert_close(found, 1 - np.tanh(X) ** 2, 1e-14)
    assert w.dtype == np.float32
    (w * w).sum().backward()
    assert w.grad is not None
    assert w.grad.dtype == np.float32


def test_read_only_and_strided_arguments() -> None:
    x = np.arange(12.0).reshape(3, 4)[::2, ::-2]
    assert_close(tg.numerical_gradient(lambda a: float(np.sum(a**2)), x), 2 * x, 1e-9, 1e-9)
    x = np.broadcast_to(np.array([1.0, 2.0]), (2, 2))
    assert_close(tg.numerical_gradient(lambda a: float(np.sum(a**2)), x), 2 * x, 1e-9)


def test_no_graph_is_left_behind() -> None:
    w = Tensor(X, requires_grad=True)
    tg.numerical_gradient(lambda x: (x * w).sum(), Tensor(X))
    assert w.grad is None


# Functions that read x where it stands


W = np.array([1.0, 2.0, 3.0])


def read_only() -> Any:
    array = W.copy()
    array.flags.writeable = False
    return array


def overlapping() -> Any:
    return np.lib.stride_tricks.sliding_window_view(np.arange(5.0), 3, writeable=True)


@pytest.mark.parametrize(
    ("x", "what"),
    [
        (np.array([1, 2, 3]), "an array of int64"),
        (np.array([True, False]), "an array of bool"),
        (read_only(), "a read-only array"),
        (np.broadcast_to(W, (2, 3)), "a read-only array"),
        (overlapping(), "a view whose elements overlap"),
        (np.lib.stride_tricks.as_strided(W, (2, 3), (0, 8)), "a view whose elements overlap"),
        ([1.0, 2.0], "a list"),
        (2.0, "a float"),
        (np.float64(2.0), "a float64"),
    ],
)
def test_x_that_cannot_change_in_place_must_be_used(x: Any, what: str) -> None:
    def ignores(_: Any) -> float:
        return float((np.asarray(x) ** 2).sum())

    with pytest.raises(ValueError, match=f"whatever its argument is.*{what}"):
        tg.numerical_gradient(ignores, x)
    with pytest.raises(ValueError, match=f"whatever its argument is.*{what}"):
        tg.directional_derivative(ignores, x, np.ones(np.shape(x)))
    found = tg.numerical_gradient(lambda a: float((np.asarray(a) ** 2).sum()), x)
    assert_close(found, 2 * np.asarray(x, float), 1e-9, 1e-9)


@pytest.mark.parametrize("mode", ["c", "r+", "r"])
def test_memory_mapped_arrays_are_changed_where_they_may_be(tmp_path: Any, mode: Any) -> None:
    np.save(tmp_path / "w.npy", W)
    x = np.load(tmp_path / "w.npy", mmap_mode=mode)

    def f(_: Any) -> float:
        return float((x**2).sum())

    if mode == "r":
        with pytest.raises(ValueError, match="a read-only array"):
            tg.numerical_gradient(f, x)
    else:
        assert_close(tg.numerical_gradient(f, x), 2 * W, 1e-9)
    assert np.array_equal(x, W)


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "longdouble"])
def test_writable_floats_are_changed_in_place(dtype: str) -> None:
    x = W.astype(dtype)
    precision = 0.1 if dtype == "float16" else 1e-3
    assert_close(tg.numerical_gradient(lambda _: float((x**2).sum()), x), 2 * W, precision)
    assert np.array_equal(x, W)


def test_strided_views_are_changed_in_place() -> None:
    base = np.arange(12.0).reshape(3, 4)
    for x in (base[::2, ::-2], base.T, base[:, 1:2]):
        found = tg.numerical_gradient(lambda _: float((base**2).sum()), x)
        assert_close(found, 2 * x, 1e-9, 1e-9)


def test_a_step_function_uses_its_argument() -> None:
    assert tg.numerical_gradient(lambda x: float(x > 5), 2.0) == 0
    assert tg.numerical_gradient(lambda x: np.sign(np.asarray(x)).sum(), [2.0, -1.0]).tolist() == [
        0, 0,
    ]  # fmt: skip


# What does not settle


@pytest.mark.parametrize("x", [1e9, 1e10, -3.3e10, 1e12])
@pytest.mark.parametrize("method", ["auto", "richardson", "central"])
def test_large_arguments_give_the_right_value_or_nan(x: float, method: Any) -> None:
    functions: dict[Any, float] = {
        np.sin: np.cos(x),
        (lambda a: float(np.sin(np.asarray(a)))): np.cos(x),
        (lambda a: float(np.sin(np.asarray(a)) + np.asarray(a))): np.cos(x) + 1,
    }
    for f, true in functions.items():
        for found in (
            tg.numerical_gradient(f, np.array(x), method),
            tg.directional_derivative(f, np.array(x), 1.0, method),
        ):
            assert np.isnan(found) or found == pytest.approx(true, rel=1e-4)
    if abs(x) < 1e11 and method != "central":
        assert tg.numerical_gradient(np.sin, np.array(x), method) == pytest.approx(np.cos(x))


@pytest.mark.parametrize("speed", [1e6, 1e8, 1e10])
def test_fast_changes_give_the_right_value_or_nan(speed: float) -> None:
    found = tg.numerical_gradient(lambda a: float(np.sin(speed * np.asarray(a))), np.array(0.7))
    assert np.isnan(found) or found == pytest.approx(speed * np.cos(speed * 0.7), rel=1e-4)


def test_a_jump_has_no_derivative() -> None:
    methods: tuple[Any, ...] = ("auto", "central")
    for f in (np.floor, lambda a: float(np.asarray(a) >= 2)):
        for method in methods:
            assert np.isnan(tg.numerical_gradient(f, np.array(2.0), method))
            assert tg.numerical_gradient(f, np.array(2.5), method) == 0


# Refusals


@pytest.mark.parametrize(
    "error",
    [TypeError, AttributeError, ValueError, AssertionError, NotImplementedError, KeyError],
)
def test_functions_may_refuse_tensors_in_any_way(error: type[Exception]) -> None:
    def f(x: Any) -> float:
        if type(x) is not np.ndarray:
            raise error("arrays alone")
        return float((x**2).sum())

    assert_close(tg.numerical_gradient(f, W), 2 * W, 1e-9)
    assert tg.directional_derivative(f, W, W) == pytest.approx(2 * (W * W).sum())


def test_the_error_for_arrays_is_raised_and_the_one_for_tensors_noted() -> None:
    def f(x: Any) -> float:
        raise RuntimeError(f"no {type(x).__name__}")

    with pytest.raises(RuntimeError, match="no ndarray") as caught:
        tg.numerical_gradient(f, W)
    assert "Given a Tensor, f raised RuntimeError: no Tensor" in caught.value.__notes__[0]


@pytest.mark.parametrize("x", [{"W": W}, "abc", None, [np.ones(2), None]])
def test_x_that_is_no_array_of_numbers_is_refused(x: Any) -> None:
    with pytest.raises(TypeError, match=r"x must be one array of numbers.*one array at a time"):
        tg.numerical_gradient(lambda x: 0.0, x)


def gradient(f: Any, x: Any = X, method: Any = "auto") -> Any:
    return tg.numerical_gradient(f, x, method)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: gradient(lambda x: x * 2),
            ValueError,
            r"one number, got Tensor of shape \(2, 2\)",
        ),
        (
            lambda: gradient(lambda x: x * 2),
            ValueError,
            r"reduce it first.*\(weights \* out\)\.sum",
        ),
        (lambda: gradient(lambda x: "one"), ValueError, "one number, got str"),
        (lambda: gradient(lambda x: None), ValueError, "one number, got NoneType"),
        (lambda: gradient(cube, X, "simplex"), ValueError, "'simplex' is none of 'auto'"),
        (lambda: gradient(cube, X * 1j), TypeError, "x is complex128"),
        (lambda: gradient(lambda x: complex(1)), ValueError, "real number"),
        (lambda: gradient(lambda x: tg.relu(x).sum(), X, "complex"), ValueError, "not for relu"),
        (
            lambda: gradient(lambda x: float(np.sum(x)), X, "complex"),
            ValueError,
            "outside the graph",
        ),
        (
            lambda: tg.directional_derivative(cube, X, [1.0, 2.0]),
            ValueError,
            r"direction of shape \(2,\) for x of shape \(2, 2\)",
        ),
    ],
)
def test_errors(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_errors_of_f_come_through() -> None:
    def broken(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tg.numerical_gradient(broken, X)
    with pytest.raises(AttributeError, match="frobnicate"):
        tg.numerical_gradient(lambda x: x.frobnicate(), X)


def test_functions_for_arrays_alone_are_called_with_arrays() -> None:
    seen: list[type] = []

    def f(x: Any) -> float:
        seen.append(type(x))
        return float(np.asarray(x).sum())

    assert_close(tg.numerical_gradient(f, X), np.ones((2, 2)), 1e-12)
    assert seen[-1] is np.ndarray


def test_a_probe_reads_x_in_place() -> None:
    w = Tensor(X, requires_grad=True)
    found = Probe(lambda: cube(w), w)
    assert found.value == cube(w).item()
    assert found.at(np.zeros((2, 2))) == 0
    assert [node.op.name for node in found.nodes if node.op] == ["sum", "multiply", "multiply"]
