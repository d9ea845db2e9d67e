"""Ranks without mpiexec: one process exchanges nothing; a pretended world shows one rank's part."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from scripts import train
from tests import tiny
from tinygrad_np import distributed, nn, random
from tinygrad_np.shared_memory import Pair
from tinygrad_np.shared_sum import SharedSum
from tinygrad_np.tensor import plain

ROOT = Path(__file__).parents[2]
shares_memory = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="processes of this system do not share memory"
)


class Twins:
    """A communicator of two ranks with equal arrays: sums double, maxima stay."""

    size, rank = 2, 0

    def __init__(self) -> None:
        self.sums = 0
        self.diverges = False
        self.at_begin: Callable[[], object] = lambda: None

    def Allgather(self, array: Any, both: Any) -> None:
        both[:] = array

    def Allreduce(self, place: Any, array: Any, operation: str) -> None:
        if len(array) == 4 and array[0] == distributed._KINDS.index("begin"):
            self.at_begin()
        if operation == "sum":
            array *= 2
            self.sums += 1
        elif self.diverges:
            array += 1


@contextmanager
def world(rank: int, size: int) -> Iterator[Twins]:
    """One rank among others that do not exist."""
    comm = Twins()
    mpi = SimpleNamespace(COMM_WORLD=comm, IN_PLACE=None, SUM="sum", MAX="max", MIN="min")
    sums = SharedSum(mpi, SimpleNamespace(rank=0, size=1), comm)
    with distributed.alone():
        before = vars(distributed._world).copy()
        vars(distributed._world).update(mpi=mpi, rank=rank, size=size, sums=sums)
        try:
            yield comm
        finally:
            vars(distributed._world).update(before)


def test_alone_everything_is_there_and_does_nothing() -> None:
    x = np.arange(6.0)
    w = tg.Tensor(x, requires_grad=True)
    (w * w).sum().backward()
    gradient = w.grad
    distributed.init()
    distributed.average_gradients([w])
    assert w.grad is gradient
    assert (distributed.rank(), distributed.size()) == (0, 1)
    (same,) = distributed.share(x)
    assert same is x
    assert distributed.agreed(x) is x
    distributed.broadcast(nn.Linear(2, 3))


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_parts_of_a_batch_are_the_batch(rows: int, size: int) -> None:
    x = np.arange(rows)
    seen, weights = [], []
    for rank in range(size):
        with world(rank, size):
            part, also = distributed.share(x, x[:, None])
            weights.append(distributed._weight(rank))
            assert len(part) > 0
            assert part.tolist() == also[:, 0].tolist()
            if weights[-1]:
                seen += part.tolist()
                assert weights[-1] == len(part) / rows
    assert seen == x.tolist()
    assert sum(weights) == pytest.approx(1)


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_the_masks_of_all_ranks_are_the_mask_of_one_process(bits: str) -> None:
    x = np.ones((7, 5))

    def masked(given: Any) -> tuple[Any, Any]:
        rng = np.random.Generator(getattr(np.random, bits)(3))
        rng.random(dtype=np.float32)  # half of a number is left for the next of these
        mask = tg.dropout(given, 0.5, rng=rng).data
        return mask, [rng.random(dtype=np.float32), rng.random()]

    whole, next_numbers = masked(x)
    parts = []
    for rank in range(3):
        with world(rank, 3):
            part, after = masked(distributed.share(x)[0])
            parts.append(part)
            assert after == next_numbers
    assert (np.concatenate(parts) == whole).all()


def test_a_compiled_mask_follows_the_batch_and_not_the_trace() -> None:
    """Three rows of five and three rows of six: the same shapes, but other numbers."""
    rng = tg.manual_seed(0)
    step = tg.compile(lambda x: tg.dropout(x, 0.5))
    with world(0, 2):
        for total in (6, 6, 7, 6):  # rank 0 has 3 rows of each
            (x,) = distributed.share(np.ones((total, 4)))
            state = rng.bit_generator.state
            mask = rng.random((total, 4))[:3] >= 0.5
            after = rng.bit_generator.state
            rng.bit_generator.state = state
            assert (step(x).data == 2 * mask).all()
            assert rng.bit_generator.state == after


def test_a_mask_that_is_not_of_the_batch_is_refused() -> None:
    with world(0, 2):
        distributed.share(np.ones((8, 2)))
        with pytest.raises(ValueError, match="the first axis must be the batch"):
            tg.dropout(np.ones((3, 2)), 0.5, rng=0)
    assert random.rows() == [None, 0]


def test_arrays_of_different_lengths_are_no_batch() -> None:
    with world(0, 2), pytest.raises(ValueError, match=r"got \[3, 2\]"):
        distributed.share(np.ones(3), np.ones(2))


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_a_compiled_step_exchanges_once_a_call_and_never_for_a_trace(backend: Any) -> None:
    w = tg.Tensor(np.ones(3), requires_grad=True)
    other = tg.Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    optimizer = tg.optim.SGD([w, other], 0.5)

    def step(x: Any) -> None:
        (w * x + other.sum()).sum().backward()
        distributed.average_gradients([w, other])
        optimizer.step()
        optimizer.zero_grad()

    compiled = tg.compile(step, backend=backend, verify=1)
    with world(0, 2) as comm:
        for call in range(1, 6):
            compiled(np.ones(3))
            assert comm.sums == 2 * call  # a message for each dtype
    assert w.tolist() == [1 - 0.5 * 5] * 3
    assert other.tolist() == [[1 - 0.5 * 3 * 5] * 3] * 2


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_a_compiled_step_of_ranks_that_diverge_changes_nothing(backend: Any) -> None:
    w = tg.Tensor(np.ones(3), requires_grad=True)
    optimizer = tg.optim.SGD([w], 0.5)

    def step(x: Any) -> None:
        (w * x).sum().backward()
        distributed.average_gradients([w])
        optimizer.step()

    compiled = tg.compile(step, backend=backend)
    with world(0, 2) as comm:
        compiled(np.ones(3))
        compiled(np.ones(3))
        before = w.tolist(), w.grad.tolist()  # type: ignore[union-attr]
        comm.diverges = True
        with pytest.raises(RuntimeError, match="the ranks do not do the same"):
            compiled(np.ones(3))
    assert (w.tolist(), w.grad.tolist()) == before  # type: ignore[union-attr]


@shares_memory
@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_what_a_rank_has_laid_open_stays_until_all_ranks_begin_the_next_step(backend: Any) -> None:
    w = tg.Tensor(np.ones((20, 30)), requires_grad=True)

    @functools.partial(tg.compile, backend=backend)
    def step(x: Any) -> Any:
        w.zero_grad()
        (x @ w).sum().backward()
        distributed.average_gradients([w])
        mean = plain(w.grad)
        # These need memory of the same size, after the gradient's last use here.
        later = [np.sort(mean * i) for i in range(4)]
        return sum([np.sort(np.sort(x)) for x in later])

    with world(0, 2) as comm:
        distributed._world.pair = pair = Pair(comm)
        expected = 0.0

        def check() -> None:
            assert all((lent == expected).all() for exchange in pair.lent for lent in exchange)

        comm.at_begin = check
        for call in range(1, 4):
            step(np.full((5, 20), float(call)))
            expected = 5.0 * call
            assert w.grad is not None
            assert (w.grad == expected).all()
            assert pair.lent
            check()


@shares_memory
def test_the_gradient_of_a_number_stays_an_array() -> None:
    w = tg.Tensor(2.0, requires_grad=True)
    with world(0, 2) as comm:
        distributed._world.pair = Pair(comm)
        (w * w).backward()
        distributed.average_gradients([w])
    assert type(w.grad) is np.ndarray
    assert w.grad == 4.0


def test_a_step_compiled_among_ranks_runs_alone_without_an_exchange() -> None:
    w = tg.Tensor(np.ones(2), requires_grad=True)

    @tg.compile
    def step(x: Any) -> None:
        (w * x).sum().backward()
        distributed.average_gradients([w])

    with world(0, 2) as comm:
        distributed.share(np.ones(4))
        step(np.ones(2))
        w.zero_grad()
        with distributed.alone():
            step(np.ones(2))
        assert comm.sums == 1
    assert w.grad is not None
    assert w.grad.tolist() == [1.0, 1.0]


def test_what_one_exchange_gives_is_what_all_learn_by() -> None:
    """The gradient of the average is the average of the gradients."""
    with world(0, 2):
        x = tg.Tensor([1.0, 2.0], requires_grad=True)
        out = distributed.average(x * 3)
        (out * [1.0, 10.0]).sum().backward()
    assert out.tolist() == [3.0, 6.0]
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 30.0]


@pytest.mark.parametrize("dtype", [np.int64, np.bool, np.float16, np.float32, np.float64])
def test_averages_have_the_dtype_that_one_process_gives(dtype: Any) -> None:
    x = np.ones(2, dtype)
    alone = distributed.average(x)
    with world(0, 2):
        shared = distributed.average(x)
    assert shared.dtype == alone.dtype
    assert shared.tolist() == alone.tolist() == [1.0, 1.0]


def test_synchronized_batch_normalization_alone_is_the_usual_one() -> None:
    rng = np.random.default_rng(0)
    one, other = (nn.BatchNorm2d(3, dtype=np.float64) for _ in range(2))
    distributed.synchronize(nn.Sequential(other))
    assert other.synchronized
    x = rng.normal(size=(4, 3, 2, 2))
    inputs = [tg.Tensor(x, requires_grad=True) for _ in range(2)]
    for layer, given in ((one, inputs[0]), (other, inputs[1])):
        (layer(given) ** 3).sum().backward()
    np.testing.assert_allclose(inputs[1].grad, inputs[0].grad, rtol=1e-12, atol=1e-12)  # type: ignore[arg-type]
    for name, array in one.state_dict().items():
        np.testing.assert_allclose(other.state_dict()[name], array, rtol=1e-12)


def test_one_element_for_each_feature_is_refused() -> None:
    layer = nn.BatchNorm1d(3)
    distributed.synchronize(layer)
    with pytest.raises(ValueError, match="one element for each feature"):
        layer(np.ones((1, 3), np.float32))


# Without mpi4py


@pytest.fixture
def without_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)


@pytest.mark.usefixtures("without_mpi4py")
@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_under_mpiexec_the_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    distributed.init()  # one process needs nothing
    monkeypatch.setenv(name, "2")
    with pytest.raises(ImportError, match=r"pip install 'tinygrad_np\[mpi\]'"):
        distributed.init()


@pytest.mark.usefixtures("without_mpi4py")
def test_the_command_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tiny.write_images(tmp_path / "images")
    assert train.main([*tiny.command(images, tmp_path / "out"), "--distributed"]) == 1
    assert "pip install 'tinygrad_np[mpi]'" in capsys.readouterr().err
    assert tiny.run(images, tmp_path / "out") == 0


def test_importing_the_package_leaves_mpi_alone() -> None:
    program = "import sys, tinygrad_np; assert 'mpi4py' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
