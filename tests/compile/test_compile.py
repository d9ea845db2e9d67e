"""``tg.compile``: what it refuses, what arrays may share, what it leaves behind."""

import copy
import gc
import inspect
import os
import sys
import tracemalloc
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np import nn, optim

X = np.array([[1.0, -2.0], [0.5, 3.0]])


def parameter(*values: float) -> tg.Tensor:
    return tg.Tensor(list(values), requires_grad=True)


def agree(make: Callable[[], Any], inputs: list[tuple[Any, ...]], exact: bool = True) -> None:
    """A function and the Tensors it changes, made twice: eager and compiled leave the same."""
    (eager, theirs), (function, ours) = make(), make()
    compiled = tg.compile(function, exact=exact)
    for args in inputs:
        expected, found = eager(*map(np.copy, args)), compiled(*map(np.copy, args))
        for one, other in zip(listed(expected), listed(found), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(one.data, other.data)
    assert compiled.plans()


def listed(result: Any) -> list[Any]:
    parts = result if isinstance(result, tuple | list) else [result]
    return [part.data if isinstance(part, tg.Tensor) else part for part in parts]


def numbers(count: int = 6, *shape: int) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=shape or (2, 2)),) for _ in range(count)]


# Refusals: each names the line


COUNTER = {"n": 0}


def branch(x: Any) -> Any:
    return x * 2 if (x > 0).all() else x


def item(x: Any) -> Any:
    return x * x.sum().item()


def as_float(x: Any) -> Any:
    return x * float(x.sum())


def as_index(x: Any) -> Any:
    return x[int(x[0, 0])]


def as_array(x: Any) -> Any:
    return np.asarray(x) * 2


def as_list(x: Any) -> Any:
    return x.tolist()


def counted(x: Any) -> Any:
    return x * len(range(int(x.sum())))


def formatted(x: Any) -> Any:
    return f"{x.sum():.2f}"


def random_array(x: Any) -> Any:
    return x + np.random.default_rng().normal(size=2)


def random_number(x: Any) -> Any:
    return x * np.random.default_rng().normal()


def random_generator(x: Any) -> Any:
    return tg.dropout(x, 0.5, rng=np.random.default_rng())


def in_place(x: Any) -> Any:
    x += 1
    return x


def set_item(x: Any) -> Any:
    x[0] = 0
    return x


def written_out(x: Any) -> Any:
    return np.sum(x, axis=0, out=np.empty(2))


def written_into_another(x: Any) -> Any:
    total = np.zeros((2, 2))
    total += x
    return total


def added_at(x: Any) -> Any:
    np.add.at(x, [0], 1.0)
    return x


def masked(x: Any) -> Any:
    return x[x > 0]


def places(x: Any) -> Any:
    return np.nonzero(x)[0]


def uniques(x: Any) -> Any:
    return np.unique(x)


def plain_indexed(x: Any) -> Any:
    return np.eye(5)[x.astype(int)]


def several(x: Any) -> Any:
    return np.divmod(x, 2.0)


REFUSED = [
    branch, item, as_float, as_index, as_array, as_list, counted, formatted, random_array,
    random_number, random_generator, written_out, written_into_another,
    added_at, masked, places, uniques, plain_indexed,
]  # fmt: skip


@pytest.mark.parametrize("function", [in_place, set_item])
def test_an_argument_is_written_to_as_eager_does(function: Any) -> None:
    ours, theirs = X.copy(), X.copy()
    compiled = tg.compile(function)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(ours), function(theirs))
        np.testing.assert_array_equal(ours, theirs)


def test_a_function_with_several_results() -> None:
    compiled = tg.compile(several)
    for _ in range(3):
        for one, other in zip(compiled(X), several(X), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("function", REFUSED)
def test_what_cannot_be_replayed_is_refused_with_its_line(function: Any) -> None:
    compiled = tg.compile(function)

    def repeated() -> None:
        for _ in range(3):
            compiled(np.abs(X))

    with pytest.raises(tg.CompileError) as caught:
        repeated()
    first, last = (n + inspect.getsourcelines(function)[1] for n in (1, 9))
    lines = [f"{__file__}:{line} in {function.__name__}" for line in range(first, last)]
    assert any(line in str(caught.value) for line in lines), str(caught.value)


def test_assignments_outside_are_refused() -> None:
    def nonlocal_counter() -> Any:
        count = 0

        def step(x: Any) -> Any:
            nonlocal count
            count += 1
            return x * count

        return step

    with pytest.raises(tg.CompileError, match=r"the step changes count to "):
        tg.compile(nonlocal_counter())(X)

    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            self.training = not self.training
            return x

    net = Net()
    compiled = tg.compile(net)
    for training in (False, True, False):
        compiled(X)
        assert net.training is training

    class Counting(nn.Module):
        def forward(self, x: Any) -> Any:
            self.calls = getattr(self, "calls", 0) + 1
            return x

    with pytest.raises(tg.CompileError, match=r"changes the step\.calls"):
        tg.compile(Counting())(X)

    class Trainer:
        count = 0

        def __init__(self) -> None:
            self.steps = 0

        def step(self, x: Any) -> Any:
            self.steps += 1
            return x

    with pytest.raises(tg.CompileError, match=r"changes the step\.steps"):
        tg.compile(Trainer().step)(X)


def test_a_traced_array_that_was_kept_says_so_later(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(sys, "hidden", kept, raising=False)

    @tg.compile
    def step(x: Any) -> Any:
        sys.hidden.append(tg.exp(x))  # type: ignore[attr-defined]
        return x

    step(X)
    with pytest.raises(tg.CompileError, match="an earlier trace left"):
        kept[0] + 1
    with pytest.raises(tg.CompileError, match="an earlier trace left"):
        tg.compile(lambda x: x + kept[0])(X)


def test_arguments_that_are_no_plain_arrays_are_refused() -> None:
    with pytest.raises(tg.CompileError, match="MaskedArray"):
        tg.compile(lambda x: x)(np.ma.array([1.0]))
    with pytest.raises(tg.CompileError, match="dtype"):
        tg.compile(lambda x: x)(np.array(["a"]))
    with pytest.raises(tg.CompileError, match="dtype"):
        tg.compile(lambda x: x)(np.array([1.0], ">f8"))
    with pytest.raises(tg.CompileError, match="computed outside"):
        tg.compile(lambda x: x * 2)(parameter(1.0) * 2)


def test_shapes_that_turn_out_to_depend_on_values_are_an_error_in_the_replay() -> None:
    compiled = tg.compile(lambda x: np.trim_zeros(x) if isinstance(x, list) else np.diag(x[0]))
    for _ in range(3):
        assert compiled(X).shape == (2, 2)

    @tg.tracing.pure
    def positive(x: Any) -> Any:
        return x[x > 0]

    picking = tg.compile(lambda x: positive(x) * 2)
    for _ in range(3):
        assert picking(np.array([1.0, -1.0])).tolist() == [2.0]
    for verify in (True, False):
        picking = tg.compile(lambda x: positive(x) * 2, verify=verify)
        picking(np.array([1.0, -1.0]))
        with pytest.raises(tg.CompileError, match="depends on values|gives .* where it gave"):
            picking(np.array([1.0, 1.0]))


def more_calls(x: Any, again: bool) -> Any:
    return np.tanh(np.exp(x)) if again else np.exp(x)


def another_type(x: Any, again: bool) -> Any:
    return x * (2.0 if again else 2)


def more_arrays(x: Any, again: bool) -> Any:
    return np.concatenate([x, x, x] if again else [x, x])


def another_order(x: Any, again: bool) -> Any:
    y = x * 3.0
    return y - x if again else x - y


def another_shape(x: Any, again: bool) -> Any:
    return x * np.ones((1, 2) if again else (2, 2))


def another_result(x: Any, again: bool) -> Any:
    y = x * 3.0
    return x if again else y


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (more_calls, "calls tanh where it called"), (another_type, r"2\.0\) where it got .* 2\)"),
        (more_arrays, "concatenate gets"), (another_order, "subtract gets"),
        (another_shape, r"multiply gets .*1\., 1\."),
        (another_result, "the result gets"),
    ],
)  # fmt: skip
def test_a_second_run_that_differs_is_an_error(
    function: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tg.compile
    def step(x: Any) -> Any:
        return function(x, "TWICE" in os.environ)  # which the step is not given

    step(X)
    monkeypatch.setenv("TWICE", "yes")
    with pytest.raises(tg.CompileError, match=words):
        step(X)


class Special(np.ndarray):
    """Some other kind of array."""


def test_arrays_outside_that_are_no_plain_arrays_are_refused() -> None:
    special, a, b = X.view(Special), tg.Tensor(X.copy()), tg.Tensor(X.copy())

    def shared(x: Any) -> Any:
        a.data = b.data
        return x

    def misfit(x: Any) -> Any:
        return x.reshape(3, 3)

    def truncated(x: Any) -> Any:
        np.copyto(a.data, x * 1j)
        return x

    for function, error, words in [
        (lambda x: np.add(x, special), tg.CompileError, "add returns Special, not an array"),
        (lambda x: np.concatenate([x, special]), tg.CompileError, "type Special are not traced"),
        (shared, tg.CompileError, "share an array with"),
        (misfit, ValueError, "cannot reshape"),
        (truncated, TypeError, "cannot write complex128 into an array of float64"),
    ]:
        with pytest.raises(error, match=words):
            tg.compile(function)(X)


# What the function depends on


RATE = 2.0


def scaled(x: Any) -> Any:
    return x * RATE


def calls_scaled(x: Any) -> Any:
    return scaled(x) + 1


def test_variables_outside_are_looked_at_before_each_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    direct, through = tg.compile(scaled), tg.compile(calls_scaled)
    for rate in (2.0, 3.0, 2.0):
        monkeypatch.setitem(globals(), "RATE", rate)
        for _ in range(3):
            assert direct(X).tolist() == (X * rate).tolist()
            assert through(X).tolist() == (X * rate + 1).tolist()


def test_enclosing_variables_and_lists_are_looked_at() -> None:
    rate, weights = 2.0, [parameter(1.0, 2.0)]

    def step(x: Any) -> Any:
        return x * rate * weights[0]

    compiled = tg.compile(step)
    for new_rate, new_weight in ((2.0, weights[0]), (3.0, weights[0]), (3.0, parameter(5.0, 5.0))):
        rate, weights[0] = new_rate, new_weight
        for _ in range(3):
            assert compiled(X).tolist() == (X * rate * weights[0].data).tolist()


def test_arrays_outside_are_read_anew() -> None:
    mask = np.array([1.0, 0.0])
    compiled = tg.compile(lambda x: x * (mask + 1))
    for i in range(6):
        mask[1] = i
        assert compiled(X).tolist() == (X * (mask + 1)).tolist()


def test_attributes_of_objects_are_looked_at() -> None:
    class Step:
        def __init__(self) -> None:
            self.factor, self.w = 1.0, parameter(1.0, 2.0)

        def run(self, x: Any) -> Any:
            return x * self.w * self.factor

    step = Step()
    compiled = tg.compile(step.run)
    for factor in (1.0, 4.0):
        step.factor = factor
        for _ in range(3):
            assert compiled(X).tolist() == (X * [1.0, 2.0] * factor).tolist()
    step.w = parameter(0.0, 1.0)
    assert compiled(X).tolist() == (X * [0.0, 4.0]).tolist()
    taking = tg.compile(lambda x, owner: owner.run(x))
    for factor in (1.0, 2.0):
        step.factor = factor
        for _ in range(3):
            assert taking(X, step).tolist() == (X * [0.0, factor]).tolist()


class Scaling(nn.Module):
    def __init__(self) -> None:
        self.w = parameter(1.0, 2.0)

    def factor(self) -> float:
        return RATE

    def forward(self, x: Any) -> Any:
        return x * self.w * self.factor()

    @tg.compile
    def compiled(self, x: Any) -> Any:
        return self(x)


def test_modules_and_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Scaling()
    functions = tg.compile(net), tg.compile(lambda x: net(x)), net.compiled, Scaling().compiled
    for rate in (2.0, 3.0):
        monkeypatch.setitem(globals(), "RATE", rate)
        for _ in range(3):
            for function in functions:
                assert function(X).tolist() == (X * [1.0, 2.0] * rate).tolist()
    tensor = tg.Tensor(np.ones(2))
    taking = tg.compile(lambda x: x * tensor)
    for array in (np.ones(2), np.ones((2, 1)), np.ones(2, np.float32), np.ones((2, 2)).T):
        tensor.data = array
        for _ in range(3):
            found = taking(X)
            assert found.tolist() == X.tolist()


def test_signatures_have_plans_of_their_own() -> None:
    compiled = tg.compile(lambda x, n=1, **more: x * n + more.get("b", 0.0))
    for _ in range(3):
        assert compiled(X).tolist() == X.tolist()
        assert compiled(X, 2).tolist() == (X * 2).tolist()
        assert compiled(X, 2.0, b=np.ones(2)).tolist() == (X * 2 + 1).tolist()
        assert compiled(X.astype(np.float32)).dtype == np.float32
    assert len(compiled.plans()) == 4
    zero = tg.compile(lambda x, n: x * n)
    for _ in range(3):
        assert np.signbit(zero(np.ones(1), -0.0)).all()
        assert not np.signbit(zero(np.ones(1), 0.0)).any()
    assert "calls" in compiled.plan()
    assert "no plan yet" in tg.compile(scaled).plan()


def test_a_number_that_changes_each_time_is_told_and_forgotten() -> None:
    compiled = tg.compile(lambda x, rate: x * rate)
    with pytest.warns(RuntimeWarning, match="Pass a number"):
        results = [compiled(X, float(i)).tolist() for i in range(100)]
    assert results == [(X * i).tolist() for i in range(100)]
    assert len(compiled.plans()) <= 33


def test_states_that_never_come_back_are_forgotten() -> None:
    class Counter:
        value = 0.0

    counter = Counter()
    compiled = tg.compile(lambda x, counter: x * counter.value)

    def call_with_50_values() -> None:
        for i in range(50):
            counter.value = float(i)
            compiled(X, counter)

    with pytest.warns(RuntimeWarning, match="oldest is dropped"):
        call_with_50_values()
    assert len(compiled.plans()) <= 33
    for _ in range(2):
        assert compiled(X, counter).tolist() == (X * 49).tolist()


class Pair(NamedTuple):
    """Two results."""

    one: Any
    others: list[Any]


def test_results_of_every_structure() -> None:
    def step(x: Any) -> Any:
        t = tg.Tensor(x, name="t")
        return {"a": t + 1, "b": [x * 2, (x.sum(), t)], "c": 3, "d": None}

    compiled = tg.compile(step)
    for x in (X, X + 1, X + 2):
        found = compiled(x)
        assert found["a"].tolist() == (x + 1).tolist()
        assert found["b"][0].tolist() == (x * 2).tolist()
        assert type(found["b"][1]) is tuple
        assert found["b"][1][0] == x.sum()
        assert isinstance(found["b"][1][0], np.floating)
        assert (found["b"][1][1].name, found["c"], found["d"]) == ("t", 3, None)


def test_containers_of_other_kinds_stay_of_their_kind() -> None:
    compiled = tg.compile(lambda x: Pair(OrderedDict(a=x), [defaultdict(list, {1: x})]))
    for _ in range(4):
        found = compiled(X)
        one, (other,) = found
        assert (type(one), type(other), other["new"]) == (OrderedDict, defaultdict, [])
        assert type(found) is Pair


def test_lists_without_arrays_are_the_callers_too() -> None:
    compiled = tg.compile(lambda x: (x, {"log": [], "numbers": [1, [2]]}))
    for _ in range(4):
        _, found = compiled(X)
        assert found == {"log": [], "numbers": [1, [2]]}
        found["log"].append("seen")
        found["numbers"][1].append(3)


# Aliasing: what shares memory, and stores that come before reads


def test_results_are_the_callers_and_inputs_are_left_alone() -> None:
    w = parameter(1.0, 2.0)
    compiled = tg.compile(lambda x, t: (x, x[0], w, w * x, t, t.T))
    x, t = X.copy(), tg.Tensor(X.copy())
    x.flags.writeable = False
    held = []
    for _ in range(4):
        for result in compiled(x, t):
            array = result.data if isinstance(result, tg.Tensor) else result
            held.append((array, array.copy()))
            array += 1
    for array, before in held:
        assert (array == before + 1).all()
    assert (x == X).all()
    assert (t.data == X).all()
    assert w.tolist() == [1.0, 2.0]


def test_inputs_that_are_views() -> None:
    w = tg.Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    opt = optim.SGD([w], 0.1)

    def step(x: Any) -> Any:
        loss = tg.square(x @ w).sum(axis=1)
        loss.sum().backward()
        opt.step()
        opt.zero_grad()
        return loss

    big = np.random.default_rng(0).normal(size=(4000, 12))
    views = [
        big[:, :3], big[:, ::4], big[::-1, 3:6], np.asfortranarray(big[:, :3]),
        np.broadcast_to(big[0, :3], (40, 3)), big[:5, 1:4], big[:1, 1:4], big[:3, :1].T,
    ]  # fmt: skip
    for exact in (True, False):
        compiled = tg.compile(step, exact=exact)
        for view in views:
            for _ in range(4):
                start = w.data.copy()
                expected = step(view).data
                after = w.data.copy()
                w.data[...] = start
                np.testing.assert_allclose(
                    compiled(view).data, expected, rtol=0 if exact else 1e-11
                )
                np.testing.assert_allclose(w.data, after, rtol=0 if exact else 1e-10)
                w.data[...] = start
        assert len(compiled.plans()) == len(views)


def test_an_argument_that_is_a_parameters_own_array() -> None:
    w = [parameter(1.0, 2.0), parameter(1.0, 2.0)]

    def step(x: Any, w: Any) -> Any:
        old = x * 1
        w.data -= 0.5 * x
        return old, x + 0, w * x

    compiled = tg.compile(step)
    for _ in range(4):
        expected = listed(step(w[0].data, w[0]))
        for one, other in zip(expected, listed(compiled(w[1].data, w[1])), strict=True):
            np.testing.assert_array_equal(one, other)
        for view in (w[1].data[::-1], w[1].data[:]):
            compiled(view, w[1])
        for view in (w[0].data[::-1], w[0].data[:]):
            step(view, w[0])
        np.testing.assert_array_equal(w[0].data, w[1].data)


def test_an_argument_that_looks_into_the_same_buffer_as_a_parameter() -> None:
    def run(compiled: bool) -> Any:
        buffer = bytearray(np.ones(100).tobytes())
        w = tg.Tensor(np.ones(100))
        w.data = np.frombuffer(buffer)

        def step(x: Any) -> Any:
            w.data -= 0.1 * w.data
            return x.sum()

        function = tg.compile(step) if compiled else step
        return [float(function(np.frombuffer(buffer))) for _ in range(5)]

    assert run(compiled=True) == run(compiled=False)


def copies_and_views_of_what_is_stored() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)

    def step(x: Any) -> Any:
        view, copy, same = w.data.T, w.data * 1, +w.data
        before = np.exp(view)
        w.data -= 0.1 * x
        after = np.exp(view)
        w.data *= 0.5
        return view, copy, same, before, after, np.exp(view), w.data, w.data.T + view

    return step, [w]


def swapped() -> Any:
    a, b = (tg.Tensor(X + i, requires_grad=True) for i in range(2))

    def step(x: Any) -> Any:
        old = a.data * 1
        a.data[...] = 0 if x is None else 1
        return old

    def swap(x: Any) -> Any:
        old = a.data + 0
        np.copyto(a.data, b.data)
        np.copyto(b.data, old)
        np.add(b.data, x, b.data)
        return a.data - b.data

    return swap, [a, b]


def products_of_two_parameters() -> Any:
    a, b = (tg.Tensor(X * 0.1 + i, requires_grad=True) for i in range(2))
    opt = optim.SGD([a, b], 0.1)

    def step(x: Any) -> Any:
        loss = tg.square(a @ b - x).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss, a.grad, b.grad

    return step, [a, b]


def shared_memory() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)
    tied = tg.Tensor(w.data)

    def step(x: Any) -> Any:
        new = w.data - 0.1 * x
        between = tied.data @ new
        np.copyto(w.data, new)
        return between, tied.data * 2, new @ tied.data

    return step, [w, tied]


def stored_twice() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)

    def step(x: Any) -> Any:
        first, second = w.data - x, w.data * x
        np.copyto(w.data, second)
        np.copyto(w.data, first)
        return first @ second, w.data @ x

    return step, [w]


def computed_while_the_earlier_is_read() -> Any:
    w, state = (tg.Tensor(X.copy()) for _ in range(2))

    def step(x: Any) -> Any:
        np.copyto(state.data, x * 2)
        new = np.tanh(x)
        out = state.data + w.data
        np.copyto(state.data, new)
        return out

    return step, [w, state]


def stored_in_another_layout() -> Any:
    w = tg.Tensor(np.asfortranarray(np.zeros((50, 60))))

    def step(x: Any) -> Any:
        np.copyto(w.data, np.exp(np.ones((50, 60)) * x[0, 0] / np.arange(1, 61)))
        return w.data.sum(0), w.data @ w.data[:, ::-1].T, w.data.sum()

    return step, [w]


def one_value_in_two_places() -> Any:
    a, b = (tg.Tensor(X + i, requires_grad=True) for i in range(2))

    def step(x: Any) -> Any:
        new = a.data + x
        np.copyto(a.data, new)
        np.copyto(b.data, new)
        a.data *= 2.0
        return b.data * 1

    return step, [a, b]


def updated_before_backward() -> Any:
    w, v = (tg.Tensor(X + i, requires_grad=True) for i in range(2))

    def step(x: Any) -> Any:
        w.zero_grad()
        v.zero_grad()
        loss = ((w * v) @ (w.T * x)).sum()
        w.data *= 0.5
        loss.backward()
        v.data -= 0.01 * v.grad  # type: ignore[operator]
        return loss, w.grad, v.grad

    return step, [w, v]


def replaced_inside() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)

    def step(x: Any) -> Any:
        loss = (w * w * x).sum()
        loss.backward()
        old = w.data
        w.data = w.data - 0.1 * w.grad  # type: ignore[operator]
        w.zero_grad()
        return loss, old, w.data + old

    return step, [w]


def stored_to_and_replaced() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)

    def step(x: Any) -> Any:
        w.data -= 0.1 * x
        half = w.data * 0.5
        w.data = half.T * 1
        return half, w.data + x

    return step, [w]


def product_with_its_own_addend() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)

    def step(x: Any) -> Any:
        a = x + 1
        b = a - 0.5 * (a.T @ x)
        w.data -= 0.01 * (w.data.T @ w.data)
        c = x * 2
        d = c + 0.3 * c.T
        return b, d

    return step, [w]


def both_stored_to() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)
    tied = tg.Tensor(w.data)

    def step(x: Any) -> Any:
        w.data -= 0.1 * x
        tied.data *= 0.5
        return w.data * 1, tied.data * 1

    return step, [w, tied]


def viewed_between_stores() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)

    def step(x: Any) -> Any:
        w.data -= 0.1 * x
        view, kept = w.data.T, copy.copy(w.data)
        w.data *= 0.5
        return view + 0, w.data[0] * 1, kept * 1

    return step, [w]


def layouts() -> Any:
    w = tg.Tensor(np.asfortranarray(np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)))

    def step(x: Any) -> Any:
        a = np.exp(-w.data) * x[0, 0]
        b = np.transpose(a, (1, 2, 0)) * 1.5
        return a.sum(axis=(0, 2)), b.sum(), a.reshape(-1), np.einsum("ijk->kji", b) + 0

    return step, [w]


def filled_from_an_argument() -> Any:
    w = tg.Tensor(X.copy())

    def step(x: Any) -> Any:
        np.copyto(w.data, x * 1.0)
        return w.data * 2

    return step, [w]


def several_updates() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)
    opt = optim.SGD([w], lambda i: 0.1 / (i + 1), momentum=0.9)

    def step(x: Any) -> Any:
        for _ in range(2):
            (w * w * x).sum().backward()
            opt.step()
            opt.zero_grad()
        return x * (opt.learning_rate * 2.0)

    return step, [w]


def filled_from_elsewhere() -> Any:
    w, half = tg.Tensor(X.copy()), tg.Tensor(X, dtype=np.float32, requires_grad=True)

    def step(x: Any) -> Any:
        np.copyto(w.data, 3.0)
        first = w.data * x
        np.copyto(w.data, np.arange(4.0).reshape(2, 2))
        second = w.data * x
        np.copyto(w.data, x[0])
        np.copyto(half.data, x)
        return first, second, w.data * 2, half.data * 2

    return step, [w, half]


def replaced_by_a_constant() -> Any:
    w = tg.Tensor(X.copy(), requires_grad=True)

    def step(x: Any) -> Any:
        w.data = w.data
        w.data -= x
        before = w.data * 1
        w.data = np.full((2, 2), 3.0)
        return before, w.data * x

    return step, [w]


def drawn_into_place() -> Any:
    w, rng = tg.Tensor(X.copy()), np.random.default_rng(0)

    def step(x: Any) -> Any:
        dropped = tg.dropout(tg.Tensor(np.ones((2, 2))), 0.5, rng=rng).data
        np.copyto(w.data, dropped)
        return w.data * x, np.sum(x, axis=0, initial=1.0), [*x.ravel()]

    return step, [w]


ALIASING = [
    several_updates, filled_from_an_argument, filled_from_elsewhere, replaced_by_a_constant,
    drawn_into_place,
    copies_and_views_of_what_is_stored, swapped, products_of_two_parameters, shared_memory,
    stored_twice, one_value_in_two_places, updated_before_backward, replaced_inside,
    stored_to_and_replaced, computed_while_the_earlier_is_read,
    stored_in_another_layout,
    product_with_its_own_addend, both_stored_to, viewed_between_stores, layouts,
]  # fmt: skip


@pytest.mark.parametrize("make", ALIASING)
def test_stores_reads_and_shared_memory_in_every_order(make: Any) -> None:
    agree(make, numbers())


@pytest.mark.parametrize("make", ALIASING)
def test_the_same_with_all_passes(make: Any) -> None:
    (eager, theirs), (function, ours) = make(), make()
    compiled = tg.compile(function)
    for args in numbers():
        expected, found = listed(eager(*args)), listed(compiled(*args))
        for one, other in zip([*expected, *listed(theirs)], [*found, *listed(ours)], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "product", [lambda w, x: w.T @ x, lambda w, x: x @ w, lambda w, x: w @ w.T, lambda w, x: x @ x]
)
def test_a_product_is_not_added_up_in_one_of_its_operands(product: Any) -> None:
    rng = np.random.default_rng(0)
    start, x = rng.normal(size=(2, 70, 70))  # too large for BLAS to have read all before it writes
    w = tg.Tensor(start, requires_grad=True)

    @tg.compile
    def step(x: Any) -> Any:
        w.data -= 0.01 * product(w.data, x)
        y = x * 2
        return y - 0.5 * product(y, y.T), np.sin(x) @ np.cos(x)

    expected = start.copy()
    for _ in range(4):
        expected -= 0.01 * product(expected, x)
        added, multiplied = step(x)
        np.testing.assert_allclose(added, 2 * x - 0.5 * product(2 * x, 2 * x.T), atol=1e-11)
        np.testing.assert_allclose(multiplied, np.sin(x) @ np.cos(x), atol=1e-11)
        np.testing.assert_allclose(w.data, expected, atol=1e-11)


def test_an_array_held_outside_keeps_its_values_where_data_is_assigned() -> None:
    w = parameter(1.0, 2.0)

    def step(x: Any) -> Any:
        w.data = w.data + x
        return w.data * 2

    compiled = tg.compile(step)
    held = []
    for i in range(6):
        held.append((w.data, w.data.copy()))
        compiled(np.array([1.0, float(i)]))
    for array, before in held:
        assert (array == before).all()
    assert w.tolist() == [7.0, 17.0]


def test_arrays_that_come_to_share_memory() -> None:
    results = []
    for wrap in (lambda step: step, tg.compile):
        w, other = (tg.Tensor(X.copy()) for _ in range(2))

        def step(x: Any, w: Any = w, other: Any = other) -> Any:
            w.data -= x
            other.data *= 2.0
            return w.data * 1

        run = wrap(step)
        found = [run(X) for _ in range(3)]
        other.data = w.data
        found += [run(X) for _ in range(3)]
        other.data = np.ones((2, 2))
        found.append(run(X))
        results.append([*found, w.data, other.data])
        if wrap is tg.compile:
            other.data = w.data[::-1]
            with pytest.raises(tg.CompileError, match="share memory"):
                run(X)
    np.testing.assert_array_equal(results[0], results[1])


def test_a_part_that_is_stored_to_is_refused() -> None:
    w = parameter(1.0, 2.0)

    def step(x: Any) -> Any:
        part = w.data[:1]
        part -= x
        return x

    with pytest.raises(tg.CompileError, match="in place"):
        tg.compile(step)(np.ones(1))


# Numbers that BLAS treats in its own way


@pytest.mark.parametrize("lr", [0.0, np.inf, 1e-300, -0.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_learning_rates_of_every_kind(lr: float, momentum: float) -> None:
    rates = [0.1, 0.1, 0.1, lr, 0.1]
    x = np.array([[1.0, np.inf], [2.0, 3.0], [4.0, 5.0]])
    results = []
    for compiled in (False, True):
        w = tg.Tensor(np.ones((2, 3)), requires_grad=True)
        b = tg.Tensor(np.ones(3), requires_grad=True)
        opt = optim.SGD([w, b], lambda i: rates[i], momentum=momentum)

        def step(x: Any, w: Any = w, b: Any = b, opt: Any = opt) -> Any:
            loss = (x @ w + b).sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        run = tg.compile(step) if compiled else step
        with np.errstate(all="ignore"):
            for i in range(5):
                run(x if i == 3 else np.ones((3, 2)))
        results.append((w.data, b.data))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)


def test_a_learning_rate_of_another_dtype_is_a_number_all_the_same() -> None:
    results = []
    for wrap in (lambda step: step, lambda step: tg.compile(step, exact=True)):
        w = tg.Tensor(np.arange(1, 4), dtype=np.float32, requires_grad=True)
        opt = optim.SGD([w], np.float64(0.1))

        def step(x: Any, w: Any = w, opt: Any = opt) -> None:
            (x * w * w).sum().backward()
            opt.step()
            opt.zero_grad()

        run = wrap(step)
        for _ in range(5):
            run(np.array([0.3, 0.7, 1.1], np.float32))
        results.append(w.data.tolist())
    assert results[0] == results[1]


def test_updates_large_enough_for_several_threads() -> None:
    def make() -> Any:
        w = tg.Tensor(np.ones(120_000), requires_grad=True)

        def step(x: Any) -> Any:
            w.data -= 0.5 * x
            return w.data[:3] * 1

        return step, [w]

    agree(make, [(np.arange(120_000.0),)] * 5, exact=False)  # halves of whole numbers: no rounding


def test_numpys_functions_take_traced_arrays_and_tensors_together() -> None:
    compiled = tg.compile(lambda x: (np.concatenate([x, tg.Tensor(x) * 2]), np.add(x, tg.exp(x))))
    for _ in range(3):
        joined, added = compiled(X)
        assert joined.tolist() == np.concatenate([X, X * 2]).tolist()
        assert added.tolist() == (X + np.exp(X)).tolist()


def test_empty_arrays() -> None:
    def step(x: Any, w: Any) -> Any:
        w.data -= 0.1 * (x.T @ x @ w.data)
        return x @ w, (x @ w.T.T).sum(axis=0)

    for exact in (True, False):
        compiled = tg.compile(step, exact=exact)
        for rows, columns in ((0, 3), (2, 0), (0, 0)):
            w = tg.Tensor(np.ones((columns, 2)), requires_grad=True)
            for _ in range(3):
                out, total = compiled(np.ones((rows, columns)), w)
                assert out.shape == (rows, 2)
                assert total.tolist() == [0.0, 0.0]
            assert (w.data == 1).all()


def test_floating_point_warnings_are_eagers() -> None:
    compiled = tg.compile(lambda x: (tg.sigmoid(x), np.exp(x)))
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match="overflow encountered in exp"):
            compiled(np.array([1000.0]))
        compiled(np.array([-1000.0]))  # sigmoid switches its own off
    with np.errstate(over="raise"), pytest.raises(FloatingPointError) as caught:
        compiled(np.array([1000.0]))
    assert "exp" in caught.value.__notes__[0]


def test_the_mean_in_half_precision_adds_up_in_single() -> None:
    x = np.full((40_000, 2), 3.0, np.float16)
    compiled = tg.compile(lambda x: (tg.mean(x), np.mean(x, axis=0)), exact=True)
    for _ in range(4):
        total, means = compiled(x)
        assert (total.item(), means.tolist()) == (3.0, [3.0, 3.0])


# Errors in a replay


def test_an_error_in_a_replay_changes_nothing() -> None:
    w = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    opt = optim.SGD([w], 0.1, momentum=0.9)

    @tg.compile
    def step(x: Any, t: Any) -> Any:
        loss = tg.softmax_cross_entropy(x @ w, t)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    for _ in range(4):
        step(X, np.array([0, 2]))
    before, updates = w.data.copy(), opt.updates
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2") as caught:
            step(X, np.array(labels))
        assert "raised in a replay" in caught.value.__notes__[0]
        assert __file__ in caught.value.__notes__[0]
    assert (w.data == before).all()
    assert (opt.updates, w.grad) == (updates, None)
    step(X, np.array([0, 2]))
    assert opt.updates == updates + 1
    assert len(step.plans()) == 1


def test_what_is_computed_before_a_check_is_not_stored_before_it() -> None:
    w = tg.Tensor(X.copy())

    @tg.compile
    def step(x: Any, t: Any) -> Any:
        new = w.data * 2
        loss = tg.softmax_cross_entropy(x, t)
        np.copyto(w.data, new)
        return loss

    for _ in range(3):
        step(X, np.array([0, 1]))
    with pytest.raises(ValueError, match="labels must lie in"):
        step(X, np.array([0, 2]))
    assert (w.data == X * 8).all()


def test_an_error_while_tracing_changes_nothing() -> None:
    w = parameter(1.0, 2.0)

    @tg.compile
    def step(x: Any) -> Any:
        (w * x).sum().backward()
        raise KeyError("mine")

    for _ in range(3):
        with pytest.raises(KeyError, match="mine"):
            step(np.ones(2))
        assert w.grad is None
        assert type(w.data) is np.ndarray
    assert tg.compile(lambda x: x + 1)(np.ones(2)).tolist() == [2.0, 2.0]


# Memory


def test_the_steady_state_allocates_nothing_that_stays() -> None:
    net = nn.Sequential(nn.Linear(30, 20, rng=0), nn.Tanh(), nn.Dropout(0.2), nn.Linear(20, 5))
    opt = optim.Adam(net.parameters())

    def step_once(x: Any, t: Any) -> Any:
        loss = tg.softmax_cross_entropy(net(x), t)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    step: Any = tg.compile(step_once, verify=False)
    x, t = np.ones((40, 30), np.float32), np.zeros(40, int)
    for _ in range(10):
        step(x, t)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            step(x, t)
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(100):
            step(x, t)
        end, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert end - start < 500
    assert peak - start < 20_000  # one dropout mask of 40 by 20, and small change


def test_what_is_forgotten_goes_by_reference_counting() -> None:
    def train() -> list[weakref.ref[Any]]:
        w = parameter(1.0, 2.0)
        opt = optim.SGD([w], 0.1)

        def step(x: Any) -> Any:
            loss = (w * x).sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        compiled = tg.compile(step)
        x = np.ones((3000, 2))
        for _ in range(4):
            compiled(x)
        big = weakref.ref(x)
        del x
        assert big() is None, "a plan holds its last arguments"
        return [weakref.ref(compiled), weakref.ref(compiled.plans()[0]), weakref.ref(w)]

    gc.disable()
    try:
        assert [found() for found in train()] == [None, None, None]
    finally:
        gc.enable()


def test_peak_memory_is_that_of_the_live_values() -> None:
    def deep(x: Any) -> Any:
        for _ in range(50):
            x = np.tanh(x) * 0.5 + 0.1
        return x

    compiled = tg.compile(deep)
    for _ in range(3):
        compiled(np.ones((100, 100)))
    (plan,) = compiled.plans()
    executor: Any = plan.executor
    assert sum(buffer.nbytes for buffer in executor.buffers) <= 2 * 80_000 + 256


def test_an_array_of_the_step_is_indexed_where_it_is_made_outside() -> None:
    table, index = np.arange(5.0), np.array([3, 1])
    with pytest.raises(tg.CompileError, match="make an array that is to be indexed outside"):
        tg.compile(lambda i: np.arange(5.0)[i])(index)
    found = tg.compile(lambda i: (table[i], np.take(table, i)))(index)
    assert [list(values) for values in found] == [[3, 1]] * 2
    assert tg.compile(lambda i: tg.take(np.arange(5.0), i, axis=0))(index).tolist() == [3, 1]
