"""The second seed document's experiments: which network, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_np as tg

from .two_layer import DropoutNetwork, ReluNetwork, TanhNetwork, TwoLayer

Array = NDArray[Any]


@dataclass(frozen=True)
class Experiment:
    """One of the document's tables: a network, how it is trained, and for how long.

    Each batch is used for ``updates`` updates. The activations and the output's delta stay those of
    the first one, although the weights change; the hidden layer's delta is recomputed.
    """

    network: type[TwoLayer]
    rate: float
    epochs: int
    batch_size: int = 1
    updates: int = 1
    dropout: bool = True


EXPERIMENTS = {
    "relu_sgd": Experiment(ReluNetwork, 0.005, 400, dropout=False),
    "dropout_sgd": Experiment(DropoutNetwork, 0.005, 400),
    "dropout_minibatch": Experiment(DropoutNetwork, 0.001, 400, batch_size=100, updates=100),
    "tanh_softmax_minibatch": Experiment(TanhNetwork, 2, 350, batch_size=100),
}

TrainBatch = Callable[[Array, Array, Array | None], tg.Tensor]
"""Trains on images, one-hot labels and a dropout mask; returns the scores from before."""


def batch_trainer(experiment: Experiment, network: TwoLayer) -> TrainBatch:
    """The function that trains on one batch: a forward pass and the experiment's updates."""
    optimizer = tg.optim.SGD(network.parameters(), experiment.rate)

    def train_batch(x: Array, one_hot: Array, mask: Array | None) -> tg.Tensor:
        scores: tg.Tensor = network(x, mask)
        network.objective(scores, one_hot).backward()
        optimizer.step()
        optimizer.zero_grad()
        return scores

    def train_batch_repeatedly(x: Array, one_hot: Array, mask: Array | None) -> tg.Tensor:
        # As printed: the activations and the scores stay as they were, but W2 is the present one.
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
    experiment: Experiment, network: TwoLayer, train_batch: TrainBatch, x: Array, one_hot: Array,
    rng: np.random.RandomState,
) -> Array:  # fmt: skip
    """One pass over the training images in order; returns the scores before each update."""
    scores, mask = np.empty_like(one_hot), None
    for start in range(0, len(scores), experiment.batch_size):
        rows = slice(start, start + experiment.batch_size)
        if experiment.dropout:
            mask = rng.randint(2, size=(experiment.batch_size, network.hidden))
        scores[rows] = train_batch(x[rows], one_hot[rows], mask).data
    return scores
