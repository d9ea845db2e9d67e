"""What compiled functions keep in memory, and what they give back."""

import gc
import tracemalloc
import weakref
from typing import Any

import numpy as np

import tinygrad_np as tg
from tests.compile.steps import parameter
from tinygrad_np import nn, optim


def test_the_steady_state_allocates_nothing_that_stays() -> None:
    net = nn.Sequential(nn.Linear(30, 20, rng=0), nn.Tanh(), nn.Dropout(0.2), nn.Linear(20, 5))
    opt = optim.Adam(net.parameters())

    def step_once(x: Any, t: Any) -> Any:
        loss = tg.softmax_cross_entropy(net(x), t)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    step: Any = tg.compile(step_once, verify=False)
    x, t = np.ones((40, 30), np.float32), np.zeros(40, int)
    for _ in range(10):
        step(x, t)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            step(x, t)
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(100):
            step(x, t)
        end, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert end - start < 500
    assert peak - start < 20_000  # one dropout mask of 40 by 20, and small change


def test_what_is_forgotten_goes_by_reference_counting() -> None:
    def train() -> list[weakref.ref[Any]]:
        w = parameter(1.0, 2.0)
        opt = optim.SGD([w], 0.1)

        def step(x: Any) -> Any:
            loss = (w * x).sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        compiled = tg.compile(step)
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
