"""Arrays that change between the forward pass, which saves them, and the backward pass."""

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.helpers import leaf
from tests.registry import assert_close
from tinygrad_np import ChangedArrayError, changes
from tinygrad_np.cases import case, normal

LARGE = 2_000
"""Elements of an array that the graph does not copy."""


def large(name: str | None = None) -> tg.Tensor:
    return leaf(np.linspace(1, 2, LARGE), name)


def step(w: tg.Tensor) -> None:
    w.grad = np.ones(w.shape)
    tg.optim.SGD([w], lr=0.25).step()


def write(array: Any) -> None:
    array[...] = 7


# Small arrays are copied: gradients are those of the forward pass


@pytest.mark.parametrize(
    "change",
    [
        step,
        lambda w: write(w.data),
        lambda w: write(w.numpy()),
        lambda w: write(w.detach().data),
        lambda w: write(w.reshape(-1).data),
    ],
)
@pytest.mark.parametrize(
    "compute",
    [
        lambda w: w * w,
        lambda w: w.T @ w,
        lambda w: w.reshape(-1) ** 2,
        lambda w: tg.einsum("i,i->i", w, w),
        lambda w: np.multiply(w[::-1], w[::-1]),
        lambda w: tg.exp(w.swapaxes(0, 0)) * w,
    ],
)
def test_a_small_leaf_may_change(
    compute: Callable[[Any], Any], change: Callable[[Any], None]
) -> None:
    w = leaf([1.0, 2.0])
    compute(w).sum().backward()
    right = np.array(w.grad)
    w.zero_grad()
    loss = compute(w).sum()
    change(w)
    w.zero_grad()
    loss.backward()
    assert_close(w.grad, right)


@pytest.mark.parametrize("function", [tg.exp, tg.tanh, tg.softmax, tg.sqrt, tg.sigmoid, tg.relu])
def test_a_small_result_may_change(function: Any) -> None:
    w = leaf([1.0, 2.0])
    (function(w) * [1.0, 3.0]).sum().backward()
    right = np.array(w.grad)
    w.zero_grad()
    y = function(w)
    loss = (y * [1.0, 3.0]).sum()
    write(y.data)
    loss.backward()
    assert_close(w.grad, right)


def test_a_small_buffer_may_be_filled_anew() -> None:
    w, buffer, total = leaf([1.0, 1.0]), np.empty(2), leaf(0.0)
    for batch in ([1.0, 2.0], [10.0, 20.0]):
        buffer[:] = batch
        total = total + (w * buffer).sum()
    total.backward()
    assert_close(w.grad, [11, 22])


@pytest.mark.parametrize("size", [4, 100_000])
@pytest.mark.parametrize(
    "call",
    [
        lambda w, mask, numbers: w[mask],
        lambda w, mask, numbers: w[numbers],
        lambda w, mask, numbers: w[numbers.tolist()],
        lambda w, mask, numbers: w[(numbers,)],
        lambda w, mask, numbers: tg.take(w, numbers),
        lambda w, mask, numbers: tg.where(mask, w, 0.0),
        lambda w, mask, numbers: tg.where(mask, 0.0, w),
        lambda w, mask, numbers: tg.take_along_axis(w, numbers, 0),
        lambda w, mask, numbers: tg.clip(w, np.where(mask, 0.0, 9.0)),
        lambda w, mask, numbers: tg.softmax_cross_entropy(
            tg.stack([w, w * 2], axis=1), mask.astype(int)
        ),
    ],
)
def test_indices_conditions_and_labels_of_any_size_may_change(call: Any, size: int) -> None:
    def arrays() -> tuple[Any, Any]:
        return np.arange(size) % 3 == 0, np.arange(size)[::-1] // 2

    w = leaf(np.linspace(1, 2, size))
    mask, numbers = arrays()
    call(w, mask, numbers).sum().backward()
    right = np.array(w.grad)
    w.zero_grad()
    loss = call(w, mask, numbers).sum()
    mask[:] = ~mask
    numbers[:] = 0
    loss.backward()
    assert_close(w.grad, right)


def test_a_list_as_an_index_may_change() -> None:
    w, index = leaf([1.0, 2.0, 3.0]), [0, 1]
    loss = w[index].sum()
    index[0] = 2
    loss.backward()
    assert_close(w.grad, [1, 1, 0])


# Large ones are refused


@pytest.mark.parametrize(
    "compute",
    [
        lambda w: w * w,
        lambda w: w**3,
        lambda w: w.reshape(2, -1) * w.reshape(2, -1),
        lambda w: tg.einsum("i,i->i", w, w),
        lambda w: w[:1_000] * w[1_000:],
    ],
)
def test_an_optimiser_between_forward_and_backward_is_refused(compute: Any) -> None:
    w = large("w")
    loss = compute(w).sum()
    step(w)
    with pytest.raises(ChangedArrayError, match=r"(?s)op '.*optimiser.*backward\(\) before"):
        loss.backward()


def test_the_error_names_the_op_and_the_array() -> None:
    w, x = large("weights"), leaf(np.ones(LARGE))
    loss = (x * w).sum()
    step(w)
    with pytest.raises(
        ChangedArrayError, match=r"input 1 \(y\) 'weights' of op 'multiply', .*shape \(2000,\)"
    ):
        loss.backward()


@pytest.mark.parametrize(
    "change",
    [
        lambda w: write(w.data[1:2]),
        lambda w: write(w.numpy()),
        lambda w: write(w.detach().data),
        lambda w: write(w.reshape(4, -1).data[2:, 3]),
        lambda w: w.data.sort(),
        lambda w: w.data[::-1].sort(),
    ],
)
def test_writing_through_data_is_refused(change: Any) -> None:
    w = leaf(np.random.default_rng(0).normal(size=LARGE))
    loss = (w * w).sum()
    change(w)
    with pytest.raises(ChangedArrayError, match=r"multiply.*through tensor\.data.*copy"):
        loss.backward()


def test_in_place_arithmetic_on_data_is_refused() -> None:
    w = large()
    loss = (w * w).sum()
    w.data -= 0.5
    with pytest.raises(ChangedArrayError, match="multiply"):
        loss.backward()


@pytest.mark.parametrize("function", [tg.exp, tg.tanh, tg.sigmoid])
def test_writing_to_a_result_is_refused(function: Any) -> None:
    y = function(large())
    loss = y.sum()
    y.data[3] = 0
    with pytest.raises(ChangedArrayError, match=f"the output of op '{function.__name__}'"):
        loss.backward()


def test_an_array_handed_out_long_ago_may_still_be_written_to() -> None:
    w = large()
    array, part = w.data, w.data[5:6]
    (w * w).sum().backward()
    w.zero_grad()
    loss = (w * w).sum()  # somebody holds the array: the graph has a copy
    right = 2 * array
    array[0] = part[0] = 9
    loss.backward()
    assert_close(w.grad, right)


@pytest.mark.parametrize("order", ["C", "F", "strided", "reversed"])
def test_a_large_buffer_filled_anew_is_refused(order: str) -> None:
    rng = np.random.default_rng(0)
    buffer = np.empty((100, 90), order="F" if order == "F" else "C")
    x = {"strided": buffer[:, ::2], "reversed": buffer[::-1]}.get(order, buffer)
    w = leaf(np.ones(x.shape[1]))
    buffer[...] = rng.normal(size=buffer.shape)
    loss = (x * w).sum()
    buffer[...] = rng.normal(size=buffer.shape)
    with pytest.raises(ChangedArrayError, match=r"multiply.*array\.copy\(\)"):
        loss.backward()


def test_higher_order_is_refused_as_well() -> None:
    w = large()
    loss = (w**3).sum()
    step(w)
    with pytest.raises(ChangedArrayError, match="power"):
        tg.grad(loss, w, create_graph=True)
    first = tg.grad((w**3).sum(), w, create_graph=True)
    step(w)
    with pytest.raises(ChangedArrayError):
        first.sum().backward()


@pytest.mark.parametrize("size", [3, LARGE])
def test_a_checkpoint_whose_parameters_were_updated_is_refused(size: int) -> None:
    w, x = leaf(np.ones(size), "w"), leaf(np.ones(size))
    loss = tg.checkpoint(lambda x: tg.tanh(x * w), x).sum()
    step(w)
    with pytest.raises(ChangedArrayError, match="leaf 'w' .*checkpoint"):
        loss.backward()


def test_a_kept_graph_is_checked_at_each_pass() -> None:
    w = large()
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    step(w)
    with pytest.raises(ChangedArrayError):
        loss.backward()


def test_small_arrays_are_right_at_second_order() -> None:
    w = leaf([1.0, 2.0])
    first = tg.grad((w**3).sum(), w, create_graph=True)
    step(w)
    w.zero_grad()
    first.sum().backward()
    assert_close(w.grad, [6, 12])


# Nothing fires falsely


def test_training_loops_pass() -> None:
    w, x = large(), np.full(LARGE, np.nan)
    optimizer = tg.optim.SGD([w], lr=0.1)
    for _ in range(3):
        for _ in range(2):  # gradients are accumulated
            ((w * w).sum() + (w * x * 0.0).sum()).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_reading_is_no_change() -> None:
    w = large()
    y = tg.exp(w)
    loss = (y * w).sum()
    assert w.data.sum() and y.numpy().max() and w.detach().sum() and repr(w)
    loss.backward()


def test_arrays_that_no_rule_reads_may_change() -> None:
    w, v = large(), large()
    loss = (w + v).sum()
    step(w)
    loss.backward()
    square = w * w
    loss = square.sum()
    step(w)
    assert tg.grad(loss, square).shape == w.shape  # multiply's rules do not run
    product = w * v
    loss = product.sum()
    step(v)
    assert tg.grad(loss, v).shape == v.shape  # its rule reads w alone


def test_new_data_leaves_older_graphs_alone() -> None:
    w = large()
    before = w.data
    loss = (w * w).sum()
    w.data = np.zeros(LARGE)
    loss.backward()
    assert_close(w.grad, 2 * before)


def test_two_networks_that_take_turns_pass() -> None:
    a, b = large("a"), large("b")
    first, second = (a * a).sum(), (b * b).sum()
    first.backward()
    step(a)
    second.backward()


def test_memory_that_is_used_again_is_no_change() -> None:
    w = large()
    for _ in range(20):
        y = tg.exp(w * np.ones(LARGE))
        assert y.data.size
        y.sum().backward()
        step(w)


def test_released_arrays_leave_no_record() -> None:
    w = large()
    y = tg.exp(w)
    held = y.data
    assert changes.handed_out
    y.sum().backward()
    del w, y, held
    gc.collect()
    leaf(1.0).backward()
    assert not changes.handed_out


def test_arrays_that_nobody_holds_any_more_are_saved_without_a_copy() -> None:
    w = large()
    assert w.data[0] == 1
    (w * w).sum().backward()
    node = (w * w).node
    assert node is not None and node.saved is not None
    assert np.shares_memory(node.saved[0], w.data)


@pytest.fixture
def defined() -> Any:
    before = dict(tg.OPS)
    yield
    for name in tg.OPS.keys() - before.keys():
        del tg.OPS[name]


def test_ops_of_ones_own_are_safe(defined: None) -> None:
    @tg.op(cases=[case(normal(3), np.ones(3))], x=lambda g, scale: g * scale)
    def scaled(x: Any, scale: Any) -> Any:
        return x * scale

    w, scale = large(), np.ones(LARGE)
    loss = scaled(w, scale).sum()
    scale[:] = 2
    loss.backward()
    assert_close(w.grad, np.ones(LARGE))
