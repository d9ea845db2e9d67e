"""The contract of ``tg.compile``: what a step is given is right at each call, the rest is found."""

import array
import dataclasses
import decimal
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np import nn, optim

X = np.array([[1.0, -2.0], [0.5, 3.0]])
RATE = 1.0
LARGE = np.ones(125_000)  # 1 MB


@dataclasses.dataclass
class Settings:
    rate: float = 1.0


class Net(nn.Module):
    def __init__(self) -> None:
        self.layer = nn.Linear(2, 2, dtype=np.float64, rng=0)
        self.settings, self.steps, self.double = Settings(), [1.0], False

    def forward(self, x: Any) -> Any:
        return self.layer(x) * self.settings.rate * sum(self.steps) * (2 if self.double else 1)


def helper(x: Any) -> Any:
    return x * RATE


def set_rate(value: float) -> None:
    globals()["RATE"] = value


def cases() -> dict[str, tuple[Callable[..., Any], Callable[[float], Any]]]:
    """By name: a step of x, and a change of what it reads (1 or 2)."""
    net, settings, table, numbers, rate = (
        Net(),
        Settings(),
        {"rate": 1.0},
        array.array("d", [1]),
        1.0,
    )

    def close_over(value: float) -> None:
        nonlocal rate
        rate = value

    return {
        "a flag of a module": (lambda x: net(x), lambda v: setattr(net, "double", v > 1)),
        "a float of an object": (
            lambda x: x * settings.rate, lambda v: setattr(settings, "rate", v),
        ),
        "a list that grows": (
            lambda x: net(x), lambda v: net.steps.append(v) if v > 1 else None,
        ),
        "a global number": (lambda x: x * RATE, set_rate),
        "a closure's number": (lambda x: x * rate, close_over),
        "a helper function's global": (lambda x: helper(x), set_rate),
        "a dict entry": (lambda x: x * table["rate"], lambda v: table.update(rate=v)),
        "a dataclass field": (lambda x: net(x), lambda v: setattr(net.settings, "rate", v)),
        "an attribute by getattr": (
            lambda x: x * getattr(settings, "ra" + "te"), lambda v: setattr(settings, "rate", v),
        ),
        "an array.array": (lambda x: x * numbers[0], lambda v: numbers.__setitem__(0, v)),
        "an array of 1 MB changed in place": (lambda x: x * LARGE.mean(), LARGE.fill),
    }  # fmt: skip


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("name", cases())
def test_what_is_given_is_right_at_each_call(name: str, backend: Any) -> None:
    step, change = cases()[name]
    compiled = tg.compile(step, exact=True, backend=backend)
    for value in (1.0, 2.0, 1.0):
        change(value)
        for _ in range(3):
            found, expected = (getattr(f(X), "data", None) for f in (compiled, step))
            if found is None:
                found, expected = compiled(X), step(X)
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    set_rate(1.0)


def test_what_is_constant_by_contract_raises_when_it_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holder = Settings()
    reference: Any = weakref.ref(holder)
    monkeypatch.setenv("RATE", "1")

    def shifted(value: float) -> None:
        decimal.getcontext().prec = 28 if value == 1 else 3

    for step, change in (
        (lambda x: x * float(os.environ["RATE"]), lambda v: os.environ.update(RATE=str(v))),
        (lambda x: x * reference().rate, lambda v: setattr(holder, "rate", v)),
        (lambda x: x * globals()["RA" + "TE"], set_rate),
        (lambda x: x * float(decimal.Decimal(1) / decimal.Decimal(3)), shifted),
    ):
        compiled = tg.compile(step)
        for _ in range(3):
            compiled(X)
        change(2.0)
        with pytest.raises(
            tg.CompileError, match=r"not do the same at each call[\s\S]*test_contract"
        ):
            compiled(X)
        change(1.0)


@pytest.mark.parametrize(("verify", "found_at"), [(True, 8), (5, 10), (1, 6), (False, None)])
def test_how_often_a_trace_is_repeated(
    verify: Any, found_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE", "1")
    compiled = tg.compile(lambda x: x * float(os.environ["RATE"]), verify=verify)
    for call in range(1, 20):
        if call == 6:
            monkeypatch.setenv("RATE", "2")
        if call == found_at:
            with pytest.raises(tg.CompileError, match="RATE|multiply"):
                compiled(X)
            return
        compiled(X)
    assert found_at is None


def test_a_parameter_that_the_step_is_not_given_is_refused() -> None:
    w = tg.Tensor(np.ones(2), requires_grad=True, name="hidden one")
    reference = weakref.ref(w)
    with pytest.raises(tg.CompileError, match=r"uses the Tensor 'hidden one'[\s\S]*test_contract"):
        tg.compile(lambda x: x * reference())(X)


def test_parameters_frozen_optimisers_replaced_states_loaded_between_calls() -> None:
    results = []
    for wrap in (lambda step: step, lambda step: tg.compile(step, exact=True)):
        net = Net()
        holder: Any = {"opt": optim.SGD(net.parameters(), 0.1)}
        saved = net.state_dict()

        def step(x: Any, net: Any = net, holder: Any = holder) -> Any:
            loss = (net(x) ** 2).sum()
            loss.backward()
            holder["opt"].step()
            holder["opt"].zero_grad()
            return loss

        run, losses = wrap(step), []
        for i in range(24):
            if i in (5, 9):
                net.layer.weight.requires_grad = i == 9
            if i == 13:
                holder["opt"] = optim.Adam(net.parameters(), 0.01)
            if i == 18:
                net.load_state_dict(saved)
            losses.append(run(X).item())
        results.append(losses)
    assert results[0] == results[1]


def test_running_means_are_state() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            self.mean, self.count = np.zeros(2), np.zeros(1, int)

        def forward(self, x: Any) -> Any:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
            self.count += 1
            return x - self.mean

    nets = [Normalized(), Normalized()]
    compiled = tg.compile(nets[1], exact=True)
    for i in range(6):
        np.testing.assert_array_equal(compiled(X + i), nets[0](X + i))
        np.testing.assert_array_equal(nets[1].mean, nets[0].mean)
        assert nets[1].count == nets[0].count == i + 1


def test_a_step_that_raises_in_the_middle_leaves_the_state_as_before_the_call() -> None:
    w = tg.Tensor(np.eye(2), requires_grad=True)
    opt = optim.SGD([w], 0.1, momentum=0.9)
    rng = np.random.default_rng(0)

    def step(x: Any) -> Any:
        loss = (tg.dropout(w, 0.5, rng=rng) @ x).sum()
        loss.backward()
        opt.step()
        inverse = np.linalg.inv(x)
        opt.zero_grad()
        return loss, inverse

    compiled = tg.compile(step)
    for _ in range(3):
        compiled(X)
    before = w.data.copy(), opt.state[0][0].copy(), opt.updates
    with pytest.raises(np.linalg.LinAlgError):
        compiled(np.zeros((2, 2)))
    np.testing.assert_array_equal(w.data, before[0])
    np.testing.assert_array_equal(opt.state[0][0], before[1])
    assert (opt.updates, w.grad) == (before[2], None)


def test_a_step_that_calls_itself_and_one_compiled_inside_another() -> None:
    @tg.compile
    def power(x: Any, n: int) -> Any:
        return x * power(x, n - 1) if n else x * 0 + 1

    half = tg.compile(lambda x: x * 0.5)
    twice = tg.compile(lambda x: half(x) + half(x))
    for _ in range(4):
        np.testing.assert_array_equal(power(X, 3), X * (X * (X * (X * 0 + 1))))
        np.testing.assert_array_equal(twice(X), X)


def test_the_caller_sees_no_traced_array() -> None:
    w = tg.Tensor(np.ones(2), requires_grad=True)

    def step(x: Any) -> Any:
        (w * x).sum().backward()
        return w.grad

    compiled = tg.compile(step)
    for i in range(1, 5):
        assert type(compiled(np.ones(2))) is np.ndarray
        assert type(w.grad) is np.ndarray
        assert w.grad.tolist() == [float(i)] * 2


def test_a_graph_recorded_before_a_replay_notices_the_update() -> None:
    w = tg.Tensor(np.ones((40, 40)), requires_grad=True)
    opt = optim.SGD([w], 0.1)

    @tg.compile
    def step(x: Any) -> None:
        (w * x).sum().backward()
        opt.step()
        opt.zero_grad()

    step(np.ones((40, 40)))
    loss = (w * w).sum()
    step(np.ones((40, 40)))
    with pytest.raises(tg.ChangedArrayError):
        loss.backward()


@dataclasses.dataclass(frozen=True)
class Batch:
    x: Any
    scale: float = 1.0


def test_dataclasses_among_the_arguments_are_compared_by_what_they_hold() -> None:
    compiled = tg.compile(lambda batch: batch.x * batch.scale)
    for i in range(4):
        np.testing.assert_array_equal(compiled(Batch(X + i)), X + i)
    assert len(compiled.plans()) == 1
    np.testing.assert_array_equal(compiled(Batch(X, 3.0)), X * 3)


class Single:
    made: ClassVar[list["Single"]] = []

    def __new__(cls) -> "Single":
        if not cls.made:
            cls.made.append(object.__new__(cls))
        return cls.made[0]

    def scaled(self, x: Any) -> Any:
        return x * self.rate  # type: ignore[attr-defined]


def test_an_object_of_which_there_is_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    single = Single()
    single.rate = np.full(2, 2.0)  # type: ignore[attr-defined]
    compiled = tg.compile(lambda x: single.scaled(x))
    for _ in range(3):
        np.testing.assert_array_equal(compiled(X), X * 2)
    assert type(single.rate) is np.ndarray  # type: ignore[attr-defined]
    monkeypatch.setattr(Single, "scaled", lambda self, x: x - self.rate)
    np.testing.assert_array_equal(compiled(X), X - 2)


def test_two_compiled_functions_share_parameters_in_two_threads() -> None:
    """Additions of whole numbers: whatever the order of the calls, none is lost."""
    w = tg.Tensor(np.zeros((50, 50)), requires_grad=True)
    opt = optim.SGD([w], 1.0)

    @tg.compile
    def up(x: Any) -> None:
        opt.zero_grad()
        (w * -x).sum().backward()
        opt.step()

    @tg.compile
    def down(x: Any) -> Any:
        w.data -= x
        return w.data.sum()

    threads = [
        threading.Thread(target=lambda f=f: [f(np.ones((50, 50))) for _ in range(200)])
        for f in (up, up, down)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (w.data == 200).all()
    assert opt.updates == 400


def test_another_batch_size_at_the_end_of_each_epoch() -> None:
    results = []
    for wrap in (lambda step: step, lambda step: tg.compile(step, exact=True)):
        net = Net()
        opt = optim.SGD(net.parameters(), 0.1, momentum=0.9)

        def step(x: Any, net: Any = net, opt: Any = opt) -> Any:
            loss = (net(x) ** 2).mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        run = wrap(step)
        x = np.random.default_rng(0).normal(size=(10, 2))
        results.append([run(x[i : i + 4]).item() for _ in range(4) for i in (0, 4, 8)])
        if wrap is not step and hasattr(run, "plans"):
            assert len(run.plans()) == 2
    assert results[0] == results[1]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_steps_leave_the_process_no_larger_than_ten_did() -> None:
    def pages() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1])

    net = Net()
    opt = optim.Adam(net.parameters())

    @tg.compile
    def step(x: Any) -> Any:
        loss = (net(x) ** 2).mean()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    x = np.ones((1000, 2))
    for _ in range(10):
        step(x)
    gc.collect()
    before = pages()
    for _ in range(1000):
        step(x)
    gc.collect()
    assert pages() - before < 500  # 2 MB


def test_a_check_of_values_that_the_step_computes() -> None:
    """It is made before the program, and what it needs is computed for it."""
    w = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    opt = optim.SGD([w], 0.1)

    @tg.compile
    def step(x: Any, t: Any) -> Any:
        shifted = (t + 1) - 1  # the passes may compute this otherwise
        loss = tg.softmax_cross_entropy(x @ w, shifted * 1)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    for _ in range(3):
        step(X, np.array([0, 2]))
    before = w.data.copy()
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        step(X, np.array([0, 3]))
    np.testing.assert_array_equal(w.data, before)
    step(X, np.array([0, 1]))
