"""The programs that the tests start in several ranks.

python -m tests.distributed.ranks NAME ARGUMENTS calls the function NAME.
"""

import functools
import os
import signal
import sys
import warnings
from typing import Any

import numpy as np

import tinygrad_np as tg
from scripts import training
from tests import tiny
from tinygrad_np import distributed, nn
from tinygrad_np.shared_sum import SharedSum
from tinygrad_np.tensor import plain


class Net(nn.Module):
    """Batch normalization and dropout, in float64."""

    def __init__(self, rng: Any = None) -> None:
        self.hidden = nn.Linear(12, 16, bias=False, rng=rng, dtype=np.float64)
        self.norm = nn.BatchNorm1d(16, dtype=np.float64)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(16, 3, rng=rng, dtype=np.float64)

    def forward(self, x: Any) -> tg.Tensor:
        return self.out(self.drop(tg.tanh(self.norm(self.hidden(x)))))  # type: ignore[no-any-return]


class Double(tiny.Net):
    """The tiny network with dropout and batch normalization, in any dtype."""

    def __init__(self, rng: Any = None, dtype: Any = np.float32) -> None:
        self.hidden: Any = nn.Sequential(
            nn.Linear(tiny.SIDE**2, 8, bias=False, rng=rng, dtype=dtype),
            nn.BatchNorm1d(8, dtype=dtype),
        )
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(8, tiny.CLASSES, rng=rng, dtype=dtype)


def train(out: str, batch_size: str = "10", updates: str = "200") -> None:
    """Train with each executor; write the weights and the losses."""
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(103, 12)), rng.integers(0, 3, 103)
    found: dict[str, Any] = {}
    for mode in ("eager", "numpy", "native"):
        model = Net(order := tg.manual_seed(0))
        distributed.broadcast(model)
        if distributed.size() > 1:
            distributed.synchronize(model)
        optimizer = tg.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        step: Any = _step(model, optimizer, mode)
        losses: list[float] = []
        while len(losses) < int(updates):
            for batch in distributed.shard(tg.data.batches(x, t, int(batch_size), rng=order)):
                losses.append(distributed.average(step(*batch)).item())
        found |= {f"{mode}.{name}": array for name, array in model.state_dict().items()}
        found[f"{mode}.losses"] = np.array(losses)
    for name, array in found.items():
        assert (distributed.all_reduce(array, "max") == array).all(), f"the ranks differ: {name}"
    if distributed.rank() == 0:
        np.savez(out, **found)


def _step(model: Net, optimizer: tg.optim.Optimizer, mode: Any) -> Any:
    def step(x: Any, t: Any) -> tg.Tensor:
        loss = tg.softmax_cross_entropy(model(x), t)
        loss.backward()
        distributed.average_gradients(model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step if mode == "eager" else tg.compile(step, backend=mode)


def raises() -> None:
    """Rank 1 fails while the others wait for it."""
    distributed.average(np.ones(2))
    if distributed.rank() == 1:
        raise ValueError("rank 1 has a problem of its own")
    distributed.average(np.ones(2))


def leaves() -> None:
    """Rank 1 ends while the others go on."""
    if distributed.rank() == 1:
        sys.exit(3)
    distributed.average(np.ones(2))


def parts() -> None:
    """Rank 1 averages an array of another size."""
    distributed.average(np.ones(2 + distributed.rank()))


def exchanges() -> None:
    """Every kind of array, every operation."""
    rank, size = distributed.rank(), distributed.size()
    for dtype in "efdgFDilq?":
        total = distributed.all_reduce(np.full((2, 3), 1, dtype))
        assert (total == size).all(), dtype
        assert total.dtype == (np.int64 if dtype == "?" else np.dtype(dtype))
    assert distributed.all_reduce(rank, "max") == size - 1
    assert distributed.all_reduce(rank, "min") == 0
    assert distributed.agreed({"of": rank}) == {"of": 0}
    assert distributed.average(float(rank)).item() == (size - 1) / 2
    with distributed.alone():
        assert distributed.all_reduce(rank) == rank
        assert (distributed.rank(), distributed.size()) == (0, 1)
    assert distributed.rank() == rank


def lends() -> None:
    """Gradients of every origin are averaged, also several times in a step, and stay right."""
    other = tg.compile(lambda x: _gradients(x, np.float32)[0])
    backends: Any = ("eager", "numpy", "native")
    for backend in backends:
        for dtype in (np.float64, np.float32, np.float16):
            step: Any = functools.partial(_gradients, dtype=dtype)
            _check(step if backend == "eager" else tg.compile(step, backend=backend), dtype, other)


def _check(step: Any, dtype: Any, other: Any) -> None:
    tolerance = 2e-3 if dtype is np.float16 else 1e-6
    kept: list[Any] = []
    for call in range(1, 7):
        each = np.arange(1.0, 5.0) * call
        mean = each * (distributed.size() + 1) / 2
        x = (each * (distributed.rank() + 1)).astype(dtype)
        right: list[Any] = [2 * mean, 6 * mean, 3 * mean, mean, [0, 1, 2, 3]]
        kept += zip(step(x), right, strict=True)
        other(x.astype(np.float32))
        with distributed.alone():
            for found, factor in zip(step(x), (2, 6, 3, 1), strict=False):
                assert (found == factor * x).all()
    for found, right in kept:
        np.testing.assert_allclose(found, right, rtol=tolerance)


def _gradients(x: Any, dtype: Any) -> tuple[Any, ...]:
    """Averages of 2x, then 2x + 4x, of 3x in another dtype, and of x itself; their order."""
    w, single, same = (tg.Tensor(np.ones(4, d), True) for d in (dtype, np.float32, dtype))
    (w * x * 2.0).sum().backward()
    distributed.average_gradients([w])
    first = plain(w.grad)
    w.zero_grad()
    (w * x * 6.0).sum().backward()
    (single * 3.0 * x).sum().backward()
    (same * x).sum().backward()
    distributed.average_gradients([w, single, same])
    grads = [plain(p.grad) for p in (w, single, same)]
    return first, *grads, np.argsort(np.abs(grads[2]))


def machines() -> None:
    """Four ranks average as if they were on two machines, and on four."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    pairs = world.Split(world.rank // 2)
    rng = np.random.default_rng(world.rank)
    for node in (pairs, MPI.COMM_SELF):
        distributed._world.sums = SharedSum(MPI, node, world.Split(node.rank))
        for count in (1, 1000, 3, 100_000, 99_999):
            x = rng.normal(size=count)
            found = distributed.average(x).data
            np.testing.assert_allclose(found, distributed.all_reduce(x) / 4, rtol=0, atol=1e-15)
            assert (found == distributed.agreed(found)).all()


def warns() -> None:
    """A compiled step overflows on rank 1 only, and runs again there to give NumPy's warning."""
    w = tg.Tensor(np.ones(3), requires_grad=True)

    @tg.compile
    def step(x: Any) -> tg.Tensor:
        loss = tg.exp(w * x).sum()
        loss.backward()
        distributed.average_gradients([w])
        w.zero_grad()
        return loss

    for scale in (1.0, 1000.0):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step(np.full(3, scale if distributed.rank() == 1 else 1.0))
        assert bool(caught) == (distributed.rank() == 1 and scale > 1)


def run_and_signal(rank: str, update: str, number: str, *command: str) -> int:
    """Run scripts.train, and send one rank a signal before an update."""
    from scripts import train as script

    proper = training.Training.update

    def update_or_not(self: training.Training) -> float:
        if self.done == int(update) and distributed.rank() == int(rank):
            os.kill(os.getpid(), int(number))
        return proper(self)

    assert signal.Signals(int(number))
    training.Training.update = update_or_not  # type: ignore[method-assign]
    return script.main(command)


if __name__ == "__main__":
    distributed.init()
    sys.exit(globals()[sys.argv[1]](*sys.argv[2:]))
