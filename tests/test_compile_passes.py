"""Each pass: what it changes in a program, and that the results stay."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np.compiler import passes as every
from tinygrad_np.compiler.passes import (
    accumulate,
    algebra,
    common,
    dead,
    dot,
    factor,
    scale,
    sums,
)

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 4))
W = tg.Tensor(RNG.normal(size=(4, 4)), requires_grad=True)


def calls(function: Any, *chosen: Any, rtol: float = 0.0, **replaced: Any) -> list[str]:
    """The names of a program's calls after some passes; the results are compared with eager's."""
    compiled = tg.compile(function)
    compiled.passes = tuple(chosen)
    start = W.data.copy()
    for i in range(4):
        results = []
        for run in (function, compiled):
            W.data[...] = start
            W.zero_grad()
            found = run(X + i, Y - i)
            arrays = [np.asarray(getattr(r, "data", r)) for r in found]
            results.append([*arrays, W.data.copy()])
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(other, one, rtol=rtol, atol=rtol)
    W.data[...] = start
    (plan,) = compiled.plans()
    return [call.name for call in plan.program.calls]


def test_dead_code_goes_but_draws_stay() -> None:
    def step(x: Any, y: Any) -> Any:
        np.exp(x) * y
        tg.dropout(x, 0.5, rng=1)
        return (x + y,)

    assert calls(step) == [
        "exp", "multiply", "draw", "greater_equal", "divide", "astype", "multiply", "add",
    ]  # fmt: skip
    assert calls(step, dead.run) == ["draw", "add"]


def test_stores_that_are_overwritten_unseen_go() -> None:
    def step(x: Any, y: Any) -> Any:
        W.data *= 2
        W.data *= 3
        return (x @ W.data,)

    assert calls(step, dead.run) == ["multiply", "multiply", "copyto", "matmul"]

    tied = tg.Tensor(W.data)

    def looking(x: Any, y: Any) -> Any:
        W.data *= 2
        between = np.exp(tied.data)
        W.data *= 3
        return (between,)

    assert calls(looking, dead.run).count("copyto") == 2

    def checked(x: Any, y: Any) -> Any:
        W.data *= 2
        loss = tg.softmax_cross_entropy(x, np.argmax(y, axis=1))  # which looks at its labels
        W.data *= 3
        return (loss,)

    assert calls(checked, dead.run).count("copyto") == 2


def test_what_depends_on_constants_alone_is_no_call_at_all() -> None:
    def step(x: Any, y: Any) -> Any:
        t = tg.Tensor(x, requires_grad=True)
        (t * 2).mean().backward()
        return t.grad, x * (tg.Tensor(np.ones(4)) * 3 + 1).data

    assert calls(step, dead.run) == ["multiply"]


def test_algebra() -> None:
    def step(x: Any, y: Any) -> Any:
        return (
            x * 1,
            1 * y / 1.0,
            np.negative(-x),
            x.reshape(x.shape),
            +y,
            x[:, :1].max(axis=1),
            x * 1 * 1,
        )

    assert calls(step, algebra.run, dead.run) == ["__getitem__", "reshape"]

    def kept(x: Any, y: Any) -> Any:
        return x + 0, x * 1.5, x[:, :1].sum(axis=1), W.data * 1, np.negative(-W.data)

    names = ["add", "multiply", "__getitem__", "add.reduce", "multiply", "negative", "negative"]
    assert calls(kept, algebra.run, dead.run) == names


def test_common_subexpressions() -> None:
    def step(x: Any, y: Any) -> Any:
        return np.exp(x) * y + np.exp(x), x.sum(axis=0), x.sum(axis=1), x.sum(axis=0)

    assert calls(step, common.run) == ["exp", "multiply", "add", "add.reduce", "add.reduce"]

    def storing(x: Any, y: Any) -> Any:
        view = W.data.T
        before = np.exp(view)
        np.copyto(W.data, W.data * 2)
        return before, np.exp(view), np.exp(x) + np.exp(x)

    assert calls(storing, common.run).count("exp") == 3

    def differing(x: Any, y: Any) -> Any:
        return x * 1, x * 1.0, x * True, x * 0.0, x * -0.0

    assert len(calls(differing, common.run)) == 5


PRODUCTS: list[Any] = [
    lambda x: np.tanh(x).T @ np.tanh(x),
    lambda x: tg.tanh(x) @ tg.tanh(x).T,
    lambda x: (x * 1).T @ x,
    lambda x: np.tanh(x) @ (np.tanh(x * 1) / 1).T,
]


@pytest.mark.parametrize("function", PRODUCTS)
def test_two_equal_factors_do_not_become_one(function: Any) -> None:
    x = np.random.default_rng(0).normal(size=(50, 50))  # BLAS takes syrk where they are one
    compiled = tg.compile(function, exact=True)
    for _ in range(4):
        one, other = (getattr(f(x), "data", None) for f in (function, compiled))
        assert bytes(one) == bytes(other)  # type: ignore[arg-type]


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_what_is_multiplied_by_one_stays_where_the_layout_changes(axis: Any) -> None:
    def function(x: Any) -> Any:
        return (np.ones((50, 60)) * x).sum(axis)

    compiled = tg.compile(function, exact=True)
    for seed in range(8):
        x = np.random.default_rng(seed).normal(size=(60, 50)).T
        assert bytes(compiled(x)) == bytes(function(x))


def test_reductions_called_as_ufuncs_keep_their_keywords() -> None:
    def function(x: Any) -> Any:
        one = x[:1]
        return (
            np.add.reduce(x), np.add.reduce(one, axis=0, initial=5.0), np.add.reduce(one, axis=1),
            np.multiply.reduce(one, axis=0, initial=2.0), np.maximum.reduce(one, initial=9.0),
        )  # fmt: skip

    compiled, x = tg.compile(function), np.arange(6.0).reshape(2, 3)
    for _ in range(4):
        for one, other in zip(function(x), compiled(x), strict=True):
            assert (one == other).all()


def test_host_numbers_are_shared_until_they_change() -> None:
    opts = [tg.optim.SGD([W], 0.1), tg.optim.SGD([W], 0.2)]

    def step(x: Any, y: Any) -> Any:
        W.grad = x.T @ x
        rates = [opt.learning_rate * x for opt in (*opts, *opts)]
        return tuple(rates)

    assert calls(step, common.run).count("_rate") == 2


def test_sums_become_products_with_ones() -> None:
    def step(x: Any, y: Any) -> Any:
        return x.sum(axis=0), y.sum(axis=1, keepdims=True), x.sum(), x[:1].sum(axis=0)

    names = ["dot", "dot", "reshape", "add.reduce", "__getitem__", "reshape"]
    assert calls(step, sums.run, rtol=1e-14) == names


def test_products_and_scalings_are_accumulated() -> None:
    def step(x: Any, y: Any) -> Any:
        W.data -= 0.5 * (x.T @ y)
        return x + 3 * y, 2 * x - y, y - 2 * x, x + y, x * 0.5 + x @ (y.T @ y), 2 * x + 3 * y

    names = calls(step, accumulate.run, dead.run, rtol=1e-13)
    assert names == [
        "transpose", "gemm", "copyto", "axpy", "axpy", "axpy", "add", "transpose", "matmul",
        "gemm", "axpy",
    ]  # fmt: skip

    def outer(x: Any, y: Any) -> Any:
        W.data -= 0.1 * np.dot(x[:1].T, y[:1])
        v = 0.9 * W.data + x[1:2].T * y[1:2]
        return (v,)

    assert calls(outer, accumulate.run, dead.run, rtol=1e-13).count("gemm") == 2


def test_an_optimisers_update_is_one_call() -> None:
    opt = tg.optim.SGD([W], 0.1)

    def step(x: Any, y: Any) -> Any:
        W.grad = x.T @ y
        opt.step()
        opt.zero_grad()
        return (x - np.array(0.5) * y,)

    names = calls(step, common.run, accumulate.run, dead.run, rtol=1e-13)
    assert (names.count("gemm"), names.count("axpy"), "multiply" in names) == (1, 1, False)


def test_products_with_a_common_factor_become_one() -> None:
    once = [common.run, accumulate.run, dead.run, factor.run, dead.run]

    def step(x: Any, y: Any) -> Any:
        for rate in (0.5, 0.25, 2.0):
            W.data -= rate * (x.T @ (rate + y))
        return (W.data,)

    assert calls(step, *once, rtol=1e-13).count("gemm") == 1

    def kept(x: Any, y: Any) -> Any:
        first = W.data - 0.5 * (x.T @ y)
        second = 0.5 * first - 0.5 * (x.T @ np.exp(y))  # the sum before is halved
        third = second - 0.5 * (y.T @ np.tanh(y))  # another factor
        return third - 0.5 * (y.T @ x), third  # the sum before is wanted, too

    assert calls(kept, *once, rtol=1e-13).count("gemm") == 4

    def stored(x: Any, y: Any) -> Any:
        first = W.data - 0.5 * (x.T @ y)
        W.data += 1  # under the first product's addend
        return (first - 0.5 * (x.T @ np.exp(y)),)

    assert calls(stored, *once, rtol=1e-13).count("gemm") == 2

    def factor_stored(x: Any, y: Any) -> Any:
        first = y - 0.5 * (x @ W.data)
        W.data += 1  # under the first product's other factor
        return (first - 0.5 * (x @ (y.T @ y)),)

    assert calls(factor_stored, *once, rtol=1e-13).count("gemm") == 2


def test_what_is_read_elsewhere_or_stored_between_is_not_fused() -> None:
    def shared(x: Any, y: Any) -> Any:
        product = x.T @ y
        return W.data - 0.1 * product, product

    assert "matmul" in calls(shared, accumulate.run, dead.run, rtol=1e-13)

    def between(x: Any, y: Any) -> Any:
        product = W.data.T @ (x.T @ x)
        scaled = 2 * W.data
        W.data += 1
        return x.T @ y + product, y.T @ y - scaled

    names = calls(between, accumulate.run, dead.run, rtol=1e-13)
    assert names.index("copyto") > names.index("multiply")
    assert "matmul" in names


def test_scalings_move_into_the_smaller_factor() -> None:
    def step(x: Any, y: Any) -> Any:
        return (2.0 * (x[:2].T @ y[:2, :1] @ y[:1]),)

    names = calls(step, scale.run, dead.run, rtol=1e-13)
    assert names.index("multiply") < len(names) - 1
    assert names[-1] == "matmul"


def test_products_of_matrices_by_dot() -> None:
    def step(x: Any, y: Any) -> Any:
        return x.T @ y, (x[None] @ y.T)[0]

    names = calls(step, dot.run, rtol=1e-13)
    assert (names.count("dot"), names.count("matmul")) == (1, 1)


@pytest.mark.parametrize("passes", [every.EXACT, (*every.EXACT, *every.REORDERING)])
def test_without_blas_nothing_is_missing(passes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_np.compiler import blas

    monkeypatch.setattr(blas, "loaded", lambda: None)
    opt = tg.optim.SGD([W], 0.1)

    def step(x: Any, y: Any) -> Any:
        loss = tg.square(x @ W - y).mean()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return (loss,)

    names = calls(step, *passes, rtol=1e-13)
    assert not {"gemm", "axpy"} & set(names)


def test_plans_are_printed_and_drawn() -> None:
    opt = tg.optim.SGD([W], 0.1)
    start = W.data.copy()

    @tg.compile
    def step(x: Any) -> Any:
        loss = tg.square(x @ W).mean()
        loss.backward()
        opt.step()
        return loss

    for _ in range(6):
        step(X)
    W.data[...] = start
    W.zero_grad()
    text = step.plan()
    assert "gemm" in text
    assert "1 updates in their own array" in text
    source = step.draw(len(step.plans()) - 1).source
    for word in ("gemm", "tensor.grad =", "result", "float64(6, 4)", "dashed"):
        assert word in source
