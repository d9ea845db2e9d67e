"""An error in a replay, or while tracing, changes nothing."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.compile.steps import X, parameter
from tinygrad_np import optim


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


def test_nothing_is_stored_before_a_check_that_fails() -> None:
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
