"""Classify images with a network that scripts.train has trained.

Images are PNG files of any size and colour, dark on bright or bright on dark; or IDX files, plain
or gzipped, or .npy files, of the size and the pixel range that the network was trained on. A
picture is made grey and resized, and inverted where its background is not that of the training
images. If these are laid out as MNIST's digits are, the digit on it is, too.

Examples:
  python -m scripts.predict runs/three_layer seven.png
  python -m scripts.predict runs/three_layer data/mnist/t10k-images-idx3-ubyte.gz
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts import images, run_folder
from scripts.command import failed, parser_of
from scripts.pixels import Pixels
from scripts.training import probabilities, score_batches
from tinygrad_np.nn import Module

TOP = 3
"""The number of classes shown where there are too many for a table."""
WIDTH = 32
"""The width of an image's name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("predict", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a folder of scripts.train")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, IDX or .npy files")
    options = parser.parse_args(arguments)
    try:
        config = run_folder.read_config(options.run)
        if config["pixels"] is None:
            raise ValueError(f"{options.run}: is of a text: python -m scripts.sample continues one")
        model = run_folder.load_model(options.run, config)
        print(_header(config["classes"]))
    except (OSError, ValueError) as error:
        return failed(error)
    code = 0
    for path in options.images:
        try:
            _predict(model, config, path)
        except BrokenPipeError:  # the reader of the lines has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return code
        except (OSError, ValueError) as error:
            code = failed(error)
    return code


def _predict(model: Module, config: dict[str, Any], path: str) -> None:
    """Print a line for each image of a file."""
    pixels, classes = Pixels.of_run(config), config["classes"]
    found = images.read_images(path, config["image_shape"], pixels)
    shares = (p for part in score_batches(model, found, pixels)
              for p in probabilities(model, part))  # fmt: skip
    for i, probability in enumerate(shares):
        if len(probability) != len(classes):
            raise ValueError(
                f"the network has {len(probability)} outputs, the data set {len(classes)} "
                f"classes: {', '.join(classes[:12])}"
            )
        name = path if len(found) == 1 else f"{path}[{i}]"
        print(_line(name if len(name) <= WIDTH else "…" + name[1 - WIDTH :], probability, classes))


def _is_table(classes: Sequence[str]) -> bool:
    return len(classes) <= 12 and max(map(len, classes)) <= 5


def _header(classes: Sequence[str]) -> str:
    head = f"{'image':<{WIDTH}}  {'is':<{max(2, *map(len, classes))}}  {'sure':>6}"
    columns = "".join(f"{name:>6}" for name in classes)
    return f"{head}   {columns}  (%)" if _is_table(classes) else head


def _line(name: str, probability: NDArray[Any], classes: Sequence[str]) -> str:
    first, *others = np.argsort(-probability, kind="stable")[:TOP]
    wide = max(2, *map(len, classes))
    line = f"{name:<{WIDTH}}  {classes[first]:<{wide}}  {probability[first]:6.1%}   "
    if _is_table(classes):
        return line + "".join(f"{100 * p:6.1f}" for p in probability)
    return line + "then " + ", ".join(f"{classes[i]} {probability[i]:.1%}" for i in others)


if __name__ == "__main__":
    sys.exit(main())
