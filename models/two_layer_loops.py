"""The second seed document's training loops in plain NumPy, image by image: a baseline to time.

They compute what the document's code computes, in its order; ``scripts.reproduce`` computes the
same with autograd. The functions return the error and the number of images that are right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .experiments import Experiment

Array = NDArray[Any]
Weights = tuple[Array, Array]


def start(experiment: Experiment) -> tuple[np.random.RandomState, Weights]:
    """The generator, and the weights drawn from it."""
    rng = np.random.RandomState(1)
    hidden, (a, b) = experiment.network.hidden, experiment.network.ranges
    return rng, (2 * a * rng.random((784, hidden)) - a, 2 * b * rng.random((hidden, 10)) - b)


def relu(x: Array) -> Array:
    """max(x, 0), as the document writes it."""
    return (x >= 0) * x


def softmax(x: Array) -> Array:
    """Probabilities of the rows."""
    powers: Array = np.exp(x)
    total: Array = np.sum(powers, axis=1, keepdims=True)
    return powers / total


def hits(outputs: Array, one_hot: Array) -> int:
    """How many rows are right, counted row by row."""
    return sum(
        int(np.argmax(outputs[k : k + 1]) == np.argmax(one_hot[k : k + 1]))
        for k in range(len(outputs))
    )


def train_epoch(
    name: str, experiment: Experiment, weights: Weights, x_train: Array, t_train: Array,
    rng: np.random.RandomState,
) -> tuple[float, int]:  # fmt: skip
    """One epoch of the experiment called ``name``, in place; ``t_train`` is one-hot."""
    w1, w2 = weights
    n, rate, soft = experiment.batch_size, experiment.rate, name == "tanh_softmax_minibatch"
    error, right = 0.0, 0
    for i in range(0, len(x_train), n):
        x, t = x_train[i : i + n], t_train[i : i + n]
        h = np.tanh(x.dot(w1)) if soft else relu(x.dot(w1))
        if experiment.dropout:
            mask = rng.randint(2, size=h.shape)
            h *= mask * 2
        y = softmax(h.dot(w2)) if soft else h.dot(w2)
        error += np.sum((t - y) ** 2)
        right += hits(y, t)
        for _ in range(experiment.updates):
            delta2 = (t - y) / n if n > 1 else t - y
            if soft:
                delta2 /= n
            delta1 = delta2.dot(w2.T) * ((1 - h**2) if soft else (h >= 0))
            if experiment.dropout:
                delta1 *= mask
            w2 += rate * h.T.dot(delta2)
            w1 += rate * x.T.dot(delta1)
    return float(error), right


def evaluate(name: str, weights: Weights, x_test: Array, t_test: Array) -> tuple[float, int]:
    """Error and hits on the test images, one image at a time."""
    w1, w2 = weights
    error, right = 0.0, 0
    for i in range(len(x_test)):
        x, t = x_test[i : i + 1], t_test[i : i + 1]
        y = relu(x.dot(w1)).dot(w2)
        if name == "tanh_softmax_minibatch":
            y = softmax(y)
        error += np.sum((t - y) ** 2)
        right += hits(y, t)
    return float(error), right
