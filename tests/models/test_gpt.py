"""The GPT: three kinds of gradients agree, no character is seen too early, both executors agree."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tinygrad_np as tg
from models import gpt_by_hand
from models.gpt import GPT

Array = NDArray[Any]
HEADS, VOCABULARY = 2, 7


def batch(n: int = 3, length: int = 5) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    tokens = rng.integers(VOCABULARY, size=(n, length + 1))
    return tokens[:, :-1], tokens[:, 1:]


def small(dtype: Any = np.float64, steps: int = 10) -> GPT:
    """A network some updates away from its start, so that no gradient is tiny."""
    net = GPT(VOCABULARY, depth=2, width=8, heads=HEADS, context=6, rng=0, dtype=dtype)
    optimizer = tg.optim.AdamW(net.parameters(), 0.02)
    for _ in range(steps):
        net.loss(*batch()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return net


def relative(a: Any, b: Array) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("numerically", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gradients_three_ways(numerically: bool) -> None:
    net, (x, t) = small(), batch()
    loss = net.loss(x, t)
    loss.backward()
    value, by_hand = gpt_by_hand.loss_and_gradients(net.state_dict(), x, t, HEADS)
    assert abs(loss.item() - value) <= 1e-12 * value
    parameters = dict(net.named_parameters())
    assert sorted(by_hand) == sorted(parameters)
    for name, parameter in parameters.items():
        assert relative(parameter.grad, by_hand[name]) < 1e-12, name
        if numerically:
            numerical = tg.numerical_gradient(lambda _: net.loss(x, t), parameter)
            assert relative(numerical, by_hand[name]) < 1e-7, name


def test_a_bias_of_the_keys_changes_nothing() -> None:
    """It adds the same to all scores of a query, which the softmax takes away again."""
    net, (x, t) = small(), batch()
    net.loss(x, t).backward()
    gradients = {name: np.asarray(p.grad) for name, p in net.named_parameters()}
    of_queries, of_keys, _ = np.split(gradients["blocks.0.b_qkv"], 3)
    assert np.abs(of_keys).max() < 1e-15 < 1e-6 < np.abs(of_queries).max()


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_derivatives_by_differences(order: int) -> None:
    net, (x, t) = small(), batch()
    report = tg.gradcheck(lambda *_: net.loss(x, t), tuple(net.parameters()), order, directions=2)
    assert report


def test_no_position_sees_a_later_character() -> None:
    net, (x, _) = small(), batch()
    later = x.copy()
    later[:, 3:] = (later[:, 3:] + 1) % VOCABULARY
    before, after = net(x).data, net(later).data
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(axis=-1).all()


def test_logits_of_a_text_do_not_depend_on_the_other_texts() -> None:
    net, (x, _) = small(), batch()
    np.testing.assert_allclose(net(x).data[1:2], net(x[1:2]).data, rtol=1e-12)


def test_the_loss_is_that_of_the_logits() -> None:
    net, (x, t) = small(), batch()
    logits = net(x).data
    assert logits.shape == (3, 5, VOCABULARY)
    p = np.take_along_axis(tg.softmax(logits).data, t[..., None], -1)
    assert net.loss(x, t).item() == pytest.approx(-np.log(p).mean(), rel=1e-13)


def test_a_new_network_knows_nothing() -> None:
    """Its loss is close to that of guessing; weights start as they are said to."""
    net = GPT(rng=3)
    assert sum(parameter.size for parameter in net.parameters()) == 113_536
    assert {parameter.dtype.name for parameter in net.parameters()} == {"float32"}
    x = np.random.default_rng(0).integers(73, size=(4, 65))
    assert net.loss(x[:, :-1], x[:, 1:]).item() == pytest.approx(np.log(73), abs=0.05)
    block: Any = net.blocks[1]
    assert block.W_up.data.std() == pytest.approx(0.02, rel=0.05)
    assert block.W_down.data.std() == pytest.approx(0.01, rel=0.05)
    assert not block.b_up.data.any() and (block.scale1.data == 1).all()


def test_gradients_of_float32_are_float32() -> None:
    net, (x, t) = small(np.float32), batch()
    net.loss(x, t).backward()
    gradients = [np.asarray(parameter.grad) for parameter in net.parameters()]
    assert {gradient.dtype.name for gradient in gradients} == {"float32"}


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="heads=3 must divide width=8"):
        GPT(width=8, heads=3)
    with pytest.raises(ValueError, match="7 characters are more than the 6 it can see"):
        small(steps=0)(np.zeros((1, 7), int))


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        ("numpy", "float32"),
        ("numpy", "float64"),
        pytest.param("native", "float32", marks=pytest.mark.slow),
        pytest.param("native", "float64", marks=pytest.mark.slow),
    ],
)
def test_compiled_is_eager_bit_for_bit(backend: Any, dtype: str) -> None:
    def trained(wrap: Any) -> tuple[list[float], list[Array]]:
        net = small(dtype, 0)
        optimizer = tg.optim.AdamW(net.parameters(), 0.02)

        def step(x: Array, t: Array) -> tg.Tensor:
            loss = net.loss(x, t)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        run, rng = wrap(step), np.random.default_rng(2)
        counting = ((rng.integers(9, size=(4, 1)) + np.arange(7)) % VOCABULARY for _ in range(20))
        losses = [run(tokens[:, :-1], tokens[:, 1:]).item() for tokens in counting]
        return losses, [parameter.data for parameter in net.parameters()]

    losses, weights = trained(lambda step: step)
    found = trained(lambda step: tg.compile(step, exact=True, backend=backend))
    assert found[0] == losses and losses[-1] < 0.9 * losses[0]
    for a, b in zip(found[1], weights, strict=True):
        np.testing.assert_array_equal(a, b)


def drawn(depth: int, collapse: bool | str = True) -> tuple[str, int]:
    """The drawing of a network's loss, and the number of its vertices."""
    net = GPT(VOCABULARY, depth, width=8, heads=HEADS, context=6, rng=0)
    with tg.record():
        loss = net.loss(*batch())
    source = tg.draw(loss, names=dict(net.named_parameters()), collapse=collapse).source
    return source, len(re.findall(r"^\s+n\d+ \[label", source, re.MULTILINE))


def test_twelve_blocks_are_drawn_as_one() -> None:
    source, vertices = drawn(12)
    assert "block A × 12" in source
    assert 40 < vertices < 70 and vertices == drawn(6)[1]
    assert "inf" not in source.replace("nan or inf", "")  # the mask is no trouble


def test_twelve_blocks_fit_a_screen_as_a_box_with_one_mask() -> None:
    source, vertices = drawn(12, "Block")
    assert vertices < 25 and source.count('label=" mask ') == 1
