"""Train a network on images, or on a text; write weights, metrics and pictures to a folder.

A model of your own is given as module:factory, a function that returns a tinygrad_np.nn.Module. It
is passed rng and dtype if it takes them.

The folder of a run holds model.safetensors (the weights), metrics.csv, config.json (all settings),
curves.png, predictions.png, confusion.png, graph.svg, and the last checkpoints. You can stop the
run at any time with Ctrl-C: it finishes the step and writes a checkpoint. Run the same command
with --resume to continue; the result is the same to the last bit. For a model of your own this
covers its arrays and random generators, but not its Python numbers.

Examples:
  python -m scripts.train three_layer
  python -m scripts.train three_layer --recipe best
  python -m scripts.train lenet
  python -m scripts.train three_layer --iterations 400 --out runs/short
  python -m scripts.train three_layer --optimizer adam --epochs 5 --batch-size 100
  python -m scripts.train three_layer --dataset fashion --recipe best --resume
  python -m scripts.train my_models:Net --optimizer nesterov --lr 0.02 --dtype float64
  python -m scripts.train my_models:Net --dataset my_images/
  python -m scripts.train gpt
  python -m scripts.train gpt --text my_book.txt
  mpiexec -n 2 python -m scripts.train three_layer
"""

import argparse
import dataclasses
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import models
from scripts.command import failed, natural, parser_of, positive
from scripts.recipes import OPTIMIZERS, RECIPES, Recipe
from scripts.run import LENGTH, RECIPE, run
from scripts.run_folder import folder_of_rank
from tinygrad_np import distributed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    dataset = models.DATA.get(options.model, "mnist")
    text = options.text or "alice" in (dataset, options.dataset)
    recipe = "gpt" if text else options.model if options.model in RECIPES else "seed"
    defaults = {"recipe": recipe, "seed": 0, "dtype": "float32", "dataset": dataset}
    names = ("model", *defaults, *RECIPE)
    given = {n: v for n in names if (v := getattr(options, n, None)) is not None}
    if options.text or given.get("dataset", "mnist") not in ("mnist", "fashion", "alice"):
        given["dataset"] = os.path.abspath(options.text or given["dataset"])
    settings = _settings(defaults, given)
    out = options.out = options.out or _default_folder(defaults, given)
    try:
        distributed.init(options.distributed)
        with folder_of_rank(options):
            code = run(settings, given, options)
            files = ", ".join(sorted(path.name for path in options.out.iterdir()))
            print(f"{options.out}: {files}")
            return code
    except (ImportError, OSError, ValueError, FloatingPointError) as error:
        distributed.abort(1, functools.partial(failed, error))
        return 1
    except KeyboardInterrupt:
        stopped = f"stopped at once; --resume continues from the last checkpoint in {out}"
        distributed.abort(130, functools.partial(print, stopped, file=sys.stderr))
        return 130


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of("train", __doc__)
    seed, add, switch = RECIPES["seed"], parser.add_argument, argparse.BooleanOptionalAction
    add("model", help=models.HELP)
    add("--recipe", choices=list(RECIPES), help="the settings to start from: the first seed "
        "document's, the best ones found for its network, with relu and shifted images, those for "
        "LeNet, or those for a text (default: lenet for the model lenet, gpt for texts, otherwise "
        "seed)")  # fmt: skip
    length, data = (parser.add_mutually_exclusive_group() for _ in range(2))
    length.add_argument("--iterations", type=positive, metavar="N",
                        help=f"number of updates (default: {seed.iterations})")  # fmt: skip
    length.add_argument("--epochs", type=positive, metavar="N", help="passes through the data")
    add("--batch-size", type=positive, metavar="N", help=f"default: {seed.batch_size}")
    rates = ", ".join(f"{name} {rate:g}" for name, (_, rate) in OPTIMIZERS.items())
    add("--lr", type=float, metavar="RATE", help=f"learning rate (default: {rates})")
    add("--optimizer", choices=list(OPTIMIZERS), help=f"default: {seed.optimizer}")
    add("--seed", type=natural, help="seed of all random numbers (default: 0)")
    add("--dtype", choices=["float32", "float64"], help="default: float32")
    data.add_argument("--dataset", metavar="NAME", help="mnist (default), fashion, alice (default "
        "for gpt), or a folder of your own with four IDX or .npy files; a resumed run accepts the "
        "same data elsewhere")  # fmt: skip
    data.add_argument("--text", metavar="FILE", help="a text in UTF-8, whose last tenth is held "
        "out for testing")  # fmt: skip
    add("--data", metavar="DIR", help="folder of the files of mnist, fashion or alice")
    add("--out", type=Path, metavar="DIR", help="folder to write to (default: runs/MODEL, with "
        "_RECIPE and _DATASET where these are given)")  # fmt: skip
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    begin.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    add("--checkpoint-every", type=positive, default=1000, metavar="N",
        help="updates between checkpoints (default: 1000)")  # fmt: skip
    add("--keep", type=positive, default=3, metavar="K", help="checkpoints kept (default: 3)")
    add("--compiled", action=switch, default=True,
        help="run the training step with tg.compile: faster, and the same to the last "
        "bit")  # fmt: skip
    add("--distributed", action="store_true", help="share each batch among the processes that "
        "mpiexec has started (default under mpiexec)")  # fmt: skip
    add("--pictures", action=switch, default=True, help="draw pictures at the end")
    options = parser.parse_args(arguments)
    if options.lr is not None and not 0 < options.lr < float("inf"):
        parser.error(f"--lr {options.lr}: a learning rate is positive")
    return options


def _settings(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """All settings of a new run: the recipe's, changed by the options."""
    settings = {name: given.get(name, default) for name, default in defaults.items()}
    changes = {name: value for name, value in given.items() if name in RECIPE}
    if any(name in changes for name in LENGTH):
        changes = dict.fromkeys(LENGTH) | changes
    if "optimizer" in changes:
        changes.setdefault("lr", OPTIMIZERS[changes["optimizer"]][1])
    recipe: Recipe = dataclasses.replace(RECIPES[settings["recipe"]], **changes)
    return {"model": recipe.network(given["model"]), **settings, **dataclasses.asdict(recipe)}


def _default_folder(defaults: dict[str, Any], given: dict[str, Any]) -> Path:
    parts = [given["model"].replace(":", ".")]
    for name in ("recipe", "dataset"):
        if given.get(name, defaults[name]) != defaults[name]:
            parts.append(Path(given[name]).name.removesuffix(".txt"))
    return Path("runs") / "_".join(parts)


if __name__ == "__main__":
    sys.exit(main())
