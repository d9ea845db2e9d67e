"""A training loop that resumes bit for bit: updates, evaluations, and the state to save."""

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

import tinygrad_np as tg
from scripts.datasets import Data, Form
from scripts.measures import Measure
from scripts.recipes import Recipe
from tinygrad_np import distributed
from tinygrad_np.data import batches
from tinygrad_np.generators import is_generator, restore, state_of
from tinygrad_np.module_state import Held, Part, kind_of, walk
from tinygrad_np.nn import Module
from tinygrad_np.tensor import Array


class NonFiniteError(FloatingPointError):
    """The loss or a weight is nan or infinite: training will not recover."""


class Metrics(NamedTuple):
    """The figures of an epoch, or of the part of one that was trained.

    ``train_loss`` is the mean over the epoch's batches, each taken before its update; ``train``
    and ``test`` are the run's measure (accuracy, for images) of the network after the epoch, on
    all data. ``seconds`` counts the updates alone.
    """

    epoch: float
    train_loss: float
    train: float
    test: float
    seconds: float


def loss_of(model: Module, x: Array, labels: Array) -> tg.Tensor:
    """The model's own loss, or the softmax cross-entropy of what it returns."""
    own = getattr(model, "loss", None)
    loss = own(x, labels) if own else tg.softmax_cross_entropy(model(x), labels)
    assert isinstance(loss, tg.Tensor)
    return loss


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Inside, the model is in ``eval`` mode; afterwards each of its parts is as it was."""
    modes = [(module, module.training) for _, module in model.named_modules()]
    model.eval()
    try:
        with tg.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def score_batches(model: Module, x: Array, form: Form) -> Iterator[Array]:
    """The model's outputs for data (n, ...), in ``eval`` mode, a batch (m, classes) at a time.

    Batches are prepared one by one, so that images can stay in a file that is larger than memory.
    """
    dtype = model.parameters()[0].dtype
    batch_size = min(form.most, max(1, 2**21 // math.prod(x.shape[1:])))  # 8 MB of float32
    for i in range(0, len(x), batch_size):
        with evaluating(model):
            part = model(form.inputs(x[i : i + batch_size], dtype)).data
        yield part


def scores(model: Module, x: Array, form: Form) -> Array:
    """The model's outputs for images (n, ...), in ``eval`` mode: (n, classes)."""
    return np.concatenate(list(score_batches(model, x, form)))


def total(
    measure: Measure, model: Module, x: Array, labels: Array, form: Form,
    each: Callable[[], None] = lambda: None,
) -> float:  # fmt: skip
    """The sum of a measure over the labels; ``each`` is called after every batch."""
    found, start = 0.0, 0
    for part in score_batches(model, x, form):
        found += measure.total(part, labels[start : start + len(part)])
        start += len(part)
        each()
    return found


def probabilities(model: Module, scores: Array) -> Array:
    """A probability for each class, (n, classes): the softmax of the scores.

    A model may define ``outputs`` instead. The outputs of a network trained on squared errors
    estimate probabilities: they are clipped at 0 and divided by their sum.
    """
    outputs = getattr(model, "outputs", None)
    if outputs is None:
        return tg.softmax(scores).data
    positive = np.maximum(outputs(scores), 0)
    total = positive.sum(axis=1, keepdims=True)
    shares: Array = np.full_like(positive, 1 / positive.shape[1])
    np.divide(positive, total, out=shares, where=total > 0)
    return shares


class Training:
    """A model, the data, the recipe by which the model is trained on them, and the progress so far.

    ``update`` makes one step; ``evaluate`` adds a row of metrics wherever ``row_due`` asks for it:
    after every epoch and after the last update. ``state`` is all that a checkpoint has to keep;
    after ``restore`` training continues as if it had never stopped.

    ``compiled`` replays the step by ``tg.compile``, with eager's results bit for bit.
    """

    def __init__(
        self, model: Module, data: Data, recipe: Recipe, rng: np.random.Generator,
        compiled: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.data, self.recipe, self.rng = model, data, recipe, rng
        self.per_epoch, self.updates = recipe.length(data.samples)
        self.optimizer = recipe.make_optimizer(model, self.updates)
        self.augment = recipe.augmentation(data.form, data.shape)
        self.dtype = model.parameters()[0].dtype
        self.done, self.seconds = 0, 0.0
        self.rows: list[Metrics] = []
        self.losses: list[float] = []
        self.batch: tuple[Array, Array] | None = None
        self._epoch: Iterator[tuple[Array, Array]] = iter(())
        self._epoch_start: Any = {}
        self._step = tg.compile(self._eager_step(), exact=True) if compiled else self._eager_step()

    def _eager_step(self) -> Callable[[Array, Array], tg.Tensor]:
        """The step: forward, backward, update."""
        model, optimizer = self.model, self.optimizer

        def step(x: Array, labels: Array) -> tg.Tensor:
            loss = loss_of(model, x, labels)
            loss.backward()
            distributed.average_gradients(model.parameters())
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return step

    @property
    def finished(self) -> bool:
        """Whether all updates are made."""
        return self.done >= self.updates

    @property
    def row_due(self) -> bool:
        """Whether an epoch, or the whole run, is over and its metrics are still missing."""
        over = self.done % self.per_epoch == 0 or self.finished
        return over and self.done / self.per_epoch > (self.rows[-1].epoch if self.rows else 0)

    def update(self) -> float:
        """Take the next batch, update the weights, return the loss.

        Raises NonFiniteError where the loss is nan or infinite.
        """
        start = time.perf_counter()
        if self.done % self.per_epoch == 0:
            self._begin_epoch()
        rows, _ = next(self._epoch)
        images, labels = self.data.sets[0]
        if self.augment is None:
            (rows,) = distributed.share(rows)
        x, t = self.data.form.inputs(images[rows], self.dtype), labels[rows].astype(np.int64)
        if self.augment is not None:  # it moves parts of the whole batch
            x, t = distributed.share(self.augment(x, self.rng), t)
        self.batch = x, t
        loss: float = self._step(x, t).item()
        if distributed.size() > 1:
            loss = distributed.average(loss).item()
        self.done += 1
        self.losses.append(loss)
        self.seconds += time.perf_counter() - start
        if not math.isfinite(loss):
            raise NonFiniteError(f"the loss became {loss} at update {self.done:,}")
        return loss

    def _begin_epoch(self) -> None:
        """Draw the order of an epoch's batches from the generator's present state."""
        self._epoch_start, self.losses = _as_json(self.rng), []
        rows = np.arange(len(self.data.sets[0][0]))
        self._epoch = batches(
            rows, rows, self.recipe.batch_size, rng=self.rng, replacement=self.recipe.replacement
        )

    @contextmanager
    def _generators_kept(self) -> Iterator[None]:
        before = self._generator_states()
        try:
            yield
        finally:
            self._restore_generators(before)

    def batch_measure(self) -> float:
        """The measure of the present network on the last batch."""
        assert self.batch is not None
        with self._generators_kept(), evaluating(self.model):
            x, labels = self.batch
            return self.data.measure.total(self.model(x).data, labels) / labels.size

    def evaluate(self, each: Callable[[], None] = lambda: None) -> Metrics:
        """Compute the metrics of the epoch that is over; ``each`` is called between batches."""
        with self._generators_kept():
            train, test = (self._measured(i, each) for i in range(2))
        if self.rows and self.rows[-1].epoch % 1:
            self.rows.pop()  # the row of a part of this epoch, from before the run was made longer
        loss, epoch = float(np.mean(self.losses)), self.done / self.per_epoch
        self.rows.append(Metrics(epoch, loss, train, test, self.seconds))
        self.seconds = 0.0
        return self.rows[-1]

    def _measured(self, i: int, each: Callable[[], None]) -> float:
        """The measure on one of the sets; each rank looks at a part of it."""
        x, labels = (a[:: self.data.strides[i]] for a in self.data.sets[i])
        mine = distributed.part(len(x))
        with distributed.alone():
            own = total(self.data.measure, self.model, x[mine], labels[mine], self.data.form, each)
        return float(distributed.all_reduce(own)) / labels.size

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """All that is needed to continue from here: arrays, and what fits into JSON.

        Raises NonFiniteError where a parameter is nan or infinite: such a state is not worth
        keeping.
        """
        for name, parameter in self.model.named_parameters():
            if not np.isfinite(parameter.data).all():
                raise NonFiniteError(f"parameter {name} is not finite after update {self.done:,}")
        optimizer = self.optimizer.state_dict()
        arrays = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": array for name, array in optimizer["state"].items()}
        arrays["losses"] = np.array(self.losses, np.float64)
        return arrays, {
            "updates": self.done,
            "optimizer_updates": optimizer["updates"],
            "rows": [row._asdict() for row in self.rows],
            "seconds": self.seconds,
            "epoch_start": self._epoch_start,
            "generators": self._generator_states(),
        }

    def restore(self, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> None:
        """Continue from a ``state``; ValueError where the model or the optimiser is another."""
        restore_model(self.model, arrays)
        self.optimizer.load_state_dict(
            {"updates": state["optimizer_updates"], "state": _part(arrays, "optimizer.")}
        )
        self.optimizer.zero_grad()
        self.done, self.seconds = int(state["updates"]), state["seconds"]
        self.rows = [Metrics(**row) for row in state["rows"]]
        if skipped := self.done % self.per_epoch:
            _restore(self.rng, state["epoch_start"])
            self._begin_epoch()
            next(islice(self._epoch, skipped - 1, skipped))
        self.losses = arrays["losses"].tolist()
        self._restore_generators(state["generators"])

    def _generators(self) -> dict[str, Any]:
        """Every random generator that the model may draw from, by name."""
        inside = {f"model.{name}": v for name, v, *_ in _parts(self.model) if is_generator(v)}
        default = tg.random.default_generator()
        shared = {"python": random._inst, "numpy": np.random.mtrand._rand}
        return {**shared, "tinygrad_np": default, "order": self.rng, **inside}

    def _generator_states(self) -> dict[str, Any]:
        return {name: _as_json(rng) for name, rng in self._generators().items()}

    def _restore_generators(self, states: Mapping[str, Any]) -> None:
        generators = self._generators()
        if states.keys() != generators.keys():
            raise ValueError(f"the model has other random generators now: {', '.join(generators)}")
        for name, rng in generators.items():
            _restore(rng, states[name])


def restore_model(model: Module, arrays: Mapping[str, Array]) -> None:
    """Load the model of a ``Training.state``; ValueError where it does not fit.

    A buffer may have another dtype than in a new model, because training has replaced it.
    """
    state = _part(arrays, "model.")
    for name, value, holder, key in list(_parts(model)):
        if kind_of(value, holder) != "buffer" or name not in state:
            continue
        array = state[name]
        if array.dtype != value.dtype and array.shape == value.shape:
            if isinstance(value, tg.Tensor):
                value.data = array
            else:
                Held("buffer", None, holder, key).put(array)
    model.load_state_dict(state)


def _parts(model: Module) -> Iterator[Part]:
    """Everything in a model by path, also in its lists, tuples and dicts."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            yield from walk((f"{path}.{name}".lstrip("."), value, module, name))


def _part(arrays: Mapping[str, Array], start: str) -> dict[str, Array]:
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def _as_json(rng: Any) -> Any:
    """A generator's state, with lists in the place of arrays and tuples."""
    return json.loads(json.dumps(state_of(rng), default=np.ndarray.tolist))


def _restore(rng: Any, state: Any) -> None:
    """Bring a generator back to a state from JSON."""
    if isinstance(rng, random.Random):
        state = state[0], tuple(state[1]), state[2]
    restore(rng, state)
