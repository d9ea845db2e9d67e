"""Random programs made of the registry's ops and cases: compiled they do what eager does."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_np as tg
from tinygrad_np.definition import Sample

# What people call: the ops beneath a layer take shapes that the layer has checked.
CALLS = [(op, case) for op in tg.OPS.values() if hasattr(tg, op.name) for case in op.cases]
SHAPES = ((3, 4), (4,), (3, 1), (), (1, 4), (4, 4), (2, 3, 4), (5,), (3, 2), (3, 3), (2, 3))
STEPS = st.lists(
    st.tuples(st.integers(0, len(CALLS) - 1), st.lists(st.integers(0, 30), min_size=3, max_size=3)),
    min_size=8, max_size=24,
)  # fmt: skip

Step = tuple[Any, Any, list[int]]


def apply(step: Step, pool: list[Any], constants: Any) -> Any:
    """One op call: a case whose samples are replaced by values computed so far, or constants."""
    op, case, picks = step
    left = iter(picks * 4)

    def fill(given: Any) -> Any:
        if isinstance(given, list):
            return [fill(item) for item in given]
        if not isinstance(given, Sample):
            return given
        place = next(left)
        if not given.smooth:
            return given.draw(np.random.default_rng(place))
        return constants[place % len(constants)] if place % 7 == 6 else pool[place % len(pool)]

    out = op.function(*map(fill, case.args), **{k: fill(v) for k, v in case.params.items()})
    return list(out) if isinstance(out, list) else [out]


def valid(steps: Any, inputs: list[Any], constants: Any) -> list[Step]:
    """The steps whose shapes and values fit."""
    kept, pool = [], list(map(tg.Tensor, inputs))
    for number, picks in steps:
        step = (*CALLS[number], picks)
        try:
            found = apply(step, pool, constants)
        except (ValueError, TypeError, LookupError, ArithmeticError):
            continue
        found = [t for t in found if t.dtype.kind == "f" and t.size < 200]
        if found and all(np.isfinite(t.data).all() and np.abs(t.data).max(initial=0) < 1e3
                         for t in found):  # fmt: skip
            kept.append(step)
            pool += found
    return kept


def build(steps: list[Step], constants: Any) -> Any:
    """A training step: the program, the gradients of its results, an update."""
    rng = np.random.default_rng(1)
    w = tg.Tensor(rng.normal(size=(3, 4)), requires_grad=True)
    v = tg.Tensor(rng.normal(size=4), requires_grad=True)
    opt = tg.optim.SGD([w, v], 0.01, momentum=0.5)

    def step(*inputs: Any) -> Any:
        pool: list[Any] = [*map(tg.Tensor, inputs[:-2]), inputs[-2] * w, inputs[-1] + v]
        start = len(pool)
        for line in steps:
            found = apply(line, pool, constants)
            pool += [t for t in found if t.dtype.kind == "f" and t.size < 200]
        loss = w.sum() * 0.1 + v.sum()
        for tensor in pool[start:]:
            loss = loss + tg.tanh(tensor).sum()
        opt.zero_grad()
        loss.backward()
        gradients = w.grad, v.grad
        opt.step()
        return loss, *pool[start:], *gradients

    return step, (w, v)


def compared(
    steps: list[Step], inputs: list[Any], constants: Any, exact: bool, backend: Any
) -> None:
    (eager, theirs), (function, ours) = build(steps, constants), build(steps, constants)
    compiled = tg.compile(function, exact=exact, backend=backend)
    for i in range(4):
        values = [np.asarray(array * (1 - i / 16)) for array in inputs]
        results = []
        for run, tensors in ((eager, theirs), (compiled, ours)):
            tg.manual_seed(i)
            found = [r.data if isinstance(r, tg.Tensor) else r for r in run(*values)]
            results.append([*found, *[tensor.data.copy() for tensor in tensors]])
        for one, other in zip(*results, strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            if exact:
                np.testing.assert_array_equal(other, one)
            elif np.isfinite(one).all():
                scale = np.abs(one).max(initial=1.0)
                np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * scale)
        if not exact:  # what differs in the last digit shall not grow from step to step
            for mine, his in zip(ours, theirs, strict=True):
                mine.data[...] = his.data
    assert len(compiled.plans()) <= 2  # the first call finds no gradients


@pytest.mark.parametrize(
    ("backend", "examples"),
    [
        ("numpy", 25),
        pytest.param("numpy", 75, marks=pytest.mark.slow),
        pytest.param("native", 75, marks=pytest.mark.slow),
        pytest.param("numpy", 220, marks=pytest.mark.minutes),
        pytest.param("native", 200, marks=pytest.mark.minutes),
    ],
)
def test_random_programs(backend: Any, examples: int) -> None:
    @settings(
        max_examples=examples, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(steps=STEPS, seed=st.integers(0, 1000))
    def check(steps: Any, seed: int) -> None:
        agree(steps, seed, backend)

    check()


def agree(steps: Any, seed: int, backend: Any) -> None:
    rng = np.random.default_rng(seed)
    inputs = [rng.uniform(0.2, 0.9, size=shape) for shape in SHAPES]
    inputs += [rng.normal(size=(3, 4)), rng.normal(size=4)]
    constants = [rng.uniform(0.2, 0.9, size=shape) for shape in SHAPES]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = valid(steps, inputs, constants)
        compared(program, inputs, constants, exact=True, backend=backend)
        compared(program, inputs, constants, exact=False, backend=backend)
