"""The default generator, and dropout."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close
from tinygrad_np import random


def ones(*shape: int) -> tg.Tensor:
    return tg.Tensor(np.ones(shape), requires_grad=True)


def test_manual_seed_repeats_and_returns_the_default_generator() -> None:
    first = tg.manual_seed(3)
    assert first is random.default_generator()
    drawn = first.random(4)
    assert np.array_equal(tg.manual_seed(3).random(4), drawn)


def test_dropout_draws_from_the_default_generator_unless_told_otherwise() -> None:
    tg.manual_seed(1)
    a = tg.dropout(ones(100))
    tg.manual_seed(1)
    b = tg.dropout(ones(100))
    c = tg.dropout(ones(100), rng=np.random.default_rng(1))
    d = tg.dropout(ones(100), rng=1)
    assert a.tolist() == b.tolist() == c.tolist() == d.tolist()
    assert a.tolist() != tg.dropout(ones(100)).tolist()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_the_share_asked_for(p: float) -> None:
    x = ones(200, 200)
    out = tg.dropout(x, p, rng=0)
    dropped = out.data == 0
    assert dropped.mean() == pytest.approx(p, abs=0.01)
    assert_close(out.data[~dropped], 1 / (1 - p))
    out.sum().backward()
    assert_close(x.grad, out.data)


@pytest.mark.parametrize("keywords", [{"training": False}, {"p": 0.0}])
def test_dropout_that_does_nothing_returns_its_input(keywords: dict[str, Any]) -> None:
    x = ones(3)
    assert tg.dropout(x, **keywords) is x
    assert tg.dropout([1.0, 2.0], **keywords).tolist() == [1, 2]


def test_dropout_keeps_the_dtype() -> None:
    assert tg.dropout(tg.Tensor([1.0], dtype=np.float32), 0.3).dtype == np.float32


def test_dropout_of_integers_is_not_rounded() -> None:
    out = tg.dropout(np.ones(100, int), 0.2, rng=1)
    assert set(out.tolist()) == {0.0, 1.25}


@pytest.mark.parametrize("p", [-0.1, 1.1, 2.0])
def test_a_probability_that_is_none_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=f"p={p} must be at least 0 and at most 1"):
        tg.dropout(ones(3), p)
