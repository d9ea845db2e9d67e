"""Arrays that share memory, and stores that come before reads, are as in eager code."""

import copy
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tinygrad_np as tg
from tests.compile.steps import X, agree, arrays_of, numbers, parameter
from tinygrad_np import optim


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
        expected = arrays_of(step(w[0].data, w[0]))
        for one, other in zip(expected, arrays_of(compiled(w[1].data, w[1])), strict=True):
            np.testing.assert_array_equal(one, other)
        for view in (w[1].data[::-1], w[1].data[:]):
            compiled(view, w[1])
        for view in (w[0].data[::-1], w[0].data[:]):
            step(view, w[0])
        np.testing.assert_array_equal(w[0].data, w[1].data)


def test_an_argument_in_the_same_buffer_as_a_parameter() -> None:
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
def test_stores_reads_and_shared_memory_have_eagers_bits(make: Any) -> None:
    agree(make, numbers())


@pytest.mark.parametrize("make", ALIASING)
def test_stores_reads_and_shared_memory_with_all_passes(make: Any) -> None:
    (eager, theirs), (function, ours) = make(), make()
    compiled = tg.compile(function)
    for args in numbers():
        expected, found = arrays_of(eager(*args)), arrays_of(compiled(*args))
        for one, other in zip(
            [*expected, *arrays_of(theirs)], [*found, *arrays_of(ours)], strict=True
        ):
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


def test_updates_large_enough_for_several_threads() -> None:
    def make() -> Any:
        w = tg.Tensor(np.ones(120_000), requires_grad=True)

        def step(x: Any) -> Any:
            w.data -= 0.5 * x
            return w.data[:3] * 1

        return step, [w]

    with threadpool_limits(2, "blas"):
        agree(make, [(np.arange(120_000.0),)] * 5, exact=False)  # halves of integers: no rounding
