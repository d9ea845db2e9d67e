"""Loops on several threads: the same bits, NumPy's warnings, forked processes, Python's threads."""

import os
import re
import threading
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tinygrad_np as tg
from tests.forked import holds_in_a_forked_process
from tinygrad_np import native, nn, optim

pytestmark = pytest.mark.skipif(
    bool(native.unavailable()) or native.describe()["compiler"] is None,
    reason="there is no C compiler",
)


def sample(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def shared_tasks(compiled: Any) -> int:
    """How many calls of the generated C may be done by more than one thread."""
    return len(re.findall(r"parallel\(pool, (?!1,)", compiled.source()))


def mixed(x: Any, w: Any) -> Any:
    """Loops of C, loops of NumPy, row and column sums, copies, slices; no product by BLAS."""
    x = tg.Tensor(x, requires_grad=True)
    a, b, c = tg.split(x, 3, axis=1)
    y = tg.softmax(tg.tanh(a) * w + b, axis=1) * tg.exp(-c * c)
    z = tg.where(y > 0.01, y, 0.1 * x[:, 5:105]).T.reshape(-1, 50)
    loss = (z * z).sum() + (y.max(axis=0) * y.sum(axis=0)).sum()
    (g,) = tg.grad(loss, [x])
    return loss, y, z, g


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_two_and_three_threads_give_the_same_bits(dtype: Any, exact: bool) -> None:
    x, w = sample(403, 300, dtype=dtype), sample(100, seed=1, dtype=dtype)
    compiled = tg.compile(mixed, backend="native", exact=exact)
    results = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, "blas"):
            for _ in range(3):
                found = compiled(x, w)
            results.append([r.data.tobytes() for r in found])
    assert shared_tasks(compiled) > 5
    assert results[0] == results[1] == results[2]
    if exact:
        assert results[0] == [r.data.tobytes() for r in mixed(x, w)]


def test_training_on_two_threads_has_the_bits_of_one() -> None:
    x, labels = sample(500, 64), np.arange(500) % 10

    def trained(threads: int) -> list[bytes]:
        model = nn.Sequential(
            nn.Linear(64, 128, rng=0), nn.Tanh(), nn.LayerNorm(128), nn.Linear(128, 10, rng=1)
        )
        optimizer = optim.AdamW(model.parameters(), lr=0.01)

        def step_once(x: Any, labels: Any) -> Any:
            optimizer.zero_grad()
            loss = tg.softmax_cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        step: Any = tg.compile(step_once, backend="native")
        with threadpool_limits(threads, "blas"):
            losses = [step(x, labels).data.tobytes() for _ in range(20)]
        assert shared_tasks(step) > 5
        return losses + [p.data.tobytes() for p in model.parameters()]

    assert trained(1) == trained(2) == trained(3)


@pytest.mark.parametrize("place", [0, -1])
def test_an_overflow_in_any_part_warns(place: int) -> None:
    compiled: Any = tg.compile(lambda x: x * x, backend="native", verify=False)
    x = sample(3000, 1000)  # long enough for the other thread to wake up
    with threadpool_limits(2, "blas"):
        for _ in range(3):
            compiled(x)
        assert shared_tasks(compiled) == 1
        x.flat[place] = 1e30
        for _ in range(10):
            with pytest.warns(RuntimeWarning, match="overflow"):
                compiled(x)


def test_integer_powers_stay_on_pythons_thread() -> None:
    """NumPy's loop takes the GIL to raise, which the caller holds while it waits."""
    compiled: Any = tg.compile(lambda x, n: x**n, backend="native", verify=False)
    x, n = np.full(500_000, 3), np.full(500_000, 2)
    with threadpool_limits(2, "blas"):
        for _ in range(3):
            np.testing.assert_array_equal(np.asarray(compiled(x, n)), x**n)
        n[-1] = -1
        with pytest.raises(ValueError, match="negative integer powers"):
            compiled(x, n)


def test_beside_blas_small_loops_stay_on_one_thread() -> None:
    """Its threads watch for work and take a core for which others would have to wait."""
    compiled: Any = tg.compile(lambda x: np.exp(x @ x.T), backend="native", exact=True)
    x = 0.1 * sample(150, 150)
    for _ in range(3):
        compiled(x)
    assert shared_tasks(compiled) == 0


def test_pythons_threads_may_call_at_the_same_time() -> None:
    x, w = sample(403, 300), sample(100, seed=1)
    functions = [tg.compile(mixed, backend="native", exact=True) for _ in range(2)]
    expected = [r.data.tobytes() for r in mixed(x, w)]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(30):
            if [r.data.tobytes() for r in functions[i % 2](x, w)] != expected:
                wrong.append(i)

    with threadpool_limits(2, "blas"):
        for function in functions:
            function(x, w)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_runs_the_step() -> None:
    x, w = sample(403, 300), sample(100, seed=1)
    compiled = tg.compile(mixed, backend="native")
    with threadpool_limits(2, "blas"):
        expected = [[r.data.tobytes() for r in compiled(x, w)] for _ in range(3)][-1]

        def same() -> bool:
            return [[r.data.tobytes() for r in compiled(x, w)] for _ in range(5)][-1] == expected

        assert holds_in_a_forked_process(same)
