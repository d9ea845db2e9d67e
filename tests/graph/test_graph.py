"""The engine: order, depth, sharing, accumulation, release, recording, memory."""

import asyncio
import gc
import inspect
import itertools
import threading
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_np as tg
from tests.helpers import leaf
from tests.registry import assert_close
from tinygrad_np import graph
from tinygrad_np.graph import Node
from tinygrad_np.modes import observed
from tinygrad_np.ops.axes import kept_shape, normalize_axes, spread
from tinygrad_np.shapes import unbroadcast
from tinygrad_np.tensor import Tensor

DEEP = 100_000


def node_of(tensor: Tensor) -> Node:
    assert tensor.node is not None
    return tensor.node


# Depth


def chain(depth: int) -> tuple[Tensor, Tensor]:
    x = leaf(1.0)
    y = x
    for _ in range(depth):
        y = y * 1.0
    return x, y


def test_a_chain_of_100_000_ops_goes_forward_backward_and_away() -> None:
    x, y = chain(DEEP)
    last = weakref.ref(node_of(y))
    assert len(graph.reachable([node_of(y)])) == DEEP + 1
    y.backward()
    assert x.grad == 1
    del y
    assert last() is None


def test_a_deep_chain_can_be_recorded_and_differentiated_again() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(5_000):
        y = y * x
    first = tg.grad(y, x, create_graph=True)
    assert first.item() == 5_001
    assert tg.grad(first, x).item() == 5_001 * 5_000


def test_a_deep_graph_is_freed_without_recursion_when_it_was_never_used() -> None:
    x, y = chain(DEEP)
    first = weakref.ref(node_of(x))
    del x, y
    assert first() is None


def test_memory_of_a_chain_is_linear_in_its_length() -> None:
    def peak(depth: int) -> int:
        tracemalloc.start()
        try:
            _, y = chain(depth)
            y.backward()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40_000) < 2.5 * peak(20_000)


# Sharing


def test_a_diamond_gets_both_paths() -> None:
    x = leaf(3.0)
    a = x * 2
    (a * a + a).backward()
    assert x.grad == 2 * (2 * 6 + 1)


def test_one_input_used_twice_by_one_op() -> None:
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    assert_close(x.grad, [2, 4])
    y = leaf([[1.0, 2.0], [3.0, 4.0]])
    (y @ y).sum().backward()
    ones = np.ones((2, 2))
    assert_close(y.grad, ones @ y.data.T + y.data.T @ ones)


def test_a_ladder_of_diamonds_takes_linear_time() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(60):  # 2 ** 60 paths
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_order_is_by_creation_not_by_discovery() -> None:
    calls: list[str] = []

    class Watched:
        def __init__(self, name: str) -> None:
            self.name = name

        @property
        def rules(self) -> list[Any]:
            calls.append(self.name)
            return [lambda g, saved: g] * 2

    x = Node(None, (), (), (), np.dtype(float))
    a = Node(Watched("a"), (x,), (), (), np.dtype(float))
    b = Node(Watched("b"), (a,), (), (), np.dtype(float))
    c = Node(Watched("c"), (a, b), (), (), np.dtype(float))
    found = graph.backward({c: np.float64(1.0)})
    assert calls == ["c", "b", "a"]
    assert found == {x: 2.0}


# Accumulation


def test_grad_accumulates_over_backward_passes() -> None:
    x = leaf([1.0, 2.0])
    (x * 3).sum().backward()
    earlier = x.grad
    (x * 4).sum().backward()
    assert_close(x.grad, [7, 7])
    assert_close(earlier, [3, 3])  # what was handed out is not written to
    x.zero_grad()
    assert x.grad is None


def test_sums_of_scalars_are_arrays_too() -> None:
    x = leaf(2.0)
    for times in (1, 2):
        (x * x + x).backward()
        assert type(x.grad) is np.ndarray
        assert x.grad == 5 * times


def test_leaves_never_share_their_gradients() -> None:
    x, y = leaf(np.ones(3)), leaf(np.ones(3))
    weight = np.array([1.0, 2.0, 3.0])
    (x + y).backward(weight)
    assert x.grad is not None
    assert y.grad is not None
    assert not np.shares_memory(x.grad, y.grad)
    assert not np.shares_memory(x.grad, weight)
    x.grad *= 10
    assert_close(y.grad, weight)
    assert weight.tolist() == [1, 2, 3]


def test_the_gradient_given_to_backward_is_copied_for_the_output_itself() -> None:
    x = leaf([1.0, 2.0])
    weight = np.array([5.0, 6.0])
    x.backward(weight)
    weight[:] = 0
    assert_close(x.grad, [5, 6])


@given(st.lists(st.sampled_from("+-*v"), min_size=1, max_size=8), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_sums_over_shared_parts_are_right_however_they_are_added(steps: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = leaf(rng.normal(size=(2, 3)))
    total, expected = x * 0.0, np.zeros((2, 3))
    for step in steps:
        factor = rng.normal(size=(2, 3))
        match step:
            case "+":
                total, expected = total + x, expected + 1
            case "-":
                total, expected = total - x, expected - 1
            case "*":
                total, expected = total + x * factor, expected + factor
            case "v":
                total = total + tg.broadcast_to(x[:1], (2, 3))
                expected = expected + np.array([[2.0] * 3, [0.0] * 3])
    weights = np.ones((2, 3))
    total.backward(weights)
    assert_close(x.grad, expected, 1e-12, 1e-12)
    assert (weights == 1).all()


# Targets, release, retention


def test_gradients_by_computed_tensors() -> None:
    x = leaf(2.0)
    y = x * x
    z = y * 3
    assert [g.item() for g in tg.grad(z, [x, y, z])] == [12, 3, 1]


def test_only_the_way_to_the_targets_is_walked() -> None:
    x, y = leaf(2.0), leaf(3.0)
    z = tg.log(x) * y
    tg.grad(z, y)
    # log's node was not on the way: its arrays are still there.
    log = next(n for n in graph.reachable([node_of(z)]) if n.op and n.op.name == "log")
    assert log.saved is not None


def test_nodes_upstream_of_the_targets_are_not_released() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    z = tg.exp(y).sum()
    tg.grad(z, y)
    y.sum().backward()
    assert_close(x.grad, [2, 4])
    # ... nor needed.
    assert_close(tg.grad((y * 2).sum(), y).data, [2, 2])


def test_a_second_backward_pass_is_refused() -> None:
    x = leaf([1.0, 2.0])
    out = (x * x).sum()
    out.backward()
    with pytest.raises(tg.GraphReleasedError, match=r"already consumed.*'sum'.*retain_graph=True"):
        out.backward()
    with pytest.raises(tg.GraphReleasedError, match="Run the forward pass again"):
        tg.grad(out, x)
    assert_close(x.grad, [2, 4])


def test_a_part_of_a_consumed_graph_is_refused_too() -> None:
    x = leaf(2.0)
    part = x * x
    (part * 3).backward()
    with pytest.raises(tg.GraphReleasedError, match="multiply"):
        (part + 1).backward()


def test_retain_graph_allows_another_pass() -> None:
    x = leaf(3.0)
    out = x * x
    out.backward(retain_graph=True)
    out.backward()
    assert x.grad == 12
    with pytest.raises(tg.GraphReleasedError):
        out.backward()


def test_an_array_that_a_rule_hands_on_is_not_written_to() -> None:
    slopes = np.array([1.0, 2.0])

    def handed_on(x: Any, slopes: Any) -> Any:
        return np.sum(x * slopes)

    define = tg.op(cases=[tg.case(np.ones(2), np.ones(2))], x=lambda g, slopes: slopes)
    weighted = define(handed_on)  # for g = 1 alone, of course
    try:
        x = leaf([3.0, 4.0])
        ((x * x).sum() + weighted(x, slopes)).backward()
        assert_close(x.grad, [7, 10])
        assert slopes.tolist() == [1, 2]
    finally:
        del tg.OPS["handed_on"]


def test_backward_releases_the_arrays_as_it_goes() -> None:
    x = leaf(np.ones(5_000))
    between = tg.exp(x)
    array = weakref.ref(between.data)
    out = between.sum()
    del between
    assert array() is not None
    out.backward()
    assert array() is None


def test_an_error_in_a_rule_names_op_and_input() -> None:
    from tinygrad_np.cases import case, normal

    def refuse(g: Any, y: Any) -> Any:
        raise FloatingPointError("no")

    @tg.op(cases=[case(normal(2), normal(2))], x=lambda g: g, y=refuse)
    def broken(x: Any, y: Any) -> Any:
        return x + y

    same = leaf([1.0, 2.0])
    try:
        with pytest.raises(FloatingPointError) as caught:
            broken(leaf([1.0, 2.0]), leaf([3.0, 4.0])).sum().backward()
        with pytest.raises(FloatingPointError) as either:
            broken(same, same).sum().backward()
    finally:
        del tg.OPS["broken"]
    assert "rule of op 'broken' for its input 1 (y) of shape (2,)" in "".join(
        caught.value.__notes__
    )
    assert "for its input 0 (x) or 1 (y) of shape (2,)" in "".join(either.value.__notes__)


def test_a_rule_of_the_wrong_shape_is_refused() -> None:
    from tinygrad_np.cases import case, normal

    @tg.op(cases=[case(normal(3))], x=lambda g: g[:2])
    def short(x: Any) -> Any:
        return x * 1

    try:
        with pytest.raises(
            ValueError, match=r"shape \(2,\) does not fit .* shape \(3,\)"
        ) as caught:
            short(leaf([1.0, 2.0, 3.0])).sum().backward()
    finally:
        del tg.OPS["short"]
    assert "rule of op 'short' for its input 0 (x)" in str(caught.value)


# Recording


def test_no_grad_and_enable_grad_nest() -> None:
    x = leaf(2.0)
    assert tg.is_recording()
    with tg.no_grad():
        assert not (x * x).requires_grad
        assert not tg.is_recording()
        with tg.enable_grad():
            assert (x * x).requires_grad
        assert not (x * x).requires_grad
    assert (x * x).requires_grad


def test_no_grad_ends_with_an_error() -> None:
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert tg.is_recording()


def test_no_grad_as_a_decorator() -> None:
    x = leaf(2.0)
    predict = tg.no_grad()(lambda: x * x)
    assert not predict().requires_grad
    assert not predict().requires_grad
    assert tg.is_recording()


def test_no_grad_does_not_leak_into_other_threads() -> None:
    x = leaf(2.0)
    inside, done = threading.Event(), threading.Event()
    seen: list[bool] = []

    def quiet() -> None:
        with tg.no_grad():
            inside.set()
            done.wait(10)
            seen.append((x * x).requires_grad)

    thread = threading.Thread(target=quiet)
    thread.start()
    assert inside.wait(10)
    seen.append((x * x).requires_grad)
    with tg.no_grad():
        fresh = threading.Thread(target=lambda: seen.append((x * x).requires_grad))
        fresh.start()
        fresh.join()
    done.set()
    thread.join()
    assert seen == [True, True, False]


def test_backward_in_several_threads() -> None:
    results: list[float] = []

    def work() -> None:
        for _ in range(50):
            x = leaf(np.arange(4.0))
            y = x
            for _ in range(20):
                y = y + x
            y.sum().backward()
            assert x.grad is not None
            results.append(float(x.grad.sum()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [84.0] * 200


def test_an_observer_sees_each_node_with_its_operands_and_output() -> None:
    seen: list[Any] = []

    class Notes:
        def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
            seen.append((node.op.name if node.op else "", operands, output))

    x = leaf([1.0, 2.0])
    with observed(Notes()):
        (x * np.array([3.0, 4.0])).sum()
    assert [name for name, _, _ in seen] == ["multiply", "sum"]
    assert [o.tolist() for o in seen[0][1]] == [[1, 2], [3, 4]]
    assert seen[1][2] == 11


def test_nodes_describe_themselves() -> None:
    x = leaf([1.0], name="weights")
    assert "leaf 'weights' float64(1,)" in repr(node_of(x))
    assert "multiply float64(1,)" in repr(node_of(x * 2))


# Memory: with the garbage collector off, training leaves nothing behind


def test_training_without_the_garbage_collector_leaves_nothing_behind() -> None:
    rng = np.random.default_rng(0)
    weights = [leaf(rng.normal(size=shape) * 0.1) for shape in ((20, 16), (16, 12), (12, 5))]
    x, labels = rng.normal(size=(30, 20)), rng.integers(5, size=30)
    optimizer = tg.optim.Adam(weights, lr=0.01)

    def train(steps: int) -> None:
        for _ in range(steps):
            h: Any = x
            for w in weights[:-1]:
                h = tg.tanh(h @ w)
            loss = tg.softmax_cross_entropy(h @ weights[-1], labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        train(10)
        objects, memory = len(gc.get_objects()), tracemalloc.get_traced_memory()[0]
        train(1000)
        assert len(gc.get_objects()) <= objects + 20
        assert tracemalloc.get_traced_memory()[0] <= memory + 20_000
    finally:
        tracemalloc.stop()
        gc.enable()


# Un-broadcasting


@given(
    hnp.mutually_broadcastable_shapes(num_shapes=1, min_side=0, max_dims=4, max_side=4), st.data()
)
@settings(max_examples=200, deadline=None)
def test_unbroadcast_is_the_adjoint_of_broadcasting(shapes: Any, data: Any) -> None:
    (shape,), full = shapes.input_shapes, shapes.result_shape
    extra = data.draw(st.integers(0, 2))
    full = (2,) * extra + tuple(data.draw(st.integers(0, 3)) if n == 1 else n for n in full)
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=shape), rng.normal(size=full)
    back = unbroadcast(g, shape)
    assert back.shape == shape
    # <broadcast(x), g> = <x, unbroadcast(g)>
    assert_close(np.sum(np.broadcast_to(x, full) * g), np.sum(x * back), 1e-12, 1e-12)


@pytest.mark.parametrize(
    ("gradient", "shape"), [((3, 4), (2, 4)), ((4,), (3, 4)), ((2,), (1, 1)), ((5,), (4,))]
)
def test_unbroadcast_refuses_shapes_that_do_not_fit(gradient: Any, shape: Any) -> None:
    with pytest.raises(ValueError, match="does not fit an input of shape"):
        unbroadcast(np.ones(gradient), shape)


@given(st.integers(0, 4), st.data())
def test_normalize_axes_agrees_with_numpy(ndim: int, data: Any) -> None:
    axes = tuple(data.draw(st.lists(st.integers(-5, 4), max_size=3)))
    array = np.empty((1,) * ndim)
    try:
        expected = np.sum(array, axis=axes, keepdims=True).shape
        assert all(np.sum(array, axis=axes).ndim == ndim - len(axes) for _ in "1")
    except (ValueError, np.exceptions.AxisError) as error:
        with pytest.raises(type(error)):
            normalize_axes(axes, ndim)
    else:
        assert kept_shape(array.shape, axes) == expected
        assert normalize_axes(axes, ndim) == tuple(sorted(a % ndim for a in axes))


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), ()])
def test_spread_undoes_a_reduction(axis: Any) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for keepdims in (False, True):
        total = np.asarray(x.sum(axis=axis, keepdims=keepdims))
        expected = np.broadcast_to(x.sum(axis=axis, keepdims=True), x.shape)
        assert np.array_equal(spread(total, x.shape, axis), expected)


# Random graphs against numerical gradients

UNARY = ["tanh", "sigmoid", "sin", "square", "softmax", "transpose", "flip", "double"]
BINARY = ["add", "subtract", "multiply", "matmul"]


@given(
    st.lists(
        st.tuples(st.sampled_from(UNARY + BINARY), st.integers(0, 99), st.integers(0, 99)),
        min_size=1,
        max_size=10,
    ),
    st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_random_expressions_have_the_right_gradients(program: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def evaluate(*inputs: Any) -> Any:
        values = list(inputs)
        for name, first, second in program:
            x, y = values[first % len(values)], values[second % len(values)]
            if name == "double":
                values.append(tg.concatenate([x, x])[::2] * 0.5)
            elif name in UNARY:
                values.append(getattr(tg, name)(x))
            else:
                values.append(getattr(tg, name)(x, y))
            values[-1] = values[-1] * 0.5
        return tg.tanh(values[-1]).sum() + sum(v.sum() for v in values[:3])

    inputs = [rng.normal(size=(3, 3)) * 0.5 for _ in range(3)]
    assert tg.gradcheck(evaluate, inputs, order=1)


def test_ticks_grow() -> None:
    ticks = [graph.tick() for _ in range(5)]
    assert all(a < b for a, b in itertools.pairwise(ticks))


def test_no_grad_covers_a_generator_and_not_its_consumer() -> None:
    x = leaf(2.0)

    @tg.no_grad()
    def squares(count: int) -> Any:
        """Squares."""
        got = []
        for _ in range(count):
            try:
                got.append((yield x * x))
            except KeyError:
                got.append("error")
        with tg.enable_grad():
            yield x * x
            yield x * x
        yield x * x
        return got

    generator = squares(2)
    assert (squares.__name__, squares.__doc__) == ("squares", "Squares.")
    assert not next(generator).requires_grad
    assert (x * x).requires_grad
    assert not generator.send(5).requires_grad
    assert generator.throw(KeyError()).requires_grad
    with tg.no_grad():
        assert next(generator).requires_grad
        assert not (x * x).requires_grad
    assert not next(generator).requires_grad
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == [5, "error"]
    assert tg.is_recording()


def test_closing_a_decorated_generator_runs_its_end_inside() -> None:
    seen = []

    @tg.no_grad()
    def one() -> Any:
        try:
            yield 1
        finally:
            seen.append(tg.is_recording())

    generator = one()
    next(generator)
    generator.close()
    assert seen == [False]


def test_enable_grad_covers_a_generator() -> None:
    x = leaf(2.0)

    @tg.enable_grad()
    def squares() -> Any:
        yield x * x
        yield x * x

    with tg.no_grad():
        assert all(y.requires_grad for y in squares())
        assert not tg.is_recording()


def test_no_grad_covers_coroutines_and_asynchronous_generators() -> None:
    x = leaf(2.0)
    modes: list[bool] = []

    @tg.no_grad()
    async def evaluate() -> Any:
        first = x * x
        await asyncio.sleep(0)
        return first.requires_grad, (x * x).requires_grad

    @tg.no_grad()
    async def batches() -> Any:
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                yield x * x
        finally:
            modes.append(tg.is_recording())

    async def train() -> None:
        for _ in range(5):
            modes.append((x * x).requires_grad)
            await asyncio.sleep(0)

    async def main() -> None:
        found, _ = await asyncio.gather(evaluate(), train())
        assert found == (False, False)
        assert modes == [True] * 5
        assert [y.requires_grad async for y in batches()] == [False] * 3
        assert modes.pop() is False
        some = batches()
        assert not (await anext(some)).requires_grad
        assert tg.is_recording()
        await some.aclose()
        assert modes.pop() is False

    assert inspect.iscoroutinefunction(evaluate)
    assert inspect.isasyncgenfunction(batches)
    asyncio.run(main())


def test_a_decorated_function_may_call_itself() -> None:
    @tg.no_grad()
    def down(n: int) -> bool:
        return down(n - 1) if n else tg.is_recording()

    assert down(3) is False
    assert tg.is_recording()
