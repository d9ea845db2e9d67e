"""The training loop: batches in, updates, a row of figures after every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_np as tg
from scripts.augmentation import Augmentation
from tinygrad_np.data import batches
from tinygrad_np.data.folder import DataSet
from tinygrad_np.nn import Module
from tinygrad_np.optim import Optimizer

Array = NDArray[Any]


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


def loss_of(model: Module, x: Array, labels: Array) -> tg.Tensor:
    """The model's own loss, or the softmax cross-entropy of what it returns."""
    own = getattr(model, "loss", None)
    loss = own(x, labels) if own else tg.softmax_cross_entropy(model(x), labels)
    assert isinstance(loss, tg.Tensor)
    return loss


def scores(model: Module, x: Array, batch_size: int = 2000) -> Array:
    """What the model returns for images (n, ...), in ``eval`` mode: (n, classes), in batches."""
    model.eval()
    with tg.no_grad():
        parts = [model(x[i : i + batch_size]).data for i in range(0, len(x), batch_size)]
    model.train()
    return np.concatenate(parts)


def accuracy(model: Module, x: Array, labels: Array) -> float:
    """The share of images whose highest score is that of their label."""
    return float(np.mean(scores(model, x).argmax(axis=1) == labels))


def updates_per_epoch(images: int, batch_size: int, replacement: bool) -> int:
    """How many batches ``tinygrad_np.data.batches`` makes of so many images."""
    return images // batch_size if replacement else -(-images // batch_size)


def train(
    model: Module,
    optimizer: Optimizer,
    data: DataSet,
    *,
    iterations: int,
    batch_size: int,
    rng: np.random.Generator,
    replacement: bool = False,
    augment: Augmentation | None = None,
    on_update: Callable[[float], None] = lambda loss: None,
) -> Iterator[Metrics]:
    """Train for so many updates; yield the figures after every epoch, and at the end.

    ``augment(x, rng)`` changes each batch before use; ``on_update(loss)`` is told of every update.
    Raises FloatingPointError where the loss is not a finite number: it will not recover.
    """
    (x_train, t_train), (x_test, t_test) = data
    per_epoch = updates_per_epoch(len(x_train), batch_size, replacement)
    for done in range(0, iterations, per_epoch):
        losses: list[float] = []
        start = time.perf_counter()
        epoch = batches(x_train, t_train, batch_size, rng=rng, replacement=replacement)
        for x, labels in islice(epoch, iterations - done):
            optimizer.zero_grad()
            loss = loss_of(model, augment(x, rng) if augment else x, labels)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(
                    f"the loss became {losses[-1]} at update {done + len(losses)}: "
                    "a smaller learning rate usually helps"
                )
            loss.backward()
            optimizer.step()
            on_update(losses[-1])
        seconds = time.perf_counter() - start
        yield Metrics(
            (done + len(losses)) / per_epoch,
            float(np.mean(losses)),
            accuracy(model, x_train, t_train),
            accuracy(model, x_test, t_test),
            seconds,
        )
