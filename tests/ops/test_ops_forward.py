"""What the ops compute: against oracles, at extreme inputs, and all that were promised."""

import inspect
import math
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.oracles import oracle
from tests.registry import assert_close, every_case, identifier, listed
from tinygrad_np.cases import case, filled
from tinygrad_np.definition import Case, Op

NAMES = """
add subtract multiply divide negative positive power square sqrt cbrt reciprocal abs sign exp exp2
expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh
arctanh logaddexp hypot maximum minimum clip where
sum mean prod max min var std logsumexp cumsum cumprod norm argmax argmin all any
matmul dot vdot inner outer tensordot einsum trace diagonal tril triu inv solve det
reshape ravel transpose swapaxes moveaxis squeeze expand_dims broadcast_to concatenate stack split
hstack vstack repeat tile flip roll pad
getitem take take_along_axis sort
sigmoid log_sigmoid relu leaky_relu elu gelu silu softplus softmax log_softmax
softmax_cross_entropy mse_loss binary_cross_entropy_with_logits linear dropout
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_the_op_is_registered_with_cases_and_is_public(name: str) -> None:
    assert tg.OPS[name].cases
    assert getattr(tg, name) is tg.OPS[name].function
    assert tg.OPS[name].differentiable == (name not in ("argmax", "argmin", "all", "any"))


def test_the_failing_case_of_an_op_is_named() -> None:
    @every_case()
    def check(op: Op, case: Case) -> None:
        assert case is not op.cases[1]

    add = tg.OPS["add"]
    with pytest.raises(AssertionError) as caught:
        check(add, add.cases)
    assert caught.value.__notes__ == [f"the sample call: {identifier(add, add.cases[1])}"]
    check(add, add.cases[:1])


@every_case()
def test_forward_against_an_oracle(op: Op, case: Case) -> None:
    args, params = filled(case)
    outs = listed(op.function(*args, **params))
    wide = filled(case, dtype=np.longdouble)
    # The same numbers: those of float64, widened.
    wide_args = _as_wide(args, wide[0])
    wide_params = {name: _as_wide(params[name], value) for name, value in wide[1].items()}
    if op.name in ("argmax", "argmin", "all", "any") and len(wide_args) == 3:
        wide_params["keepdims"] = wide_args[2]  # NumPy's third argument is ``out``
        wide_args = wide_args[:2]
    expected = listed(oracle(op.name)(*wide_args, **wide_params))
    assert len(outs) == len(expected)
    for out, value in zip(outs, expected, strict=True):
        assert type(out) is tg.Tensor
        assert out.shape == np.shape(value)
        assert_close(out.data, value, rtol=2e-14, atol=2e-15)


def _as_wide(drawn: Any, like: Any) -> Any:
    if isinstance(like, np.ndarray) and like.dtype == np.longdouble:
        return drawn.astype(np.longdouble)
    if isinstance(like, list | tuple):
        return type(like)([_as_wide(d, item) for d, item in zip(drawn, like, strict=True)])
    return drawn


# Extreme inputs. pytest makes errors of warnings, NumPy's of overflow among them.

EXTREME = [-1000.0, -88.0, -20.0, -1e-30, 0.0, 1e-30, 20.0, 88.0, 1000.0]
EXPECTED: dict[str, tuple[Any, Any]] = {
    "sigmoid": (
        lambda x: math.exp(-math.log1p(math.exp(-x))) if x > -700 else 0.0,
        lambda x: math.exp(-abs(x)) / (1 + math.exp(-abs(x))) ** 2,
    ),
    "softplus": (
        lambda x: max(x, 0) + math.log1p(math.exp(-abs(x))),
        lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
    ),
    "log_sigmoid": (
        lambda x: min(x, 0) - math.log1p(math.exp(-abs(x))),
        lambda x: 1 / (1 + math.exp(x)) if x < 700 else 0.0,
    ),
    "silu": (
        lambda x: x / (1 + math.exp(-x)) if x > -700 else 0.0,
        lambda x: (1 + math.exp(-x) * (1 + x)) / (1 + math.exp(-x)) ** 2 if x > -300 else 0.0,
    ),
    "gelu": (
        lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
        lambda x: 0.5 + 0.7978845608028654 * x if abs(x) < 1 else float(x > 0),
    ),
    "elu": (lambda x: x if x > 0 else math.expm1(x), lambda x: 1.0 if x > 0 else math.exp(x)),
    "tanh": (math.tanh, lambda x: 1 / math.cosh(x) ** 2 if abs(x) < 300 else 0.0),
    "relu": (lambda x: max(x, 0), lambda x: float(x > 0)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXPECTED)
def test_activations_at_extreme_inputs(name: str, dtype: str) -> None:
    value, derivative = EXPECTED[name]
    x = tg.Tensor(EXTREME, requires_grad=True, dtype=dtype)
    out = tg.OPS[name].function(x)
    (first,) = tg.grad([out], [x], [np.ones(x.shape)], create_graph=True)
    if first.requires_grad:  # the second derivative must not overflow either
        first.backward(np.ones(x.shape))
        assert x.grad is not None
        assert np.isfinite(x.grad).all()
    precision = {"float32": 1e-6, "float64": 1e-14}[dtype]
    if name == "gelu":  # the oracle's own error: that of x / √2, times x
        precision = {"float32": 1e-6, "float64": 1e-12}[dtype]
    tiny = float(np.finfo(dtype).tiny)
    exact = [float(v) for v in x.data]
    assert np.allclose(out.data, [value(v) for v in exact], precision, tiny)
    # Absolute: 1 - tanh² and the like have no relative precision where they are nearly 0.
    assert np.allclose(first.data, [derivative(v) for v in exact], precision, precision)


@pytest.mark.parametrize("size", [88.0, 1000.0, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_family_at_extreme_inputs(dtype: str, size: float) -> None:
    def leaf() -> tg.Tensor:
        return tg.Tensor([[size, -size, 0.0], [-size, -size, -size]], True, dtype)

    third = 1 / 3
    log3 = math.log(3)
    size = float(np.asarray(size, dtype))
    x = leaf()
    tg.softmax(x).sum().backward()
    assert_close(tg.softmax(x).data, [[1, 0, 0], [third] * 3], 1e-6, 1e-30)
    x = leaf()
    out = tg.log_softmax(x)
    out.sum().backward()
    assert_close(out.data, [[0, -2 * size, -size], [-log3] * 3], 1e-6, 1e-30)
    assert_close(x.grad, [[-2, 1, 1], [0, 0, 0]], 1e-6, 1e-6)
    x = leaf()
    out = tg.logsumexp(x, axis=1)
    out.sum().backward()
    assert_close(out.data, [size, -size + log3], 1e-6)
    assert_close(x.grad, [[1, 0, 0], [third] * 3], 1e-5, 1e-30)
    for labels in (np.array([1, 2]), np.eye(3, dtype=dtype)[[1, 2]]):
        x = leaf()
        out = tg.softmax_cross_entropy(x, labels, "none")
        out.sum().backward()
        assert_close(out.data, [2 * size, log3], 1e-6)
        expected = [[1, -1, 0], [third, third, third - 1]]
        assert_close(x.grad, expected, 1e-6, 1e-30)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_at_extreme_inputs(dtype: str) -> None:
    logits = tg.Tensor([-1000.0, 1000.0, -1000.0, 1000.0, 0.0], True, dtype)
    targets = np.array([0.0, 1.0, 1.0, 0.0, 1.0], dtype)
    out = tg.binary_cross_entropy_with_logits(logits, targets, "none")
    out.sum().backward()
    assert_close(out.data, [0, 0, 1000, 1000, math.log(2)], 1e-6)
    assert_close(logits.grad, [0, 0, -1, 1, -0.5], 1e-6)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_logaddexp_at_extreme_inputs(size: float) -> None:
    x, y = tg.Tensor([size, size, -size], True), tg.Tensor([size, -size, size], True)
    out = tg.logaddexp(x, y)
    out.sum().backward()
    assert_close(out.data, [size + math.log(2), size, size])
    assert_close([x.grad, y.grad], [[0.5, 1, 0], [0.5, 0, 1]])


def test_gelu_of_huge_numbers() -> None:
    for x in (tg.Tensor([-1e30, 1e30], True, np.float32), tg.Tensor([-60, 60], True, np.float16)):
        out = tg.gelu(x)
        (first,) = tg.grad(out, [x], [1, 1], create_graph=True)
        first.backward([1, 1])
        assert_close(out.data, np.maximum(x.data, 0))
        assert_close(first.data, [0, 1])
        assert_close(x.grad, [0, 0])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint64", "bool"])
def test_integers_do_not_wrap_around(dtype: str) -> None:
    x, y = np.array([[0, 1, 100], [120, 3, 7]], dtype), np.array([[1, 0, 120], [7, 90, 3]], dtype)
    unary = "sigmoid log_sigmoid silu softplus gelu softmax log_softmax logsumexp norm var std"
    calls: list[tuple[Any, Any]] = [(getattr(tg, name), (x,)) for name in unary.split()]
    calls += [(tg.mse_loss, (x, y)), (tg.binary_cross_entropy_with_logits, (x, y))]
    for f, arrays in calls:
        out = f(*map(tg.Tensor, arrays))
        assert_close(out.data, f(*[a.astype(float) for a in arrays]).data, 1e-2)


def test_gelu_is_exact_unless_told_otherwise() -> None:
    x = np.linspace(-5, 5, 201)
    exact = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]
    assert np.abs(tg.gelu(x).data - exact).max() < 1e-15
    assert 1e-4 < np.abs(tg.gelu(x, "tanh").data - exact).max() < 5e-4


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_inverse_functions_have_gradients_at_extreme_inputs(size: float) -> None:
    x, y = (tg.Tensor(size, True, np.float32) for _ in range(2))
    tg.arctan2(x, y).backward()
    assert_close([x.grad, y.grad], np.array([0.5, -0.5]) / size, 1e-6)
    assert_close(gradient_at(tg.arcsinh, 1e200), 1e-200)
    assert_close(gradient_at(tg.arccosh, 1e200), 1e-200)


# No nan from the branch not taken, ties and zeros, all as documented


def gradient_at(f: Any, x: Any) -> list[Any]:
    tensor = tg.Tensor(x, requires_grad=True, dtype=float)
    f(tensor).sum().backward()
    assert tensor.grad is not None
    return tensor.grad.tolist()  # type: ignore[no-any-return]


def test_where_lets_no_nan_through() -> None:
    x = tg.Tensor([1.0, 1.0, 1.0], requires_grad=True)
    tg.where([False, True, False], x, 0.0).backward(np.array([np.inf, 2.0, np.nan]))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 2, 0]


def test_clip_lets_no_nan_through() -> None:
    x = tg.Tensor([-2.0, 0.0, 2.0], requires_grad=True)
    tg.clip(x, -1, 1).backward(np.array([np.inf, 3.0, np.nan]))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 3, 0]


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (tg.relu, [0.0, -0.0], [0, 0]),
        (tg.abs, [0.0], [0]),
        (tg.sign, [0.0, 3.0], [0, 0]),
        (tg.leaky_relu, [0.0], [0.01]),
        (tg.max, [2.0, 1.0, 2.0], [0.5, 0, 0.5]),
        (tg.min, [2.0, 1.0, 1.0, 1.0], [0, 1 / 3, 1 / 3, 1 / 3]),
        (lambda x: tg.maximum(x, x), [1.0], [1]),
        (lambda x: tg.minimum(x, 1.0), [1.0], [0.5]),
        (lambda x: tg.clip(x, 0, 1), [0.0, 1.0], [1, 1]),
        (lambda x: tg.power(x, 2), [0.0], [0]),
        (lambda x: tg.power(x, 1), [0.0], [1]),
        (lambda x: tg.power(x, 0), [0.0, 2.0, np.inf], [0, 0, 0]),
        (lambda x: tg.power(x, 3), [-2.0], [12]),
        (lambda x: tg.power(x, np.array([0, 0, 2], np.uint8)), [0.0, 3.0, 3.0], [0, 0, 6]),
        (lambda x: tg.power(x, np.zeros(3)), [1e-310, np.inf, -2.0], [0, 0, 0]),
        (lambda x: tg.cumprod(x, 0), 3.0, 1),
        (lambda x: x.transpose(-1) * [1.0, 2.0], [0.0, 0.0], [1, 2]),
        (lambda x: tg.power(0.0, x), [2.0], [0]),
        (tg.norm, [0.0, 0.0], [0, 0]),
        (lambda x: tg.norm(x, 3), [0.0, 0.0], [0, 0]),
        (lambda x: tg.norm(x, 1), [0.0, -3.0], [0, -1]),
        (lambda x: tg.norm(x, np.inf), [2.0, -2.0], [0.5, -0.5]),
        (tg.std, [1.0, 1.0], [0, 0]),
        (lambda x: tg.hypot(x, 0.0), [0.0], [0]),
        (tg.prod, [0.0, 3.0, 2.0], [6, 0, 0]),
        (tg.prod, [0.0, 0.0, 2.0], [0, 0, 0]),
        (tg.cumprod, [2.0, 0.0, 3.0], [1, 8, 0]),
        (tg.sort, [3.0, 1.0, 1.0], [1, 1, 1]),
    ],
)  # fmt: skip
def test_gradients_at_kinks_ties_and_zeros(f: Any, x: list[float], expected: list[float]) -> None:
    assert gradient_at(f, x) == pytest.approx(expected)


def test_powers_have_mixed_derivatives_at_exponent_0() -> None:
    x, y = tg.Tensor([2.0, 0.0], True), tg.Tensor([0.0, 0.0], True)
    first = tg.grad(x**y, x, [1.0, 1.0], create_graph=True)
    assert first.tolist() == [0, 0]
    assert tg.grad(first, y, [1.0, 1.0]).tolist() == [0.5, 0]


def test_sort_is_stable() -> None:
    x = tg.Tensor([2.0, 1.0, 2.0, 1.0], requires_grad=True)
    tg.sort(x).backward(np.array([1.0, 2.0, 3.0, 4.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [3, 1, 4, 2]


@pytest.mark.parametrize("shape", [(2, 4), (3, 4), (1, 4), (2, 1)])
def test_take_along_axis_broadcasts_the_other_axes(shape: tuple[int, int]) -> None:
    x, indices = np.arange(12.0).reshape(3, 4), np.arange(np.prod(shape)).reshape(shape) % 3
    for array in (x, x[:, :1]):
        expected = np.take_along_axis(array, indices, 0)
        np.testing.assert_array_equal(tg.take_along_axis(array, indices, 0).data, expected)


def test_indices_that_numpy_refuses_or_takes_for_numbers() -> None:
    x = tg.Tensor(np.arange(12.0).reshape(3, 4))
    for indices in (np.zeros((2, 3), int), np.zeros((3, 4), bool), np.zeros((3, 4))):
        with pytest.raises(IndexError):
            tg.take_along_axis(x, indices, axis=0)
    assert tg.take([3.0, 4.0, 5.0], [True, False, True]).tolist() == [4, 3, 4]
    assert tg.take([3.0, 4.0, 5.0], []).shape == (0,)
    assert tg.repeat([3.0, 4.0], tg.Tensor([2, 1])).tolist() == [3, 3, 4]


def test_transpose_of_too_few_axes_is_refused() -> None:
    x = tg.Tensor(np.ones((2, 3)))
    for axes in (0, (), (1,)):
        with pytest.raises(ValueError, match="axes"):
            x.transpose(axes)
    assert x.transpose().shape == x.transpose(None).shape == x.transpose(1, 0).shape == (3, 2)


@pytest.mark.parametrize("shift", [np.uint8(1), np.array([1], np.uint8), 1, (1,)])
def test_roll_by_unsigned_numbers(shift: Any) -> None:
    weights = np.arange(5.0)
    found = gradient_at(lambda x: tg.roll(x, shift, 0) * weights, [0.0] * 5)
    assert found == [1, 2, 3, 4, 0]


def test_norm_takes_numpys_numbers_and_refuses_nan() -> None:
    assert tg.norm([3.0, 4.0], np.int64(1)).item() == 7
    x = np.ones(3, np.float32)  # numbers that say how shall not widen what they say it of
    assert tg.norm(x, np.float64(3)).dtype == tg.var(x, ddof=np.int64(1)).dtype == x.dtype
    with pytest.raises(ValueError, match="a positive number"):
        tg.norm([3.0, 4.0], float("nan"))


def test_a_linear_recurrence_of_two_shapes_is_refused() -> None:
    for shape in ((3, 4), (3, 2), (3,)):  # of the first its last column was dropped
        with pytest.raises(ValueError, match=r"\(3, 3\) and b of shape .* the same shape"):
            tg.linear_recurrence(np.ones((3, 3)), np.ones(shape))


def test_einsum_with_an_index_of_length_1_that_broadcasts() -> None:
    x, y = np.array([[2.0], [3.0]]), np.arange(6.0).reshape(3, 2)
    assert tg.gradcheck(lambda x, y: tg.einsum("ij,jk->ik", x, y).sum(), [x, y], order=2)


def test_axes_that_do_not_exist_are_refused_as_numpy_does() -> None:
    x = tg.Tensor(np.ones((2, 3)))
    for call in (
        lambda: tg.take(x, [0], axis=5),
        lambda: tg.take(x, [0], axis=-3),
        lambda: tg.take_along_axis(x, np.zeros((2, 1), int), axis=2),
        lambda: tg.tensordot(x, np.ones(2), ([3], [0])),
        lambda: tg.split(x, 1, axis=2),
    ):
        with pytest.raises(IndexError):  # AxisError is one
            call()


def test_inputs_and_parameters_may_be_by_keyword_only() -> None:
    def f(x: Any, w: Any = None, *, b: Any = None, k: float = 3.0) -> Any:
        """x^k + b."""
        return x**k if b is None else x**k + b

    try:
        power = tg.op(cases=[case(1.0)], x=lambda g, x, k: g * k * x ** (k - 1), b=lambda g: g)(f)
        assert gradient_at(power, [2.0, 3.0]) == [12, 27]
        assert gradient_at(lambda x: power(x, k=2, b=x), [2.0, 3.0]) == [5, 7]
        assert power(1.0, None, b=None).item() == 1
    finally:
        del tg.OPS["f"]


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (lambda: tg.op(cases=[])(lambda x: x), "has no cases"),
        (lambda: tg.op(cases=[case()], y=lambda g: g)(lambda x: x), "'y', but no such input"),
        (lambda: tg.op(cases=[case()], x=lambda g, z: g)(lambda x: x), "reads 'z', which is none"),
        (
            lambda: tg.op(cases=[case()], out=lambda g, out: g)(lambda out: out),
            "more than one, of out",
        ),
        (
            lambda: tg.op(cases=[case()], x=lambda g, x_shape: g)(lambda x, x_shape: x),
            "'x_shape', which is none, or more than one",
        ),
        (lambda: tg.op(cases=[case()])(lambda *xs: xs), r"takes \*xs: it needs one rule"),
        (lambda: tg.op(cases=[case()], x=lambda g: g)(lambda x, *xs: x), r"takes \*xs"),
        (lambda: tg.op(cases=[case()], name="tanh")(lambda x: x), "'tanh' is defined in numpy"),
    ],
)
def test_definitions_that_are_refused(define: Any, words: str) -> None:
    before = dict(tg.OPS)
    with pytest.raises(TypeError, match=words):
        define()
    assert before == tg.OPS


@pytest.fixture
def defined() -> Iterator[None]:
    before = dict(tg.OPS)
    yield
    for name in tg.OPS.keys() - before:
        del tg.OPS[name]


def test_an_op_may_have_keyword_only_parameters(defined: None) -> None:
    @tg.op(cases=[case(1.0)], x=lambda g, k: g * k, y=lambda g: g)
    def scaled(x: Any, y: Any = None, *, k: float = 2.0, z: Any = None) -> Any:
        return x * k + (0 if y is None else y)

    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    scaled(scaled(x, k=5.0), 1).sum().backward()
    assert_close(x.grad, [10, 10])
    with pytest.raises(TypeError, match=r"^scaled\(\) takes from 1 to 2 positional arguments"):
        scaled(x, 1, 2)


def test_parameters_may_be_called_as_builtins(defined: None) -> None:
    @tg.op(cases=[case(1.0, 2.0)], x=lambda g, type: g * type)
    def typed(x: Any, type: float, tuple: int = 0, any: int = 0, dict: int = 0) -> Any:
        return x * type

    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    typed(x, 3.0).sum().backward()
    assert_close(x.grad, [3, 3])
    with pytest.raises(ValueError, match=r"typed: .*broadcast"):
        typed(x, np.ones(3))


def test_an_op_is_known_by_its_name_before_its_first_call(defined: None) -> None:
    @tg.op(cases=[case(1.0)], x=lambda g: g)
    def named(x: Any) -> Any:
        return x

    assert repr(named).startswith("<function named at")
    with pytest.raises(TypeError, match=r"^named\(\) missing 1 required"):
        named()
    assert pickle.loads(pickle.dumps(tg.softmax)) is tg.softmax


def test_the_signature_is_known_before_the_first_call(defined: None) -> None:
    @tg.op(cases=[case(1.0)], x=lambda g: g)
    def signed(x: Any, *, scale: float = 2.0) -> Any:
        return x

    assert str(inspect.signature(signed)) == "(x: Any, *, scale: float = 2.0) -> Any"


def test_an_op_that_returns_nothing_is_refused(defined: None) -> None:
    forgetful = tg.op(cases=[case(1.0)], name="forgetful", x=lambda g: g)(lambda x: None)
    with pytest.raises(TypeError, match="forgetful gives no numbers"):
        forgetful(tg.Tensor(1.0, requires_grad=True))


def test_none_among_the_arrays_is_refused() -> None:
    with pytest.raises(TypeError, match="joined: arrays must be a Tensor, .* got None"):
        tg.concatenate([np.ones(2), None])


def test_a_bias_that_would_make_more_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"linear: bias of shape \(4,\) does not fit .*\(3, 1\)"):
        tg.linear(np.ones((3, 2)), np.ones((1, 2)), np.ones(4))
    assert tg.linear(np.ones((3, 2)), np.ones((4, 2)), np.ones(1)).shape == (3, 4)
