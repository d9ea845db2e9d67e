"""What is recorded of nodes: scopes, values, times, names; for how long, and what it costs."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.helpers import leaf
from tinygrad_np import graph, nn
from tinygrad_np.arrays import _names, array_name
from tinygrad_np.graph import Node
from tinygrad_np.modes import observed
from tinygrad_np.recorder import Record, record_of
from tinygrad_np.tensor import Tensor


def node_of(tensor: Tensor) -> Node:
    assert tensor.node is not None
    return tensor.node


def test_nothing_is_recorded_unless_asked_for() -> None:
    loss = nn.Linear(2, 2)(np.ones((1, 2), np.float32)).sum()
    assert [record_of(node) for node in graph.reachable([node_of(loss)])] == [Record()] * 4


def test_a_record_has_operands_output_saved_and_time() -> None:
    x = leaf([1.0, 2.0])
    with tg.record():
        y = tg.exp(x)
    seen = record_of(node_of(y))
    assert seen.output is y.data
    assert seen.operands is not None
    assert seen.operands[0] is x.data
    assert seen.saved == node_of(y).saved
    assert seen.seconds is not None
    assert seen.seconds > 0


def test_records_are_freed_with_the_graph() -> None:
    gc.collect()
    gc.disable()
    try:
        with tg.record():
            hidden = tg.exp(leaf([1.0, 2.0]))
            loss = hidden.sum()
        output = weakref.ref(hidden.data)
        del hidden
        assert output() is not None
        del loss
        assert output() is None
    finally:
        gc.enable()


def test_names_go_with_their_arrays() -> None:
    before = len(_names)
    tensor = Tensor([1.0, 2.0], name="x")
    assert array_name(tensor.data) == "x"
    tensor.name = "y"
    assert array_name(tensor.data) == "y"
    del tensor
    assert len(_names) == before


def test_scopes_nest_and_end() -> None:
    x = leaf([1.0])
    with tg.scope("a"):
        with tg.scope("b"):
            inner = tg.exp(x)
        outer = tg.exp(x)
    after = tg.exp(x)
    scopes = [record_of(node_of(y)).scope for y in (inner, outer, after)]
    assert scopes == [("a", "b"), ("a",), ()]
    assert graph.recording.get() is True


def test_a_scope_ends_when_an_error_leaves_it() -> None:
    with pytest.raises(KeyError), tg.record(), tg.scope("a"):
        raise KeyError
    assert graph.recording.get() is True


def test_a_scope_does_not_turn_recording_on() -> None:
    with tg.no_grad(), tg.scope("a"):
        assert not tg.exp(leaf([1.0])).requires_grad
        with tg.enable_grad():
            assert tg.exp(leaf([1.0])).requires_grad


def test_modules_are_scopes_while_recording() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Tanh()))
    x = np.ones((1, 2), np.float32)
    with tg.record():
        y = net(x)
    assert record_of(node_of(y)).scope == ("Sequential", "1", "0")
    assert record_of(node_of(net(x))).scope == ()


def test_other_observers_are_told_too() -> None:
    class Witness:
        seen = back = 0

        def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
            self.seen += 1

        def before_rules(self, node: Node, gradient: Any) -> None:
            self.back += 1

    witness = Witness()
    with observed(witness), tg.record(), tg.scope("a"):
        x = leaf([1.0])
        tg.grad(tg.exp(x), x, create_graph=True)
    assert witness.seen == 2
    assert witness.back == 2  # exp, and the leaf


def test_gradients_are_recorded_as_arrays() -> None:
    x = leaf([1.0, 2.0])
    with tg.record():
        y = tg.exp(x)
        tg.grad(y.sum(), x, create_graph=True)
    assert record_of(node_of(y)).gradient.tolist() == [1.0, 1.0]
    assert isinstance(record_of(node_of(y)).gradient, np.ndarray)


def test_backward_ops_are_marked_and_forward_ops_are_not() -> None:
    x = leaf([1.0, 2.0])
    with tg.record():
        y = tg.tanh(x)
        slope = tg.grad(y.sum(), x, create_graph=True)
        z = slope * 2.0
    assert not hasattr(node_of(y), "in_backward")
    assert node_of(slope).in_backward
    assert record_of(node_of(slope)).output is slope.data
    assert not hasattr(node_of(z), "in_backward")
