"""Train the GPT in float64 with ours and with PyTorch: the losses of each step, side by side.

Needs PyTorch: pip install -e '.[peers]'. Both begin with the same weights, read the same batches of
Alice, and follow AdamW. The exit code is 1 where a loss differs by more than 1e-10, relatively.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from models import gpt, gpt_peers
from models.trained import Trained
from models.updates import AdamW
from scripts import datasets
from scripts.command import failed, natural, parser_of, positive

TOLERANCE = 1e-10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("compare_gpt", __doc__)
    add = parser.add_argument
    add("--steps", type=positive, default=100, metavar="N", help="default: 100")
    add("--batch-size", type=positive, default=16, metavar="N", help="default: 16")
    add("--seed", type=natural, default=0, help="of weights and batches (default: 0)")
    options = parser.parse_args(arguments)
    rng, update = np.random.default_rng(options.seed), AdamW(0.001)
    start, _ = gpt.arrays(rng, 1)
    text, following = datasets.load("alice").sets[0]

    def copies() -> list[np.ndarray]:
        return [array.copy() for array in start]

    try:
        libraries = {
            "ours": gpt.eager(copies(), update),
            "compiled": gpt.compiled(copies(), update),
            "PyTorch": gpt_peers.torch_eager(copies(), update),
        }
    except ImportError as error:
        return failed(error)
    print("  step" + "".join(f"{name:>20}" for name in libraries) + f"{'difference':>12}")
    worst = 0.0
    for i in range(options.steps):
        rows = rng.integers(len(text), size=options.batch_size)
        batch = text[rows].astype(np.int64), following[rows].astype(np.int64)
        losses = [_step(library, *batch) for library in libraries.values()]
        difference = max(abs(loss / losses[-1] - 1) for loss in losses[:-1])
        worst = max(worst, difference)
        if i % 10 == 0 or i == options.steps - 1:
            print(f"{i:6}" + "".join(f"{loss:20.15f}" for loss in losses) + f"{difference:12.1e}")
    print(f"Over {options.steps} steps the losses differ by at most {worst:.1e}, relatively.")
    return 0 if worst <= TOLERANCE else 1


def _step(library: Trained, x: np.ndarray, labels: np.ndarray) -> float:
    return library.read(library.step(*library.convert(x, labels)))


if __name__ == "__main__":
    sys.exit(main())
