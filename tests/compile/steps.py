"""What the tests of ``tg.compile`` share: small arrays, and comparisons with eager runs."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_np as tg

X = np.array([[1.0, -2.0], [0.5, 3.0]])


def parameter(*values: float) -> tg.Tensor:
    return tg.Tensor(list(values), requires_grad=True)


def training_step(loss: Callable[..., tg.Tensor], optimizer: tg.optim.Optimizer) -> Any:
    """A step on a batch: the loss, its gradients, the update."""

    def step(*batch: Any) -> tg.Tensor:
        value = loss(*batch)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value

    return step


def memory_grown(call: Callable[[], Any], rounds: int) -> tuple[int, int]:
    """How many bytes more Python holds after so many calls, and how many at the peak."""
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            call()
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(rounds):
            call()
        end, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return end - start, peak - start


def agree(make: Callable[[], Any], inputs: list[tuple[Any, ...]], exact: bool = True) -> None:
    """A step returns the same, and leaves the same in the Tensors it changes, eager and compiled.

    ``make`` returns the step and these Tensors.
    """
    (eager, theirs), (function, ours) = make(), make()
    compiled = tg.compile(function, exact=exact)
    for args in inputs:
        expected, found = eager(*map(np.copy, args)), compiled(*map(np.copy, args))
        for one, other in zip(arrays_of(expected), arrays_of(found), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(one.data, other.data)
    assert compiled.plans()


def arrays_of(result: Any) -> list[Any]:
    """A step's results as a list of arrays."""
    parts = result if isinstance(result, tuple | list) else [result]
    return [part.data if isinstance(part, tg.Tensor) else part for part in parts]


def numbers() -> list[tuple[Any, ...]]:
    """Arguments of six calls."""
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(2, 2)),) for _ in range(6)]


def same(one: Any, other: Any) -> None:
    """Two arrays or Tensors have the same dtype and the same bits."""
    one, other = (np.asarray(r.data if isinstance(r, tg.Tensor) else r) for r in (one, other))
    assert one.dtype == other.dtype
    assert one.tobytes() == other.tobytes()
