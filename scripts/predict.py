"""Classify images with a network that scripts.train has trained.

Images are PNG files of any size and colour, dark on bright or bright on dark; or IDX files, plain
or gzipped, or .npy files, of the size and the pixel range that the network was trained on. A
picture is made grey and resized, and inverted where its background is not that of the training
images. If the training images are laid out like MNIST's, so is the digit in the picture.

Examples:
  python -m scripts.predict runs/three_layer seven.png
  python -m scripts.predict runs/three_layer data/mnist/t10k-images-idx3-ubyte.gz
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.command import failed, parser_of, reports
from scripts.images import read_images
from scripts.pixels import Pixels
from scripts.run_folder import load_model, read_config
from scripts.training import probabilities, score_batches
from tinygrad_np.nn import Module
from tinygrad_np.tensor import Array

TOP = 3
"""The number of classes shown where there are too many for a table."""
WIDTH = 32
"""The width of an image's name."""


@reports(OSError, ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("predict", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a folder of scripts.train")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, IDX or .npy files")
    options = parser.parse_args(arguments)
    config = read_config(options.run)
    if config["pixels"] is None:
        raise ValueError(f"{options.run}: is of a text: python -m scripts.sample continues one")
    model = load_model(options.run, config)
    print(_header(config["classes"]))
    code = 0
    for path in options.images:
        try:
            _predict(model, config, path)
        except BrokenPipeError:
            raise
        except (OSError, ValueError) as error:
            code = failed(error)
    return code


def _predict(model: Module, config: dict[str, Any], path: str) -> None:
    """Print a line for each image of a file."""
    pixels, classes = Pixels.of_run(config), config["classes"]
    images = read_images(Path(path), config["image_shape"], pixels)
    shares = (p for part in score_batches(model, images, pixels)
              for p in probabilities(model, part))  # fmt: skip
    for i, probability in enumerate(shares):
        if (outputs := len(probability)) != len(classes):
            raise ValueError(f"the network has {outputs} outputs for {len(classes)} classes")
        name = path if len(images) == 1 else f"{path}[{i}]"
        print(_line(name if len(name) <= WIDTH else "…" + name[1 - WIDTH :], probability, classes))


def _is_table(classes: Sequence[str]) -> bool:
    """Whether a line has room for the probability of every class."""
    return len(classes) <= 12 and max(map(len, classes)) <= 5


def _width(classes: Sequence[str]) -> int:
    return max(len("predicted"), *map(len, classes))


def _header(classes: Sequence[str]) -> str:
    head = f"{'image':<{WIDTH}}  {'predicted':<{_width(classes)}}  {'sure':>6}"
    columns = "".join(f"{name:>6}" for name in classes)
    return f"{head}   {columns}  (%)" if _is_table(classes) else head


def _line(name: str, probability: Array, classes: Sequence[str]) -> str:
    first, *others = np.argsort(-probability, kind="stable")[:TOP]
    line = f"{name:<{WIDTH}}  {classes[first]:<{_width(classes)}}  {probability[first]:6.1%}   "
    if _is_table(classes):
        return line + "".join(f"{100 * p:6.1f}" for p in probability)
    return line + "then " + ", ".join(f"{classes[i]} {probability[i]:.1%}" for i in others)


if __name__ == "__main__":
    sys.exit(main())
