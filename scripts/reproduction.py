"""The second seed document's experiments, run with autograd: a row every 10 epochs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tinygrad_np as tg
from models.experiments import EXPERIMENTS, Experiment, batch_trainer, train_epoch
from models.two_layer import TwoLayer
from tinygrad_np.data import load_mnist

__all__ = ["EXPERIMENTS", "Experiment", "Images", "Row", "load_images", "run"]

Array = NDArray[Any]

TABLES = Path(__file__).parents[1] / "tests" / "scripts" / "tables"
"""The tables as the document prints them, one CSV file each."""
HEADER = "epoch,train_error,train_accuracy,test_error,test_accuracy"


@dataclass(frozen=True)
class Row:
    """The figures of one epoch's training pass, with dropout, and of the test set after it."""

    epoch: int
    train_error: float
    train_accuracy: float
    test_error: float
    test_accuracy: float

    def __str__(self) -> str:
        """As the document prints it: errors cut to five characters."""
        return (
            f"{self.epoch},{str(self.train_error)[:5]},{self.train_accuracy},"
            f"{str(self.test_error)[:5]},{self.test_accuracy}"
        )


class Images(NamedTuple):
    """The first 1,000 training images and all test images, with one-hot labels; float64."""

    x_train: Array
    t_train: Array
    x_test: Array
    t_test: Array


def load_images(path: str | None = None) -> Images:
    """MNIST as the document uses it."""
    (x_train, t_train), (x_test, t_test) = load_mnist(normalize=False, dtype=np.uint8, path=path)
    one_hot = np.eye(10)
    return Images(x_train[:1000] / 255, one_hot[t_train[:1000]], x_test / 255, one_hot[t_test])


def figures_of(outputs: Array, one_hot: Array) -> tuple[float, float]:
    """The mean squared error of an image, and the share of images that are right."""
    error = np.square(one_hot - outputs).sum() / len(outputs)
    return float(error), float(np.mean(outputs.argmax(axis=1) == one_hot.argmax(axis=1)))


def run(
    experiment: Experiment, images: Images, epochs: int | None = None, *, printed: bool = True,
    compiled: bool = False,
) -> Iterator[Row | None]:  # fmt: skip
    """Train for all the experiment's epochs, or the first few; yield once an epoch.

    That is a Row every 10 epochs and at the experiment's last one, None in between. With
    ``printed`` the backward pass is the document's, otherwise the gradient. ``compiled`` runs the
    training steps with ``tg.compile``: the digits are the same, although sums are reordered.
    """
    rng = np.random.RandomState(1)
    network = experiment.network(rng, printed=printed)
    train_batch = batch_trainer(experiment, network)
    if compiled:
        train_batch = tg.compile(train_batch)
    for epoch in range(min(epochs or experiment.epochs, experiment.epochs)):
        scores = train_epoch(experiment, network, train_batch, images.x_train, images.t_train, rng)
        if epoch % 10 and epoch != experiment.epochs - 1:
            yield None
        else:
            train = figures_of(network.outputs(scores), images.t_train)
            yield Row(epoch, *train, *tested(network, images))


def tested(network: TwoLayer, images: Images) -> tuple[float, float]:
    """The figures of the test images."""
    with tg.no_grad():
        return figures_of(network.outputs(network(images.x_test).data), images.t_test)
