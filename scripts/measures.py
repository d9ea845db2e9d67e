"""How good a network is, in one number: the share of right answers, or bits per character."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_np as tg

Array = NDArray[Any]


@dataclass(frozen=True)
class Measure:
    """``total(scores, labels)`` is the sum over all labels, of which the mean is shown.

    ``better`` is max or min. ``spec`` writes a value; pictures show it times ``factor``.
    """

    name: str
    axis: str
    total: Callable[[Array, Array], float]
    better: Callable[..., Any]
    spec: str
    factor: int = 1

    def text(self, value: float) -> str:
        """A value as the tables show it."""
        return format(value, self.spec)


def _hits(scores: Array, labels: Array) -> float:
    return int(np.sum(scores.argmax(axis=-1) == labels))


def _bits(scores: Array, labels: Array) -> float:
    rows = scores.reshape(-1, scores.shape[-1])
    nats: float = tg.softmax_cross_entropy(rows, labels.reshape(-1), "sum").item()
    return nats / math.log(2)


ACCURACY = Measure("accuracy", "correct, % of all images", _hits, max, ".2%", 100)
BITS = Measure("bits", "bits per character", _bits, min, ".4f")
"""The mean of -log2 p, where p is what the network gave the character that really followed."""
