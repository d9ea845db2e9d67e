"""The passes that change the order of additions, each on its own, and in both executors."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np import optim
from tinygrad_np.compiler.passes import dce, gemm, rows
from tinygrad_np.compiler.program import Call, Program, Value


def program(n: int, k: int, m: int, dtype: Any = np.float64) -> tuple[Program, list[Any]]:
    """W - 0.1 * (x.T @ d), written back to W."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=size).astype(dtype) for size in ((k, m), (n, k), (n, m))]
    w, x, d = (Value(array, "input", name) for array, name in zip(arrays, "wxd", strict=True))
    turned = Value(arrays[1].T)
    product, scaled, new = (Value(arrays[0]) for _ in range(3))
    calls = [
        Call(np.ndarray.transpose, (x,), {}, turned, view=True),
        Call(np.matmul, (turned, d), {}, product),
        Call(np.multiply, (0.1, product), {}, scaled),
        Call(np.subtract, (w, scaled), {}, new),
    ]
    return Program([w, x, d], [], calls, [], [(w, new)]), arrays


def functions(found: Program) -> list[Any]:
    return [call.function for call in found.calls if not call.view]


@pytest.mark.parametrize("n", [5, 1])
def test_an_update_becomes_one_gemm(n: int) -> None:
    found, (w, x, d) = program(n, 4, 3)
    gemm.run(found)
    dce.run(found)
    assert functions(found) == [gemm.gemm]
    c, _, _, sign, factor = found.calls[-1].args
    assert (c, sign, factor) == (found.inputs[0], -1, 0.1)
    np.testing.assert_array_equal(gemm.gemm(w, x.T, d, sign, factor), w - 0.1 * (x.T @ d))


def test_a_gradient_that_is_kept_stays() -> None:
    found, _ = program(5, 4, 3)
    found.outputs.append(found.calls[1].out)
    gemm.run(found)
    assert gemm.gemm not in functions(found)


def test_half_precision_and_odd_strides_stay() -> None:
    found, _ = program(5, 4, 3, np.float16)
    gemm.run(found)
    assert gemm.gemm not in functions(found)
    assert gemm.layout(Value(np.zeros((6, 8))[::2, ::2])) is None
    assert gemm.layout(Value(np.zeros((6, 8))[::2])) == (False, 16)
    assert gemm.layout(Value(np.zeros((6, 8))[:, :5].T)) == (True, 8)


def test_products_of_rows_become_loops() -> None:
    for n, k, m, expected in ((1, 30, 3, True), (5, 1, 3, True), (2, 30, 3, False)):
        a, b = Value(np.zeros((n, k)), "input"), Value(np.zeros((k, m)), "input")
        found = Program([a, b], [], [Call(np.matmul, (a, b), {}, Value(np.zeros((n, m))))], [], [])
        rows.run(found)
        assert (functions(found) == [rows.small_product]) is expected
    long = Value(np.zeros((3, 30)).T, "input")
    call = Call(np.matmul, (Value(np.zeros((1, 30))), long), {}, Value(np.zeros((1, 3))))
    rows.run(Program([], [], [call], [], []))
    assert call.function is np.matmul


@pytest.mark.parametrize("rate", [0.1, 0.0])
@pytest.mark.parametrize("n", [6, 1])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_update_is_eagers(n: int, dtype: Any, rate: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 5)).astype(dtype)
    start = rng.normal(size=(5, 4)).astype(dtype)

    def train(compiled: bool, x: Any, steps: int = 4) -> Any:
        w = tg.Tensor(start.copy(), requires_grad=True)
        opt = optim.SGD([w], lambda count: rate)

        def step(x: Any) -> Any:
            loss = ((x @ w) ** 2).sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        run: Any = tg.compile(step) if compiled else step
        with np.errstate(all="ignore"):
            for _ in range(steps):
                run(x)
        return w.data

    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(train(True, x), train(False, x), rtol=tolerance, atol=tolerance)
    x[0, 0] = np.inf  # nan, also where the rate is 0, and BLAS would not look
    np.testing.assert_array_equal(np.isnan(train(True, x)), np.isnan(train(False, x)))
