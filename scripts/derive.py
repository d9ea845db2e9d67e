"""Write a network's backward pass by hand: the source of a function in plain NumPy.

Examples:
  python -m scripts.derive three_layer > by_hand.py
  python -m scripts.derive relu_sgd --latex
  python -m scripts.derive gpt
"""

import sys
from collections.abc import Sequence

import numpy as np

import models
import tinygrad_np as tg
from scripts import datasets
from scripts.command import parser_of, positive, reports
from scripts.training import loss_of

SAMPLES = 6
"""The size of the batch; what is derived holds for any."""


@reports(OSError, ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("derive", __doc__)
    add = parser.add_argument
    add("model", help=models.HELP)
    add("--latex", action="store_true", help="write equations instead")
    add("--shape", type=int, nargs="+", default=[784], metavar="N", help="of a sample (784)")
    add("--classes", type=positive, default=10, metavar="N", help="labels are below (10)")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    model = models.make(options.model, rng, np.float64)
    x, t = rng.random((SAMPLES, *options.shape)), rng.integers(0, options.classes, SAMPLES)
    if options.model in models.DATA:
        x, t = datasets.load(models.DATA[options.model]).batch(SAMPLES, x.dtype)
    found = tg.derivation(lambda x, labels: loss_of(model, x, labels), x, t, names=model)
    print(found.latex() if options.latex else found.numpy(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
