"""Draw the graph of a network's loss on a batch of its data: SVG, HTML, DOT, PNG, PDF.

Examples:
  python -m scripts.draw_graph three_layer --out graph.svg --grad --rules
  python -m scripts.draw_graph relu_sgd --out graph.html --grad --rules
"""

import copy
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

import models
import tinygrad_np as tg
from scripts import datasets
from scripts.command import natural, parser_of, positive, reports
from scripts.training import loss_of
from tinygrad_np.drawing import SHOW
from tinygrad_np.nn import Module
from tinygrad_np.tensor import Array


def write_graph(
    path: Path, model: Module, x: Array, labels: Array, show: Collection[str] = SHOW,
    rankdir: str = "LR",
) -> None:  # fmt: skip
    """Draw the graph of the loss on a batch, in the format given by the path's suffix.

    The model is copied, so that its gradients stay what they are. Raises ValueError for an unknown
    suffix, and RuntimeError where a format needs the program `dot` and it is not installed.
    """
    model = copy.deepcopy(model)
    model.zero_grad()
    with tg.record():
        loss = loss_of(model, x, labels)
        if "grad" in show:
            loss.backward()
    names = {"x": x, "labels": labels, **dict(model.named_parameters())}
    drawing = tg.draw(loss, show=show, rankdir=rankdir, names=names)
    match path.suffix.lower():
        case ".html":
            drawing.to_html(path)
        case ".gv" | ".dot":
            path.write_text(drawing.source, encoding="utf-8")
        case ".svg" | ".png" | ".pdf":
            path.write_bytes(drawing.pipe(path.suffix[1:].lower()))
        case _:
            raise ValueError(f"{path}: the suffix must be .svg, .html, .gv, .dot, .png or .pdf")


@reports(OSError, ValueError, RuntimeError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("draw_graph", __doc__)
    add = parser.add_argument
    add("model", help=models.HELP)
    add("--out", type=Path, required=True, metavar="FILE", help="its suffix sets the format")
    add("--grad", action="store_true", help="run backward; show the norms of the gradients")
    add("--rules", action="store_true", help="write the gradient rule of each edge on it")
    add("--rankdir", choices=["LR", "TB"], default="LR", help="direction (default: LR)")
    add("--batch-size", type=positive, default=100, metavar="N", help="of the batch (default: 100)")
    add("--seed", type=natural, default=0, help="seed of the weights (default: 0)")
    add("--data", metavar="DIR", help="folder of the files of MNIST, or of Alice")
    options = parser.parse_args(arguments)
    show = [word for word in SHOW if word not in ("grad", "rule")]
    show += ["grad"] * options.grad + ["rule"] * options.rules
    model = models.make(options.model, np.random.default_rng(options.seed), None)
    data = datasets.load(models.DATA.get(options.model, "mnist"), options.data)
    batch = data.batch(options.batch_size, np.float32)
    write_graph(options.out, model, *batch, show, options.rankdir)
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
