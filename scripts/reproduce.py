"""Reproduce the second seed document's tables, digit for digit, and compare them with the print."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts import figures
from scripts.command import failed, parser_of, positive
from scripts.reproduction import EXPERIMENTS, HEADER, TABLES, Images, load_images, run

EXAMPLES = f"""tables: {", ".join(EXPERIMENTS)}; all of them take some minutes.

examples:
  python -m scripts.reproduce all
  python -m scripts.reproduce relu_sgd --epochs 31 --out runs/short
  python -m scripts.reproduce all --true-gradient
  python -m scripts.reproduce all --compiled
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 where every row is identical."""
    parser = parser_of("reproduce", __doc__, EXAMPLES)
    add = parser.add_argument
    add("name", choices=[*EXPERIMENTS, "all"], metavar="NAME", help="the table, or all")
    add("--epochs", type=positive, metavar="N", help="only the first N epochs (default: all)")
    add("--out", type=Path, default=Path("runs/reproduce"), metavar="DIR",
        help="folder to write to (default: runs/reproduce)")  # fmt: skip
    add("--true-gradient", action="store_true",
        help="train the same networks with the true gradient, found by autograd")  # fmt: skip
    add("--compiled", action="store_true",
        help="run the training steps with tg.compile: the same digits in less time")  # fmt: skip
    add("--data", metavar="DIR", help="folder of the four MNIST files")
    options = parser.parse_args(arguments)
    names = list(EXPERIMENTS) if options.name == "all" else [options.name]
    how = {"printed": not options.true_gradient, "compiled": options.compiled}
    try:
        images = load_images(options.data)
        options.out.mkdir(parents=True, exist_ok=True)
        same = [reproduce(name, images, options.epochs, options.out, **how) for name in names]
    except (OSError, ValueError) as error:
        return failed(error)
    return 0 if all(same) else 1


def reproduce(
    name: str, images: Images, epochs: int | None, out: Path, *, printed: bool, compiled: bool
) -> bool:
    """Run one experiment; write its table and picture; return whether all rows are as recorded."""
    from tqdm import tqdm

    epochs = min(epochs or EXPERIMENTS[name].epochs, EXPERIMENTS[name].epochs)
    label = name if printed else f"{name}_true"
    start = time.perf_counter()
    passes = run(EXPERIMENTS[name], images, epochs, printed=printed, compiled=compiled)
    with tqdm(passes, label, epochs, leave=False, unit=" epochs", disable=None) as bar:
        rows = [str(row) for row in bar if row]
    (out / f"{label}.csv").write_text("\n".join([HEADER, *rows, ""]))
    recorded = zip(rows, read_table(TABLES / f"{label}.csv"), strict=False)
    differing = [(row, old) for row, old in recorded if row != old]
    seconds = time.perf_counter() - start
    print(f"{label}: {len(rows) - len(differing)}/{len(rows)} rows identical, {seconds:.1f} s")
    for row, old in differing:
        print(f"  recorded {old}\n  now      {row}")
    draw(name, out)
    return not differing


def read_table(path: Path) -> list[str]:
    """The rows of a table, without its header."""
    return path.read_text().splitlines()[1:]


def draw(name: str, out: Path) -> None:
    """Draw the errors by epoch, as printed and with the true gradient.

    A table that is not in ``out`` is drawn as it is recorded in the repository.
    """
    panels = []
    for label, title in ((name, "As printed"), (f"{name}_true", "True gradient")):
        path = out / f"{label}.csv"
        ran = path.exists()
        rows = read_table(path if ran else TABLES / path.name)
        panels.append((title if ran else f"{title} (as recorded)",
                       [[float(figure) for figure in row.split(",")] for row in rows]))  # fmt: skip
    figures.errors(out / f"{name}.png", name, panels)


if __name__ == "__main__":
    sys.exit(main())
