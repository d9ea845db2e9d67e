"""The second seed document's experiments: which network, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from .two_layer import DropoutNetwork, ReluNetwork, TanhNetwork, TwoLayer


@dataclass(frozen=True)
class Experiment:
    """One of the document's tables: a network, how it is trained, and for how long.

    Each batch is used for ``updates`` updates. All but the first go back through the same graph
    although the weights have changed: the output's delta stays as it was, and the hidden layer's
    is computed anew.
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
