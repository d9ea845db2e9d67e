"""gradcheck itself: what it finds, names and refuses; the plugin; mutants; the script."""

import configparser
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from scripts import gradcheck as script
from scripts import mutate
from tinygrad_np.cases import case, normal
from tinygrad_np.gradient_check import (
    Comparison,
    GradcheckError,
    GradcheckReport,
    check_op,
    gradcheck,
    sample_call,
)
from tinygrad_np.tensor import Tensor

ROOT = Path(tg.__file__).parent.parent
RNG = np.random.default_rng(2)
A, B = RNG.normal(size=(3, 4)), RNG.normal(size=4)


def product(a: Any, b: Any) -> Any:
    return tg.tanh(a @ b).sum()


@pytest.fixture
def spoiled() -> Iterator[Any]:
    """An op whose rule forgets the last element, and one that is wrong at second order only."""

    @tg.op(cases=[case(normal(3))], x=lambda g, x: g * 2 * x * (np.arange(x.size) < x.size - 1))
    def forgetful(x: Any) -> Any:
        return x * x

    @tg.op(cases=[case(normal(3))], x=lambda g, x: g * 2 * getattr(x, "data", x))
    def shallow(x: Any) -> Any:
        return x * x

    yield forgetful, shallow
    for name in ("forgetful", "shallow"):
        del tg.OPS[name]


# What it finds


def test_the_function_is_exported_and_the_module_can_be_imported() -> None:
    assert tg.gradcheck is gradcheck
    assert issubclass(tg.GradcheckError, AssertionError)


@pytest.mark.parametrize("order", [1, 2])
def test_right_gradients_pass(order: int) -> None:
    report = gradcheck(product, [A, B], order)
    assert report
    rows = [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("g", 2)]
    assert [(c.input, c.order) for c in report.comparisons] == rows[: 2 if order == 1 else None]
    first = report.comparisons[0]
    assert first.method == "complex"
    assert first.relative <= first.allowed <= 1e-12
    assert first.shape == (3, 4)
    assert report.notes == ()
    assert all(c.allowed <= 1e-6 for c in report.comparisons)


def test_a_wrong_rule_is_found_with_the_place_and_both_values(spoiled: Any) -> None:
    forgetful, _ = spoiled
    x = np.array([1.0, 2.0, 3.0])
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda w: forgetful(w).sum(), x)
    report = caught.value.report
    (found,) = report.comparisons
    assert (found.input, found.where) == ("w", "[2]")
    assert found.autograd == 0
    assert found.numerical == pytest.approx(6.0)
    assert found.absolute == pytest.approx(6.0)
    assert found.relative == pytest.approx(1.0)
    assert not found.passed
    words = str(caught.value)
    assert str(report) == words
    assert "1 of 1 derivatives differ" in words
    assert "\nlargest error, w[2]: autograd gives 0, the numerical derivative is 6" in words
    for word in ("WRONG", "w", "(3,)", "float64", "complex", "6.0e+00", "1.0e+00", "1e-12", "[2]"):
        assert word in words.splitlines()[2]
    assert report.worst is found


def test_raises_false_returns_the_report(spoiled: Any) -> None:
    report = gradcheck(lambda w: spoiled[0](w).sum(), B, raises=False)
    assert type(report) is GradcheckReport
    assert not report


def test_a_rule_that_is_right_only_once_is_found_at_second_order(spoiled: Any) -> None:
    _, shallow = spoiled
    assert gradcheck(lambda w: shallow(w).sum(), B)
    report = gradcheck(lambda w: shallow(w).sum(), B, order=2, raises=False)
    assert [(c.order, c.passed) for c in report.comparisons] == [
        (1, True), (2, False), (2, True),
    ]  # fmt: skip


def double_in_place(g: Any, x: Any) -> Any:
    g *= 2
    return g * x


def exp_in_place(g: Any, out: Any) -> Any:
    out *= g
    return out


@pytest.mark.parametrize(
    ("forward", "rule"), [(np.square, double_in_place), (np.exp, exp_in_place)]
)
def test_a_rule_that_writes_to_its_arguments_is_found(forward: Any, rule: Any) -> None:
    @tg.op(cases=[case(normal(3))], name="writes", x=rule)
    def writes(x: Any) -> Any:
        return forward(x)

    try:
        assert not tg.gradcheck(lambda x: tg.exp(x), B, weights="random").notes
        with pytest.raises(ValueError, match="rule of writes writes to an array"):
            check_op(tg.OPS["writes"], tg.OPS["writes"].cases[0])
    finally:
        del tg.OPS["writes"]


@pytest.mark.parametrize("factor", [1 + 1e-10, 1 - 1e-10])
def test_small_errors_are_found_by_the_complex_step(factor: float) -> None:
    @tg.op(cases=[case(normal(3))], x=lambda g, x: g * np.exp(x) * factor)
    def nearly(x: Any) -> Any:
        return np.exp(x)

    try:
        assert not gradcheck(lambda x: nearly(x).sum(), B, raises=False)
        assert not gradcheck(lambda x: nearly(x).sum(), B, directions=1, raises=False)
        assert gradcheck(lambda x: nearly(x).sum(), B, rtol=1e-9)
        assert gradcheck(lambda x: nearly(x).sum(), B, method="richardson")
    finally:
        del tg.OPS["nearly"]


def test_a_detached_path_is_found() -> None:
    report = gradcheck(lambda x: (x * Tensor(x.data)).sum(), B, raises=False)
    assert not report
    assert report.worst.autograd == pytest.approx(report.worst.numerical / 2)
    assert "(ratio 0.5)" in str(report)


def test_one_wrong_element_in_a_large_input_is_found_along_directions() -> None:
    x = RNG.normal(size=5000)

    @tg.op(cases=[case(normal(3))], x=lambda g, x: g * 2 * x * (np.arange(x.size) != 4321))
    def holey(x: Any) -> Any:
        return x * x

    try:
        report = gradcheck(lambda x: holey(x).sum(), x, raises=False)
    finally:
        del tg.OPS["holey"]
    assert not report
    assert report.comparisons[0].where.startswith("direction ")
    assert f"x along {report.comparisons[0].where}: autograd gives" in str(report)
    assert gradcheck(lambda x: (x * x).sum(), x)


def test_directions_can_be_asked_for_and_seeded() -> None:
    places = {
        gradcheck(product, [A, B], directions=3, seed=seed).comparisons[0].autograd
        for seed in (0, 0, 1)
    }
    assert len(places) == 2


def test_gradients_at_scale() -> None:
    for scale in (1e-9, 1e9):
        assert gradcheck(lambda x, s=scale: tg.sin(x).sum() * s, B, 2)
        assert gradcheck(lambda x, s=scale: tg.sin(x * s).sum(), B / scale, method="richardson")
        wrong = gradcheck(
            lambda x, s=scale: (tg.sin(x) * x.data).sum() * s, B, method="richardson", raises=False
        )
        assert not wrong


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("analytic", [True, False])
def test_sizes_of_all_kinds_give_no_false_alarm(analytic: bool, offset: float) -> None:
    @tg.op(cases=[case(normal(3))], analytic=analytic, x=lambda g, x: g * np.cos(x) * factor)
    def sine(x: Any) -> Any:
        return np.sin(x)

    del tg.OPS["sine"]
    rng = np.random.default_rng(3)
    for _ in range(15):
        x, inner, outer = 10.0 ** rng.uniform([-6, -3, -4], [2, 1, 4])

        def f(x: Any, inner: float = inner, outer: float = outer) -> Any:
            return sine(x * inner) * outer + offset

        for factor in (1.0, 1.3):
            report = gradcheck(f, x * rng.normal(), order=2, raises=False)
            assert bool(report) == (factor == 1.0), str(report)


# The incoming gradient


@pytest.fixture
def define() -> Iterator[Any]:
    """Defines ops of one input, and removes them afterwards."""
    made: list[str] = []

    def defined(forward: Any, rule: Any, name: str = "mine") -> Any:
        made.append(name)
        return tg.op(cases=[case(normal(3))], name=name, x=rule)(forward)

    yield defined
    for name in made:
        del tg.OPS[name]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    "rule",
    [
        lambda g, x: 2 * x,
        lambda g, x: abs(g) * 2 * x,
        lambda g, x: g * g * 2 * x,
        lambda g, x: np.maximum(g, 0) * 2 * x,
        lambda g, x: np.minimum(g, 0) * 2 * x,
        lambda g, x: np.sign(g) * 2 * x,
    ],
)
def test_a_scalar_functions_rule_must_use_its_g(define: Any, rule: Any, order: int) -> None:
    scalar = define(lambda x: (x * x).sum(), rule)
    for weights in (None, "random", 1.0):
        assert not gradcheck(scalar, B, order, weights=weights, raises=False)
    assert not gradcheck(lambda x: scalar(x) * 1.0, B, order, raises=False)
    assert not check_op(tg.OPS["mine"], tg.OPS["mine"].cases[0], order)


def test_the_error_for_a_rule_without_g(define: Any) -> None:
    report = gradcheck(define(lambda x: (x * x).sum(), lambda g, x: 2 * x), B, raises=False)
    assert "does a rule forget g?" in report.notes[0]
    assert not gradcheck(lambda x: (x * x.data).sum(), B, raises=False).notes


def test_values_are_those_for_a_g_of_one() -> None:
    (c,) = gradcheck(lambda x: (x * x).sum(), np.array([3.0])).comparisons
    assert (c.autograd, c.numerical) == pytest.approx((6.0, 6.0))


def cut(g: Any) -> Any:
    return g.detach() if isinstance(g, Tensor) else g


def off(g: Any) -> Any:
    """g, with a derivative by g that is wrong by 0.1%."""
    return g + (g - g.detach()) * 1e-3 if isinstance(g, Tensor) else g


@pytest.mark.parametrize("spoil", [cut, off])
@pytest.mark.parametrize(
    ("forward", "rule"),
    [
        (lambda x: 2 * x, lambda g: 2 * g),
        (lambda x: x * x, lambda g, x: 2 * g * x),
        (lambda x: (x * x).sum(), lambda g, x: 2 * g * x),
    ],
)
def test_derivatives_by_g_are_checked_at_second_order(
    define: Any, spoil: Any, forward: Any, rule: Any
) -> None:
    if rule.__code__.co_argcount == 1:
        wrong = define(forward, lambda g: rule(spoil(g)))
    else:
        wrong = define(forward, lambda g, x: rule(spoil(g), x))
    assert gradcheck(wrong, B, weights="random")
    for f in (wrong, lambda x: tg.sin(wrong(x)).sum(), lambda x: wrong(tg.sin(x)).sum()):
        report = gradcheck(f, B, 2, weights="random", raises=False)
        assert [c.input for c in report.comparisons if not c.passed][-1] == "g"
    assert not check_op(tg.OPS["mine"], tg.OPS["mine"].cases[0], 2)


def test_the_rows_of_g_are_named() -> None:
    def named(f: Any, *inputs: Any) -> list[str]:
        report = gradcheck(f, inputs, 2, weights="random")
        return [c.input for c in report.comparisons if c.order == 2]

    assert named(lambda x: x * 2, B) == ["x", "g"]
    assert named(lambda g: g * 2, B) == ["g", "incoming g"]
    assert named(lambda x: (x * 2, x.sum()), B) == ["x", "g[0]", "g[1]"]
    assert named(lambda x: (x * 2, x[:0]), B) == ["x", "g[0]"]


# What rounding leaves

SURE: dict[str, Any] = {
    "cross-entropy": lambda x: tg.softmax_cross_entropy(x, [0]),
    "log_softmax": lambda x: tg.log_softmax(x)[0, 0],
    "logsumexp": lambda x: tg.logsumexp(x) - x[0, 0],
    "naive": lambda x: tg.log(tg.exp(x).sum()) - x[0, 0],
    "binary": lambda x: tg.binary_cross_entropy_with_logits(x, [[1.0, 0.0, 1.0]]).sum(),
    "softplus": lambda x: (tg.softplus(x) - x).sum(),
}


@pytest.mark.parametrize(
    ("dtype", "order"),
    [
        ("float64", 1),
        ("float32", 1),
        pytest.param("float64", 2, marks=pytest.mark.slow),
        pytest.param("float32", 2, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", SURE)
def test_rounding_of_terms_that_cancel_is_no_mistake(name: str, dtype: Any, order: int) -> None:
    for z in (9.0, 11.5, 15.0, 20.0, 23.0, 28.0, 36.0, 40.0):
        for sign in (1, -1):
            x = sign * np.array([[z, 0.8, 0.3]], dtype)
            report = gradcheck(SURE[name], x, order, raises=False)
            assert report, f"{x}\n{report}"


def test_rounding_is_named_in_the_notes() -> None:
    report = gradcheck(SURE["logsumexp"], np.array([[11.5, 0.8, 0.3]]))
    assert "x[0, 0]: larger terms cancel; rounding may leave an error of" in report.notes[0]


@pytest.mark.parametrize("factor", [1.0001, 0.0, -1.0])
@pytest.mark.parametrize("z", [11.5, 20.0, 28.0])
def test_a_wrong_rule_is_found_where_terms_cancel(define: Any, z: float, factor: float) -> None:
    same = define(lambda x: x + 0, lambda g: g * factor)
    for f in SURE.values():
        assert not gradcheck(lambda x, f=f: f(same(x)), np.array([[z, 0.8, 0.3]]), raises=False)


def test_a_constant_that_cancels_is_rounding_too() -> None:
    big = 1e8
    assert gradcheck(lambda x: (x * (big + 0.1) - x * big).sum(), B, method="richardson")


def test_a_rule_of_lower_precision_is_found(define: Any) -> None:
    def half(g: Any, x: Any) -> Any:
        return g * (2 * x).astype(np.float32).astype(np.float64)

    coarse = define(lambda x: x * x, half)
    assert not gradcheck(coarse, B, weights="random", raises=False)


def test_std_of_two_values_in_float32_to_second_order() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        x = rng.normal(size=2) * 10.0 ** rng.uniform(-2, 2) + rng.choice([0, 1, 10])
        assert gradcheck(tg.std, x.astype(np.float32), 2)


# Inputs and outputs


def test_inputs_by_name() -> None:
    def f(w: Any, b: Any) -> Any:
        return (w @ b).sum() * b[0]

    several: list[Any] = [{"w": A, "b": B}, {"b": B, "w": A}, iter([A, B]), [("b", B), ("w", A)]]
    for inputs in several:
        report = gradcheck(f, inputs)
        assert sorted(c.input for c in report.comparisons) == ["b", "w"]
        assert {c.input: c.shape for c in report.comparisons} == {"w": (3, 4), "b": (4,)}
    report = gradcheck(lambda *_: (A @ B).sum() * Tensor(1.0), {"layer.w": A}, raises=False)
    assert report.comparisons[0].input == "layer.w"
    assert gradcheck(lambda **named: (named["w"] @ named["b"]).sum(), {"w": A, "b": B})
    assert gradcheck(lambda v, c: (v @ c).sum(), {"w": A, "b": B})


def test_a_modules_named_parameters() -> None:
    model = tg.nn.Linear(4, 2, rng=0, dtype=np.float64)
    for parameters in (model.named_parameters(), dict(model.named_parameters())):
        report = gradcheck(lambda *_: model(A).sum(), parameters)
        assert [c.input for c in report.comparisons] == ["weight", "bias"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (tg.nn.Linear(2, 2), "inputs is a Linear.*named_parameters"),
        ({"x": B, "c": B}, "f takes x, y, but the inputs are called x, c"),
        ((B, {"a": B}), "y is a dict that is not an array of numbers.*flat tuple, list or mapping"),
        ((B, "abc"), "y is a str"),
        ((B, [[1.0], [1.0, 2.0]]), "y is a list"),
        ((B, None), "y is a NoneType"),
    ],
)
def test_inputs_that_are_none(inputs: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        gradcheck(lambda x, y: (x * y).sum(), inputs)


def test_one_array_several_arrays_tensors_and_constants() -> None:
    w = Tensor(A, requires_grad=True, name="weights")
    report = gradcheck(lambda w, b, c: (w @ b * c).sum(), (w, B, Tensor(3.0)))
    assert [c.input for c in report.comparisons] == ["weights", "b"]
    assert w.grad is None
    assert np.array_equal(w.data, A)
    assert gradcheck(lambda x: x * x, 3.0)
    assert gradcheck(lambda x: (x * x).sum(), [1.0, 2.0])
    assert gradcheck(lambda x, y: x * y, (1.0, 2.0))


def test_parameters_read_from_a_closure() -> None:
    net = tg.nn.Sequential(tg.nn.Linear(3, 4, rng=0), tg.nn.Tanh(), tg.nn.Linear(4, 2, rng=1))
    x, labels = RNG.normal(size=(5, 3)).astype(np.float32), np.array([0, 1, 1, 0, 1])
    report = gradcheck(lambda *_: tg.softmax_cross_entropy(net(x), labels), net.parameters(), 2)
    assert len(report.comparisons) == 4 + 4 + 1
    assert {c.dtype for c in report.comparisons} == {"float32"}
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float32)}


def test_names_of_inputs() -> None:
    def f(*arrays: Any) -> Any:
        return sum(a.sum() for a in arrays)

    assert [c.input for c in gradcheck(f, [B, B]).comparisons] == ["input 0", "input 1"]
    report = gradcheck(lambda w, scale=2.0: (w * scale).sum(), B)
    assert report.comparisons[0].input == "w"  # as it is called where a loop binds its variables
    named = [Tensor(B, requires_grad=True, name="w") for _ in range(2)]
    assert [c.input for c in gradcheck(f, named).comparisons] == ["w", "w (input 1)"]


@pytest.mark.parametrize("weights", ["random", np.arange(3.0), [1, 0, 2], Tensor([1.0, 0.0, 2.0])])
def test_weights_for_outputs_of_any_shape(weights: Any) -> None:
    assert gradcheck(lambda a, b: a @ b, [A, B], 2, weights=weights)


def test_several_outputs() -> None:
    assert gradcheck(lambda a: tg.split(a, 2, axis=1), A, weights="random")


@pytest.mark.parametrize(
    ("dtype", "allowed"), [("float16", 3e-2), ("float32", 1e-4), ("longdouble", 1e-12)]
)
def test_tolerances_fit_the_dtype(dtype: str, allowed: float) -> None:
    x = RNG.normal(size=(3, 4)).astype(dtype)
    report = gradcheck(lambda x: tg.tanh(x).sum(), x)
    assert report.comparisons[0].dtype == str(np.dtype(dtype))
    assert report.comparisons[0].allowed == allowed
    wrong = gradcheck(lambda x: (tg.tanh(x) * tg.Tensor(1 + 0.1 * x.data)).sum(), x, raises=False)
    assert not wrong


def test_the_least_precise_array_of_the_graph_counts() -> None:
    report = gradcheck(lambda x: tg.astype(tg.sin(x), np.float32).sum(), A)
    assert report.comparisons[0].allowed == 1e-4


@pytest.mark.parametrize("method", ["complex", "richardson", "central"])
def test_methods_on_request(method: Any) -> None:
    report = gradcheck(product, [A, B], method=method)
    assert {c.method for c in report.comparisons} == {method}


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_float32_may_leave_rounding_of_a_gradient_that_cancels(factor: float) -> None:
    @tg.op(cases=[case(normal(3))], name="same", x=lambda g: g * factor)
    def same(x: Any) -> Any:
        return x + 0

    del tg.OPS["same"]
    rng = np.random.default_rng(0)
    x, shift = rng.normal(size=(30, 4)).astype("f4"), np.array(0.5, "f4")

    def f(x: Any, shift: Any) -> Any:  # softmax is the same for all shifts
        return tg.softmax_cross_entropy(same(x) + shift, np.arange(30) % 4)

    report = tg.gradcheck(f, (x, shift), raises=False)
    assert [c.passed for c in report.comparisons] == [factor == 1, True]
    with np.errstate(divide="ignore"):  # inf for both
        assert not tg.gradcheck(lambda x: tg.sqrt(x).sum(), np.zeros(2, "f4"), raises=False)


def test_an_input_without_influence_is_named() -> None:
    report = gradcheck(lambda a, b: a.sum(), [A, B])
    assert report.notes == ("b: f does not depend on it",)


@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_gradients_are_checked(order: int, recording: bool) -> None:
    def penalty(x: Any) -> Any:
        return tg.square(tg.grad(product(x, B), x, create_graph=True)).sum()

    with contextlib.nullcontext() if recording else tg.no_grad():
        assert gradcheck(penalty, A, order)


@pytest.mark.parametrize("order", [1, 2])
def test_a_constant_has_gradients_of_zero(order: int) -> None:
    report = gradcheck(lambda x: Tensor(1.0), A, order)
    assert report and report.notes == ("x: f does not depend on it",)


# Kinks


@pytest.mark.parametrize(
    ("f", "x", "words"),
    [
        (tg.relu, [0.0, 1.0], "x[0]: a kink of relu, at element [0] of its output: the derivative "
            "is 0 on the left and 1 on the right; autograd's 0 lies between"),
        (tg.leaky_relu, [0.0, 1.0], "kink of leaky_relu"),
        (lambda x: tg.max(x), [2.0, 2.0, 1.0], None),  # sharing is the mean of both sides
        (lambda x: tg.abs(x), [0.0, 1.0], None),  # 0 is the mean of -1 and 1
        (lambda x: tg.maximum(x * 2, x * 5), [0.0, 1.0], None),
        (lambda x: tg.clip(x, 0.0, 1.0), [0.0, 1.0], "kink of clip, at element [1]"),
        (lambda x: tg.tanh(tg.relu(x * 3.0) + x), [0.0, 1.0], "kink of relu, at element [0]"),
        (lambda x: tg.norm(x), [0.0, 0.0], None),
        (lambda x: 3 * x - 4.5 * x * x + tg.relu(x) / 1000, [0.0, 1.0],
            "a kink of relu, at element [0] of its output: the derivative is 3 on the left and 3"),
        (lambda x: tg.relu(x - 1e-7), [0.0, 1e-7], "x[1]: a kink of relu"),
    ],
)  # fmt: skip
def test_kinks_are_named_and_no_failure(f: Any, x: list[float], words: str | None) -> None:
    report = gradcheck(lambda x: f(x).sum(), np.array(x))
    assert report, str(report)
    if words is not None:
        assert any(words in note for note in report.notes), report.notes
        assert words in str(report)


def test_a_value_outside_a_kinks_two_sides_is_wrong() -> None:
    @tg.op(cases=[case(normal(3))], analytic=False, x=lambda g, x: g * np.where(x > 0, 1, -0.5))
    def crooked(x: Any) -> Any:
        return np.maximum(x, 0)

    try:
        report = gradcheck(lambda x: crooked(x).sum(), np.array([0.0, 1.0]), raises=False)
    finally:
        del tg.OPS["crooked"]
    assert not report
    assert "autograd's -0.5 lies outside" in report.notes[0]


def test_kinks_beside_right_and_wrong_elements() -> None:
    def f(x: Any, factor: Any = 1.0) -> Any:
        return (tg.relu(x) * x * factor).sum() + tg.relu(x).sum()

    x = np.array([0.0, 1.0, -1.0, 2.0])
    assert gradcheck(f, x)
    wrong = gradcheck(lambda x: f(x, Tensor(1 + 0.1 * x.data)), x, raises=False)
    assert not wrong
    assert wrong.worst.where in ("[1]", "[3]")
    assert any("x[0]: a kink of relu" in note for note in wrong.notes)


def test_kinks_have_no_second_derivative() -> None:
    report = gradcheck(lambda x: (tg.relu(x) * 3).sum(), np.array([0.0, 1.0]), order=2)
    assert any("a kink of relu" in n and "no second derivative" in n for n in report.notes)


def test_jumps_have_no_derivative() -> None:
    with pytest.raises(GradcheckError, match=r"x\[1\]: a jump of floor_divide, at element \[1\]"):
        gradcheck(lambda x: (x // 1.0).sum(), np.array([0.5, 2.0]))


ACTIVATIONS = [
    tg.relu, tg.abs, tg.tanh, tg.sigmoid, tg.softplus, tg.gelu,
    lambda x: tg.max(tg.stack([x, x * 0.5]), axis=0),
]  # fmt: skip


@pytest.mark.parametrize("wrong", [0.0, 1e-3])
@pytest.mark.parametrize(
    "seed", [*range(7), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(7, 30))]
)
def test_random_networks_give_no_false_alarm_and_hide_no_error(seed: int, wrong: float) -> None:
    rng = np.random.default_rng(seed)
    n, a, b, c = rng.integers(2, 8, size=4)
    x, labels = rng.normal(size=(n, a)), rng.integers(c, size=n)
    activation: Any = ACTIVATIONS[seed % len(ACTIVATIONS)]
    scale = [0.01, 0.1, 1.0, 10.0][seed % 4]  # up to saturation, where f is rounded most

    def loss(w: Any, v: Any, u: Any) -> Any:
        h = activation(x @ w + v)
        if wrong:  # a factor that autograd takes for a constant
            h = h * Tensor(1 + wrong * h.data / (1 + abs(h.data)))
        return tg.softmax_cross_entropy(h @ u, labels) + 0.01 * (h * h).mean()

    weights = [rng.normal(size=shape) * scale for shape in ((a, b), b, (b, c))]
    report = gradcheck(loss, weights, order=1 if wrong else 2, raises=False)
    assert bool(report) == (not wrong), str(report)


def test_looking_for_a_kink_gives_no_warnings() -> None:
    def edge(x: Any) -> Any:  # log is nan a step to the left
        return tg.where(x.data > 1e-6, tg.log(x), x).sum()

    report = gradcheck(edge, np.array([1e-6]), raises=False)
    assert "a jump of where" in report.notes[0]


def test_long_lists_of_notes_are_cut_in_print_alone() -> None:
    report = gradcheck(lambda x: tg.relu(x).sum(), np.zeros(50))
    assert len(report.notes) == 50
    assert "and 40 more like these" in str(report)


# Refusals


def check(f: Any, inputs: Any = B, **keywords: Any) -> Any:
    return gradcheck(f, inputs, **keywords)


def nan_inside(x: Any) -> Any:
    with np.errstate(all="ignore"):
        return tg.log(x - 5.0).sum()


def infinite(x: Any) -> Any:
    with np.errstate(all="ignore"):
        return (x * x / 0.0).sum()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: check(lambda x: x * 2), ValueError, r"no scalar but shape \(4,\).*='random'"),
        (lambda: check(lambda x: x * 2, weights=[1]), ValueError, r"\(1,\) for .* shape \(4,\)"),
        (lambda: check(lambda x: x.sum(), weights="some"), ValueError, "or 'random'"),
        (lambda: check(lambda x: x.sum(), [1, 2, 3]), TypeError, r"floating-point.*int64"),
        (lambda: check(lambda x, n: x.sum(), [B, np.arange(3)]), TypeError, "got int64"),
        (lambda: check(lambda x: x.sum(), Tensor([1, 2])), ValueError, "nothing to check"),
        (lambda: check(lambda x: x.sum(), Tensor([1.0])), ValueError, "requires_grad=True"),
        (lambda: check(lambda x: x.sum(), np.ones((0, 3))), ValueError, r"length 0 .*\(0, 3\)"),
        (lambda: check(nan_inside), ValueError, "f is nan at these inputs"),
        (lambda: check(infinite), ValueError, "f is infinite at these inputs"),
        (lambda: check(lambda x: float(x.sum().data)), TypeError, "return a Tensor.*got float"),
        (lambda: check(lambda x: x.argmax()), TypeError, "f returns int64"),
        (lambda: check(lambda x: tg.dropout(x).sum(), np.arange(99.0)), ValueError, "two diff"),
        (lambda: check(lambda x: x.sum(), order=3), ValueError, "order=3"),
        (lambda: check(lambda x: x.sum(), rtol=0), ValueError, "rtol=0: give a number above 0"),
        (lambda: check(lambda x: x.sum(), directions=-1), ValueError, "directions=-1"),
        (lambda: check(lambda x: x.sum(), method="best"), ValueError, "'best' is none of"),
        (lambda: check(lambda x: tg.relu(x).sum(), method="complex"), ValueError, "not for relu"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_nan_in_a_gradient_is_a_failure() -> None:
    @tg.op(cases=[case(normal(3))], x=lambda g, x: g * np.where(x > 0, np.nan, 1))
    def poisoned(x: Any) -> Any:
        return x * 1

    try:
        report = gradcheck(lambda x: poisoned(x).sum(), np.array([-1.0, 1.0]), raises=False)
    finally:
        del tg.OPS["poisoned"]
    assert not report
    assert report.worst.where == "[1]"
    assert "nan" in str(report)


def test_a_function_that_is_all_noise_is_not_passed() -> None:
    def noisy(x: Any) -> Any:
        return (x + np.sin(1e14 * x.data)).sum()

    report = gradcheck(noisy, B, method="richardson", raises=False)
    assert not report
    assert any("do not converge" in note or "jump" in note for note in report.notes)


# The registry's checks


def test_sample_calls_name_their_inputs() -> None:
    names = {
        name: [t.name for t in sample_call(tg.OPS[name], tg.OPS[name].cases[0])[1]]
        for name in ("add", "where", "concatenate", "joined", "einsum", "linear", "argmax")
    }
    assert names == {
        "add": ["x", "y"], "where": ["x", "y"], "concatenate": ["arrays[0]", "arrays[1]"],
        "joined": ["arrays[0]", "arrays[1]"], "einsum": ["operands[0]", "operands[1]"],
        "linear": ["x", "weight", "bias"], "argmax": [],
    }  # fmt: skip


def test_check_op_finds_a_wrong_rule(spoiled: Any) -> None:
    op = tg.OPS["forgetful"]
    report = check_op(op, op.cases[0])
    assert report is not None
    assert not report
    assert check_op(tg.OPS["argmax"], tg.OPS["argmax"].cases[0]) is None


# Mutants


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_every_rule_made_wrong_is_caught(every: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The rules of each tenth op, or of all."""
    names = [name for name, op in tg.OPS.items() if op.gradients][::every]
    rules = sum(len(tg.OPS[name].gradients) for name in names)
    kept = {name: op.rules for name, op in tg.OPS.items()}
    assert mutate.main(names if every > 1 else []) == 0
    out = capsys.readouterr().out
    assert f"{rules}/{rules} rules caught when multiplied by 1.0001: 100%" in out
    assert f"{rules}/{rules} rules caught when their derivatives by g are multiplied" in out
    assert all(op.rules is kept[name] for name, op in tg.OPS.items())


def test_a_mutant_that_no_case_reaches_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    @tg.op(cases=[case(normal(0))], x=lambda g: g * 3)
    def unreached(x: Any) -> Any:
        return x * 3

    try:
        assert mutate.main(["unreached", "tanh"]) == 1
    finally:
        del tg.OPS["unreached"]
    out = capsys.readouterr().out
    assert "not caught when multiplied: unreached, dx = g * 3" in out
    assert "not caught when their derivatives by g are multiplied: unreached" in out
    assert out.count("1/2 rules") == 2


def test_a_rule_that_is_wrong_already_stops_the_mutation(
    spoiled: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutate.main(["forgetful"]) == 1
    assert "fail without any mutation" in capsys.readouterr().err


# The script


def test_the_script_checks_ops_and_networks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    names = ["tanh", "relu", "inv", "relu_sgd"]
    assert script.main([*names, "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "3 ops in" in out
    assert "1 networks" in out
    assert "all agree" in out
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["passed"] is True
    assert [r["name"] for r in found["results"]] == sorted(names, key=[*tg.OPS, "relu_sgd"].index)
    network = found["results"][-1]
    assert network["by_hand"].keys() == {"W1", "W2"}
    assert max(network["by_hand"].values()) <= 1e-12
    assert tuple(network["comparisons"][0]) == Comparison._fields


def test_the_script_fails_for_a_wrong_rule(
    spoiled: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    assert script.main(["forgetful", "tanh", "--json", str(file)]) == 1
    out = capsys.readouterr().out
    assert "WRONG: forgetful" in out
    assert json.loads(file.read_text(encoding="utf-8"))["passed"] is False


def test_the_script_refuses_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        script.main(["argmax", "tanh"])
    assert caught.value.code == 2
    assert "neither an op with gradients nor a network: argmax" in capsys.readouterr().err


def test_the_script_says_where_data_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["relu_sgd", "--data", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "MNIST was read from" in message
    (tmp_path / "train-images-idx3-ubyte").write_text("damaged")
    (tmp_path / "train-labels-idx1-ubyte").touch()
    assert script.main(["relu_sgd", "--data", str(tmp_path)]) == 1
    assert "not an IDX file" in capsys.readouterr().err


def test_an_error_that_is_no_number_is_shown_as_such() -> None:
    result = script.Result("net", "network", by_hand={"W1": 1e-16, "W2": float("nan")})
    assert not result.passed
    assert np.isnan(result.worst()["by hand"])


# The pytest plugin


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "pytest_tinygrad_np", "-p",
               "no:cacheprovider", *arguments]  # fmt: skip
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


USERS_TESTS = """
import numpy as np
import tinygrad_np as tg

def test_right(gradcheck):
    report = gradcheck(lambda x: tg.tanh(x).sum(), np.ones(3), directions=1)
    print("autograd", report.comparisons[0].autograd)

def test_wrong(gradcheck):
    gradcheck(lambda x: (x * x.data).sum(), np.ones(3), order=2)
"""


def test_the_plugin_gives_a_fixture_with_a_report_and_a_seed(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(USERS_TESTS, encoding="utf-8")
    drawn = []
    for arguments in ((), ("--gradcheck-seed=0",), ("--gradcheck-seed=5",)):
        result = run_pytest(tmp_path, "-rA", *arguments)
        assert result.returncode == 1
        assert "1 failed, 1 passed" in result.stdout
        assert "derivatives differ" in result.stdout
        assert "WRONG" in result.stdout
        drawn.append(next(ln for ln in result.stdout.splitlines() if ln.startswith("autograd")))
    assert drawn[0] == drawn[1] != drawn[2]
    assert "--gradcheck-seed" in run_pytest(tmp_path, "--help").stdout


def test_the_plugin_is_an_entry_point() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    assert "tinygrad_np = pytest_tinygrad_np" in metadata["options.entry_points"]["pytest11"]
    assert metadata["options"]["py_modules"] == "pytest_tinygrad_np"


def test_the_plugin_imports_nothing_before_a_test_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        'import sys\nearly = {"numpy", "tinygrad_np"} & set(sys.modules)\n', encoding="utf-8"
    )
    (tmp_path / "test_early.py").write_text(
        "from conftest import early\ndef test_early(): assert not early\n", encoding="utf-8"
    )
    result = run_pytest(tmp_path)
    assert result.returncode == 0, result.stdout


def test_a_failed_assertion_shows_the_whole_report(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        """
import numpy as np
import tinygrad_np as tg

INPUTS = {f"weight{i}": np.ones(2) + i for i in range(6)}

def f(**weights):
    return sum((w * w).sum() for w in weights.values())

def test_audit():
    assert tg.audit(f, INPUTS, INPUTS)

def test_gradcheck():
    report = tg.gradcheck(lambda *xs: sum((x * x.data).sum() for x in xs), [*INPUTS.values()],
                          directions=1, raises=False)
    assert report

def test_right():
    right = tg.audit(f, INPUTS, {name: 2 * w for name, w in INPUTS.items()})
    assert right and not INPUTS
""",
        encoding="utf-8",
    )
    out = run_pytest(tmp_path).stdout
    lines = out.splitlines()
    assert all(sum(line.startswith(f"weight{i} ") for line in lines) == 1 for i in range(6))
    assert all(sum(line.startswith(f"WRONG  input {i} ") for line in lines) == 1 for i in range(6))
    assert out.count("The whole AuditReport") == out.count("The whole GradcheckReport") == 1


def test_a_failure_shows_the_users_line_and_the_table_alone(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        USERS_TESTS + "\ndef test_direct():\n    tg.gradcheck(lambda x: (x * x.data).sum(), 2.0)\n",
        encoding="utf-8",
    )
    out = run_pytest(tmp_path).stdout
    errors = [line for line in out.splitlines() if line.startswith("E ")]
    assert errors[0].endswith(
        "GradcheckError: gradcheck failed: 2 of 3 derivatives differ from the numerical ones"
    )
    assert errors[1].split()[1:3] == ["input", "shape"]
    assert "gradient_check.py" not in out.replace("tinygrad_np.gradient_check.", "")
    assert "contextlib" not in out
    summary = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert all("derivatives differ" in line or "..." in line for line in summary), summary


@pytest.mark.parametrize("factor", ["1", "nan"])
def test_a_factor_that_tests_nothing_is_refused(factor: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        mutate.main(["--factor", factor, "tanh"])
    assert f"--factor {factor}: give a number" in capsys.readouterr().err


def test_the_table_is_shown_even_if_the_json_cannot_be_written(tmp_path: Path, capsys: Any) -> None:
    assert script.main(["tanh", "--json", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "all agree" in shown.out
    assert "error: " in shown.err
