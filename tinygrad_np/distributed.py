"""Training on many machines: processes started by ``mpiexec`` share each batch (extra ``mpi``).

Every process, called a *rank*, holds the whole model and computes the mean loss over its own rows
of a batch. The ranks average their gradients, weighted by the number of rows, so each of them makes
the update that one process would make on the whole batch:

    tg.distributed.init()
    for x, t in tg.distributed.shard(tg.data.batches(x_train, t_train, 128, rng=rng)):
        loss = tg.softmax_cross_entropy(model(x), t)
        loss.backward()
        tg.distributed.average_gradients(model.parameters())
        optimizer.step()
        optimizer.zero_grad()

All ranks must draw the same batches (from generators with the same seed) and start from the same
weights (by the same seed, or by ``broadcast``). Dropout draws its masks for the whole batch, so the
weights depend on the number of ranks only by rounding. In one process these functions exchange
nothing. Steps may be compiled: the exchange then runs between two programs, backward and update.
"""

from __future__ import annotations

import atexit
import functools
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from . import random, tracing
from .cases import case, normal
from .config import cores
from .definition import OPS, Value, op
from .ops.elementwise import divide, sqrt, square, subtract
from .ops.normalization import affine, follow
from .ops.reduction import mean
from .shared_memory import Array, Pair, lending
from .shared_sum import SharedSum, can_share
from .tensor import Operand, Tensor, plain

T = TypeVar("T")

_STARTED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
"""Where Open MPI's ``mpiexec``, MPICH's and Slurm's ``srun`` give the number of processes."""
_KINDS = ("end", "begin", "sum", "max", "min", "broadcast")
"""What the ranks can do together."""


@dataclass
class _World:
    """The processes, and this one's part of the batch. The defaults are those of one process."""

    mpi: Any = None
    rank: int = 0
    size: int = 1
    total: int = 0
    """The number of rows of the whole batch; 0 where each rank has as many rows as the others."""
    sums: Any = None
    """The ``SharedSum`` of the ranks; None in one process."""
    pair: Any = None
    """The ``Pair`` of two ranks on one machine; None for other ranks."""


_world = _World()


# Beginning and end


def init(required: bool = False) -> None:
    """Join the other processes that ``mpiexec`` has started; in one process, do nothing.

    Call it first. From here on an exception in one rank ends all ranks, and NumPy's BLAS uses this
    rank's share of the machine's cores, unless ``OPENBLAS_NUM_THREADS`` or its like is set.

    With ``required``, or under ``mpiexec``, it raises ImportError if mpi4py or an MPI library is
    missing, or if the library and ``mpiexec`` belong to different MPIs.

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
    if world.size == 1:
        return
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    _limit_threads(node.size)
    alike = len({*world.allgather(node.size)}) == 1  # so the slices are the same on all machines
    if not (world.allreduce(can_share(node), MPI.MIN) and alike):
        node = MPI.COMM_SELF
    _world.mpi, _world.rank, _world.size = MPI, world.rank, world.size
    _world.sums = SharedSum(MPI, node, world.Split(node.rank))
    _world.pair = Pair(node) if world.size == node.size == 2 else None
    shown = sys.excepthook
    sys.excepthook = lambda *error: abort(1, lambda: shown(*error))
    atexit.register(_end)


def _limit_threads(neighbours: int) -> None:
    """Divide the cores among the ranks of this machine."""
    if not any(f"{name}_NUM_THREADS" in os.environ for name in ("OMP", "OPENBLAS", "MKL", "BLIS")):
        from threadpoolctl import threadpool_limits

        threadpool_limits(max(1, cores() // neighbours))


def rank() -> int:
    """The number of this process, counted from 0.

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
    """Call ``say()``, which prints an error; where there are several ranks, end all of them."""
    if _world.size == 1:
        say()
        return
    try:
        if _world.rank:
            time.sleep(1)  # an error that all ranks have, rank 0 prints alone
            print(f"rank {_world.rank}:", file=sys.stderr)
        say()
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(0.5)  # MPICH's mpiexec drops what it has not read when a rank aborts
    finally:
        _world.mpi.COMM_WORLD.Abort(code)


def _end() -> None:
    """Wait until all ranks end; if one of them still wants to exchange, end all with an error."""
    try:
        _meet("end")
    except RuntimeError as error:
        abort(1, functools.partial(print, f"error: {error}", file=sys.stderr))


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process works as if it were the only rank: it exchanges nothing.

    >>> import tinygrad_np as tg
    >>> with tg.distributed.alone():
    ...     tg.distributed.size()
    1
    """
    before = vars(_world).copy(), random.rows()
    vars(_world).update(rank=0, size=1, total=0)
    random.share_rows(None)
    try:
        yield
    finally:
        vars(_world).update(before[0])
        random.share_rows(*before[1])


# Exchange


def _meet(kind: str, nbytes: int = 0) -> None:
    """Wait for all ranks, and raise RuntimeError unless they are about to do the same.

    Without this short message, ranks whose programs diverge would wait for each other for ever, or
    add arrays that do not belong together.
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
    """The elementwise "sum", "max" or "min" of the ranks' arrays; booleans count as 0 and 1.

    >>> import tinygrad_np as tg
    >>> tg.distributed.all_reduce([1.0, 2.0])
    array([1., 2.])
    """
    dtype = np.asarray(array).dtype
    known_to_mpi = {"e": np.float32, "?": np.int64}.get(dtype.char, dtype)
    out = np.array(array, known_to_mpi, order="C")
    if _exchanges():
        _meet(operation, out.nbytes)
        way = getattr(_world.mpi, operation.upper())
        _world.mpi.COMM_WORLD.Allreduce(_world.mpi.IN_PLACE, out, way)
    return out.astype(np.float16) if dtype.char == "e" else out


def agreed(value: T) -> T:
    """Rank 0's value, on every rank; it may be anything that can be pickled.

    >>> import tinygrad_np as tg
    >>> tg.distributed.agreed({"seed": 7})
    {'seed': 7}
    """
    if _world.size == 1:
        return value
    _meet("broadcast")
    return _world.mpi.COMM_WORLD.bcast(value)  # type: ignore[no-any-return]


def broadcast(module: Any) -> None:
    """Give all ranks the state of rank 0's module: parameters, also frozen ones, and buffers.

    >>> import tinygrad_np as tg
    >>> tg.distributed.broadcast(tg.nn.Linear(3, 2, rng=0))
    """
    if _world.size > 1:
        module.load_state_dict(agreed(module.state_dict()))


# Batches


def part(rows: int) -> slice:
    """This rank's part of so many rows: ``rows * rank // size`` up to that of the next rank.

    >>> import tinygrad_np as tg
    >>> tg.distributed.part(10)
    slice(0, 10, None)
    """
    return _part(rows, _world.rank)


def _part(rows: int, rank: int) -> slice:
    return slice(rows * rank // _world.size, rows * (rank + 1) // _world.size)


def _weight(rank: int) -> float:
    """A rank's rows, divided by all rows of the batch."""
    rows = _part(_world.total, rank)
    return (rows.stop - rows.start) / _world.total if _world.total else 1 / _world.size


def share(*arrays: Array) -> tuple[Array, ...]:
    """This rank's ``part`` of a batch's arrays. From here on ``average`` weights ranks by it.

    With fewer rows than ranks, some ranks compute the first row with weight 0. Dropout takes this
    rank's rows of the whole batch's mask. Raises ValueError if the arrays are empty, or differ in
    length.

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
    rows, _world.total = part(total), total
    rows = rows if rows.stop > rows.start else slice(0, 1)
    random.share_rows(rows, total)
    return tuple([array[rows] for array in arrays])


def shard(batches: Iterable[tuple[Array, ...]]) -> Iterator[tuple[Array, ...]]:
    """This rank's rows of each batch, by ``share``. All ranks must draw the same batches.

    >>> import numpy as np, tinygrad_np as tg
    >>> x = np.arange(4)
    >>> [t.tolist() for _, t in tg.distributed.shard(tg.data.batches(x, x, 2, shuffle=False))]
    [[0, 1], [2, 3]]
    """
    return (share(*batch) for batch in batches)


@tracing.pure
def _average(*arrays: Array, out: Array | None = None) -> Array:
    """Join arrays of one dtype, flattened, and average them over the ranks, weighted by rows."""
    dtype = arrays[0].dtype if arrays[0].dtype.kind in "fc" else np.dtype(float)
    wide = np.dtype(np.float32) if dtype.char == "e" else dtype
    count = sum([x.size for x in arrays])
    out = np.empty(count, dtype) if out is None else out
    sums = _world.sums if _exchanges() else None
    if sums and sums.is_short_of(count * wide.itemsize):
        _meet("sum", count * wide.itemsize)
        sums.reserve(count * wide.itemsize)
    place, weight, start = sums.own(count, wide) if sums else out, _weight(_world.rank), 0
    for x in arrays:  # one pass copies and weights: a second one took 3% of a step of W4
        part = place[start : start + x.size].reshape(x.shape)
        np.multiply(x, weight, out=part, dtype=wide)
        start += x.size
    if sums:
        _meet("sum", count * wide.itemsize)
        sums.total(count, wide, out)
    return out


@op(
    cases=[case(normal(3, 4)), case(normal())], name="average_over_ranks",
    x=lambda g: OPS["average_over_ranks"](g),
)  # fmt: skip
def average(x: Value) -> Value:
    """The mean of the ranks' x, weighted by their rows: of mean losses, the mean over the batch.

    Each rank differentiates the mean loss over its own rows, so the gradient is ``average(g)``.

    >>> import tinygrad_np as tg
    >>> tg.distributed.average([1.0, 2.0]).tolist()
    [1.0, 2.0]
    """
    return x * 1.0 if _world.mpi is None else _average(x).reshape(x.shape)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its average over the ranks: that of the whole batch's mean loss.

    Call it after ``backward``; a second call changes nothing. All gradients of one dtype are
    averaged together. Raises RuntimeError if the ranks' gradients differ in size, for example
    because one rank lacks a gradient.

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
        gradients = [plain(p.grad) for p in group]
        joined = _of_pair if _world.pair and gradients[0].dtype.char in "fd" else _of_all
        for parameter, gradient in zip(group, joined(gradients), strict=True):
            parameter.grad = gradient


def _of_all(gradients: list[Array]) -> Iterator[Array]:
    """The averages of the gradients, as parts of one array."""
    flat, start = _average(*gradients), 0
    for gradient in gradients:
        yield flat[start : start + gradient.size].reshape(gradient.shape)
        start += gradient.size


def _of_pair(gradients: list[Array]) -> Iterator[Array]:
    """The averages of two ranks' gradients, which read each other's where they lie.

    A compiled program adds them up in the loop of the optimizer's update: they are neither copied
    nor stored. That saves a tenth of a step of W4.
    """
    tracing.check(_begin)
    given = _lay_open(*gradients)
    for i, gradient in enumerate(gradients):
        yield gradient * given[0] + _theirs(given, i, gradient) * given[1]


def _exchanges() -> bool:
    return _world.size > 1 and not tracing.is_rehearsal()


def _begin() -> None:
    """Wait until the other rank has read what this one laid open, and may now write to again."""
    if _exchanges():
        _meet("begin")
        _world.pair.begin()


@tracing.pure
def _lay_open(*arrays: Array) -> Array:
    """Let the other rank read the arrays. Returns both weights and the number of the exchange."""
    given: list[float] = [1, 0, 0]
    if _exchanges():
        _meet("sum", sum([x.nbytes for x in arrays]))
        given = [_weight(_world.rank), _weight(1 - _world.rank), _world.pair.exchange(arrays)]
    return np.array(given, arrays[0].dtype)


@tracing.pure
@lending
def _theirs(given: Array, i: int, mine: Array) -> Array:
    """The other rank's array for mine."""
    if not _exchanges():
        return _zeros(mine.shape, mine.dtype)
    return _world.pair.lent[int(given[2])][i]  # type: ignore[no-any-return]


_zeros = functools.lru_cache(np.zeros)


# Batch normalization


def synchronize(module: Any) -> None:
    """Let the batch normalization layers of a module use the statistics of the whole batch.

    Otherwise each rank standardizes its own rows and keeps its own running statistics.

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
    """The factor n / (n - 1) that makes the variance of the batch unbiased."""
    count = (_world.total or rows) * places
    if count == 1:
        raise ValueError("batch_norm: a batch of one element for each feature has no variance")
    return count / (count - 1)
