"""What a step changes outside itself is refused, or happens at each replay as in eager code."""

import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.compile.steps import X, parameter, same
from tinygrad_np import nn


def in_place(x: Any) -> Any:
    x += 1
    return x


def set_item(x: Any) -> Any:
    x[0] = 0
    return x


@pytest.mark.parametrize("function", [in_place, set_item])
def test_writing_to_an_argument_works_as_in_eager_code(function: Any) -> None:
    ours, theirs = X.copy(), X.copy()
    compiled = tg.compile(function)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(ours), function(theirs))
        np.testing.assert_array_equal(ours, theirs)


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


def draws(make: Callable[[int], Any]) -> Any:
    """A generator whose first two coins fall alike, and the third otherwise."""
    for seed in range(100):
        coins = make(seed)
        first, second, third = [coins() < 0.5 for _ in range(3)]
        if first == second != third:
            return make(seed)
    raise AssertionError


def coin(coins: Any) -> Any:
    return lambda x: x if coins() < 0.5 else -x


def legacy(seed: int) -> Any:
    np.random.seed(seed)
    return np.random.random


def python(seed: int) -> Any:
    random.seed(seed)
    return random.random


class Coin(nn.Module):
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def forward(self, x: Any) -> Any:
        return x if self.rng.random() < 0.5 else -x


def seeds(x: Any) -> Any:
    tg.manual_seed(0)
    return tg.dropout(x, 0.5)


def counts(holder: Any) -> Any:
    def step(x: Any) -> Any:
        holder.n = holder.n + 1
        return x

    return step


def freezes() -> Any:
    w = parameter(1.0, 2.0)

    def step(x: Any) -> Any:
        w.requires_grad = False
        out = w * x
        w.requires_grad = True
        return out

    return step


def sets_its_argument(x: Any, t: Any) -> Any:
    t.data = t.data + x
    return t


def trains_its_argument(x: Any, t: Any) -> Any:
    t.requires_grad = True
    return t * x


def replaces_in_a_list(x: Any, items: Any) -> Any:
    items[0] = x
    return x


CHANGES: dict[str, tuple[Callable[[], Any], str]] = {
    "a generator": (lambda: coin(draws(lambda s: np.random.default_rng(s).random)), "draws random"),
    "NumPy's generator": (lambda: coin(draws(legacy)), "draws random"),
    "Python's generator": (lambda: coin(draws(python)), "draws random"),
    "a module's generator": (Coin, "draws random"),
    "the default generator": (lambda: seeds, "seeds a generator"),
    "an object": (lambda: counts(types.SimpleNamespace(n=0)), r"changes holder\.n"),
    "a class": (lambda: counts(type("Holder", (), {"n": 0, "__module__": __name__})),
                r"changes while it is traced"),
    "an array by NumPy": (lambda: lambda x: np.nan_to_num(x * 1, copy=False), "in place"),
    "an array by put": (lambda: lambda x: np.put(x * 1, [0], 1.0), "in place"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_function_changes_outside_is_refused(name: str) -> None:
    make, why = CHANGES[name]
    with pytest.raises(tg.CompileError, match=why):
        tg.compile(make())(X)


@pytest.mark.parametrize("function", [sets_its_argument, trains_its_argument])
def test_a_tensor_among_the_arguments_is_not_changed(function: Any) -> None:
    with pytest.raises(tg.CompileError, match=r"changes args\[1\]"):
        tg.compile(function)(X, tg.Tensor(X.copy()))
    with pytest.raises(tg.CompileError, match=r"changes args\[1\]\[0\]"):
        tg.compile(replaces_in_a_list)(X, [X + 1])


def test_items_that_a_step_sets_are_set_at_each_replay() -> None:
    table, items = {"name": "x"}, [X]

    def step(x: Any) -> Any:
        table["name"], items[0] = "y", x * 2
        return x * 1

    compiled = tg.compile(step)
    for i in range(5):
        table["name"] = "x"
        compiled(X + i)
        assert table["name"] == "y"
        same(items[0], (X + i) * 2)


def test_a_parameter_may_be_frozen_for_a_part_of_the_step() -> None:
    run = freezes()
    compiled = tg.compile(run)
    for _ in range(3):
        assert not compiled(np.ones(2)).requires_grad
        same(compiled(np.ones(2)), run(np.ones(2)))
