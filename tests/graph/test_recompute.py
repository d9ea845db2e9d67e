"""Checkpoints draw the same random numbers again, and notice where a second run differs."""

import random as python_random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close
from tinygrad_np import nn
from tinygrad_np.tensor import Tensor

RNG = np.random.default_rng(4)


def ones() -> Tensor:
    return Tensor(np.ones(50), requires_grad=True)


def noise(draw: Callable[[int], Any]) -> Callable[[Any], Any]:
    """Multiplication by what is drawn: its result at 1 is its gradient."""
    return lambda x: x * np.asarray(draw(50))


class Noisy(nn.Module):
    def __init__(self) -> None:
        self.parts = {"drop": nn.Dropout(0.5, rng=2)}
        self.own: Any = [np.random.default_rng(1)]

    def forward(self, x: Any) -> Any:
        return self.parts["drop"](x) * self.own[0].random(50) * RNG.random(50)

    def method(self, x: Any) -> Any:
        return self(x) * 2


def by_default_argument(x: Any, rng: Any = np.random.default_rng(3)) -> Any:  # noqa: B008
    return x * rng.random(50)


def by_argument() -> Callable[[Any], Any]:
    rng = np.random.default_rng(5)
    return lambda x: partial(lambda rng, x: x * rng.random(50), rng)(x)


def by_two_layers() -> Callable[[Any], Any]:
    one, two = nn.Dropout(0.5, rng=3), nn.Dropout(0.2, rng=4)
    return lambda x: two(one(x))


FUNCTIONS: dict[str, Callable[[], Callable[[Any], Any]]] = {
    "dropout of its own": lambda: nn.Dropout(0.5, rng=3),
    "two layers": by_two_layers,
    "two layers of one generator": lambda: nn.Sequential(
        nn.Dropout(0.5, rng=RNG), nn.Dropout(0.5, rng=RNG), nn.Dropout(0.3)
    ),
    "default": lambda: nn.Dropout(0.5),
    "default, drawn from": lambda: noise(lambda n: tg.random.default_generator().random(n)),
    "closure": lambda: noise(np.random.default_rng(6).random),
    "MT19937": lambda: noise(np.random.Generator(np.random.MT19937(6)).random),
    "bit generator": lambda: noise(
        partial(lambda bits, n: np.random.Generator(bits).random(n), np.random.PCG64(6))
    ),
    "RandomState": lambda: noise(np.random.RandomState(6).rand),
    "NumPy's global": lambda: noise(np.random.rand),
    "NumPy's global, normal": lambda: noise(lambda n: [np.random.normal() for _ in range(n)]),
    "Python's global": lambda: noise(lambda n: [python_random.random() for _ in range(n)]),
    "Python's own": lambda: noise(
        partial(lambda rng, n: [rng.gauss(0, 1) for _ in range(n)], python_random.Random(3))
    ),
    "module": Noisy,
    "method": lambda: Noisy().method,
    "default argument": lambda: by_default_argument,
    "partial": by_argument,
    "global": lambda: lambda x: x * RNG.random(50),
    "seed": lambda: lambda x: tg.dropout(x, 0.5, rng=7),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_generators_are_put_back_without_being_named(name: str, create_graph: bool) -> None:
    function, x = FUNCTIONS[name](), ones()
    out = tg.checkpoint(function, x)
    nn.Dropout(0.5)(x)  # others draw in between
    python_random.random()
    np.random.rand()
    after = (
        RNG.bit_generator.state,
        python_random.getstate(),
        np.random.get_state(legacy=False)["state"]["pos"],
    )
    (gradient,) = tg.grad(out.sum(), [x], create_graph=create_graph)
    assert_close(gradient.data, out.data)
    assert after == (
        RNG.bit_generator.state,
        python_random.getstate(),
        np.random.get_state(legacy=False)["state"]["pos"],
    )
    assert name == "seed" or not np.array_equal(out.data, function(x).data)  # drawn anew


def test_generators_go_on_as_without_a_checkpoint() -> None:
    drawn = []
    for run in (lambda f, x: f(x), tg.checkpoint):
        drop, x = nn.Dropout(0.5, rng=3), ones()
        for _ in range(3):
            out = run(drop, x)
            out.sum().backward()
            drawn.append(out.data)
    for one, other in zip(drawn[:3], drawn[3:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_checkpoints_inside_checkpoints_draw_the_same() -> None:
    drop, noisy, x = nn.Dropout(0.5, rng=3), FUNCTIONS["closure"](), ones()

    def outer(x: Any) -> Any:
        return noisy(tg.checkpoint(drop, tg.checkpoint(noisy, drop(x))))

    out = tg.checkpoint(outer, x)
    out.sum().backward()
    assert_close(x.grad, out.data)


def test_several_checkpoints_go_backward_in_any_order() -> None:
    drop, x = nn.Dropout(0.5, rng=3), ones()
    outs = [tg.checkpoint(drop, x) for _ in range(3)]
    for i in (1, 0, 2):
        x.zero_grad()
        outs[i].sum().backward()
        assert_close(x.grad, outs[i].data)


def test_a_hidden_generator_can_be_named() -> None:
    class Hidden:
        __slots__ = ("rng",)

    hidden, x = Hidden(), ones()
    hidden.rng = np.random.default_rng(3)  # type: ignore[attr-defined]

    def function(x: Any) -> Any:
        return x * hidden.rng.random(50)  # type: ignore[attr-defined]

    out = tg.checkpoint(function, x, rng=hidden.rng)  # type: ignore[attr-defined]
    out.sum().backward()
    assert_close(x.grad, out.data)
    with pytest.raises(RuntimeError, match="other numbers, which differ by up to"):
        tg.checkpoint(function, x).sum().backward()


@pytest.mark.parametrize("compiled", [False, True])
def test_generators_are_put_back_in_compiled_steps(compiled: bool) -> None:
    net, x = nn.Sequential(nn.Dropout(0.5, rng=3), nn.Dropout(0.5), nn.Dropout(0.1, rng=4)), ones()

    def step() -> Tensor:
        out = tg.checkpoint(lambda x: net(x), x)
        return tg.grad(out.sum(), x) - out

    run = tg.compile(step) if compiled else step
    for _ in range(4):
        assert_close(run().data, np.zeros(50))


# Second runs that differ


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([np.ones(50), np.full(50, 1.01)], "other numbers, which differ by up to 0.01"),
        ([np.ones(50), np.full(50, np.nan)], "other numbers"),
        ([np.ones(50), np.ones((2, 50))], r"float64 of shape \(2, 50\), not float64 of shape"),
    ],
)
@pytest.mark.parametrize("create_graph", [False, True])
def test_another_result_is_an_error(results: Any, words: str, create_graph: bool) -> None:
    values, x = iter(results), ones()
    out = tg.checkpoint(lambda x: x * next(values), x)
    with pytest.raises(RuntimeError, match=words):
        out.sum().backward(create_graph=create_graph)
    assert x.grad is None


def test_weights_and_modes_that_change_before_backward_are_noticed() -> None:
    layer, x = nn.Linear(50, 2, rng=0, dtype=np.float64), ones()
    net = nn.Sequential(layer, nn.Dropout(0.5, rng=1))
    out = tg.checkpoint(net, x)
    net.eval()
    with pytest.raises(RuntimeError, match="train/eval mode must stay"):
        out.sum().backward()
    net.train()
    out = tg.checkpoint(layer, x)
    layer.weight.data += 1e-6
    with pytest.raises(RuntimeError, match="second run"):
        out.sum().backward()


def test_rounding_and_nan_are_no_difference() -> None:
    values, x = iter([np.ones(50), np.ones(50) + 1e-15]), ones()
    tg.checkpoint(lambda x: x * next(values), x).sum().backward()
    with np.errstate(all="ignore"):
        out = tg.checkpoint(lambda x: tg.log(x - 2) * np.inf, x)
        out.sum().backward()
    assert np.isnan(out.data).all()
