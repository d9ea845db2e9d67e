"""Native code against NumPy and against eager: any dtype, any strides, exact to the last bit."""

import itertools
import keyword
import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_np as tg
from tinygrad_np import native as ground
from tinygrad_np import nn, optim
from tinygrad_np.compiler.native_executor import NativeExecutor

pytestmark = pytest.mark.skipif(
    bool(ground.unavailable()) or ground.describe()["compiler"] is None,
    reason="there is no C compiler",
)


def native(function: Callable[..., Any], **how: Any) -> Any:
    return tg.compile(function, backend="native", **how)


def listed(result: Any) -> list[Any]:
    results = result if isinstance(result, list | tuple) else [result]
    return [r.data if isinstance(r, tg.Tensor) else np.asarray(r) for r in results]


def assert_same_bits(found: Any, expected: Any) -> None:
    for one, other in zip(listed(found), listed(expected), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        nans = np.isnan(one) if one.dtype.kind in "fc" else np.zeros(one.shape, bool)
        np.testing.assert_array_equal(one, other)
        zero = one.dtype.type(0)
        assert np.where(nans, zero, one).tobytes() == np.where(nans, zero, other).tobytes()


def check(function: Callable[..., Any], *arrays: Any, in_c: bool | None = None) -> Any:
    """Compare replays with what the function gives; ``in_c``: whether nothing runs in NumPy."""
    compiled = native(function, exact=True)
    with np.errstate(all="ignore"):
        expected = function(*arrays)
        for _ in range(3):
            assert_same_bits(compiled(*arrays), expected)
    (plan,) = compiled.plans()
    assert isinstance(plan.executor, NativeExecutor)
    if in_c is not None:
        assert ("in NumPy" not in str(plan)) is in_c, str(plan)
    return compiled


def sample(dtype: Any, *shape: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    array = 3 * rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        return (array + 1j * rng.standard_normal(shape)).astype(dtype)
    return array.astype(dtype)


SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.0, 1e-320, 1e300, 3.0])
UNARY: Any = [
    np.negative, np.absolute, np.sqrt, np.square, np.reciprocal, np.sign, np.isnan, np.isfinite,
    np.isinf, np.positive, np.logical_not, np.exp, np.tanh, np.log, np.sin, np.log1p, np.floor,
    np.rint, np.cbrt, np.signbit,
]  # fmt: skip
BINARY: Any = [
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.fmax, np.greater,
    np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.logical_and,
    np.logical_or, np.logical_xor, np.power, np.arctan2, np.hypot, np.copysign, np.floor_divide,
    np.remainder, np.logaddexp, np.nextafter,
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_elementwise_functions_have_numpys_bits(dtype: Any) -> None:
    with np.errstate(all="ignore"):
        a, b = np.repeat(SPECIAL, 10).astype(dtype), np.tile(SPECIAL, 10).astype(dtype)
    check(lambda a: [f(a) for f in UNARY], a, in_c=True)
    check(lambda a, b: [f(a, b) for f in BINARY], a, b, in_c=True)
    check(lambda a: [f(a, 2.0) for f in BINARY] + [f(0.5, a) for f in BINARY], a)


@pytest.mark.parametrize(
    "char", [*"?bIlefD", *(pytest.param(char, marks=pytest.mark.slow) for char in "BhHiLdF")]
)
def test_dtypes_are_promoted_as_numpy_does(char: str) -> None:
    def function(a: Any, *others: Any) -> Any:
        return [
            result
            for b in others
            for result in (a + b, a * b, np.where(a > b, a, b), a == b, np.maximum(a, b))
        ]

    a = sample(float, 4, 5).astype(char)
    check(function, a, *[sample(float, 4, 5, seed=1).astype(other) for other in "?bBhiLefdD"])
    check(lambda a: (a + 1, a * 2, a.astype(np.float32) if a.dtype.kind != "c" else a), a)
    if char != "?":
        check(lambda a: (a.sum(), a.sum(axis=0), a.max(axis=1), a.mean(), np.exp(a), a @ a.T), a)


def layouts(dtype: Any) -> dict[str, Any]:
    base = sample(dtype, 8, 6, 10)
    return {
        "C": base[0].copy(), "F": np.asfortranarray(base[0]), "steps": base[::3, 1, ::2],
        "negative": base[1, ::-1, ::-2], "swapped": base.transpose(2, 0, 1)[3],
        "row": base[:1, 0], "column": base[:, 0, :1],
        "broadcast": np.broadcast_to(base[0, 0], (4, 10)),
        "empty": base[:0, 0], "one": base[:1, 0, :1],
    }  # fmt: skip


@pytest.mark.parametrize("layout", layouts(float))
def test_any_strides(layout: str) -> None:
    def function(x: Any) -> Any:
        y = np.exp(x.T) * 2 - x.T
        return (
            y, x.sum(), x.sum(axis=0), x.sum(axis=1, keepdims=True), x @ x.T, x.T.copy(),
            x[::-1] + x,
            np.concatenate([x, x * 2], 1), np.stack([x, y.T]), x.reshape(-1) * 3, x[:, ::-1] * x,
        )  # fmt: skip

    arrays = [layouts(dtype)[layout] for dtype in (np.float64, np.float32)]
    check(lambda x, y: [*function(x), *function(y)], *arrays)


REDUCTIONS = st.tuples(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.permutations(range(4)),
    st.sets(st.integers(0, 3)),
    st.sampled_from([1, 2, -1]),
    st.booleans(),
)
"""A shape, the order of its axes, those that are summed, a step, and whether axes are kept."""


@settings(max_examples=5, derandomize=True)
@given(drawn=st.lists(REDUCTIONS, min_size=4, max_size=4))
def test_sums_and_maxima(drawn: Any) -> None:
    arrays, reduced = [], []  # of one program, as a compilation takes most of the time
    for shape, order, summed, step, keepdims in drawn:
        x = sample(np.float32, *[3 * n for n in shape])
        arrays.append(x.transpose([i for i in order if i < len(shape)])[..., ::step])
        axes = tuple(i for i in sorted(summed) if i < len(shape))
        reduced.append({"axis": axes, "keepdims": keepdims})
    functions = (np.sum, np.max, np.min, np.prod)
    check(
        lambda *xs: [f(x, **how) for x, how in zip(xs, reduced, strict=True) for f in functions],
        *arrays,
    )


@pytest.mark.parametrize("shape", [(100_000,), (3, 20_000), (20_000, 3), (3, 9000, 2), (784, 1)])
def test_long_sums(shape: Any) -> None:
    x = sample(np.float32, *shape)
    check(lambda x: [x.sum(axis=axis) for axis in (None, *range(x.ndim))], x)


@pytest.mark.parametrize("char", "efd")
def test_short_rows_and_pairwise_rows(char: str) -> None:
    arrays = [sample(char, 3, n) for n in (1, 7, 8, 9, 128, 129, 1000)]
    check(
        lambda *xs: [f for x in xs for f in (x.sum(axis=-1), x.max(axis=-1), x.sum())],
        *arrays,
        in_c=True,
    )


def test_more_than_a_block_and_more_than_a_row() -> None:
    shapes = [(5000,), (3, 3000), (700, 7), (2, 40, 60), (1500, 1)]
    pairs = [(sample(np.float32, *shape), sample(np.float32, shape[-1])) for shape in shapes]

    def function(*arrays: Any) -> list[Any]:
        given = list(zip(arrays[::2], arrays[1::2], strict=True))
        sums = [np.exp(x + y) * y for x, y in given]
        return [*sums, *[np.tanh(np.exp(-x) + np.log(abs(y))) for x, y in given]]

    check(function, *itertools.chain(*pairs), in_c=True)


def test_a_power_along_repeated_exponents_is_numpys() -> None:
    x = np.abs(sample(float, 5, 7))
    check(lambda x, y: x**y, x, np.array([[2.0], [0.5], [3.0], [-1.0], [0.1]]))


PICKS: Any = {
    "rows": lambda x: np.take(x, [2, 0, 2, -1], axis=0),
    "rows by array": lambda x: x[np.array([[2, 0], [-1, 1]])],
    "columns": lambda x: x[:, np.array([1, 1, 0], np.int32)],
    "pairs": lambda x: x[np.arange(3), np.array([3, -1, 0], np.int8)],
    "a number and an array": lambda x: x[1, np.array([0, 3])],
    "behind None": lambda x: x[None, np.array([1, 2])],
    "mask": lambda x: x[np.array([True, False, True])],
}


@pytest.mark.parametrize("name", PICKS)
def test_picking_and_scattering(name: str) -> None:
    def function(x: Any) -> Any:
        t = tg.Tensor(x, requires_grad=True)
        picked = PICKS[name](t) if name != "rows" else tg.take(t, [2, 0, 2, -1], axis=0)
        (picked * picked).sum().backward()
        return picked, t.grad

    check(function, sample(np.float64, 3, 4))
    check(lambda x: PICKS[name](x), sample(np.float32, 3, 4)[:, ::-1])


def test_an_index_out_of_bounds_is_numpys_error_and_changes_nothing() -> None:
    table = tg.Tensor(sample(np.float32, 4, 3), requires_grad=True, name="table")
    opt = optim.SGD([table], 0.1)

    @native
    def step(rows: Any) -> Any:
        opt.zero_grad()
        loss = tg.take(table, rows, axis=0).sum()
        loss.backward()
        opt.step()
        return loss

    for _ in range(3):
        step(np.array([0, 3]))
    before, count = table.data.copy(), opt.count.copy()
    with pytest.raises(
        IndexError, match="index 4 is out of bounds for axis 0 with size 4"
    ) as caught:
        step(np.array([0, 4]))
    assert "in a replay" in caught.value.__notes__[0]
    np.testing.assert_array_equal(table.data, before)
    np.testing.assert_array_equal(opt.count, count)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_means_and_largest_with_a_start(dtype: Any) -> None:
    def function(x: Any) -> Any:
        kinds: Any = (np.mean, {}), (np.max, {"initial": 0.5}), (np.min, {"initial": np.inf})
        return [
            f(x, axis=axis, keepdims=keeps, **more)
            for axis in (None, 0, -1, (0, 2))
            for keeps in (True, False)
            for f, more in kinds
        ]

    check(function, sample(dtype, 3, 4, 5), in_c=True)
    check(function, sample(dtype, 1, 1, 1), in_c=True)
    check(lambda x: (x.mean(), x.max(initial=-np.inf, axis=1)), sample(dtype, 3, 4), in_c=True)
    check(lambda x: np.max(x, initial=9.0), sample(dtype, 1, 1))
    check(lambda x: np.sum(x, axis=-1, initial=2.0), sample(dtype, 3, 4, 5))


def test_means_of_other_dtypes_are_numpys() -> None:
    for dtype in (np.float16, np.int32, bool, np.complex128):
        check(lambda x: (x.mean(), np.mean(x, axis=0, keepdims=True)), sample(dtype, 3, 4))


def test_any_and_all() -> None:
    def function(x: Any) -> Any:
        return [f(x > 2, axis=k) for f in (np.any, np.all) for k in (None, 0, 1)]

    check(function, sample(np.float32, 4, 5), in_c=True)
    check(lambda x: (x.any(axis=0), x.all()), sample(np.float32, 4, 5))


RUNNING = {
    "contiguous": sample(np.float32, 3, 4, 5),
    "strided": sample(np.float64, 6, 8, 5)[::2, ::-2].transpose(2, 0, 1),
    "rows of one": sample(np.float32, 1, 1, 4),
    "equal ones": np.round(sample(np.float64, 5, 6, 7)),
}


@pytest.mark.parametrize("which", RUNNING)
def test_running_sums_and_where_extremes_are(which: str) -> None:
    def function(x: Any) -> Any:
        pairs = [(f, axis) for f in (np.cumsum, np.cumprod, np.argmax) for axis in (0, 1, -1)]
        return [f(x, axis) for f, axis in pairs] + [x.argmin(axis=1), x[0, 0].cumsum()]

    x = RUNNING[which]
    check(function, x, in_c=True)
    check(lambda x: np.argmax(x, axis=1, keepdims=True), x, in_c=True)
    check(lambda x: (np.argmax(x), np.cumsum(x)), x)
    check(lambda x: (np.cumsum(x, 0), np.cumprod(x, axis=-1)), x[0, 0, 0].reshape(()))


def test_where_nan_is_the_extreme() -> None:
    x = sample(np.float32, 4, 5)
    x[1, 2:] = x[3, 0] = np.nan
    check(lambda x: (np.argmax(x, 1), np.argmin(x, 1), np.argmax(x, 0), x.cumsum(0)), x, in_c=True)


def test_frames() -> None:
    for width in (1, (2, 0), [(0, 0), (1, 3)]):
        x = sample(np.float32, 3, 4)
        check(lambda x, w=width: (np.pad(x, w), np.pad(x.T, w, constant_values=-1.5)), x, in_c=True)
    check(lambda x: np.pad(x, 1, "edge"), x)
    check(lambda x: np.pad(x, 1, constant_values=((1, 2), (3, 4))), x)
    check(lambda x: np.pad(x.astype(np.int32), 1, constant_values=7), x)


def test_the_normal_distribution_of_float32_is_fused() -> None:
    x = np.concatenate([sample(np.float32, 40_000), [0, -0.0, 50, -50, np.inf, -np.inf, np.nan]])
    check(lambda x: (tg.gelu(x), tg.normal_cdf(x)), x.astype(np.float32), in_c=True)


@pytest.mark.parametrize("char", "FD")
def test_complex_numbers_are_chosen(char: str) -> None:
    def function(x: Any) -> Any:
        return [np.where(x.real > 0, x, other) for other in (1.0, 2.5j, np.array([1 - 2j]), x.T)]

    check(function, sample(char, 3, 3))


def test_half_precision_has_numbers_of_its_own() -> None:
    x = sample(np.float16, 3, 4)
    check(lambda x: (np.prod(x, 0), np.prod(x), np.where(x > 0, x, np.float16(3))), x, in_c=True)


def test_what_c_does_not_know_runs_in_numpy_between() -> None:
    def function(x: Any) -> Any:
        y = np.exp(x) + 1
        z = np.sort(np.partition(y, 2, axis=0), axis=1) * 2
        return np.tanh(z) @ np.linalg.inv(x) + y, z.T

    compiled = check(function, sample(np.float64, 4, 4), in_c=False)
    assert "partition" in compiled.plan()
    assert "tg_part1" in compiled.source()


def test_floating_point_errors_where_numpy_takes_part() -> None:
    def function(x: Any) -> Any:
        return np.cumsum(1 / (1 / np.cumsum(x) - 1)) * x

    compiled = native(function)
    for _ in range(2):
        compiled(np.array([3.0, 4.0]))
        with pytest.warns(RuntimeWarning, match="divide by zero encountered in divide"):
            found = compiled(np.array([1.0, 2.0]))
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(found, function(np.array([1.0, 2.0])))


def test_an_overflow_leaves_the_state_as_it_was_where_it_raises() -> None:
    w = tg.Tensor(np.ones(3), requires_grad=True)
    opt = optim.SGD([w], 0.1)

    @native
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = tg.exp(w * x).sum()
        loss.backward()
        opt.step()
        return loss

    for _ in range(3):
        step(np.ones(3))
    before = w.data.copy()
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow"):
        step(np.full(3, 1e4))
    np.testing.assert_array_equal(w.data, before)


def test_an_overflow_in_an_update_warns() -> None:
    w = tg.Tensor(np.ones(3, np.float32), requires_grad=True)
    opt = optim.SGD([w], lambda count: 1e30 if count > 2 else 0.1)

    @native
    def step(x: Any) -> Any:
        loss = (w * x).sum()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            step(np.ones(3, np.float32))
        with np.errstate(over="ignore"):
            step(np.full(3, 1e10, np.float32))
    with pytest.warns(RuntimeWarning, match="overflow encountered"):
        step(np.full(3, 1e10, np.float32))
    assert np.isinf(w.data).all()


def test_updates_that_swap_and_shift() -> None:
    class Pair:
        def __init__(self) -> None:
            self.a, self.b = np.arange(6.0).reshape(2, 3), np.ones((2, 3))

    pair, other = Pair(), Pair()

    def step(pair: Any, x: Any) -> Any:
        a, b = pair.a.copy(), pair.b.copy()
        pair.a[...] = b
        pair.b[...] = a[:, ::-1] * x
        return a[:, ::-1]

    compiled = native(step)
    for _ in range(4):
        assert_same_bits(compiled(pair, np.full(3, 2.0)), step(other, np.full(3, 2.0)))
        assert_same_bits([pair.a, pair.b], [other.a, other.b])


def test_long_chains_need_little_stack() -> None:
    def deep(x: Any) -> Any:
        for _ in range(100):
            x = np.tanh(x) * 0.5 + 0.1
        return x

    compiled = check(deep, sample(float, 100, 100), in_c=True)
    assert compiled.source().count("double t") <= 4


def test_a_loaded_constant_and_two_plans_of_one_source() -> None:
    tables = [np.arange(3.0), np.arange(3.0) * 5]
    steps = [native(lambda x, table=table: x + np.exp(table)) for table in tables]
    for _ in range(3):
        for step, table in zip(steps, tables, strict=True):
            np.testing.assert_array_equal(step(np.ones(3)), 1 + np.exp(table))


def test_fields_of_records_are_numpys() -> None:
    records = np.zeros(4, [("a", "i1"), ("b", "f8"), ("c", "f4")])
    records["b"] = [1, 2, 3, 4]
    step = native(lambda x: np.exp(x) + x[::-1])
    for _ in range(2):
        assert_same_bits(step(records["b"]), np.exp(records["b"]) + records["b"][::-1])


def test_equal_programs_are_compiled_once() -> None:
    texts = set()
    for _ in range(2):
        step = native(lambda x: np.exp(x.astype(np.float32) + 1) @ x.T)
        step(np.ones((2, 3), np.int8))
        texts.add(step.source())
    assert len(texts) == 1


class Net(nn.Module):
    def __init__(self, dtype: Any) -> None:
        self.hidden = nn.Linear(6, 8, dtype=dtype, rng=0)
        self.out = nn.Linear(8, 3, dtype=dtype, rng=2)

    def forward(self, x: Any) -> Any:
        return self.out(tg.relu(self.hidden(x)))


OPTIMISERS: Any = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9),
    "Nesterov": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "to zero": lambda p: optim.SGD(p, optim.cosine(0.2, 400)),
    "Adam": lambda p: optim.Adam(p, optim.one_cycle(0.01, 500)),
    "AdamW": lambda p: optim.AdamW(p, optim.step_decay(0.005, 100), weight_decay=0.1),
}


@pytest.mark.parametrize("rows", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [
        "Nesterov", "to zero", "AdamW",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("SGD", "momentum", "Adam")),
    ],
)  # fmt: skip
def test_500_steps_are_the_same_in_both_executors(name: str, rows: int) -> None:
    make, ends = OPTIMISERS[name], []
    for backend in ("numpy", "native"):
        net = Net(np.float32)
        opt = make(net.parameters())

        def step(x: Any, t: Any, net: Any, opt: Any) -> Any:
            loss = tg.softmax_cross_entropy(net(x), t)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        compiled: Any = tg.compile(step, exact=True, backend=backend)
        rng = np.random.default_rng(3)
        losses = []
        for _ in range(500):
            x = rng.normal(size=(rows, 6)).astype(np.float32)
            losses.append(compiled(x, rng.integers(3, size=rows), net, opt).data)
        ends.append([*losses, *net.state_dict().values()])
    assert_same_bits(*ends)


def test_a_training_step_is_one_c_function_with_the_users_names() -> None:
    model = Net(np.float32)
    opt = optim.SGD(model.parameters(), 0.1)

    @native
    def step(x: Any, t: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), t)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    x, t = sample(np.float32, 5, 6), np.array([0, 2, 1, 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            step(x, t)
    text, plan = step.source(), step.plan()
    assert text.count("int tg_part") == 1
    assert "model_hidden_weight" in text
    assert "gradient of relu" in text
    assert "one C function" in plan
    assert "in place" in plan


def test_parameters_may_have_the_names_that_the_program_uses() -> None:
    def made(names: Iterable[str]) -> Any:
        rng = np.random.default_rng(0)
        weights = [tg.Tensor(rng.standard_normal((200, 80)), True, name=name) for name in names]
        x = rng.standard_normal((100, 200))
        return lambda: sum(((x @ w).exp().sum() + w.sum() for w in weights), tg.Tensor(0.0))

    compiled = tg.compile(made(["first", "second"]), backend="native")
    compiled()
    words = {*re.findall(r"[A-Za-z_]\w*", compiled.source())} - {*keyword.kwlist}
    words |= {"CODE", "NAME", "FILE_NAME", "NAME_of", "task2", "product1", "linux", "int"}
    step = made(sorted(words))
    compiled = tg.compile(step, backend="native")
    np.testing.assert_allclose([compiled().item() for _ in range(3)], step().item(), 1e-12)
