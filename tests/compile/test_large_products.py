"""Large products, which the threads of the pool share, and updates by such products."""

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import tinygrad_np as tg
from tests.compile.steps import training_step
from tests.compile.test_native_layers import check, sample
from tinygrad_np import native, optim

pytestmark = pytest.mark.skipif(
    bool(native.unavailable()) or native.describe()["compiler"] is None,
    reason="there is no C compiler",
)


def blas_threads() -> set[int]:
    """Of NumPy's BLAS: SciPy, where it is loaded, has one of its own."""
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return {info["num_threads"] for info in found if "numpy" in info["filepath"]}


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_in_parts(dtype: Any, threads: int) -> None:
    """Plain and transposed factors; more rows than columns, and more columns than rows."""
    arrays = [sample(dtype, *shape, seed=i) for i, shape in enumerate([(300, 110), (110, 201)])]
    turned = [np.ascontiguousarray(array.T) for array in arrays]
    with threadpool_limits(threads, "blas"):
        before = blas_threads()
        check(
            lambda a, b, c, d: (a @ b, c.T @ b, a @ d.T, np.dot(c.T, d.T), (a @ b).T @ a, d @ c),
            *arrays, *turned, word="in_parts", times=5,
        )  # fmt: skip
        assert blas_threads() == before


def test_batches_of_products_in_parts() -> None:
    a, b = sample(np.float32, 3, 2, 120, 110), sample(np.float32, 2, 110, 130, seed=1)
    with threadpool_limits(2, "blas"):
        check(
            lambda a, b: (a @ b, a[:, 1] @ b[0], a[0, 0] @ b, b.mT @ a.mT, a[:, :1] @ a.mT), a, b,
            word="in_parts", times=5,
        )  # fmt: skip


@pytest.mark.parametrize("rate", [0.25, 0.0])
@pytest.mark.parametrize("shape", [(300, 120), (120, 300)])
def test_updates_in_parts(shape: tuple[int, int], rate: float) -> None:
    n, m = shape
    x, g = sample(np.float64, 130, n), sample(np.float64, 130, m, seed=1)
    if rate == 0:
        x[0, 0] = g[0, 0] = 1e308  # 0 * inf is nan, as in NumPy

    def trained(compiled: bool) -> Any:
        w = tg.Tensor(sample(np.float64, n, m, seed=2), requires_grad=True)
        step: Any = training_step(lambda x, g: (x @ w * g).sum(), optim.SGD([w], lr=rate))
        if compiled:
            step = tg.compile(step, backend="native")
        with np.errstate(all="ignore"):
            for _ in range(3):
                step(x, g)
        if compiled:
            assert "gemm" in str(step.plan())
        return w.data

    found, expected = trained(True), trained(False)
    assert np.isnan(expected).any() == (rate == 0)
    np.testing.assert_allclose(found, expected, 1e-12)


def test_blas_threads_that_a_step_sets_itself_stay() -> None:
    """What the user sets between two calls holds afterwards too."""
    a = sample(np.float32, 300, 300)
    step = tg.compile(lambda a: a @ a, backend="native")
    for threads in (2, 1, 3):
        with threadpool_limits(threads, "blas"):
            step(a)
            assert blas_threads() == {threads}


def test_a_repeated_trace_wakes_none_of_blas_threads(capsys: pytest.CaptureFixture[str]) -> None:
    """They would look for work for 0.1 s, on the core that the pool's thread needs."""
    a = sample(np.float32, 300, 300)

    def step(a: Any) -> Any:
        print(blas_threads())
        return a @ a

    compiled = tg.compile(step, backend="native", verify=2)
    with threadpool_limits(2, "blas"):
        for _ in range(3):
            compiled(a)
        assert (capsys.readouterr().out, blas_threads()) == ("{2}\n{1}\n", {2})


def test_one_blas_thread_leaves_to_others_what_they_have_set() -> None:
    """Another thread's program may have set 1 already, and restores the number itself."""
    with threadpool_limits(2, "blas"):
        with native.one_blas_thread(), native.one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {2}
        with threadpool_limits(1, "blas"):
            inside = native.one_blas_thread()
            inside.__enter__()
        inside.__exit__(None, None, None)
        assert blas_threads() == {2}
