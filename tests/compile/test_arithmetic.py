"""Numbers that compiled code might treat otherwise than eager code: infinities, 0, other dtypes."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.compile.steps import X, same
from tinygrad_np import optim


@pytest.mark.parametrize("lr", [0.0, np.inf, 1e-300, -0.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_learning_rates_of_0_infinity_and_almost_0(lr: float, momentum: float) -> None:
    rates = [0.1, 0.1, 0.1, lr, 0.1]
    x = np.array([[1.0, np.inf], [2.0, 3.0], [4.0, 5.0]])
    results = []
    for compiled in (False, True):
        w = tg.Tensor(np.ones((2, 3)), requires_grad=True)
        b = tg.Tensor(np.ones(3), requires_grad=True)
        opt = optim.SGD([w, b], lambda i: rates[i], momentum=momentum)

        def step(x: Any, w: Any = w, b: Any = b, opt: Any = opt) -> Any:
            loss = (x @ w + b).sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        run = tg.compile(step) if compiled else step
        with np.errstate(all="ignore"):
            for i in range(5):
                run(x if i == 3 else np.ones((3, 2)))
        results.append((w.data, b.data))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)


def test_a_learning_rate_of_another_dtype_gives_eagers_bits() -> None:
    results = []
    for wrap in (lambda step: step, lambda step: tg.compile(step, exact=True)):
        w = tg.Tensor(np.arange(1, 4), dtype=np.float32, requires_grad=True)
        opt = optim.SGD([w], np.float64(0.1))

        def step(x: Any, w: Any = w, opt: Any = opt) -> None:
            (x * w * w).sum().backward()
            opt.step()
            opt.zero_grad()

        run = wrap(step)
        for _ in range(5):
            run(np.array([0.3, 0.7, 1.1], np.float32))
        results.append(w.data.tolist())
    assert results[0] == results[1]


def test_numpys_functions_take_traced_arrays_and_tensors_together() -> None:
    compiled = tg.compile(lambda x: (np.concatenate([x, tg.Tensor(x) * 2]), np.add(x, tg.exp(x))))
    for _ in range(3):
        joined, added = compiled(X)
        assert joined.tolist() == np.concatenate([X, X * 2]).tolist()
        assert added.tolist() == (X + np.exp(X)).tolist()


def test_empty_arrays() -> None:
    def step(x: Any, w: Any) -> Any:
        w.data -= 0.1 * (x.T @ x @ w.data)
        return x @ w, (x @ w.T.T).sum(axis=0)

    for exact in (True, False):
        compiled = tg.compile(step, exact=exact)
        for rows, columns in ((0, 3), (2, 0), (0, 0)):
            w = tg.Tensor(np.ones((columns, 2)), requires_grad=True)
            for _ in range(3):
                out, total = compiled(np.ones((rows, columns)), w)
                assert out.shape == (rows, 2)
                assert total.tolist() == [0.0, 0.0]
            assert (w.data == 1).all()


def test_floating_point_warnings_are_those_of_eager_code() -> None:
    compiled = tg.compile(lambda x: (tg.sigmoid(x), np.exp(x)))
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match="overflow encountered in exp"):
            compiled(np.array([1000.0]))
        compiled(np.array([-1000.0]))  # sigmoid switches its own off
    with np.errstate(over="raise"), pytest.raises(FloatingPointError) as caught:
        compiled(np.array([1000.0]))
    assert "exp" in caught.value.__notes__[0]


def test_the_mean_in_half_precision_adds_up_in_single() -> None:
    x = np.full((40_000, 2), 3.0, np.float16)
    compiled = tg.compile(lambda x: (tg.mean(x), np.mean(x, axis=0)), exact=True)
    for _ in range(4):
        total, means = compiled(x)
        assert (total.item(), means.tolist()) == (3.0, [3.0, 3.0])


@pytest.mark.parametrize("exponent", [2, 0.5, -1])
def test_powers_of_complex_arrays_have_the_operators_bits(exponent: Any) -> None:
    z = np.random.default_rng(0).normal(size=(37, 2)).astype(np.float32).view(np.complex64)
    compiled = tg.compile(lambda z: z**exponent, exact=True)
    for _ in range(3):
        same(compiled(z), z**exponent)


def test_arrays_made_like_another_have_its_layout() -> None:
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(37, 53)))

    def step(x: Any) -> Any:
        return (np.ones_like(x) * 0.1 + x * 1).sum()

    compiled = tg.compile(step, exact=True)
    for _ in range(3):
        same(compiled(x), step(x))
