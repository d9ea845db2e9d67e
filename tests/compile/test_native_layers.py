"""Convolutions, pooling and small products in C, against eager: each shape, stride and dtype."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_np as tg
from tests.compile.steps import memory_grown, training_step
from tinygrad_np import native as ground
from tinygrad_np import nn, optim

pytestmark = pytest.mark.skipif(
    bool(ground.unavailable()) or ground.describe()["compiler"] is None,
    reason="there is no C compiler",
)
TOLERANCE = {"f": 1e-5, "d": 1e-12}


def sample(dtype: Any, *shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def with_gradients(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """A step of so many arrays and g: the result, and the gradients of the arrays."""

    def step(*arrays: Any) -> Any:
        inputs = [tg.Tensor(array, requires_grad=True) for array in arrays[:count]]
        y = function(*inputs)
        return (y, *tg.grad(y, inputs, grad_outputs=arrays[count]))

    return step


def together(steps: list[tuple[Callable[..., Any], list[Any]]]) -> tuple[Callable[..., Any], Any]:
    """Several steps as one, and its arrays: the C compiler runs once for all of them."""

    def step(*arrays: Any) -> Any:
        results, left = [], arrays
        for function, own in steps:
            results += function(*left[: len(own)])
            left = left[len(own) :]
        return results

    return step, [array for _, arrays in steps for array in arrays]


def bits(array: Any) -> bytes:
    """All bits, nan as 0: its sign is nobody's result."""
    known: bytes = np.where(np.isnan(array), array.dtype.type(0), array).tobytes()
    return known


def check(
    step: Callable[..., Any], *arrays: Any, exact: bool = False, word: str = "", times: int = 1,
    backend: Any = None, names: Sequence[str] = (),
) -> None:  # fmt: skip
    """Compare replays with eager. ``names`` are those of the results, for the message.

    ``word`` stands in the plan so many times at least, and nothing runs in NumPy. Exact replays
    have eager's bits.
    """
    compiled = tg.compile(step, exact=exact, backend=backend or "native")
    expected = step(*arrays)
    for _ in range(3):
        found = compiled(*arrays)
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            name = names[i] if names else f"result {i}"
            assert (one.shape, one.dtype) == (other.shape, other.dtype), name
            if exact:
                assert bits(one.data) == bits(other.data), name
            else:
                np.testing.assert_array_equal(np.isnan(one.data), np.isnan(other.data), name)
                scale = np.abs(other.data, where=np.isfinite(other.data),
                               out=np.zeros(other.shape)).max(initial=0)  # fmt: skip
                np.testing.assert_allclose(
                    one.data, other.data, 0, scale * TOLERANCE[one.dtype.char], err_msg=name
                )
    if word:
        assert str(compiled.plan()).count(word) >= times
        assert "in NumPy" not in str(compiled.plan())


# Convolutions

CONVOLUTIONS: Any = {
    "plain": ((3, 4, 9, 8), (6, 4, 3, 3), 1, 0, 1, 1),
    "padded": ((3, 4, 9, 8), (6, 4, 3, 3), 1, 1, 1, 1),
    "one channel": ((2, 1, 28, 28), (6, 1, 5, 5), 1, 2, 1, 1),
    "one filter": ((2, 3, 9, 9), (1, 3, 2, 2), 1, 0, 1, 1),
    "stride": ((2, 3, 9, 11), (5, 3, 3, 2), (2, 3), (1, 0), 1, 1),
    "dilation and groups": ((3, 4, 9, 8), (6, 2, 3, 2), (2, 1), (1, 0), (1, 2), 2),
    "stride and dilation": ((2, 3, 17, 15), (4, 3, 3, 3), 2, 3, 3, 1),
    "by channel": ((2, 6, 11, 11), (6, 1, 3, 3), 1, 1, 1, 6),
    "1 x 1": ((2, 3, 7, 7), (4, 3, 1, 1), 1, 0, 1, 1),
    "more stride than filter": ((2, 3, 7, 7), (4, 3, 1, 1), 3, 0, 1, 1),
    "more padding than filter": ((2, 3, 4, 4), (9, 3, 2, 2), 2, 5, 1, 1),
    "one output": ((2, 3, 5, 5), (4, 3, 5, 5), 1, 0, 1, 1),
    "a row": ((2, 3, 13), (5, 3, 4), 3, 2, 2, 1),
    "volumes": ((2, 3, 5, 6, 7), (5, 3, 2, 3, 2), (1, 2, 2), (1, 1, 0), 1, 1),
    "blocks of rows": ((1, 32, 60, 130), (9, 32, 3, 3), 1, 1, 1, 1),
    "blocks with stride": ((1, 3, 300, 270), (9, 3, 7, 7), 4, 3, 1, 1),
    "blocks of a row": ((2, 2, 70_001), (3, 2, 9), 1, 4, 1, 1),
}


def convolution(stride: Any, padding: Any, dilation: Any, groups: int) -> Callable[..., Any]:
    def function(x: Any, weight: Any) -> Any:
        call = {3: tg.conv1d, 4: tg.conv2d, 5: tg.conv3d}[x.ndim]
        return call(x, weight, None, stride, padding, dilation, groups)

    return function


@pytest.mark.parametrize(
    ("first", "dtype"),
    [
        pytest.param(first, dtype, marks=[] if (first + j) % 2 else [pytest.mark.slow])
        for first in range(4)
        for j, dtype in enumerate((np.float64, np.float32))
    ],
)
def test_convolutions_and_their_rules(first: int, dtype: Any) -> None:
    """Each fourth case, from this one on."""
    cases: dict[str, tuple[Callable[..., Any], list[Any]]] = {}
    for name in list(CONVOLUTIONS)[first::4]:
        shape, weights, *how = CONVOLUTIONS[name]
        function = convolution(*how)
        x, weight = sample(dtype, *shape), sample(dtype, *weights, seed=1)
        g = sample(dtype, *function(tg.Tensor(x), weight).shape, seed=2)
        cases[name] = with_gradients(function, 2), [x, weight, g]
    results = ("y", "dx", "dweight")
    step, arrays = together([*cases.values()])
    names = [f"{name}: {result}" for name in cases for result in results]
    check(step, *arrays, word="= direct_", times=3 * len(cases), names=names)

    small = {name: case for name, case in cases.items() if case[1][0].size < 10_000}
    step, arrays = together([*small.values()])
    names = [f"{name}: {result}" for name in small for result in results]
    check(step, *arrays, exact=True, names=names)
    check(step, *arrays, exact=True, backend="numpy", names=names)
    check(step, *arrays, backend="numpy", names=names)


@pytest.mark.parametrize("examples", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_random_convolutions(examples: int) -> None:
    settings(max_examples=examples)(given(st.data())(check_random_convolution))()


def check_random_convolution(data: st.DataObject) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    axes, groups = number(1, 3), number(1, 2)
    kernel, stride, dilation = (tuple(number(1, 3) for _ in range(axes)) for _ in range(3))
    padding = tuple(number(0, 3) for _ in range(axes))
    least = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(n + number(0, 6) for n in least)
    channels, filters = groups * number(1, 3), groups * number(1, 9)
    function = convolution(stride, padding, dilation, groups)
    x = sample(np.float64, number(1, 3), channels, *size)
    weight = sample(np.float64, filters, channels // groups, *kernel, seed=1)
    g = sample(np.float64, *function(tg.Tensor(x), weight).shape, seed=2)
    check(with_gradients(function, 2), x, weight, g, word="direct")


def test_convolutions_of_arrays_in_any_layout() -> None:
    x = sample(np.float64, 9, 8, 3, 2).transpose(3, 2, 1, 0)
    weight = sample(np.float64, 3, 4, 5, 2)[..., ::-1].transpose(1, 0, 3, 2)
    g = sample(np.float64, 2, 4, 7, 5)

    def step(x: Any, weight: Any, g: Any) -> Any:
        given = tg.Tensor(2 * x, requires_grad=True), tg.Tensor(weight + 0, requires_grad=True)
        y = tg.conv2d(*given)
        return (y, *tg.grad(y, given, grad_outputs=g))

    check(step, x, weight, g, word="direct")
    check(step, x[..., ::-1], weight[::-1], g, word="direct")


def test_float64_and_float32_in_one_step() -> None:
    steps: Any = []
    for dtype in (np.float64, np.float32):
        x, weight = sample(dtype, 2, 3, 6, 8), sample(dtype, 4, 3, 3, 2, seed=1)
        steps.append((with_gradients(tg.conv2d, 2), [x, weight, sample(dtype, 2, 4, 4, 7)]))
        steps.append((with_gradients(lambda x: tg.max_pool2d(x, 2), 1), [x, x[..., :3, :4]]))
    step, arrays = together(steps)
    check(step, *arrays, word="= direct_", times=6)


def test_the_gradients_gradients() -> None:
    x, weight = sample(np.float64, 2, 3, 6, 7), sample(np.float64, 4, 3, 3, 2, seed=1)

    def step(x: Any, weight: Any) -> Any:
        given = tg.Tensor(x, requires_grad=True), tg.Tensor(weight, requires_grad=True)
        y = tg.conv2d(*given, stride=2, padding=1)
        first = tg.grad((y * y * y).sum(), given, create_graph=True)
        return tg.grad((first[0] * first[0]).sum() + first[1].sum(), given)

    check(step, x, weight, word="direct")


def test_empty_batches() -> None:
    x, weight = np.zeros((0, 3, 6, 7)), sample(np.float64, 4, 3, 3, 2)
    for exact in (False, True):
        check(with_gradients(tg.conv2d, 2), x, weight, np.zeros((0, 4, 4, 6)), exact=exact)
    check(with_gradients(lambda x: tg.max_pool2d(x, 2), 1), x, np.zeros((0, 3, 3, 3)), exact=True)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_infinite_numbers_stay_where_they_belong(bad: float) -> None:
    x, weight = sample(np.float64, 2, 2, 6, 7), sample(np.float64, 3, 2, 3, 3, seed=1)
    g = sample(np.float64, 2, 3, 4, 5, seed=2)
    step = with_gradients(tg.conv2d, 2)
    for array, place in ((x, (1, 0, 2, 6)), (x, (0, 1, 0, 0)), (weight, (2, 1, 0, 2)),
                         (g, (0, 2, 3, 4))):  # fmt: skip
        before, array[place] = array[place], bad
        with np.errstate(invalid="ignore"):
            check(step, x, weight, g)
        array[place] = before


def test_overflow_warns_as_eager_does() -> None:
    x, weight = np.full((2, 2, 6, 7), 1e300), np.full((3, 2, 3, 3), 1e300)
    compiled = tg.compile(lambda x, weight: tg.conv2d(x, weight), backend="native")
    with np.errstate(over="ignore"):
        compiled(x, weight)
        assert np.isinf(compiled(x, weight).data).all()
    with pytest.warns(RuntimeWarning, match="overflow"):
        compiled(x, weight)


def test_two_threads_and_one_give_the_same_convolution() -> None:
    from threadpoolctl import threadpool_limits

    x, weight = sample(np.float32, 16, 16, 28, 28), sample(np.float32, 16, 16, 3, 3)
    g = sample(np.float32, 16, 16, 26, 26)
    for threads in (1, 2, 3):
        with threadpool_limits(threads, "blas"):
            check(with_gradients(tg.conv2d, 2), x, weight, g, word="direct")


# Pooling

POOLS: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: tg.max_pool2d(x, 2),
    "max, overlapping": lambda x: tg.max_pool2d(x, 3, 2, 1),
    "max, apart": lambda x: tg.max_pool2d(x, 2, 3),
    "max, dilated": lambda x: tg.max_pool2d(x, (2, 3), (1, 2), (1, 1), (2, 1), True),
    "max of rows": lambda x: tg.max_pool1d(x[0], 3, 4, 1),
    "mean": lambda x: tg.avg_pool2d(x, 2),
    "mean, overlapping": lambda x: tg.avg_pool2d(x, 3, 2, 1),
    "mean, stride 1": lambda x: tg.avg_pool2d(x, 3, 1, 1),
    "mean, apart": lambda x: tg.avg_pool2d(x, 2, 3, 0, True),
    "mean of rows": lambda x: tg.avg_pool1d(x[0], 3, 4, 1, True, False),
}


VARIANTS = list(itertools.product((np.float64, np.float32), ((3, 2, 8, 12), (2, 3, 9, 37))))
ALWAYS = {(1, 0), (3, 3), (4, 2), (6, 1), (8, 2), (9, 1)}
"""The kinds of pooling and their variants that are tested always; the others are slow tests."""


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        pytest.param(name, *kind, marks=[] if (i, j) in ALWAYS else [pytest.mark.slow])
        for i, name in enumerate(POOLS)
        for j, kind in enumerate(VARIANTS)
    ],
)
def test_pooling_has_eagers_bits(name: str, dtype: Any, shape: Any) -> None:
    """With many equal numbers, both zeros, and windows of nan and -inf."""
    x = np.round(2 * sample(dtype, *shape)) / 2
    x.flat[::7] = -0.0
    g = sample(dtype, *POOLS[name](tg.Tensor(x)).shape, seed=1)
    g.flat[::5] = -0.0
    for array in (x, np.where(x > 1, dtype(np.nan), x), np.where(x > -1, -dtype(np.inf), x),
                  np.asfortranarray(x)):  # fmt: skip
        with np.errstate(invalid="ignore"):
            step = with_gradients(POOLS[name], 1)
            check(step, array, g, exact=True)
            check(step, array, g, exact=True, backend="numpy")
            check(step, array, g)


def test_pooling_of_a_tensor_runs_in_c() -> None:
    x, g = sample(np.float32, 3, 2, 8, 12), sample(np.float32, 3, 2, 4, 6)
    for name in ("max", "mean, overlapping"):
        check(with_gradients(POOLS[name], 1), x, g, exact=True, word="in C")


# Products

SIZES = [(1024, 64, 65), (64, 400, 120), (7, 9, 5), (2, 300, 17), (13, 3, 40), (100, 5, 129)]


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        pytest.param(size, dtype, marks=[] if (i + j) % 2 else [pytest.mark.slow])
        for i, size in enumerate(SIZES)
        for j, dtype in enumerate((np.float64, np.float32))
    ],
)
def test_small_products(size: Any, dtype: Any) -> None:
    n, k, m = size
    a, b = sample(dtype, n, k), sample(dtype, k, m, seed=1)
    turned = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    check(lambda a, b, c, d: (a @ b, c.T @ b, a @ d.T, np.dot(c.T, d.T)), a, b, *turned,
          word="tiled")  # fmt: skip
    check(lambda a, b: (a @ b, a[::-1] @ b[:, ::-1]), a, b)


def test_small_products_in_batches() -> None:
    for dtype in (np.float64, np.float32):
        a, b = sample(dtype, 3, 4, 9, 16), sample(dtype, 3, 1, 7, 16, seed=1)
        check(lambda a, b: (a @ b.mT, a.swapaxes(0, 1) @ b[:, 0].mT, a[0, 0] @ b.mT), a, b,
              word="tiled")  # fmt: skip


# The whole


def test_a_thousand_steps_of_a_network_allocate_nothing() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 10, rng=0),
    )
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, labels = sample(np.float32, 8, 1, 8, 8), np.arange(8)

    loss = lambda x, labels: tg.softmax_cross_entropy(model(x), labels)  # noqa: E731
    step: Any = tg.compile(training_step(loss, optimizer), verify=False)
    for _ in range(10):
        step(x, labels)
    assert "one C function" in str(step.plan())
    grown, _ = memory_grown(lambda: step(x, labels), 1000)
    assert grown < 500
