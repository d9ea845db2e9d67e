"""Continue a text, character by character, with a network that scripts.train has trained on one.

The same seed writes the same text. Each character is drawn from softmax(logits /
temperature): below 1 likely characters become likelier; at 0 the likeliest is always taken.

Examples:
  python -m scripts.sample runs/gpt
  python -m scripts.sample runs/gpt --prompt "Alice " --temperature 0.7 --length 300
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

import tinygrad_np as tg
from scripts import run_folder
from scripts.command import natural, parser_of, reports
from scripts.training import evaluating
from tinygrad_np.data import encode
from tinygrad_np.nn import Module


def continued(
    model: Module, tokens: Sequence[int], context: int, temperature: float,
    rng: np.random.Generator,
) -> Iterator[int]:  # fmt: skip
    """Tokens that follow ``tokens``, without end; the network sees the last ``context`` of them."""
    seen = list(tokens)
    while True:
        seen = seen[-context:]
        with evaluating(model):
            logits = model(np.array([seen])).data[0, -1].astype(np.float64)
        if temperature == 0:
            seen.append(int(logits.argmax()))
        else:
            seen.append(int(rng.choice(len(logits), p=tg.softmax(logits / temperature).data)))
        yield seen[-1]


@reports(OSError, ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("sample", __doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN_DIR", help="a folder of scripts.train")
    add("--prompt", default="\n", metavar="TEXT", help="text to continue (default: newline)")
    add("--length", type=natural, default=500, metavar="N", help="characters (default: 500)")
    add("--temperature", type=float, default=0.8, help="default: 0.8")
    add("--seed", type=natural, default=0, help="default: 0")
    options = parser.parse_args(arguments)
    if not 0 <= options.temperature < float("inf"):
        parser.error(f"--temperature {options.temperature}: must be finite and not negative")
    if not options.prompt:
        parser.error("--prompt: give at least one character")
    config = run_folder.read_config(options.run)
    if config["pixels"] is not None:
        raise ValueError(f"{options.run}: is of images: python -m scripts.predict takes them")
    characters, (context,) = "".join(config["classes"]), config["image_shape"]
    tokens = encode(options.prompt, characters).tolist()
    model = run_folder.load_model(options.run, config)
    rng = np.random.default_rng(options.seed)
    written = continued(model, tokens, context, options.temperature, rng)
    print(options.prompt.lstrip("\n"), end="")
    for token in islice(written, options.length):
        print(characters[token], end="", flush=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
