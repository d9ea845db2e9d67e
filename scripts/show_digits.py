"""Draw a contact sheet of MNIST digits with their labels.

Examples:
  python -m scripts.show_digits --out digits.png
  python -m scripts.show_digits --out fives.png --digit 5 --count 60 --split test
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts import figures
from scripts.command import parser_of, reports
from tinygrad_np.data import load_mnist


@reports(OSError, ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("show_digits", __doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="the PNG file to write")
    add("--count", type=int, default=100, help="number of digits (default: 100)")
    add("--digit", type=int, choices=range(10), help="only this digit")
    add("--split", choices=["train", "test"], default="train", help="default: train")
    add("--data", metavar="DIR", help="folder of the four MNIST files")
    options = parser.parse_args(arguments)
    if not 1 <= options.count <= 1000:
        parser.error(f"--count {options.count}: a sheet holds 1 to 1000 digits")
    if options.out.suffix.lower() != ".png":
        parser.error(f"--out {options.out}: the suffix must be .png")
    train, test = load_mnist(flatten=False, normalize=False, dtype=np.uint8, path=options.data)
    images, labels = train if options.split == "train" else test
    digits = range(10) if options.digit is None else [options.digit]
    rows = np.flatnonzero(np.isin(labels, digits))[: options.count]
    of = "" if options.digit is None else f" of the digit {options.digit}"
    title = f"MNIST, {options.split} set: the first {len(rows)} images{of}"
    figures.contact_sheet(options.out, title, images[rows], labels[rows])
    print(f"{len(rows)} digits drawn to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
