"""NumPy's own functions on Tensors: each reaches the op of its name, with NumPy's keywords."""

import inspect
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.layer_oracles import LAYERS
from tests.registry import gradients, listed, naming
from tinygrad_np.cases import filled
from tinygrad_np.definition import Case, Op
from tinygrad_np.gradient_check import sample_call
from tinygrad_np.numpy_calls import NUMPY
from tinygrad_np.tensor import plain

BY_FUNCTION = {
    function: op for op in tg.OPS.values() for function in NUMPY if NUMPY[function] is op.function
}
# Ours alone: composed of NumPy's, or under a name that NumPy has not.
NOT_IN_NUMPY = LAYERS.keys() | {
    "astype", "average_over_ranks", "binary_cross_entropy_with_logits", "cofactors",
    "cross_entropy_of_counted", "dropout", "elu", "getitem",
    "joined", "leaky_relu", "linear", "linear_recurrence", "log_sigmoid", "log_softmax",
    "logsumexp", "masked", "minors", "mse_loss", "padded", "relu", "scatter", "sigmoid", "silu",
    "softmax", "softmax_cross_entropy", "softplus", "zero_with_slope",
}  # fmt: skip


def test_every_op_that_numpy_has_is_reached_from_numpy() -> None:
    reached = {op.name for op in BY_FUNCTION.values()}
    assert {op.name for op in tg.OPS.values()} - reached == NOT_IN_NUMPY


@pytest.mark.parametrize("function", BY_FUNCTION, ids=lambda function: f"np.{function.__name__}")
def test_numpy_functions_give_tensors_with_gradients(function: Callable[..., Any]) -> None:
    op = BY_FUNCTION[function]
    for case in op.cases:
        with naming(op, case):
            check_numpys_function(function, op, case)


def check_numpys_function(function: Callable[..., Any], op: Op, case: Case) -> None:
    call, inputs = sample_call(op, case)
    expected = listed(call())
    if not op.differentiable:
        args, params = filled(case)
        made = [tg.Tensor(a) if isinstance(a, np.ndarray) else a for a in args]
    else:
        made, params = _arguments(op, case, inputs)
    if not isinstance(function, np.ufunc) and op.name != "einsum":
        # NumPy has ``out`` and the like between: after the arrays, everything goes by name.
        count = next((i for i, a in enumerate(made) if not _is_array(a)), len(made))
        count = max(count, {"where": 3, "dot": 2}.get(op.name, 1))
        params = {**dict(zip(op.parameters[count:], made[count:], strict=False)), **params}
        made = made[:count]
    outs = listed(function(*made, **params))
    assert all(type(out) is tg.Tensor for out in outs)
    for out, value in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(out.data, value.data)
        assert out.requires_grad == value.requires_grad
    if inputs:
        for one, other in zip(gradients(outs, inputs), gradients(expected, inputs), strict=True):
            np.testing.assert_array_equal(one, other)


def _is_array(value: Any) -> bool:
    return isinstance(value, tg.Tensor | np.ndarray | list)


def _arguments(op: Op, case: Case, inputs: list[tg.Tensor]) -> tuple[list[Any], dict[str, Any]]:
    """The call's arguments as the op itself gets them: caught on their way in."""
    caught: dict[str, Any] = {}

    def catch(*args: Any, **params: Any) -> Any:
        caught.update(args=list(args), params=params)

    catcher = Op(
        op.name, op.forward, op.cases, op.inputs, op.parameters, op.variadic, op.gradients,
        composite=op.composite, function=catch,
    )  # fmt: skip
    call, tensors = sample_call(catcher, case)
    call()
    same = dict(zip(map(id, tensors), inputs, strict=True))

    def swap(value: Any) -> Any:
        if isinstance(value, list):
            return [swap(item) for item in value]
        return same.get(id(value), value)

    return swap(caught["args"]), caught["params"]


# Questions about Tensors, answered by NumPy as for their arrays


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (np.shape, (2, 2)), (np.ndim, 2), (np.size, 4),
        (np.zeros_like, [[0, 0], [0, 0]]), (np.ones_like, [[1, 1], [1, 1]]),
        (np.argsort, [[1, 0], [1, 0]]), (np.count_nonzero, 4),
        (np.signbit, [[False, True], [False, True]]),
        (np.isinf, [[False, False], [False, False]]), (np.isrealobj, True),
    ],
)  # fmt: skip
def test_questions_are_answered_without_a_graph(function: Any, expected: Any) -> None:
    x = tg.Tensor([[1.5, -1.25], [0.25, -0.5]], requires_grad=True)
    found = function(x)
    assert not isinstance(found, tg.Tensor)
    assert np.array_equal(found, expected)


def test_comparisons_of_arrays_with_tensors() -> None:
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    assert np.allclose(x, [1.0, 2.0])
    assert np.array_equal(x, np.array([1.0, 2.0]))
    assert plain(np.array([0.0, 3.0]) < x).tolist() == [True, False]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.fft.fft(x), lambda x: np.linalg.svd(x), lambda x: np.gcd(x, x),
        lambda x: np.add.reduce(x), lambda x: np.add.outer(x, x), lambda x: np.median(x),
        lambda x: np.modf(x),
    ],
)  # fmt: skip
def test_numpy_functions_without_a_rule_are_refused_by_name(call: Any) -> None:
    x = tg.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    with pytest.raises(TypeError, match=r"np\.[\w.]+ has no gradient here.*tensor\.data"):
        call(x)


def test_linalg_is_numpys_in_name() -> None:
    assert [name for name in tg.linalg.__all__ if not hasattr(np.linalg, name)] == []
    assert tg.linalg.norm(tg.Tensor([3.0, 4.0])).item() == 5
    assert not hasattr(tg, "elementwise")  # the ops' modules are not public


@pytest.mark.parametrize(
    "subscripts",
    [
        ([0, 1], [1, 2], [0, 2]), ([0, 1], [1, 2]), ([3, 30], [30, 1], [1, 3]),
        ([..., 1], [1, 2], [..., 2]), ([1, 0], [0, 2]), ([0, 1], [1, 2], []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_einsum_takes_lists_of_axes(subscripts: Any, first: bool) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 4)), rng.normal(size=(4, 5))]

    def call(a: Any, b: Any) -> Any:
        return np.einsum(a, subscripts[0], b, subscripts[1], *subscripts[2:])

    made: list[Any] = list(arrays)
    made[first] = tg.Tensor(arrays[first], requires_grad=True)
    out = call(*made)
    np.testing.assert_allclose(out.data, call(*arrays))
    assert np.array_equal(
        tg.einsum(made[0], subscripts[0], made[1], subscripts[1], *subscripts[2:]).data, out.data
    )
    weights = rng.normal(size=out.shape)
    out.backward(weights)
    change = np.zeros_like(arrays[first])
    change[1, 2] = 1
    arrays[first] = change
    assert np.isclose(made[first].grad[1, 2], (weights * call(*arrays)).sum())


def test_einsum_errors_show_both_ways_to_call_it() -> None:
    x: Any = tg.Tensor(np.ones((2, 2)), requires_grad=True)
    for call in (lambda: np.einsum(x, x), lambda: tg.einsum(x), lambda: tg.einsum(x, [0, 1], x)):
        with pytest.raises(TypeError, match=r"einsum\('ij,jk->ik', a, b\).*\[0, 1\]"):
            call()
    assert np.einsum("ij,jk,kl->il", x, x, x, optimize=True).shape == (2, 2)


def test_defaults_that_numpy_adds_are_no_arguments() -> None:
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    if hasattr(np, "row_stack"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert np.vstack([x, x]).shape == (2, 2)
    assert np.vstack([x, x], dtype=None, casting="same_kind").shape == (2, 2)
    with pytest.raises(TypeError, match="dtype"):
        np.vstack([x, x], dtype=np.float32)  # what was asked for is not ignored


X = np.arange(1.0, 7.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("function", "args"),
    [(f, (0, None, None, True)) for f in (np.sum, np.mean, np.prod)]
    + [(f, (0, None, None, 1, True)) for f in (np.var, np.std)]
    + [(f, (0, None, True)) for f in (np.max, np.min, np.all, np.any)]
    + [(f, (0, None, None)) for f in (np.cumsum, np.cumprod)]
    + [(f, (0, None)) for f in (np.argmax, np.argmin)],
)
def test_arguments_by_place_have_the_order_of_numpy(function: Any, args: Any) -> None:
    found = function(tg.Tensor(X), *args)
    np.testing.assert_allclose(found.data, function(X, *args), 1e-15)


@pytest.mark.parametrize(
    "function", [np.sum, np.mean, np.prod, np.var, np.std, np.cumsum, np.cumprod]
)
def test_a_dtype_by_place_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="no argument 'dtype'"):
        function(tg.Tensor(X), 0, np.float32)
    with pytest.raises(TypeError, match="no argument 'out'"):
        function(tg.Tensor(X), 0, None, np.zeros(3))


@pytest.mark.parametrize("function", [np.max, np.min, np.all, np.any, np.argmax, np.argmin])
def test_an_array_for_the_result_by_place_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="no argument 'out'"):
        function(tg.Tensor(X), 0, np.zeros(3))


def test_places_mean_the_same_as_in_numpy() -> None:
    compared = 0
    for function, op in BY_FUNCTION.items():
        if isinstance(function, np.ufunc):  # NumPy itself sorts a ufunc's arguments
            continue
        try:
            theirs = [*inspect.signature(function).parameters][1:]
        except ValueError:  # written in C
            continue
        named = itertools.takewhile(lambda name: name not in ("dtype", "out"), theirs)
        pairs = {*zip(named, op.parameters[1:], strict=False)} - {
            ("b", "y"),
            ("kwargs", "constant_values"),
        }
        assert all(one == other for one, other in pairs), (function, pairs)
        compared += len(pairs)
    assert compared > 30
