"""The GPT trained in float64 by ours and by PyTorch: the losses of each step are the same.

It runs where PyTorch is installed (the extra "peers"). Both begin with the same weights, read the
same batches of Alice, and follow AdamW.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import gpt, gpt_peers
from models.trained import Trained
from models.updates import AdamW
from scripts import datasets

STEPS, BATCH, TOLERANCE = 100, 16, 1e-10


def losses(train: Any, start: list[NDArray[Any]], seed: int, steps: int = STEPS) -> NDArray[Any]:
    """The losses of a library's training."""
    network: Trained = train([array.copy() for array in start], AdamW(0.001))
    text, following = datasets.load("alice").sets[0]
    rng, found = np.random.default_rng(seed), []
    for _ in range(steps):
        rows = rng.integers(len(text), size=BATCH)
        batch = network.convert(text[rows].astype(np.int64), following[rows].astype(np.int64))
        found.append(network.read(network.step(*batch)))
    return np.array(found)


def test_losses_are_pytorchs() -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[peers]'")
    start, _ = gpt.arrays(np.random.default_rng(0), 1)
    expected = losses(gpt_peers.torch_eager, start, 1)
    assert expected[-1] < expected[0]
    for ours in (gpt.eager, gpt.compiled):
        found = losses(ours, start, 1)
        print(f"the losses differ by at most {np.abs(found / expected - 1).max():.1e}, relatively")
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=0)


def test_another_network_is_noticed() -> None:
    start, _ = gpt.arrays(np.random.default_rng(0), 1)
    expected = losses(gpt.eager, start, 1, 3)
    start[-1][0] += 1e-6  # a bias of the last block
    found = losses(gpt.eager, start, 1, 3)
    assert np.abs(found / expected - 1).max() > TOLERANCE
