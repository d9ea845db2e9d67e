"""Audit the update rules that the second seed document prints, and the hand-derived true ones.

Each of its four networks starts as in the document, with the first batch. What the document adds to
the weights is compared with the gradient of the function that the network should minimise: half the
squared error, and for the last network the cross-entropy, averaged over the batch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import tinygrad_np as tg
from models import two_layer_by_hand as by_hand
from models.experiments import EXPERIMENTS
from models.two_layer import TanhNetwork, TwoLayer
from scripts.command import parser_of, reports
from tinygrad_np.data import load_mnist
from tinygrad_np.tensor import Array


class Case(NamedTuple):
    """A network, as it starts, and its first batch."""

    network: TwoLayer
    x: Array
    one_hot: Array
    mask: Array | None

    @classmethod
    def made(cls, name: str, images: Array, labels: Array, *, printed: bool = False) -> Case:
        """The network called ``name``, with the printed backward pass or the true one."""
        experiment = EXPERIMENTS[name]
        network = experiment.network(np.random.RandomState(1), printed=printed)
        x, t = images[: experiment.batch_size], labels[: experiment.batch_size]
        return cls(network, x, np.eye(10)[t], network.draw_mask(x))

    def scores(self, W1: Any, W2: Any) -> tg.Tensor:
        """The network's scores, with these weights."""
        self.network.W1, self.network.W2 = W1, W2
        return self.network.forward(self.x, self.mask)

    def objective(self, W1: Any, W2: Any) -> tg.Tensor:
        """What the document's code minimises."""
        return self.network.objective(self.scores(W1, W2), self.one_hot)

    def meant(self, W1: Any, W2: Any) -> tg.Tensor:
        """What it should minimise: the last network's code divides by the batch size twice."""
        if isinstance(self.network, TanhNetwork):
            return tg.softmax_cross_entropy(self.scores(W1, W2), self.one_hot)
        return self.objective(W1, W2)


def audit_printed(name: str, images: Array, labels: Array) -> tg.AuditReport:
    """The audit of the update that the document prints for one of its networks."""
    true = Case.made(name, images, labels)
    printed = Case.made(name, images, labels, printed=True)
    weights = printed.network.W1, printed.network.W2
    printed.objective(*weights).backward()
    updates = {"W1": weights[0].grad, "W2": weights[1].grad}
    return tg.audit(true.meant, true.network.state_dict(), updates)


def audit_twin(name: str, images: Array, labels: Array) -> tg.AuditReport:
    """The audit of the gradients derived by hand in ``models.two_layer_by_hand``."""
    case = Case.made(name, images, labels)
    weights = case.network.state_dict()
    return tg.audit(case.objective, weights, twin(case, weights))


def twin(case: Case, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The gradients of a case by hand."""
    if case.mask is None:
        return by_hand.relu_network(dict(weights), case.x, case.one_hot)[1]
    tanh = isinstance(case.network, TanhNetwork)
    function = by_hand.tanh_network if tanh else by_hand.dropout_network
    return function(dict(weights), case.x, case.one_hot, case.mask)[1]


@reports(OSError, ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 1 if a correct twin is not judged correct."""
    parser = parser_of("audit_seeds", __doc__)
    parser.add_argument("--data", metavar="DIR", help="folder of the four MNIST files")
    (images, labels), _ = load_mnist(dtype=np.float64, path=parser.parse_args(arguments).data)
    clean = True
    for name in EXPERIMENTS:
        print(f"{name}, as printed\n{audit_printed(name, images, labels)}\n")
        report = audit_twin(name, images, labels)
        print(f"{name}, derived by hand\n{report}\n")
        clean &= bool(report)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
