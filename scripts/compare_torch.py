"""Compare every layer function with PyTorch's, and print the largest errors.

The extra "peers" has to be installed. Errors are relative to the largest number compared, or to 1:
of values, gradients and second derivatives in float64, and of values and gradients in float32.

Examples:
  python -m scripts.compare_torch
  python -m scripts.compare_torch conv2d max_pool2d
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from models.layer_inputs import CALLS
from scripts.command import parser_of, reports


@reports(ImportError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 where everything agrees."""
    parser = parser_of("compare_torch", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="functions (default: all)")
    names = parser.parse_args(arguments).names or list(CALLS)
    if strangers := [name for name in names if name not in CALLS]:
        parser.error(f"not compared: {', '.join(strangers)}")
    if find_spec("torch") is None:
        raise ImportError("PyTorch is needed: pip install -e '.[peers]'")
    from models.layer_peers import LIMITS, worst, wrong

    print(f"{'':5}  {'function':32}  {'inputs':>6}  " + "  ".join(f"{c:>8}" for c in LIMITS))
    differing = 0
    for name in names:
        found = worst(name)
        mistakes = wrong(name, found)
        differing += bool(mistakes)
        cells = "  ".join(f"{found[c][0]:8.1e}" if c in found else f"{'-':>8}" for c in LIMITS)
        print(f"{'WRONG' if mistakes else 'ok':5}  {name:32}  {len(CALLS[name]):6}  {cells}")
        for mistake in mistakes:
            print(f"       {mistake}")
    total = sum(len(CALLS[name]) for name in names)
    verdict = f"{differing} functions differ" if differing else "all agree"
    print(f"{len(names)} functions, {total} inputs: {verdict}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
