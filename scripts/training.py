"""Training as a thing that can be stopped anywhere and taken up again, to the last bit the same."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import tinygrad_np as tg
from scripts import generators
from scripts.augmentation import Augmentation
from scripts.pixels import scale_of
from tinygrad_np.data import batches
from tinygrad_np.data.folder import DataSet
from tinygrad_np.nn import Module
from tinygrad_np.optim import Optimizer

Array = NDArray[Any]


class NonFiniteError(FloatingPointError):
    """The loss or a weight is nan or infinite: training will not recover."""


@dataclass(frozen=True)
class Metrics:
    """How training stands after an epoch, or at the end of one that was cut short.

    ``train_loss`` is the mean over the epoch's batches, as they were met; the accuracies are those
    of the network as it is now, on all images. ``seconds`` is the time of the updates alone.
    """

    epoch: float
    train_loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float


def prepared(x: Array, dtype: DTypeLike, scale: float | None = None) -> Array:
    """What a network is given of images (n, ...): rows (n, pixels), divided by ``scale``.

    By default the scale is what ``scale_of`` finds: 255 for bytes.

    It is done batch by batch, so that images may stay in a file that is larger than memory.
    """
    rows = x.reshape(len(x), -1)
    scale = scale_of(x) if scale is None else scale
    return rows.astype(dtype) if scale == 1 else np.divide(rows, scale, dtype=dtype)


def loss_of(model: Module, x: Array, labels: Array) -> tg.Tensor:
    """The model's own loss, or the softmax cross-entropy of what it returns."""
    own = getattr(model, "loss", None)
    loss = own(x, labels) if own else tg.softmax_cross_entropy(model(x), labels)
    assert isinstance(loss, tg.Tensor)
    return loss


def score_batches(model: Module, x: Array, scale: float | None = None) -> Iterator[Array]:
    """What the model returns for images (n, ...), in ``eval`` mode, a batch (m, classes) a time.

    ``scale`` is what the pixels are divided by, as for ``prepared``.
    """
    dtype = model.parameters()[0].dtype
    scale = scale_of(x) if scale is None else scale
    pixels = math.prod(x.shape[1:])
    batch_size = min(2000, max(1, 2**21 // pixels))  # 8 MB of float32, whatever the images' size
    for i in range(0, len(x), batch_size):
        with _evaluating(model), tg.no_grad():
            part = model(prepared(x[i : i + batch_size], dtype, scale)).data
        yield part


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    """Inside, the model is in ``eval`` mode; afterwards each of its parts is as it was."""
    modes = [(module, module.training) for _, module in model.named_modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def scores(model: Module, x: Array, scale: float | None = None) -> Array:
    """What the model returns for images (n, ...), in ``eval`` mode: (n, classes)."""
    return np.concatenate(list(score_batches(model, x, scale)))


def probabilities(model: Module, scores: Array) -> Array:
    """A probability for each class, (n, classes).

    The softmax of the scores, unless the model says itself what its ``outputs`` are. Those of a
    network that was trained on squared errors estimate probabilities: they are cut at 0 and
    divided by their sum.
    """
    outputs = getattr(model, "outputs", None)
    if outputs is None:
        return tg.softmax(scores).data
    positive = np.maximum(outputs(scores), 0)
    total = positive.sum(axis=1, keepdims=True)
    shares: Array = np.full_like(positive, 1 / positive.shape[1])
    np.divide(positive, total, out=shares, where=total > 0)
    return shares


def accuracy(
    model: Module,
    x: Array,
    labels: Array,
    each: Callable[[], None] | None = None,
    scale: float | None = None,
) -> float:
    """The share of images whose highest score is that of their label; ``each`` batch calls that."""
    hits = start = 0
    for part in score_batches(model, x, scale):
        hits += int(np.sum(part.argmax(axis=1) == labels[start : start + len(part)]))
        start += len(part)
        if each is not None:
            each()
    return hits / len(x)


def updates_per_epoch(images: int, batch_size: int, replacement: bool) -> int:
    """How many batches ``tinygrad_np.data.batches`` makes of so many images."""
    if batch_size > images:
        raise ValueError(f"a batch of {batch_size} is more than the {images} training images")
    return images // batch_size if replacement else -(-images // batch_size)


def step_of(model: Module, optimizer: Optimizer) -> Callable[[Array, Array], tg.Tensor]:
    """One step of training on a batch, which returns its loss; ``tg.compile`` can replay it."""

    def step(x: Array, labels: Array) -> tg.Tensor:
        loss = loss_of(model, x, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


class _Rows:
    """The numbers of so many rows, taken by ``batches`` for an array, and never held in memory."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: Array) -> Array:
        return rows


class Training:
    """A model, its optimiser, the data, and how far it has come.

    ``update`` makes one step, ``evaluate`` a row of figures: at the end of every epoch, and after
    the last update, where ``row_due`` asks for it. ``state`` is all that has to be kept to go on,
    and ``restore`` goes on from there as if nothing had happened.

    ``scale`` is what the pixels are divided by, by default as ``scale_of`` finds for either set.
    ``augment(x, rng)`` changes each batch before use. ``compiled`` replays the step by
    ``tg.compile``, to the last bit as it would be without.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        data: DataSet,
        *,
        updates: int,
        batch_size: int,
        rng: np.random.Generator,
        replacement: bool = False,
        scale: float | None = None,
        augment: Augmentation | None = None,
        compiled: bool = False,
    ) -> None:
        self.model, self.optimizer, self.data = model, optimizer, data
        self.updates, self.batch_size, self.rng = updates, batch_size, rng
        self.replacement, self.augment = replacement, augment
        self.per_epoch = updates_per_epoch(len(data[0][0]), batch_size, replacement)
        self.dtype = model.parameters()[0].dtype
        self.compiled = compiled
        self.scales = [scale_of(x) if scale is None else scale for x, _ in data]
        self.kept = buffers(model).keys()
        self._step = step_of(model, optimizer)
        self._replayed = tg.compile(self._step, exact=True)
        self.done = 0
        self.rows: list[Metrics] = []
        self.losses: list[float] = []
        self.seconds = 0.0
        self.batch: tuple[Array, Array] | None = None
        self._epoch: Iterator[tuple[Array, Array]] = iter(())
        self._epoch_start: dict[str, Any] = {}

    @property
    def finished(self) -> bool:
        """Whether all updates are made."""
        return self.done >= self.updates

    @property
    def row_due(self) -> bool:
        """Whether an epoch, or all, is over and its figures are still to be found."""
        over = self.done % self.per_epoch == 0 or self.finished
        return over and self.done > 0 and self._row_updates() < self.done

    def _row_updates(self) -> int:
        return round(self.rows[-1].epoch * self.per_epoch) if self.rows else 0

    def update(self) -> float:
        """Take the next batch, update the weights, return the loss.

        Raises NonFiniteError where it is nan or infinite.
        """
        start = time.perf_counter()
        if self.done % self.per_epoch == 0:
            self._begin_epoch()
        rows, _ = next(self._epoch)
        (x_train, t_train), _ = self.data
        x = prepared(x_train[rows], self.dtype, self.scales[0])
        labels = t_train[rows].astype(np.int64)
        if self.augment is not None:
            x = self.augment(x, self.rng)
        self.batch = x, labels
        step = self._replayed if self.compiled else self._step
        loss: float = step(x, labels).item()
        self.done += 1
        self.losses.append(loss)
        self.seconds += time.perf_counter() - start
        if not math.isfinite(loss):
            raise NonFiniteError(f"the loss became {loss} at update {self.done:,}")
        return loss

    def _begin_epoch(self) -> None:
        """Start the batches of an epoch, drawn from the generator as it is now."""
        self._epoch_start = generators.state_of(self.rng)
        self.losses = []
        rows: Any = _Rows(len(self.data[0][0]))
        self._epoch = batches(
            rows, rows, self.batch_size, rng=self.rng, replacement=self.replacement
        )

    def batch_accuracy(self) -> float:
        """The share of the last batch that the network, as it is now, gets right."""
        assert self.batch is not None
        with generators.untouched(self.model, order=self.rng):
            return accuracy(self.model, *self.batch, scale=1)

    def evaluate(self, each: Callable[[], None] | None = None) -> Metrics:
        """Find the figures of the epoch that is over; ``each`` is called between batches."""
        if self.rows and self._row_updates() % self.per_epoch:
            self.rows.pop()  # of an epoch that has gone on since
        before = generators.states(self.model, order=self.rng)
        try:
            train, test = (
                accuracy(self.model, x, labels, each, scale)
                for (x, labels), scale in zip(self.data, self.scales, strict=True)
            )
        except BaseException:  # they will be found again, by the same draws
            generators.restore_all(before, self.model, order=self.rng)
            raise
        loss = float(np.mean(self.losses))
        row = Metrics(self.done / self.per_epoch, loss, train, test, self.seconds)
        self.rows.append(row)
        self.seconds = 0.0
        return row

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """All that has to be kept to go on from here: arrays, and what fits into JSON.

        Raises NonFiniteError where a weight is nan or infinite: such a state is not worth keeping.
        """
        optimizer = self.optimizer.state_dict()
        arrays = {"losses": np.array(self.losses, np.float64)}
        for name, parameter in self.model.named_parameters():
            if not np.isfinite(parameter.data).all():
                raise NonFiniteError(
                    f"the parameter {name} is not finite after update {self.done:,}"
                )
            arrays[f"model.{name}"] = parameter.data.copy()
        arrays |= {f"optimizer.{name}": array for name, array in optimizer["state"].items()}
        found = buffers(self.model, self.kept)
        arrays |= {f"buffer.{name}": array.copy() for name, array in found.items()}
        return arrays, {
            "updates": self.done,
            "optimizer_updates": optimizer["updates"],
            "rows": [asdict(row) for row in self.rows],
            "seconds": self.seconds,
            "epoch_start": self._epoch_start,
            "generators": generators.states(self.model, order=self.rng),
        }

    def restore(self, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> None:
        """Go on from a ``state``; ValueError where it is another model's or optimiser's."""
        restore_model(self.model, arrays)
        self.optimizer.load_state_dict(
            {"updates": state["optimizer_updates"], "state": _part(arrays, "optimizer")}
        )
        self.optimizer.zero_grad()
        self.done = int(state["updates"])
        self.rows = [Metrics(**row) for row in state["rows"]]
        self.seconds = state["seconds"]
        if self.done % self.per_epoch:
            generators.restore(self.rng, state["epoch_start"])
            self._begin_epoch()
            skipped = self.done % self.per_epoch
            next(islice(self._epoch, skipped - 1, skipped))
        self.losses = arrays["losses"].tolist()
        generators.restore_all(state["generators"], self.model, order=self.rng)

    def first_nonfinite(self, update: int) -> str | None:
        """From a restored state, where nan or inf first appeared on the way to an update, in words.

        The last two batches are run in debug mode: what makes the loss of one nan may have
        happened to the weights in the one before.
        """
        self.compiled = False
        try:
            while self.done < update - 2:
                self.update()
            with tg.debug():
                while self.done < update:
                    self.update()
        except NonFiniteError:
            return None
        except FloatingPointError as error:
            return f"at update {self.done + 1:,}, {error}"
        return None


def restore_model(model: Module, arrays: Mapping[str, Array]) -> None:
    """Give a model the arrays of a ``Training.state``; ValueError where they are another's."""
    given = _part(arrays, "buffer")
    ours = buffers(model, given)
    if {name: a.shape for name, a in ours.items()} != {name: a.shape for name, a in given.items()}:
        raise ValueError(f"the model's arrays that are no parameters differ: {sorted(given)}")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    others = {name: a for name, a in model.state_dict().items() if name not in trained}
    model.load_state_dict({**others, **_part(arrays, "model")})
    for path, holder, key in generators.places(model):
        if path in given:
            _put(holder, key, given[path])


def _put(holder: Any, key: Any, array: Array) -> None:
    """Write into the array that is there, or put another one there if it is of another kind."""
    there = holder[key]
    inner = there.data if isinstance(there, tg.Tensor) else there
    if type(inner) is np.ndarray and inner.dtype == array.dtype:
        inner[...] = array
    elif isinstance(there, tg.Tensor):
        there.data = array
    else:  # a number, say, or what a trace that failed has left
        holder[key] = array


def _part(arrays: Mapping[str, Array], name: str) -> dict[str, Array]:
    start = f"{name}."
    return {key.removeprefix(start): arrays[key] for key in arrays if key.startswith(start)}


def buffers(model: Module, names: Container[str] = ()) -> dict[str, Array]:
    """Arrays of the modules that are no parameters, such as running means, by path.

    Those of the ``names`` are meant for arrays, though they may be numbers by now.
    """
    found = {}
    for path, holder, key in generators.places(model):
        value = holder[key]
        constant = isinstance(value, tg.Tensor) and not value.requires_grad
        array = value.data if constant else value
        if isinstance(array, np.ndarray) or path in names:
            found[path] = array if isinstance(array, np.ndarray) else np.asarray(array)
    return found
