"""Training on many machines: processes started by ``mpiexec`` share each batch (extra ``mpi``).

Every process, a *rank*, holds the whole model and computes the loss of its own rows of a batch,
their mean. The gradients are averaged, weighted by the rows, so all ranks make the update that one
process would make on the whole batch:

    tg.distributed.init()
    for x, t in tg.distributed.shard(tg.data.batches(x_train, t_train, 128, rng=rng)):
        loss = tg.softmax_cross_entropy(model(x), t)
        loss.backward()
        tg.distributed.average_gradients(model.parameters())
        optimizer.step()
        optimizer.zero_grad()

Every rank must draw the same batches (a generator of the same seed) and start from the same weights
(the same seed, or ``broadcast``). Dropout's masks are drawn for the whole batch, so the weights do
not depend on the number of ranks, but for rounding. Without ``mpiexec`` every function here does
nothing, or what it does for one rank. Steps may be compiled: the exchange then stands between two
programs, backward and update.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from . import random, tracing
from .cases import case, normal
from .config import cores
from .definition import OPS, Value, op
from .ops.elementwise import divide, sqrt, square, subtract
from .ops.normalization import affine, follow
from .ops.reduction import mean
from .tensor import Array, Operand, Tensor, plain

T = TypeVar("T")

_STARTED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
"""Where Open MPI's ``mpiexec``, MPICH's and Slurm's ``srun`` say how many processes there are."""
_KINDS = ("end", "sum", "max", "min", "broadcast")
"""What ranks meet for."""


@dataclass
class _World:
    """The processes, and this one's part of the batch; one rank where nothing was started."""

    mpi: Any = None
    rank: int = 0
    size: int = 1
    weight: float = 1.0
    """The part of the batch's rows that this rank has."""
    total: int = 0
    """The rows of the whole batch."""


_world = _World()


# Beginning and end


def init(required: bool = False) -> None:
    """Join the other processes that ``mpiexec`` has started; do nothing where it has not.

    From here on an exception in one rank ends them all, and NumPy's BLAS uses this rank's part of
    the machine's cores, unless ``OPENBLAS_NUM_THREADS`` or its like is set. Call it first.

    With ``required``, or under ``mpiexec``, raises ImportError where mpi4py or an MPI library is
    missing, or belongs to another MPI than ``mpiexec``.

    >>> import tinygrad_np as tg
    >>> tg.distributed.init()
    >>> tg.distributed.rank(), tg.distributed.size()
    (0, 1)
    """
    started = next((int(os.environ[name]) for name in _STARTED if name in os.environ), 1)
    if _world.mpi is not None or not (required or started > 1):
        return
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: it finds no MPI library
        raise ImportError(
            f"training in many processes needs mpi4py and an MPI library ({error}): "
            "pip install 'tinygrad_np[mpi]', or, where the machine has an MPI, pip install mpi4py"
        ) from error
    world = MPI.COMM_WORLD
    if world.size < started:
        raise ImportError(
            f"mpiexec has started {started} processes, but mpi4py sees {world.size}: its library, "
            f"{MPI.Get_library_version().split(',')[0].strip()}, is another MPI than mpiexec's. "
            f"Use the mpiexec that belongs to it, {os.path.dirname(sys.executable)}/mpiexec say"
        )
    _world.mpi, _world.rank, _world.size = MPI, world.rank, world.size
    _world.weight = 1 / world.size
    if world.size > 1:
        _limit_threads(world.Split_type(MPI.COMM_TYPE_SHARED).size)
        shown = sys.excepthook
        sys.excepthook = lambda *error: abort(1, lambda: shown(*error))
        atexit.register(_end)


def _limit_threads(neighbours: int) -> None:
    """Leave each of the ranks of this machine its part of the cores."""
    if not any(f"{name}_NUM_THREADS" in os.environ for name in ("OMP", "OPENBLAS", "MKL", "BLIS")):
        from threadpoolctl import threadpool_limits

        threadpool_limits(max(1, cores() // neighbours))


def rank() -> int:
    """The number of this process, from 0.

    >>> import tinygrad_np as tg
    >>> tg.distributed.rank()
    0
    """
    return _world.rank


def size() -> int:
    """The number of processes.

    >>> import tinygrad_np as tg
    >>> tg.distributed.size()
    1
    """
    return _world.size


def abort(code: int, say: Callable[[], object]) -> None:
    """End all ranks with an exit code, after ``say()``; where there is one rank, say it only."""
    if _world.size == 1:
        say()
        return
    try:
        if _world.rank:
            time.sleep(1)  # what all ranks have to say alike, rank 0 says alone
            print(f"rank {_world.rank}:", file=sys.stderr)
        say()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        _world.mpi.COMM_WORLD.Abort(code)


def _end() -> None:
    """Wait for the others to end; where one goes on, all end with an error."""
    try:
        _meet("end")
    except RuntimeError as error:
        abort(1, partial(print, f"error: {error}", file=sys.stderr))


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process is the only rank: nothing is shared, averaged or waited for.

    >>> import tinygrad_np as tg
    >>> with tg.distributed.alone():
    ...     tg.distributed.size()
    1
    """
    before = vars(_world).copy(), random.rows()
    vars(_world).update(rank=0, size=1, weight=1.0, total=0)
    random.share_rows(None)
    try:
        yield
    finally:
        vars(_world).update(before[0])
        random.share_rows(*before[1])


# Exchange


def _meet(kind: str, nbytes: int = 0) -> None:
    """Raise RuntimeError unless all ranks are about to do the same.

    It costs a second, short message, and is what keeps ranks that part from waiting for each other
    for ever, or from adding what does not belong together.
    """
    mine = np.array([_KINDS.index(kind), nbytes])
    both = np.concatenate([mine, -mine])
    _world.mpi.COMM_WORLD.Allreduce(_world.mpi.IN_PLACE, both, _world.mpi.MAX)
    most, least = both[:2], -both[2:]
    if (most == least).all():
        return
    others = sorted({_KINDS[most[0]], _KINDS[least[0]]} - {kind})
    at = f"are at {' and '.join(others)!r}" if others else f"have {least[1]:,} to {most[1]:,} bytes"
    raise RuntimeError(
        f"the ranks do not do the same: rank {_world.rank} is at {kind!r} with {nbytes:,} bytes, "
        f"others {at}. All must make the same calls in the same order, with arrays of the same "
        "shapes"
    )


@tracing.pure
def all_reduce(array: Any, operation: str = "sum") -> Any:
    """The "sum", "max" or "min" of the ranks' arrays, elementwise; booleans are counted.

    >>> import tinygrad_np as tg
    >>> tg.distributed.all_reduce([1.0, 2.0])
    array([1., 2.])
    """
    dtype = np.asarray(array).dtype
    out = np.array(array, _known_to_mpi(dtype), order="C")
    _exchange(out, operation)
    return out.astype(np.float16) if dtype.char == "e" else out


def _known_to_mpi(dtype: np.dtype[Any]) -> Any:
    return {"e": np.float32, "?": np.int64}.get(dtype.char, dtype)


def _exchange(out: Array, operation: str) -> None:
    """Put the sum, or what else, of the ranks' arrays into each of them."""
    if _world.size > 1 and not tracing.is_rehearsal():
        _meet(operation, out.nbytes)
        way = getattr(_world.mpi, operation.upper())
        _world.mpi.COMM_WORLD.Allreduce(_world.mpi.IN_PLACE, out, way)


def agreed(value: T) -> T:
    """Rank 0's value, on every rank: anything that can be pickled.

    >>> import tinygrad_np as tg
    >>> tg.distributed.agreed({"seed": 7})
    {'seed': 7}
    """
    if _world.size == 1:
        return value
    _meet("broadcast")
    return _world.mpi.COMM_WORLD.bcast(value)  # type: ignore[no-any-return]


def broadcast(module: Any) -> None:
    """Give all ranks the state of rank 0's module: parameters, frozen ones and buffers.

    >>> import tinygrad_np as tg
    >>> tg.distributed.broadcast(tg.nn.Linear(3, 2, rng=0))
    """
    if _world.size > 1:
        module.load_state_dict(agreed(module.state_dict()))


# Batches


def part(rows: int) -> slice:
    """This rank's part of so many rows: from rows r // size to rows (r + 1) // size, r its rank.

    >>> import tinygrad_np as tg
    >>> tg.distributed.part(10)
    slice(0, 10, None)
    """
    start, stop = (rows * i // _world.size for i in (_world.rank, _world.rank + 1))
    return slice(start, stop)


def share(*arrays: Array) -> tuple[Array, ...]:
    """This rank's ``part`` of a batch's arrays; ``average`` and dropout go by it from here on.

    Where there are fewer rows than ranks, some compute the first row, and it counts nothing.
    Raises ValueError where the arrays differ in length or are empty.

    >>> import numpy as np, tinygrad_np as tg
    >>> x, t = tg.distributed.share(np.arange(6).reshape(3, 2), np.arange(3))
    >>> x.shape, t.shape
    ((3, 2), (3,))
    """
    if _world.mpi is None:
        return arrays
    lengths = [len(array) for array in arrays]
    total = lengths[0]
    if {*lengths} != {total} or not total:
        raise ValueError(f"the arrays of a batch must have the same number of rows, got {lengths}")
    rows = part(total)
    _world.weight, _world.total = (rows.stop - rows.start) / total, total
    rows = rows if rows.stop > rows.start else slice(0, 1)
    random.share_rows(rows, total)
    return tuple([array[rows] for array in arrays])


def shard(batches: Iterable[tuple[Array, ...]]) -> Iterator[tuple[Array, ...]]:
    """This rank's rows of each batch: see ``share``. The batches must be the same on all ranks.

    >>> import numpy as np, tinygrad_np as tg
    >>> x = np.arange(4)
    >>> [t.tolist() for _, t in tg.distributed.shard(tg.data.batches(x, x, 2, shuffle=False))]
    [[0, 1], [2, 3]]
    """
    return (share(*batch) for batch in batches)


def _averaged(x: Any) -> Any:
    """The mean of the ranks' arrays, each weighted by its rows."""
    return x * 1.0 if _world.mpi is None else _weighted_sum(x)


@tracing.pure
def _weighted_sum(x: Array) -> Array:
    # One pass writes what is sent: another one over the gradients took 3% of a step of W4.
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(float)
    out = np.asarray(np.multiply(x, _world.weight, dtype=_known_to_mpi(dtype), order="C"))
    _exchange(out, "sum")
    return out.astype(dtype, copy=False)


@op(
    cases=[case(normal(3, 4)), case(normal())], name="average_over_ranks",
    x=lambda g: OPS["average_over_ranks"](g),
)  # fmt: skip
def average(x: Value) -> Value:
    """The mean of the ranks' x, each weighted by its rows of the batch: the mean over the batch.

    Each rank's gradient is of its own loss, the mean over its rows, so the gradient here is
    ``average(g)``.

    >>> import tinygrad_np as tg
    >>> tg.distributed.average([1.0, 2.0]).tolist()
    [1.0, 2.0]
    """
    return _averaged(x)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Make each gradient that of the whole batch's mean loss: the average of the ranks' gradients.

    Call it after each ``backward``; gradients that were averaged before stay what they are. All of
    one dtype travel in one message (to begin during the backward pass gains next to nothing: see
    docs/many_machines.md). RuntimeError where the ranks' gradients differ in size, because one has
    none for some parameter, say.

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.distributed.average_gradients([w])
    >>> w.grad.tolist()
    [2.0, 4.0]
    """
    if _world.mpi is None:
        return
    groups: dict[Any, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(parameter.dtype, []).append(parameter)
    for group in groups.values():
        flat = _averaged(np.concatenate([p.grad.reshape(-1) for p in group]))  # type: ignore[union-attr]
        start = 0
        for parameter in group:
            stop = start + parameter.size
            parameter.grad = flat[start:stop].reshape(parameter.shape)
            start = stop


# Batch normalization


def synchronize(module: Any) -> None:
    """Let the batch normalization layers of a module use the statistics of the whole batch.

    Without it each rank standardizes its rows by themselves, and keeps running statistics of its
    own.

    >>> import numpy as np, tinygrad_np as tg
    >>> norm = tg.nn.BatchNorm1d(3)
    >>> _ = tg.distributed.synchronize(norm)
    >>> norm(np.ones((4, 3), np.float32)).shape
    (4, 3)
    """
    for _, part in module.named_modules():
        if hasattr(part, "synchronized"):
            part.synchronized = True


def batch_norm(
    x: Operand, running_mean: Operand | None, running_var: Operand | None,
    weight: Operand | None = None, bias: Operand | None = None, momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """``tg.batch_norm`` while training, with the statistics of the whole batch."""
    x = x if isinstance(x, Tensor) else Tensor(x)
    axes = (0, *range(2, x.ndim))
    center = average(mean(x, axis=axes, keepdims=True))
    centered = subtract(x, center)
    spread = average(mean(square(centered), axis=axes, keepdims=True))
    factor = tracing.host(_unbiased, len(x.data), math.prod(x.shape[2:]))
    if running_mean is not None:
        follow(plain(running_mean), plain(center).reshape(-1), momentum)
    if running_var is not None:
        follow(plain(running_var), (plain(spread) * factor).reshape(-1), momentum)
    return affine(divide(centered, sqrt(spread + eps)), weight, bias, center.shape)


def _unbiased(rows: int, places: int) -> float:
    """What makes a variance over the batch one without bias: n / (n - 1)."""
    count = (_world.total or rows) * places
    if count == 1:
        raise ValueError("batch_norm: a batch of one element for each feature has no variance")
    return count / (count - 1)
