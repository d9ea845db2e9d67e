"""Say what is on images, by a network that scripts.train has trained."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
import tinygrad_np as tg
from scripts import images, run_folder
from scripts.checkpoints import Checkpoints
from scripts.command import failed, parser_of
from scripts.pixels import Pixels
from scripts.training import buffers, probabilities, restore_model, score_batches
from tinygrad_np.nn import Module

EXAMPLES = """Images are PNG files of any size and colour, dark on bright or bright on dark; or IDX
files, plain or gzipped, or .npy files, of the size that the network was trained on. All are brought
to the range and the background of the images that it was trained on, or refused. Where these are
laid out as MNIST's are, a digit is looked for on each picture, and laid out likewise; other
pictures are only resized.

examples:
  python -m scripts.predict runs/three_layer seven.png
  python -m scripts.predict runs/three_layer data/mnist/t10k-images-idx3-ubyte.gz
"""

TOP = 3
"""So many classes are told where there are too many for a table."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("predict", __doc__, EXAMPLES)
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a folder of scripts.train")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, IDX or .npy files")
    options = parser.parse_args(arguments)
    try:
        config = run_folder.read_config(options.run)
        model = load_model(options.run, config)
        print(_header(config["classes"]))
    except (OSError, ValueError) as error:
        return failed(error)
    code = 0
    for path in options.images:
        try:
            _predict(model, config, path)
        except BrokenPipeError:  # whoever reads the lines has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return code
        except (OSError, ValueError) as error:
            code = failed(error)
    return code


def load_model(run: Path, config: dict[str, Any]) -> Module:
    """The network of a run, with its weights; those of its last checkpoint while it is training.

    Arrays that are no parameters, such as running means, are in checkpoints alone. Raises
    ValueError where something does not fit, FileNotFoundError where something is not there.
    """
    model = models.make(config["model"], np.random.default_rng(0), config["dtype"])
    finished = (run / run_folder.MODEL).exists()
    if finished:
        tg.load(run / run_folder.MODEL, model)
        if not buffers(model):
            return model
    found = Checkpoints(run).latest()
    if found is None:
        lacks = "its model's arrays that are no parameters" if finished else run_folder.MODEL
        raise FileNotFoundError(f"{run}: holds neither {lacks} nor a checkpoint")
    if not finished:
        print(f"The run is not finished: these are its weights after {found.updates:,} updates.")
    restore_model(model, found.arrays)
    return model


def _predict(model: Module, config: dict[str, Any], path: str) -> None:
    """A line for each image of a file."""
    pixels = Pixels.of_run(config)
    found = images.read_images(path, config["image_shape"], config["dataset"], pixels)
    scale = pixels.scale if pixels else 255 if found.dtype == np.uint8 else 1
    classes = config["classes"]
    for i, probability in enumerate(_probabilities(model, found, scale)):
        if len(probability) != len(classes):
            raise ValueError(
                f"the network tells {len(probability)} classes apart, the data set has "
                f"{len(classes)}: {', '.join(classes[:12])}"
            )
        name = path if len(found) == 1 else f"{path}[{i}]"
        print(_line(_short(name), probability, classes))


def _probabilities(model: Module, found: NDArray[Any], scale: float) -> Iterator[NDArray[Any]]:
    for scores in score_batches(model, found, scale):
        yield from probabilities(model, scores)


WIDTH = 32


def _short(name: str) -> str:
    return name if len(name) <= WIDTH else "…" + name[1 - WIDTH :]


def _table(classes: Sequence[str]) -> bool:
    return len(classes) <= 12 and max(map(len, classes)) <= 5


def _header(classes: Sequence[str]) -> str:
    wide = max(len("is"), *map(len, classes))
    head = f"{'image':<{WIDTH}}  {'is':<{wide}}  {'sure':>6}"
    if _table(classes):
        return head + "   " + "".join(f"{name:>6}" for name in classes) + "  (%)"
    return head


def _line(name: str, probability: NDArray[Any], classes: Sequence[str]) -> str:
    wide = max(len("is"), *map(len, classes))
    order = np.argsort(-probability, kind="stable")
    first = int(order[0])
    line = f"{name:<{WIDTH}}  {classes[first]:<{wide}}  {probability[first]:6.1%}"
    if _table(classes):
        return line + "   " + "".join(f"{100 * p:6.1f}" for p in probability)
    others = (f"{classes[i]} {probability[i]:.1%}" for i in order[1:TOP])
    return line + "   then " + ", ".join(others)


if __name__ == "__main__":
    sys.exit(main())
