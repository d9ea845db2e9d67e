"""The second seed document's experiments: four networks, 1,000 images, a row every 10 epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_np as tg
from models.two_layer import DropoutNetwork, ReluNetwork, TanhNetwork, TwoLayer
from tinygrad_np.data import load_mnist

Array = NDArray[Any]

TABLES = Path(__file__).parents[1] / "tests" / "tables"
"""The tables as the document prints them, one CSV file each."""


@dataclass(frozen=True)
class Experiment:
    """One of the tables: a network, how it is trained, and for how long."""

    network: type[TwoLayer]
    rate: float
    epochs: int
    batch_size: int = 1
    updates: int = 1
    """For each batch. All but the first go back through the same graph, whose weights have changed
    under it since: the output's delta is frozen, and the hidden layer's is computed anew."""
    dropout: bool = True


EXPERIMENTS = {
    "relu_sgd": Experiment(ReluNetwork, 0.005, 400, dropout=False),
    "dropout_sgd": Experiment(DropoutNetwork, 0.005, 400),
    "dropout_minibatch": Experiment(DropoutNetwork, 0.001, 400, batch_size=100, updates=100),
    "tanh_softmax_minibatch": Experiment(TanhNetwork, 2, 350, batch_size=100),
}


@dataclass(frozen=True)
class Row:
    """The figures of one epoch's training pass, dropout on, and of the test set after it."""

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


HEADER = "epoch,train_error,train_accuracy,test_error,test_accuracy"


@dataclass(frozen=True)
class Images:
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
    """The mean of the squared errors of the images, and the share that is right."""
    error = np.square(one_hot - outputs).sum() / len(outputs)
    right = int(np.sum(outputs.argmax(axis=1) == one_hot.argmax(axis=1)))
    return float(error), right / len(outputs)


def run(
    experiment: Experiment,
    images: Images,
    epochs: int | None = None,
    *,
    printed: bool = True,
    compiled: bool = False,
) -> Iterator[Row | None]:
    """Train for the experiment's epochs, or the first so many; yield once an epoch.

    A Row comes every 10 epochs and at the experiment's last one, None in between. With ``printed``
    the backward pass is the document's, otherwise the gradient; all else is the same. ``compiled``
    replays the training steps with ``tg.compile``: the same digits, though sums are reordered.
    """
    rng = np.random.RandomState(1)
    network = experiment.network(rng, printed=printed)
    train_batch = batch_trainer(experiment, network)
    if compiled:
        train_batch = tg.compile(train_batch)
    for epoch in range(min(epochs or experiment.epochs, experiment.epochs)):
        scores = train_epoch(experiment, network, train_batch, images, rng)
        if epoch % 10 and epoch != experiment.epochs - 1:
            yield None
            continue
        train = figures_of(network.outputs(scores), images.t_train)
        with tg.no_grad():
            tested = network.outputs(network(images.x_test).data)
        yield Row(epoch, *train, *figures_of(tested, images.t_test))


TrainBatch = Callable[[Array, Array, Array | None], tg.Tensor]
"""Trains on images, one-hot labels and a dropout mask; returns the scores from before."""


def batch_trainer(experiment: Experiment, network: TwoLayer) -> TrainBatch:
    """What is done with one batch: a forward pass, and the experiment's updates."""
    optimizer = tg.optim.SGD(network.parameters(), experiment.rate)

    def train_batch(x: Array, one_hot: Array, mask: Array | None) -> tg.Tensor:
        scores: tg.Tensor = network(x, mask)
        network.objective(scores, one_hot).backward()
        optimizer.step()
        optimizer.zero_grad()
        return scores

    def train_batch_repeatedly(x: Array, one_hot: Array, mask: Array | None) -> tg.Tensor:
        # As printed: activations and scores stay as they were at first, W2 is that of now.
        assert isinstance(network, DropoutNetwork)
        h = network.activations(x, mask)
        scores: tg.Tensor = h @ network.W2
        g = tg.grad(network.objective(scores, one_hot), scores, retain_graph=True)
        for left in reversed(range(experiment.updates)):
            (h @ network.W2).backward(g, retain_graph=left > 0)
            optimizer.step()
            optimizer.zero_grad()
        return scores

    return train_batch if experiment.updates == 1 else train_batch_repeatedly


def train_epoch(
    experiment: Experiment,
    network: TwoLayer,
    train_batch: TrainBatch,
    images: Images,
    rng: np.random.RandomState,
) -> Array:
    """One pass over the training images in order; the scores that it met, (1000, 10)."""
    x_all, t_all = images.x_train, images.t_train
    scores = np.empty_like(t_all)
    mask = None
    for start in range(0, len(x_all), experiment.batch_size):
        rows = slice(start, start + experiment.batch_size)
        if experiment.dropout:
            mask = rng.randint(2, size=(experiment.batch_size, network.hidden))
        scores[rows] = train_batch(x_all[rows], t_all[rows], mask).data
    return scores
