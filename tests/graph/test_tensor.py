"""The Tensor: what it is, what it refuses and in which words, operators, copies, indexing."""

import copy
import operator
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_np as tg
from tests.helpers import leaf
from tests.registry import assert_close
from tinygrad_np.arrays import array_name
from tinygrad_np.tensor import Tensor

# What it is


def test_attributes() -> None:
    x = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True, name="x")
    assert (x.shape, x.ndim, x.size, x.name) == ((2, 3), 2, 6, "x")
    assert x.dtype == np.float64
    assert x.requires_grad
    assert x.is_leaf
    assert x.grad is None
    assert x.T.shape == x.mT.shape == (3, 2)
    assert x.numpy() is x.data
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]
    y = x * 2
    assert not y.is_leaf
    assert y.requires_grad
    assert not y.detach().requires_grad
    assert y.detach().data is y.data


def test_dtype_is_converted_once() -> None:
    assert Tensor([1, 2], dtype=np.float32).dtype == np.float32
    assert Tensor(1).dtype == np.int64
    assert Tensor([True]).dtype == bool


def test_a_leaf_owns_its_array_and_a_constant_shares_it() -> None:
    array = np.ones(3)
    assert Tensor(array).data is array
    owner = Tensor(array, requires_grad=True)
    owner.data[0] = 7
    assert array[0] == 1


def test_a_leafs_array_begins_at_a_cache_line() -> None:
    big = np.ones(1000 * 50 + 2, np.float32)[2:].reshape(1000, 50)
    w = Tensor(big, requires_grad=True)
    for array in (big.T.copy().T, big[::-1], big):
        w.data = array
        assert w.data.ctypes.data % 64 == 0
        assert w.data.flags.c_contiguous
        assert (w.data == array).all()
        assert not np.shares_memory(w.data, array)
    loaded = pickle.loads(pickle.dumps(w))
    assert loaded.data.ctypes.data % 64 == 0


def test_mT_swaps_the_last_axes_and_needs_two() -> None:
    assert leaf(np.ones((2, 3, 4))).mT.shape == (2, 4, 3)
    with pytest.raises(ValueError, match=r"mT needs at least two axes.*\(3,\)"):
        _ = leaf(np.ones(3)).mT


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (Tensor([1.0, 2.0]), "Tensor([1., 2.], shape=(2,), dtype=float64)"),
        (Tensor(1.5), "Tensor(1.5, float64)"),
        (leaf([1.0], name="w"), "Tensor([1.], shape=(1,), dtype=float64, name='w', requires_grad)"),
        (leaf([1.0]) * 2, "Tensor([2.], shape=(1,), dtype=float64, op=multiply)"),
    ],
)
def test_repr(tensor: Tensor, expected: str) -> None:
    assert repr(tensor) == expected


def test_repr_of_a_large_one_is_short() -> None:
    assert len(repr(Tensor(np.zeros((100, 100))))) < 500


def test_python_conversions() -> None:
    x = Tensor(3.0)
    assert (x.item(), float(x), int(x), bool(x), f"{x:.2f}") == (3.0, 3.0, 3, True, "3.00")
    assert f"{x}" == repr(x)
    assert [10, 20, 30][Tensor(2)] == 30  # __index__
    with pytest.raises(TypeError, match="integer"):
        operator.index(x)
    with pytest.raises(ValueError, match="size 1|one element"):
        Tensor([1.0, 2.0]).item()
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Tensor([1.0, 2.0]))


def test_length_and_iteration() -> None:
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    first, second = x
    (first * second).sum().backward()
    assert_close(x.grad, [[3, 4], [1, 2]])
    with pytest.raises(TypeError, match="0-d"):
        len(Tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(Tensor(1.0))
    assert [row.shape for row in Tensor(np.ones((0, 3)))] == []


def test_tensors_are_hashable_by_identity() -> None:
    x, y = Tensor([1.0]), Tensor([1.0])
    assert len({x, y, x}) == 2


# Setting data, grad, requires_grad, name


def test_data_of_a_leaf_can_be_replaced() -> None:
    x = leaf([1.0, 2.0])
    x.data -= 1
    assert x.tolist() == [0, 1]
    x.data = np.array([5.0, 6.0])
    (x * x).sum().backward()
    assert_close(x.grad, [10, 12])


def test_a_leaf_owns_its_new_array_too() -> None:
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    x.data = y.data
    x.data -= 1
    assert (x.tolist(), y.tolist()) == ([2, 3], [3, 4])


def test_data_keeps_shape_and_dtype_and_the_graph_true() -> None:
    x = leaf([1.0, 2.0], name="x")
    with pytest.raises(ValueError, match=r"shape \(3,\).*'x' of shape \(2,\).*new Tensor"):
        x.data = np.ones(3)
    with pytest.raises(ValueError, match="float32"):
        x.data = np.ones(2, np.float32)
    with pytest.raises(TypeError, match="assign other.data"):
        x.data = Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"was computed.*gradients would be wrong.*detach"):
        (x * 2).data = np.ones(2)
    constant = Tensor([1.0])
    constant.data = [1, 2, 3]  # a constant may change its shape
    assert constant.shape == (3,)


def test_grad_can_be_set() -> None:
    x = leaf([1.0, 2.0])
    x.grad = [3, 4]
    assert x.grad is not None
    assert x.grad.dtype == np.float64
    (x * 1).sum().backward()
    assert_close(x.grad, [4, 5])
    x.grad = None
    assert x.grad is None
    with pytest.raises(ValueError, match=r"gradient of shape \(3,\)"):
        x.grad = [1, 2, 3]
    with pytest.raises(ValueError, match="does not require grad"):
        Tensor([1.0]).grad = [1.0]


def test_gradients_have_the_leafs_dtype_and_shape() -> None:
    x = Tensor(np.float32(2.0), requires_grad=True)
    (x * np.ones((3, 4))).sum().backward()
    assert isinstance(x.grad, np.ndarray)
    assert x.grad.dtype == np.float32
    assert x.grad.shape == ()


def test_requires_grad_can_be_switched_on_leaves() -> None:
    x = Tensor([1.0])
    x.requires_grad = True
    (x * 2).sum().backward()
    assert_close(x.grad, [2])
    x.requires_grad = False
    assert not (x * 2).requires_grad
    with pytest.raises(ValueError, match="computed Tensor cannot be changed"):
        (leaf([1.0]) * 2).requires_grad = False


@pytest.mark.parametrize("value", [np.float32, "False", None, 0])
def test_requires_grad_is_true_or_false(value: Any) -> None:
    with pytest.raises(TypeError, match="must be True or False, got .* dtype is given by name"):
        Tensor([1.0], value)


def test_names_reach_the_node() -> None:
    x = leaf([1.0])
    x.name = "weights"
    assert x.node is not None
    assert x.node.name == "weights"


# Refusals


@pytest.mark.parametrize("data", [[1, 2], [True], [1j]])
def test_only_real_floats_require_grad(data: Any) -> None:
    with pytest.raises(TypeError, match=r"only real floating-point.*dtype=np\.float32"):
        Tensor(data, requires_grad=True)


@pytest.mark.parametrize("data", ["text", [None], [{}], np.array(["2020-01-01"], "M8[D]")])
def test_only_numbers_are_tensors(data: Any) -> None:
    with pytest.raises(TypeError, match="a Tensor holds numbers"):
        Tensor(data)
    constant = Tensor(1.0)
    with pytest.raises(TypeError, match="a Tensor holds numbers"):
        constant.data = data


def test_a_tensor_of_a_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match=r"cut the graph.*detach"):
        Tensor(leaf([1.0]))
    with pytest.raises(TypeError, match=r"does not turn into an ndarray.*tg\.stack"):
        Tensor([leaf(1.0), leaf(2.0)])


def test_subclassing_is_refused() -> None:
    with pytest.raises(TypeError, match="not made for subclassing"):
        type("Mine", (Tensor,), {})


def test_asarray_is_refused() -> None:
    x = leaf([1.0, 2.0], name="w")
    for convert in (np.asarray, np.array, lambda t: np.zeros(2).__setitem__(slice(None), t)):
        with pytest.raises((TypeError, ValueError)) as caught:
            convert(x)
        words = f"{caught.value} {caught.value.__cause__}"
        assert "tensor.data" in words
        assert "'w'" in words


def test_backward_without_a_gradient_on_a_non_scalar() -> None:
    with pytest.raises(
        ValueError, match=r"non-scalar Tensor of shape \(2,\).*y\.sum\(\)\.backward"
    ):
        (leaf([1.0, 2.0]) * 2).backward()


def test_backward_on_an_integer_tensor() -> None:
    with pytest.raises(RuntimeError, match=r"dtype int64; only real floating-point"):
        Tensor([1, 2]).sum().backward()
    with pytest.raises(RuntimeError, match="only real floating-point"):
        leaf([1.0, 2.0]).argmax().backward()


def test_backward_without_a_graph() -> None:
    with pytest.raises(RuntimeError, match=r"requires grad.*no_grad.*requires_grad=True"):
        Tensor([1.0]).sum().backward()
    x = leaf(1.0)
    with tg.no_grad():
        y = x * x
    with pytest.raises(RuntimeError, match="no graph leads to this Tensor"):
        y.backward()


@pytest.mark.parametrize(
    ("gradient", "error", "words"),
    [
        (np.ones(3), ValueError, r"shape \(3,\), but it belongs to a Tensor of shape \(2,\)"),
        (1.0, ValueError, r"shape \(\)"),
        (np.ones(2, complex), TypeError, "real numbers, got dtype complex128"),
        (["a", "b"], TypeError, "real numbers"),
    ],
)
def test_backward_with_a_bad_gradient(gradient: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        (leaf([1.0, 2.0]) * 2).backward(gradient)


def test_backward_takes_tensors_integers_and_lists_as_gradients() -> None:
    for gradient in ([1, 2], np.array([1, 2]), Tensor([1.0, 2.0])):
        x = leaf([1.0, 1.0])
        (x * 3).backward(gradient)
        assert_close(x.grad, [3, 6])


def test_backward_of_one_element_needs_no_gradient() -> None:
    x = leaf([[2.0]])
    (x * x).backward()
    assert_close(x.grad, [[4]])


def test_backward_with_create_graph_keeps_the_graph() -> None:
    x = leaf(2.0)
    y = x**3
    y.backward(create_graph=True)
    assert type(x.grad) is np.ndarray
    y.backward()
    assert_close(x.grad, 24)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: x @ np.ones((2, 2)), r"matmul: .*\n    x: float64 of shape \(3,\)\n    y: "),
        (lambda x: x + np.ones(4), r"add: .*\n    x: .*\(3,\)\n    y: .*\(4,\)"),
        (lambda x: x.reshape(2, 2), r"reshape: .*size 3.*\n    x: .*\n    shape: \(2, 2\)"),
        (lambda x: tg.concatenate([x, np.ones((2, 2))]), r"joined: .*dimension"),
        (lambda x: x.sum(axis=1), r"sum: axis 1 is out of bounds"),
        (lambda x: x[5], r"getitem: index 5 is out of bounds"),
        (lambda x: tg.linalg.inv(x), r"inv: .*at least two-dimensional|inv: 1-dimensional"),
        (lambda x: tg.mse_loss(x, np.ones((3, 1))), r"\(3,\) and targets of shape \(3, 1\)"),
        (lambda x: tg.binary_cross_entropy_with_logits(x, np.ones(2)), "must have the same shape"),
        (lambda x: tg.einsum("ij->i", x), "einsum"),
        (lambda x: tg.split(x, 2), "length 3 does not divide into 2 parts"),
        (lambda x: tg.tensordot(x, np.ones(2), 1), "differ in length"),
        (lambda x: tg.pad(x, 1, "wild"), "mode='wild' is none of"),
        (lambda x: tg.norm(x, -1), "positive number"),
        (lambda x: tg.norm(x.reshape(3, 1), 1), "give one axis"),
        (lambda x: tg.var(x, ddof=3), "no degree of freedom"),
        (lambda x: tg.mse_loss(x, x, "most"), "'mean', 'sum', 'none'"),
        (lambda x: tg.dropout(x, 1.5), "at least 0 and at most 1"),
    ],
)  # fmt: skip
def test_shapes_and_settings_that_do_not_fit(call: Any, words: str) -> None:
    with pytest.raises((ValueError, IndexError, np.linalg.LinAlgError), match=words):
        call(leaf([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 3], r"0\.\.2 \(there are 3 classes\), got 0\.\.3"),
        ([0, -1], r"0\.\.2 .* got -1\.\.0"),
        ([0, 1, 2], r"shape \(3,\).*logits of shape \(2, 3\).*class numbers of shape \(2,\)"),
        ([[0], [1]], r"shape \(2, 1\)"),
        ([0.0, 1.0], r"float64.*integer class numbers"),
        ([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]], r"add up to 1.*from 1\.0 to 2\.0"),
    ],
)
def test_labels_that_do_not_fit(labels: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tg.softmax_cross_entropy(leaf(np.zeros((2, 3))), labels)


@pytest.mark.parametrize(
    ("loss", "end"),
    [
        (lambda x: tg.softmax_cross_entropy(x, np.zeros(len(x.data), int)), (2,)),
        (lambda x: tg.binary_cross_entropy_with_logits(x, 0 * x.data), (1,)),
        (lambda x: tg.mse_loss(x, 0 * x.data), (1,)),
    ],
)
def test_the_mean_of_more_than_a_float16_counts_to(loss: Any, end: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=(70_000, *end)) + 1
    half, whole = (tg.Tensor(values, True, dtype) for dtype in (np.float16, np.float64))
    for x in (half, whole):
        loss(x).backward()
    assert loss(half).item() == pytest.approx(loss(whole).item(), rel=1e-2)
    np.testing.assert_allclose(np.asarray(half.grad), np.asarray(whole.grad), 1e-2, 1e-7)


def test_the_mean_over_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="mean over no rows"):
        tg.softmax_cross_entropy(leaf(np.zeros((0, 3))), np.zeros(0, int))


@pytest.mark.parametrize("other", ["text", None, {}, [None], np.array(["a"]), object()])
def test_operands_that_are_no_numbers(other: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a Tensor, an array or a number|unsupported"):
        leaf([1.0]) + other


def test_wrong_arguments_are_refused_in_the_ops_name() -> None:
    assert repr(tg.tanh).startswith("<function tanh at")
    for call in (lambda: tg.tanh(1, 2), lambda: np.tanh(leaf([1.0]), dtype=float)):
        with pytest.raises(TypeError, match=r"^tanh\(\) "):
            call()


def test_a_constant_argument_that_requires_grad_is_refused() -> None:
    with pytest.raises(TypeError, match=r"weight gets no gradient.*weight\.detach"):
        tg.softmax_cross_entropy(leaf(np.zeros((2, 3))), [0, 2], weight=leaf(np.ones(3)))
    with pytest.raises(TypeError, match=r"clip has no gradient with respect to 'a_min'.*detach"):
        tg.clip(leaf([1.0]), leaf(0.0), 1.0)


def test_complex_results_are_refused_where_they_would_need_gradients() -> None:
    with pytest.raises(TypeError, match=r"complex.*detach"):
        leaf([1.0]) * 1j
    assert (leaf([1.0]).detach() * 1j).dtype == complex


# In place


def test_arrays_are_not_changed_in_place_by_tensors() -> None:
    array = np.ones(2)
    with pytest.raises(TypeError, match=r"array \+= tensor.*array = array \+ tensor"):
        array += leaf([1.0, 2.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"np\.add cannot write"):
        np.add(leaf([1.0, 2.0]), 1, out=array)
    assert array.tolist() == [1, 1]


def test_augmented_assignment_rebinds() -> None:
    x = leaf([1.0, 2.0])
    y = x + 0
    y += 1
    y *= 2
    assert x.tolist() == [1, 2]
    y.sum().backward()
    assert_close(x.grad, [2, 2])


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "//", "%", "**", "@", "&", "|"])
@pytest.mark.parametrize("recording", [True, False])
def test_a_leaf_is_not_lost_by_augmented_assignment(operator: str, recording: bool) -> None:
    names = {"w": leaf([1.0, 2.0]), "x": np.ones(2)}
    with tg.enable_grad() if recording else tg.no_grad(), pytest.raises(TypeError) as caught:
        exec(f"w {operator}= x", {}, names)
    assert f"w.data {operator}= ..." in str(caught.value) and "optimiser" in str(caught.value)


def test_augmented_assignment_of_others_makes_new_tensors() -> None:
    total: Any = Tensor(0.0)
    for _ in range(2):
        total += leaf(1.0)
    total *= 3
    assert total.item() == 6 and total.requires_grad

    def f(x: Any) -> Any:
        x += 1  # its own name for an argument: nothing is lost
        x **= 2
        return x.sum()

    assert tg.value_and_grad(f)([1.0, 2.0])[1].tolist() == [4, 6]
    assert tg.hessian(f, [1.0, 2.0]).tolist() == [[2, 0], [0, 2]]


class Unit:
    """Arithmetic with anything, by itself: NumPy's way to say so is ``__array_ufunc__ = None``."""

    __array_ufunc__ = None

    def asked(self, other: Any) -> str:
        return f"asked by {type(other).__name__}"

    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = asked
    __rpow__ = __rmatmul__ = __rand__ = __ror__ = __lt__ = __gt__ = __le__ = __ge__ = asked


@pytest.mark.parametrize(
    "compute",
    [
        lambda t, u: t + u, lambda t, u: t - u, lambda t, u: t * u, lambda t, u: t / u,
        lambda t, u: t // u, lambda t, u: t % u, lambda t, u: t**u, lambda t, u: t @ u,
        lambda t, u: t & u, lambda t, u: t | u, lambda t, u: t < u, lambda t, u: t >= u,
    ],
)  # fmt: skip
def test_operands_that_want_to_compute_themselves_are_asked(compute: Any) -> None:
    assert compute(leaf([1.0, 2.0]), Unit()) == "asked by Tensor"
    with pytest.raises(TypeError, match="must be a Tensor, an array or a number|not supp|unsupp"):
        compute(leaf([1.0, 2.0]), object())
    with pytest.raises(TypeError, match="must be a Tensor"):
        tg.add(leaf([1.0, 2.0]), Unit())


class Units(np.ndarray):
    """Of a library for physical units, say."""


def test_subclasses_of_ndarray_are_named() -> None:
    with pytest.raises(TypeError, match=r"y must be .* got a Units, a subclass of ndarray"):
        leaf([1.0, 2.0]) * np.ones(2).view(Units)
    with pytest.raises(TypeError, match="MaskedArray: its mask would be lost"):
        leaf([1.0, 2.0]) * np.ma.masked_array([1.0, 2.0], [True, False])


def test_ufuncs_are_not_named_as_numpys_if_they_are_not() -> None:
    mine = np.frompyfunc(lambda x: x, 1, 1)
    with pytest.raises(TypeError, match=r"^ufunc .* has no gradient here.*tg\.ufunc"):
        mine(leaf([1.0]))
    with pytest.raises(TypeError, match=r"^np\.spacing has no gradient here"):
        np.spacing(leaf([1.0]))
    special = pytest.importorskip("scipy.special")
    with pytest.raises(TypeError, match=r"^ufunc 'erfcx' has no gradient here"):
        special.erfcx(leaf([1.0]))


def test_elements_cannot_be_assigned() -> None:
    with pytest.raises(TypeError, match=r"cannot be changed in place.*tg\.where"):
        leaf([1.0, 2.0])[0] = 3.0


# Operators, from both sides

ARITHMETIC = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow,
]  # fmt: skip
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
OTHERS = [
    2.5, 2, True, np.float64(2.5), np.float32(2.5), np.int64(2), np.array(2.5),
    np.array([2.5, 0.5]), np.array([[2.0], [3.0]]), [2.5, 0.5],
]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS, ids=repr)
@pytest.mark.parametrize("apply", ARITHMETIC + COMPARISONS, ids=lambda f: f.__name__)
def test_operators_from_both_sides(apply: Any, other: Any) -> None:
    array = np.array([1.5, 3.5])
    x = leaf(array)
    plain = np.asarray(other) if isinstance(other, list) else other
    for out, expected in (
        (apply(x, other), apply(array, plain)),
        (apply(other, x), apply(plain, array)),
        (apply(Tensor(np.asarray(other)), x), apply(np.asarray(other), array)),
    ):
        assert type(out) is Tensor
        assert out.dtype == expected.dtype
        np.testing.assert_array_equal(out.data, expected)
        if apply in ARITHMETIC:
            assert out.requires_grad
            out.sum().backward()
    if apply in ARITHMETIC:
        assert x.grad is not None
        assert x.grad.shape == (2,)


def test_unary_operators() -> None:
    x = leaf([-1.5, 2.0])
    assert (-x).tolist() == [1.5, -2]
    assert (+x).tolist() == [-1.5, 2]
    assert abs(x).tolist() == [1.5, 2]
    assert (~(x > 0)).tolist() == [True, False]
    assert ((x > 0) & (x < 3)).tolist() == [False, True]
    assert ((x > 0) | np.array([True, True])).tolist() == [True, True]
    assert (np.array([True, False]) | (x > 0)).tolist() == [True, True]
    assert (np.array([True, False]) & (x > 0)).tolist() == [False, False]


def test_matmul_from_both_sides() -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    for out in (
        leaf(a) @ b,
        a @ leaf(b),
        leaf(a) @ leaf(b),
        leaf(a) @ b.tolist(),
        a.tolist() @ leaf(b),
    ):
        assert type(out) is Tensor
        assert out.requires_grad
        np.testing.assert_array_equal(out.data, a @ b)


def test_divmod() -> None:
    quotient, rest = divmod(leaf([7.5]), 2)
    assert (quotient.item(), rest.item()) == (3, 1.5)
    for number in (7.5, np.array([7.5])):
        quotient, rest = divmod(number, leaf([2.0]))
        assert (quotient.item(), rest.item()) == (3, 1.5)


@pytest.mark.parametrize("number", [2, 2.5, True, np.float32(2.5)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_python_numbers_are_weak(dtype: str, number: Any) -> None:
    x = Tensor([1.5, 2.5], requires_grad=True, dtype=dtype)
    expected = np.result_type(np.dtype(dtype), number)
    for out in (x + number, number - x, x * number, x / number, number**x, x**number):
        assert out.dtype == expected
    if not isinstance(number, np.generic):
        assert expected == np.dtype(dtype)


def test_zero_dimensional_results_are_tensors_of_arrays() -> None:
    for out in (leaf(1.0) + 1, leaf([1.0]).sum(), tg.exp(leaf(0.0)), leaf([1.0])[0]):
        assert type(out.data) is np.ndarray
        assert out.shape == ()


METHODS: list[tuple[str, tuple[Any, ...]]] = [
    ("sum", (0,)), ("mean", (1,)), ("prod", ()), ("max", (1,)), ("min", (0,)), ("var", (0,)),
    ("std", (1,)), ("cumsum", (1,)), ("cumprod", (0,)), ("clip", (0.2, 0.8)), ("trace", ()),
    ("diagonal", (1,)), ("reshape", (4, 1)), ("reshape", ((1, 4),)), ("ravel", ()), ("flatten", ()),
    ("transpose", ()), ("transpose", (1, 0)), ("transpose", ((1, 0),)), ("swapaxes", (0, 1)),
    ("squeeze", ()), ("repeat", (2, 0)), ("take", ([0, 0],)), ("dot", (np.eye(2),)),
    ("astype", ("float32",)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), METHODS)
def test_methods_agree_with_ndarray_methods(name: str, args: tuple[Any, ...]) -> None:
    array = np.array([[0.1, 0.9], [0.5, 0.3]])
    out = getattr(leaf(array), name)(*args)
    expected = getattr(array, name)(*args)
    assert_close(out.data, expected, 1e-7)
    assert out.requires_grad


@pytest.mark.parametrize(
    "name", ["square", "sqrt", "abs", "exp", "log", "tanh", "sigmoid", "relu", "softmax",
             "log_softmax", "logsumexp", "sort", "argmax", "argmin", "all", "any"],
)  # fmt: skip
def test_methods_agree_with_functions(name: str) -> None:
    x = leaf([[0.1, 0.9], [0.5, 0.3]])
    np.testing.assert_array_equal(getattr(x, name)().data, getattr(tg, name)(x).data)


# Copies


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_leaves_can_be_copied(duplicate: Any) -> None:
    x = Tensor([1.0, 2.0], requires_grad=True, dtype=np.float32, name="x")
    (x * x).sum().backward()
    y = duplicate(x)
    assert type(y) is Tensor
    assert (y.tolist(), y.name, y.requires_grad) == ([1, 2], "x", True)
    assert y.dtype == np.float32
    assert_close(y.grad, [2, 4])
    assert y.grad is not None
    y.data[0] = y.grad[0] = 9
    assert x.tolist() == [1, 2]
    assert_close(x.grad, [2, 4])
    (y * 2).sum().backward()
    assert_close(y.grad, [11, 6])
    assert_close(x.grad, [2, 4])


def test_copies_of_constants() -> None:
    x = Tensor([1, 2])
    y = copy.deepcopy([x, x])
    assert y[0] is y[1]
    assert not y[0].requires_grad
    assert not np.shares_memory(y[0].data, x.data)


def test_arrays_that_take_a_constants_place_have_its_name() -> None:
    x = Tensor([1, 2], name="x")
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert array_name(y.data) == "x"
    x.data = np.ones(3)
    assert array_name(x.data) == "x"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_computed_tensors_cannot_be_copied(duplicate: Any) -> None:
    with pytest.raises(TypeError, match=r"graph cannot travel.*detach"):
        duplicate(leaf([1.0]) * 2)


# Indexing, as NumPy's


@st.composite
def indexing(draw: Any) -> tuple[tuple[int, ...], Any]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    kind = draw(st.sampled_from(["basic", "integers", "mask"]))
    if kind == "basic":
        return shape, draw(hnp.basic_indices(shape, allow_newaxis=True))
    if kind == "mask":
        axes = draw(st.integers(1, len(shape)))
        return shape, draw(hnp.arrays(bool, shape[:axes]))
    found = draw(hnp.integer_array_indices(shape))
    kept = draw(st.integers(1, len(shape)))
    rest = draw(st.sampled_from([(), (Ellipsis,)]))
    return shape, (*found[:kept], *rest)


@given(indexing())
@settings(max_examples=200, deadline=None)
def test_indexing_and_its_gradient_agree_with_numpy(drawn: Any) -> None:
    shape, index = drawn
    array = np.random.default_rng(0).normal(size=shape)
    x = leaf(array)
    out = x[index]
    expected = array[index]
    np.testing.assert_array_equal(out.data, expected)
    weights = np.random.default_rng(1).normal(size=np.shape(expected))
    out.backward(weights)
    gradient = np.zeros(array.size)
    places = np.arange(array.size).reshape(shape)[index]
    for place, weight in zip(np.ravel(places), np.ravel(weights), strict=True):
        gradient[place] += weight
    assert_close(x.grad, gradient.reshape(shape), 1e-12, 1e-12)


def test_a_list_that_was_an_index_may_change() -> None:
    x, index = leaf([1.0, 2.0, 3.0]), [0, 1]
    picked = x[index].sum() + x[(index,)].sum()
    index[0] = 2
    picked.backward()
    assert_close(x.grad, [2, 2, 0])


def test_indices_may_be_tensors() -> None:
    x = leaf([1.0, 2.0, 3.0])
    assert x[Tensor([2, 0])].tolist() == [3, 1]
    assert x[x > 1.5].tolist() == [2, 3]
    assert x[Tensor(1)].item() == 2
    y = leaf(np.eye(3))
    assert y[Tensor([0, 1]), Tensor([0, 1])].tolist() == [1, 1]


def test_a_view_does_not_change_its_source_later() -> None:
    x = leaf([1.0, 2.0, 3.0])
    y = x[:2] * x[1:]
    y.sum().backward()
    assert_close(x.grad, [2, 4, 2])


def test_a_leaf_that_is_switched_off_and_on_is_the_same_leaf() -> None:
    x = leaf([1.0, 2.0])
    before, array = (x * x).sum(), x.data
    (x * 3).sum().backward()
    x.requires_grad = False
    assert x.is_frozen
    assert "frozen" in repr(x)
    assert_close(x.grad, [3, 3])
    before.backward()  # recorded before: it still leads to x
    after = x * x
    assert not after.requires_grad
    x.requires_grad = True
    assert not x.is_frozen
    assert x.data is array
    assert_close(x.grad, [5, 7])
    (x * 2).sum().backward()
    assert_close(x.grad, [7, 9])


def test_graphs_recorded_before_freezing_reach_the_leaf_to_second_order() -> None:
    x = leaf([1.0, 2.0])
    y = (x**3).sum()
    x.requires_grad = False
    x.requires_grad = True
    first = tg.grad(y, x, create_graph=True)
    assert_close(tg.grad(first.sum(), x).data, [6, 12])


def test_frozen_leaves_keep_shape_and_dtype_and_own_their_array() -> None:
    x, given = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    x.requires_grad = False
    x.data = given
    given[...] = 9
    assert_close(x.data, [3, 4])
    with pytest.raises(ValueError, match="that is frozen, keeps its shape and dtype"):
        x.data = np.ones(3)
    x.grad = np.ones(2)
    x.zero_grad()
    assert x.grad is None
    assert not Tensor([1.0]).is_frozen
    assert not x.detach().is_frozen


def test_a_mask_is_not_dropped() -> None:
    masked: Any = np.ma.masked_array([1.0, 2.0], [True, False])
    with pytest.raises(TypeError, match=r"Tensor\(masked.filled\(0\)\)"):
        Tensor(masked)
    x = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match="mask"):
        x.data = masked
    assert Tensor(masked.filled(0)).tolist() == [0, 2]
