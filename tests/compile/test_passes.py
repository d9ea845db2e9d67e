"""The passes that change the order of additions, each on its own, and in both executors."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np import optim
from tinygrad_np.compiler.passes import cse, dce, factor, gemm, ones, rows
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
    expectations = (1, 30, rows.small_product), (5, 1, np.multiply), (2, 30, np.matmul)
    for n, k, expected in expectations:
        a, b = Value(np.zeros((n, k)), "input"), Value(np.zeros((k, 3)), "input")
        found = Program([a, b], [], [Call(np.matmul, (a, b), {}, Value(np.zeros((n, 3))))], [], [])
        rows.run(found)
        assert functions(found) == [expected]
    long = Value(np.zeros((3, 30)).T, "input")
    call = Call(np.matmul, (Value(np.zeros((1, 30))), long), {}, Value(np.zeros((1, 3))))
    rows.run(Program([], [], [call], [], []))
    assert call.function is np.matmul


def updated_twice(other: bool = False) -> Program:
    """``program``, with a second update by the same factors, or by another left one."""
    found, (w, x, _) = program(5, 4, 3)
    turned, _, _, new = (call.out for call in found.calls)
    if other:
        turned = Value(x.T, "input")
        found.inputs.append(turned)
    again, scaled, last = (Value(w) for _ in range(3))
    found.calls += [
        Call(np.matmul, (turned, found.inputs[2]), {}, again),
        Call(np.multiply, (again, 0.2), {}, scaled),
        Call(np.subtract, (new, scaled), {}, last),
    ]
    found.updates = [(found.inputs[0], last)]
    return found


def test_updates_with_a_common_factor_need_one_product() -> None:
    found = updated_twice()
    factor.run(found)
    dce.run(found)
    sums = [np.multiply, np.multiply, np.add]
    assert functions(found) == [*sums, np.matmul, np.subtract]


def test_the_smaller_matrix_is_scaled() -> None:
    for n, calls in ((3, [np.multiply, np.matmul, np.subtract]), (5, None)):
        found, _ = program(n, 4, 3)
        before = functions(found)
        factor.run(found, alone=True)
        dce.run(found)
        assert functions(found) == (calls or before)


def test_sums_of_rows_become_products_with_ones() -> None:
    x = np.random.default_rng(0).normal(size=(5, 4))
    for array, axis, kwargs, expected in (
        (x, (0,), {"keepdims": False}, True), (x, 0, {"keepdims": False}, True),
        (x, 1, {"keepdims": False}, False), (x, 0, {"keepdims": True}, False),
        (x.astype(np.float16), 0, {"keepdims": False}, False), (x[:, ::2], 0, {}, False),
    ):  # fmt: skip
        out: Any = np.add.reduce(array, axis, **kwargs)  # type: ignore[call-overload]
        call = Call(np.add.reduce, (Value(array, "input"), axis), kwargs, Value(out))
        ones.run(Program([], [], [call], [], []))
        assert (call.function is np.dot) is expected
        if expected:
            np.testing.assert_allclose(np.dot(call.args[0].array, array), out, rtol=1e-14)


@pytest.mark.parametrize("other", [True, False])
def test_updates_with_other_factors_or_that_are_read_in_between_stay(other: bool) -> None:
    found = updated_twice(other)
    if not other:
        found.outputs.append(found.calls[3].out)
    before = functions(found)
    factor.run(found)
    assert functions(found) == before


def test_equal_views_of_one_array_are_one() -> None:
    found, (_, x, _) = program(5, 4, 3)
    again, product = Value(x.T), Value(np.zeros((4, 3)))
    found.calls += [
        Call(np.ndarray.transpose, (found.inputs[1],), {}, again, view=True),
        Call(np.matmul, (again, found.inputs[2]), {}, product),
    ]
    found.outputs.append(product)
    cse.run(found)
    assert functions(found).count(np.matmul) == 1


def test_many_updates_for_the_same_activations_are_eagers() -> None:
    x, start = np.random.default_rng(0).normal(size=(2, 6, 6))

    def train(compiled: bool) -> tuple[Any, Any]:
        w1, w2 = (tg.Tensor(start[:, :n].copy(), requires_grad=True) for n in (6, 3))
        opt = optim.SGD([w1, w2], lambda count: 0.1 / (1 + count))

        def step(x: Any) -> None:
            h = tg.tanh(x @ w1)
            for left in reversed(range(4)):
                (h @ w2).backward(np.ones((6, 3)), retain_graph=left > 0)
                opt.step()
                opt.zero_grad()

        run: Any = tg.compile(step) if compiled else step
        for _ in range(3):
            run(x)
        return w1.data, w2.data

    for found, expected in zip(train(True), train(False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


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


@pytest.mark.parametrize("gradient", [[1.0, -2.0, 3.0], [1.0, np.inf, 3.0], [np.nan, 0.0, 0.0]])
def test_where_an_input_is_0_the_weights_stay_unless_the_gradient_is_not_finite(
    gradient: list[float],
) -> None:
    def train(compiled: bool) -> Any:
        w = tg.Tensor(np.ones((5, 3)), requires_grad=True)
        opt = optim.SGD([w], 0.1)

        def step(x: Any, g: Any) -> None:
            (x @ w).backward(g)
            opt.step()
            opt.zero_grad()

        run: Any = tg.compile(step) if compiled else step
        with np.errstate(all="ignore"):
            for x in ([0, 1, 0, 0, -2], [0, 0, 0, 4, 0]):
                run(np.array([x], float), np.array([gradient]))
        return w.data

    np.testing.assert_allclose(train(True), train(False), rtol=1e-12)
