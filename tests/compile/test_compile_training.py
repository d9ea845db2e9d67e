"""Training steps compiled: 500 of them with every optimiser, and with what changes on the way."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from models import lenet, three_layer, two_layer
from tinygrad_np import nn, optim

TOLERANCE: dict[Any, float] = {np.float64: 1e-12, np.float32: 1e-5}

OPTIMISERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9),
    "Nesterov": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "weight decay": lambda p: optim.SGD(p, 0.05, momentum=0.5, weight_decay=0.01),
    "schedule to zero": lambda p: optim.SGD(p, optim.cosine(0.2, 400)),
    "Adam": lambda p: optim.Adam(p, optim.one_cycle(0.01, 500)),
    "Adam, decay": lambda p: optim.Adam(p, 0.001, weight_decay=0.01),
    "AdamW": lambda p: optim.AdamW(p, optim.step_decay(0.005, 100), weight_decay=0.1),
}


class Net(nn.Module):
    def __init__(self, dtype: Any = np.float64) -> None:
        self.hidden = nn.Linear(6, 8, dtype=dtype, rng=0)
        self.drop = nn.Dropout(0.2, rng=1)
        self.out = nn.Linear(8, 3, dtype=dtype, rng=2)

    def forward(self, x: Any) -> Any:
        return self.out(self.drop(tg.tanh(self.hidden(x))))


def training(
    make: Callable[[Any], Any], dtype: Any = np.float64, **how: Any
) -> tuple[Net, Any, Any]:
    """A network, its optimiser, and a step that is compiled unless ``eager``."""
    net = Net(dtype)
    opt = make(net.parameters())

    def step(x: Any, t: Any) -> Any:
        loss = tg.softmax_cross_entropy(net(x), t)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return net, opt, (step if how.pop("eager", False) else tg.compile(step, **how))


def batches(count: int, dtype: Any = np.float64, sizes: tuple[int, ...] = (5,)) -> Any:
    rng = np.random.default_rng(7)
    for i in range(count):
        n = sizes[i % len(sizes)]
        yield rng.normal(size=(n, 6)).astype(dtype), rng.integers(3, size=n)


def assert_same(one: nn.Module, other: nn.Module, rtol: float = 0.0) -> None:
    for name, array in one.state_dict().items():
        scale = np.abs(array).max()
        error = np.abs(array - other.state_dict()[name]).max()
        assert error <= rtol * scale, (name, error / scale)


FAST = {("Nesterov", np.float64), ("schedule to zero", np.float32), ("AdamW", np.float32)}
"""Each combination compiles six programs; these stand for the others, which are slow."""


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(name, dtype, marks=[] if (name, dtype) in FAST else [pytest.mark.slow])
        for name in OPTIMISERS
        for dtype in TOLERANCE
    ],
)
def test_500_steps(name: str, dtype: Any) -> None:
    make = OPTIMISERS[name]
    runs = [training(make, dtype, eager=True), training(make, dtype, exact=True),
            training(make, dtype)]  # fmt: skip
    losses: Any = [[], [], []]
    for x, t in batches(500, dtype, (5, 5, 5, 2)):
        for i, (_, _, step) in enumerate(runs):
            losses[i].append(step(x, t).item())
    eager, exact, fast = (net for net, _, _ in runs)
    assert losses[0] == losses[1]
    assert_same(eager, exact)
    np.testing.assert_allclose(losses[2], losses[0], rtol=10 * TOLERANCE[dtype])
    assert_same(eager, fast, 10 * TOLERANCE[dtype])
    assert len(runs[1][2].plans()) == len(runs[2][2].plans()) == 3  # the first without gradients


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
def test_one_step_is_within_the_tolerance(dtype: Any) -> None:
    for make in OPTIMISERS.values():
        eager, fast = training(make, dtype, eager=True), training(make, dtype)
        for x, t in batches(4, dtype):
            eager[2](x, t), fast[2](x, t)
        assert_same(eager[0], fast[0], TOLERANCE[dtype])


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "reordered"])
@pytest.mark.parametrize("name", ["ReluNetwork", "DropoutNetwork", "TanhNetwork"])
@pytest.mark.parametrize(
    "printed", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["true", "printed"]
)
@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_the_second_seeds_networks(name: str, printed: bool, n: int, exact: bool) -> None:
    kinds = [getattr(two_layer, name)(0, printed=printed) for _ in range(2)]
    steps = []
    for net in kinds:
        opt = optim.SGD(net.parameters(), 0.01)

        def step(x: Any, t: Any, mask: Any, net: Any = net, opt: Any = opt) -> Any:
            scores = net(x, mask)
            opt.zero_grad()
            net.objective(scores, t).backward()
            opt.step()
            return scores

        steps.append(step)
    compiled = tg.compile(steps[1], exact=exact)
    rng = np.random.default_rng(3)
    for _ in range(20):
        x, t = rng.random((n, 784)), np.eye(10)[rng.integers(10, size=n)]
        mask = kinds[0].draw_mask(x)
        expected, found = steps[0](x, t, mask), compiled(x, t, mask)
        np.testing.assert_allclose(found.data, expected.data, rtol=0 if exact else 1e-9)
    assert_same(kinds[0], kinds[1], 0 if exact else 1e-12)


@pytest.mark.parametrize("backend", ["numpy", None])
@pytest.mark.parametrize("make", [three_layer.ThreeLayer, lenet.LeNet])
def test_a_network_of_tensor_expressions_is_as_eager(make: Any, backend: Any) -> None:
    nets = [make(rng=0) for _ in range(2)]
    steps = []
    for net in nets:
        opt = optim.SGD(net.parameters(), 0.1, momentum=0.9)

        def step(x: Any, t: Any, net: Any = net, opt: Any = opt) -> Any:
            loss = net.loss(x, t)
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        steps.append(step)
    compiled = tg.compile(steps[1], exact=True, backend=backend)
    rng = np.random.default_rng(3)
    for _ in range(5):
        x, t = rng.random((7, 784), np.float32), rng.integers(10, size=7)
        assert steps[0](x, t).item() == compiled(x, t).item()
    assert_same(nets[0], nets[1])


# What changes between the calls


def test_arrays_replaced_and_state_loaded_between_calls() -> None:
    for make in OPTIMISERS.values():
        runs = [training(make, eager=True), training(make, exact=True)]
        start = runs[0][0].state_dict()
        saved: Any = None
        for i, (x, t) in enumerate(batches(24)):
            for net, opt, step in runs:
                step(x, t)
                if i == 5:
                    saved = opt.state_dict()
                if i == 9:
                    net.load_state_dict(start)
                if i == 13:
                    net.out.weight.data = net.out.weight.data * 0.5
                if i == 17:
                    opt.load_state_dict(saved)
        assert_same(runs[0][0], runs[1][0])


def test_eager_and_compiled_steps_mixed_on_one_optimiser() -> None:
    for make in OPTIMISERS.values():
        eager, mixed = training(make, eager=True), training(make, eager=True)
        compiled = tg.compile(mixed[2], exact=True)
        for i, (x, t) in enumerate(batches(20)):
            eager[2](x, t)
            (mixed[2] if i % 5 == 4 else compiled)(x, t)
        assert_same(eager[0], mixed[0])
        assert eager[1].updates == mixed[1].updates == 20


def test_hyperparameters_changed_between_calls() -> None:
    runs = [training(OPTIMISERS["momentum"], eager=True),
            training(OPTIMISERS["momentum"], exact=True)]  # fmt: skip
    for i, (x, t) in enumerate(batches(20)):
        for _, opt, step in runs:
            step(x, t)
            if i == 5:
                opt.lr = 0.01
            if i == 10:
                opt.momentum = 0.5
            if i == 15:
                opt.lr = optim.cosine(0.1, 30)
    assert_same(runs[0][0], runs[1][0])


@pytest.mark.parametrize("make", [lambda p, lr: optim.SGD(p, lr, momentum=0.9), optim.AdamW])
def test_a_schedule_that_raises_leaves_the_state_as_it_is(make: Any) -> None:
    rates = [0.1] * 4
    w = tg.Tensor(np.ones(3), requires_grad=True)
    opt = make([w], rates.__getitem__)

    @tg.compile
    def step(x: Any) -> None:
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()

    for _ in rates:
        step(np.ones(3))
    before = [array.copy() for array in (w.data, *opt.state[0])]
    with pytest.raises(IndexError):
        step(np.ones(3))
    for array, then in zip((w.data, *opt.state[0]), before, strict=True):
        assert (array == then).all()


def test_dropout_is_switched_and_its_probability_changed() -> None:
    runs = [training(OPTIMISERS["SGD"], eager=True), training(OPTIMISERS["SGD"], exact=True)]
    for i, (x, t) in enumerate(batches(30)):
        losses = []
        for net, _, step in runs:
            net.train(i // 5 % 2 == 0)
            net.drop.p = 0.2 if i < 20 else 0.6
            losses.append(step(x, t).item())
        assert losses[0] == losses[1]
    assert_same(runs[0][0], runs[1][0])


def test_random_draws_come_in_the_eager_order_from_their_generators() -> None:
    own = np.random.default_rng(5)

    def noisy(x: Any) -> Any:
        return tg.dropout(x, 0.5, rng=own), tg.dropout(x, 0.5), tg.dropout(x, 0.3)

    compiled = tg.compile(noisy)
    x = np.ones((3, 4))
    results = []
    for function in (noisy, compiled):
        own.bit_generator.state = np.random.default_rng(5).bit_generator.state
        found = []
        for i in range(6):
            if i % 3 == 0:
                tg.manual_seed(i)
            found += [tensor.tolist() for tensor in function(x)]
        results.append(found)
    assert results[0] == results[1]


def test_a_parameter_is_frozen_and_thawed() -> None:
    runs = [training(OPTIMISERS["SGD"], eager=True), training(OPTIMISERS["SGD"], exact=True)]
    for i, (x, t) in enumerate(batches(20)):
        for net, _, step in runs:
            step(x, t)
            if i in (7, 13):
                net.hidden.weight.zero_grad()
                net.hidden.weight.requires_grad = False
                net.hidden.weight.requires_grad = True
    assert_same(runs[0][0], runs[1][0])


# Gradients


def test_gradients_are_left_for_the_caller_and_accumulate() -> None:
    w = [tg.Tensor([1.0, 2.0], requires_grad=True) for _ in range(2)]

    def step(x: Any, w: Any) -> Any:
        loss = (tg.exp(w * x) * x).sum()
        loss.backward()
        return loss

    compiled = tg.compile(step, exact=True)
    rng = np.random.default_rng(0)
    held: list[Any] = []
    for i in range(12):
        x = rng.normal(size=2)
        step(x, w[0]), compiled(x, w[1])
        np.testing.assert_array_equal(w[0].grad, w[1].grad)
        held.append((w[1].grad, np.array(w[1].grad)))
        if i == 7:
            for tensor in w:
                tensor.zero_grad()
        if i == 9:
            for tensor in w:
                tensor.grad = np.array([5.0, -1.0])
    for array, value in held:  # what was handed out is never written to
        np.testing.assert_array_equal(array, value)


def test_gradients_computed_outside_are_applied_and_forgotten_inside() -> None:
    w = [tg.Tensor([1.0, 2.0], requires_grad=True) for _ in range(2)]
    opts = [optim.SGD([tensor], 0.1) for tensor in w]

    def update(opt: Any) -> None:
        opt.step()
        opt.zero_grad()

    compiled = tg.compile(update)
    for i in range(6):
        functions: list[Any] = [update, compiled]
        for tensor, opt, function in zip(w, opts, functions, strict=True):
            tensor.grad = np.array([1.0, float(i)])
            function(opt)
            assert tensor.grad is None
    assert w[0].tolist() == w[1].tolist()


def test_zero_grad_of_a_parameter_that_the_function_does_not_read() -> None:
    used, unused = (tg.Tensor([1.0], requires_grad=True) for _ in range(2))

    @tg.compile
    def step(x: Any) -> Any:
        unused.zero_grad()
        loss = (used * x).sum()
        loss.backward()
        return loss

    for _ in range(5):
        unused.grad = np.array([3.0])
        step(np.array([2.0]))
        assert unused.grad is None


def test_value_and_grad_compiles() -> None:
    function = tg.compile(tg.value_and_grad(lambda x: (x**3).sum()))
    for i in range(4):
        value, gradient = function(np.array([1.0, float(i)]))
        assert value.item() == 1.0 + i**3
        assert gradient.tolist() == [3.0, 3.0 * i * i]


def test_higher_order_compiles() -> None:
    def penalty(x: Any) -> Any:
        w = tg.Tensor(x, requires_grad=True)
        first = tg.grad((w**3).sum(), w, create_graph=True)
        (first * first).sum().backward()
        return w.grad

    compiled = tg.compile(penalty)
    for i in range(4):
        x = np.array([1.0, float(i)])
        np.testing.assert_allclose(compiled(x), penalty(x), rtol=1e-12)


# Several functions, threads, recursion


def test_two_functions_share_parameters() -> None:
    def build(wrap: Any) -> Any:
        w = tg.Tensor(np.arange(6.0).reshape(3, 2) / 10, requires_grad=True)
        opt = optim.SGD([w], 0.1, momentum=0.9)

        def step(x: Any) -> Any:
            loss = tg.square(x @ w).sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        def predict(x: Any) -> Any:
            return tg.tanh(x @ w)

        return wrap(step), wrap(predict), w

    eager, exact = build(lambda f: f), build(lambda f: tg.compile(f, exact=True))
    rng = np.random.default_rng(0)
    for _ in range(10):
        x = rng.normal(size=(4, 3)) / 4
        for function, compiled in zip(eager[:2], exact[:2], strict=True):
            assert function(x).tolist() == compiled(x).tolist()
    assert eager[2].tolist() == exact[2].tolist()


def test_called_from_two_threads() -> None:
    w = tg.Tensor(np.zeros((4, 3)), requires_grad=True)
    opt = optim.SGD([w], 0.5)

    @tg.compile
    def step(x: Any) -> Any:
        loss = (x @ w).sum()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return x * 2 + 1

    errors = []

    def work(size: int) -> None:
        for i in range(200):
            x = np.full((size, 4), float(i))
            if not (step(x) == 2.0 * i + 1).all():
                errors.append(i)

    threads = [threading.Thread(target=work, args=(size,)) for size in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert (w.data == -0.5 * 5 * sum(range(200))).all()
    assert opt.updates == 400


def test_eager_code_in_another_thread_is_not_traced() -> None:
    inside, done = threading.Event(), threading.Event()
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    seen: list[Any] = []

    def other() -> None:
        inside.wait()
        (w * 3.0).sum().backward()
        seen.append(w.grad)
        done.set()

    def waiting(x: Any) -> Any:
        inside.set()
        done.wait()
        return (w * x).sum()

    thread = threading.Thread(target=other)
    thread.start()
    assert tg.compile(waiting)(np.ones(2)).item() == 3.0
    thread.join()
    assert type(seen[0]) is np.ndarray
    assert seen[0].tolist() == [3.0, 3.0]


def test_recursive_and_nested_calls_are_part_of_the_outer_program() -> None:
    @tg.compile
    def factorial(x: Any, n: int) -> Any:
        return x if n == 0 else factorial(x * n, n - 1)

    @tg.compile
    def outer(x: Any) -> Any:
        return factorial(x, 3) + factorial(x, 2)

    for i in range(4):
        assert outer(np.array([float(i)])).tolist() == [8.0 * i]
        assert factorial(np.array([float(i)]), 4).tolist() == [24.0 * i]
    assert len(factorial.plans()) == len(outer.plans()) == 1
