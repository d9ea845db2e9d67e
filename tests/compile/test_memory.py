"""What compiled functions keep in memory, and what they give back."""

import gc
import weakref
from typing import Any

import numpy as np

import tinygrad_np as tg
from tests.compile.steps import memory_grown, parameter, training_step
from tinygrad_np import nn, optim


def test_the_steady_state_allocates_nothing_that_stays() -> None:
    net = nn.Sequential(nn.Linear(30, 20, rng=0), nn.Tanh(), nn.Dropout(0.2), nn.Linear(20, 5))
    opt = optim.Adam(net.parameters())

    step = training_step(lambda x, t: tg.softmax_cross_entropy(net(x), t), opt)
    compiled: Any = tg.compile(step, verify=False)
    x, t = np.ones((40, 30), np.float32), np.zeros(40, int)
    for _ in range(10):
        compiled(x, t)
    grown, peak = memory_grown(lambda: compiled(x, t), 100)
    assert grown < 500
    assert peak < 20_000  # one dropout mask of 40 by 20, and small change


def test_what_is_forgotten_goes_by_reference_counting() -> None:
    def train() -> list[weakref.ref[Any]]:
        w = parameter(1.0, 2.0)
        opt = optim.SGD([w], 0.1)

        compiled: Any = tg.compile(training_step(lambda x: (w * x).sum(), opt))
        x = np.ones((3000, 2))
        for _ in range(4):
            compiled(x)
        big = weakref.ref(x)
        del x
        assert big() is None, "a plan holds its last arguments"
        return [weakref.ref(compiled), weakref.ref(compiled.plans()[0]), weakref.ref(w)]

    gc.disable()
    try:
        assert [found() for found in train()] == [None, None, None]
    finally:
        gc.enable()


def test_peak_memory_is_that_of_the_live_values() -> None:
    def deep(x: Any) -> Any:
        for _ in range(50):
            x = np.tanh(x) * 0.5 + 0.1
        return x

    compiled = tg.compile(deep)
    for _ in range(3):
        compiled(np.ones((100, 100)))
    (plan,) = compiled.plans()
    executor: Any = plan.executor
    assert sum(buffer.nbytes for buffer in executor.buffers) <= 2 * 80_000 + 256
