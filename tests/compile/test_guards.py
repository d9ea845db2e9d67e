"""What a step depends on is compared before each replay; each state has a plan of its own."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.compile.steps import X, parameter, same
from tinygrad_np import nn, optim

RATE = 2.0


def scaled(x: Any) -> Any:
    return x * RATE


def calls_scaled(x: Any) -> Any:
    return scaled(x) + 1


def test_global_variables_are_compared_before_each_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    direct, through = tg.compile(scaled), tg.compile(calls_scaled)
    for rate in (2.0, 3.0, 2.0):
        monkeypatch.setitem(globals(), "RATE", rate)
        for _ in range(3):
            assert direct(X).tolist() == (X * rate).tolist()
            assert through(X).tolist() == (X * rate + 1).tolist()


def test_enclosing_variables_and_lists_are_compared() -> None:
    rate, weights = 2.0, [parameter(1.0, 2.0)]

    def step(x: Any) -> Any:
        return x * rate * weights[0]

    compiled = tg.compile(step)
    for new_rate, new_weight in ((2.0, weights[0]), (3.0, weights[0]), (3.0, parameter(5.0, 5.0))):
        rate, weights[0] = new_rate, new_weight
        for _ in range(3):
            assert compiled(X).tolist() == (X * rate * weights[0].data).tolist()


def test_arrays_outside_are_read_at_each_replay() -> None:
    mask = np.array([1.0, 0.0])
    compiled = tg.compile(lambda x: x * (mask + 1))
    for i in range(6):
        mask[1] = i
        assert compiled(X).tolist() == (X * (mask + 1)).tolist()


def test_attributes_of_objects_are_compared() -> None:
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


def test_each_signature_has_a_plan_of_its_own() -> None:
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


def test_a_number_that_changes_at_each_call_warns_and_its_old_plans_are_forgotten() -> None:
    compiled = tg.compile(lambda x, rate: x * rate, backend="numpy")  # no 64 runs of a C compiler
    with pytest.warns(RuntimeWarning, match="Pass a number"):
        results = [compiled(X, float(i)).tolist() for i in range(100)]
    assert results == [(X * i).tolist() for i in range(100)]
    assert len(compiled.plans()) <= 33


def test_a_state_that_changes_at_each_call_warns_and_its_old_plans_are_forgotten() -> None:
    class Counter:
        value = 0.0

    counter = Counter()
    compiled = tg.compile(lambda x, counter: x * counter.value, backend="numpy")

    def call_with_50_values() -> None:
        for i in range(50):
            counter.value = float(i)
            compiled(X, counter)

    with pytest.warns(RuntimeWarning, match="oldest is dropped"):
        call_with_50_values()
    assert len(compiled.plans()) <= 33
    for _ in range(2):
        assert compiled(X, counter).tolist() == (X * 49).tolist()


@dataclasses.dataclass(frozen=True)
class Plan:
    """Has attributes that are called as those of an optimiser which change at each update."""

    updates: int = 2
    state: float = 0.5

    def scaled(self, x: Any) -> Any:
        return x * self.state


def test_another_object_may_have_attributes_named_as_an_optimisers() -> None:
    plan = Plan()
    w = parameter(1.0, 2.0)
    opt = optim.SGD([w], 0.1)

    def step(x: Any) -> Any:
        for _ in range(plan.updates):
            (w * plan.scaled(x)).sum().backward()
            opt.step()
            opt.zero_grad()
        return w

    compiled = tg.compile(step)
    for _ in range(6):
        compiled(X)
    assert len(compiled.plans()) == 1


def test_parameters_added_or_frozen_between_calls() -> None:
    results = []
    for wrap in (lambda f: f, tg.compile):
        net = nn.Sequential(nn.Linear(2, 2, dtype=np.float64, rng=0))
        flag = tg.Tensor([1.0, 2.0])

        def step(x: Any, net: Any = net, flag: Any = flag) -> Any:
            loss = sum([(p * p).sum() for p in net.parameters()], tg.Tensor(x).sum())
            return loss + flag.sum() if flag.requires_grad else loss

        run, losses = wrap(step), []
        for i in range(9):
            if i == 3:
                net.modules.append(nn.Linear(2, 3, dtype=np.float64, rng=1))
            flag.requires_grad = i >= 6
            losses.append(run(X).item())
        results.append(losses)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-14)


def test_a_step_may_read_the_shape_alone() -> None:
    w = tg.Tensor(np.ones((2, 2)))
    compiled = tg.compile(lambda x: x * w.shape[0])
    for rows in (2, 3):
        w.data = np.ones((rows, 2))
        for _ in range(3):
            same(compiled(X), X * rows)


def test_recording_and_debugging_have_plans_of_their_own() -> None:
    w = parameter(1.0, 2.0)

    def step(x: Any) -> Any:
        out = tg.log(w * x)
        return out * 2 if out.requires_grad else out

    compiled = tg.compile(step)
    for _ in range(3):
        with tg.no_grad():
            same(compiled(np.ones(2)), np.log([1.0, 2.0]))
        same(compiled(np.ones(2)), np.log([1.0, 2.0]) * 2)
    with np.errstate(divide="ignore"), tg.debug(), pytest.raises(FloatingPointError, match="log"):
        compiled(np.zeros(2))


def test_a_traced_array_is_an_instance_of_ndarray() -> None:
    w = parameter(1.0, 2.0)

    def step(x: Any) -> Any:
        x = x / 2 if isinstance(x, np.ndarray) else x
        return x * w.data if isinstance(w.data, np.ndarray) else x  # type: ignore[redundant-expr]

    compiled = tg.compile(step)
    for _ in range(3):
        same(compiled(X), X / 2 * [1.0, 2.0])
