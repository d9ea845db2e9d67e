"""How good a network is, in one number: the share of correct answers, or bits per character."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_np as tg
from tinygrad_np.tensor import Array


class Measure(NamedTuple):
    """``total(scores, labels)`` is the sum over all labels; people see the mean.

    ``better`` is max or min; ``spec`` formats a value; ``axis`` is the label of a chart's axis.
    """

    name: str
    axis: str
    total: Callable[[Array, Array], float]
    better: Callable[..., Any]
    spec: str

    def text(self, value: float) -> str:
        """A value as the tables show it."""
        return format(value, self.spec)


def _hits(scores: Array, labels: Array) -> float:
    return int(np.sum(scores.argmax(axis=-1) == labels))


def _bits(scores: Array, labels: Array) -> float:
    rows = scores.reshape(-1, scores.shape[-1])
    nats: float = tg.softmax_cross_entropy(rows, labels.reshape(-1), "sum").item()
    return nats / math.log(2)


ACCURACY = Measure("accuracy", "correct, % of all images", _hits, max, ".2%")
BITS = Measure("bits", "bits per character", _bits, min, ".4f")
"""The mean of -log2 p, where p is the probability of the character that really followed."""
