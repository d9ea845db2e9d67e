"""Debug mode: the first nan or inf with its line, and arrays changed before the backward pass."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np import ChangedArrayError
from tinygrad_np.recorder import record_of


def test_the_first_inf_is_named_with_its_line_and_its_operands() -> None:
    x = tg.Tensor([4.0, 0.0], requires_grad=True)
    with np.errstate(all="ignore"), tg.debug(), pytest.raises(FloatingPointError) as caught:
        tg.sqrt(tg.log(x) * 2)
    message = str(caught.value)
    assert "'log'" in message and "inf (1 of 2 elements)" in message
    assert "in [0, 4]" in message
    assert "test_debug.py" in message and "test_the_first_inf" in message


def test_a_nan_in_a_gradient_is_named() -> None:
    x = tg.Tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(all="ignore"), tg.debug(), pytest.raises(FloatingPointError) as caught:
        (tg.sqrt(x) * 0.0 + tg.sqrt(x * 1.0)).sum().backward()
    assert "gradient that reaches the op 'multiply'" in str(caught.value)


@pytest.mark.parametrize("run", [tg.sqrt, lambda x: tg.checkpoint(tg.sqrt, x)])
def test_gradients_of_leaves_and_of_checkpoints_are_checked_too(run: Any) -> None:
    x = tg.Tensor([1.0, 0.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"), tg.debug():
        loss = run(x).sum()
        with pytest.raises(FloatingPointError) as caught:
            loss.backward()
    message = str(caught.value)
    assert "inf (1 of 2 elements)" in message and "test_gradients_of_leaves" in message
    assert run is not tg.sqrt or "gradient that reaches the leaf 'x'" in message


def test_a_released_graph_is_no_changed_array() -> None:
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with tg.debug():
        y = x * x
        y.sum().backward()
        with pytest.raises(tg.GraphReleasedError):
            y.sum().backward()


def test_an_array_changed_before_backward_is_found() -> None:
    x, w = np.ones(5_000), tg.Tensor(2.0, requires_grad=True)
    with tg.debug():
        loss = (w * x).sum()
        x[1] = 5.0
        with pytest.raises(ChangedArrayError, match="multiply"):
            loss.backward()


def test_an_array_that_no_rule_reads_any_more_may_be_changed() -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    with tg.debug():
        square = w * w
        loss = square.sum()
        w.data[0] = 5.0
        assert tg.grad(loss, square).tolist() == [1.0, 1.0]  # multiply's rules do not run


def test_without_debug_mode_a_change_of_few_elements_goes_unnoticed() -> None:
    x, w = np.ones(5_000), tg.Tensor(2.0, requires_grad=True)
    loss = (w * x).sum()
    x[1] = 5.0
    loss.backward()
    assert w.grad == 5_004


def test_sound_code_passes_and_gives_the_same_gradients() -> None:
    def gradient() -> np.ndarray:
        w = tg.Tensor(np.linspace(-1, 1, 6).reshape(2, 3), requires_grad=True)
        tg.softmax_cross_entropy(tg.tanh(w), [0, 2]).backward()
        assert w.grad is not None
        return w.grad

    plain = gradient()
    with tg.debug():
        np.testing.assert_array_equal(gradient(), plain)
    assert tg.is_recording()


@pytest.mark.parametrize(("outside", "inside"), [(tg.record, tg.debug), (tg.debug, tg.record)])
def test_recording_continues_in_debug_mode(outside: Any, inside: Any) -> None:
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with outside(), tg.scope("a"), inside(), tg.scope("b"):
        y = tg.tanh(x)
        y.sum().backward()
    assert y.node is not None
    found = record_of(y.node)
    assert found.scope == ("a", "b")
    assert found.output is not None and found.gradient is not None
    assert found.gradient.tolist() == [1.0, 1.0]
