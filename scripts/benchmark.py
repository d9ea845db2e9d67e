"""Measure training steps against hand-written NumPy and other libraries, and what an op costs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.bench import growth, imports, overhead, report, seeds, steps
from scripts.bench.libraries import installed
from scripts.bench.report import Section
from scripts.bench.rounds import BenchmarkError, Plan
from scripts.bench.workloads import WORKLOADS
from scripts.command import parser_of

EXAMPLES = """workloads:
  {workloads}

examples:
  python -m scripts.benchmark
  python -m scripts.benchmark --quick --only W1 W3
  python -m scripts.benchmark --only overhead import
  python -m scripts.benchmark --readme

Other libraries are compared when they are installed: pip install -e '.[peers]'
""".format(workloads="\n  ".join(f"{name}  {w.title}" for name, w in WORKLOADS.items()))

SECTIONS: dict[str, Callable[[argparse.Namespace, Plan], Section]] = {
    "steps": lambda options, plan: steps.section(
        installed(), [WORKLOADS[name] for name in options.workloads], options.dtypes, plan
    ),
    "overhead": lambda options, plan: overhead.section(plan),
    "growth": lambda options, plan: growth.section(installed(), plan),
    "import": lambda options, plan: imports.section(plan),
    "seeds": lambda options, plan: seeds.section(plan),
}
"""The parts of the report, in its order; to add one is to add a function here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    plan = Plan(options.rounds or (3 if options.quick else 15), 0.01 if options.quick else 0.05)
    try:
        found = report.environment()
        sections = {}
        for name in options.sections:
            print(f"{name} ...", file=sys.stderr)
            sections[name] = SECTIONS[name](options, plan)
        paths = report.write(options.out, found, sections)
        if options.readme:
            report.splice(options.readme, [*report.about(found), "", *sections["steps"].text])
            paths.append(options.readme)
    except (BenchmarkError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report.markdown(found, list(sections.values())))
    print(f"written: {', '.join(map(str, paths))}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of("benchmark", __doc__, EXAMPLES)
    add = parser.add_argument
    add("--quick", action="store_true", help="few short rounds, float32 only: to see that it runs")
    add("--only", nargs="+", choices=[*WORKLOADS, *SECTIONS], metavar="NAME", help="only these "
        f"workloads ({', '.join(WORKLOADS)}) or sections ({', '.join(SECTIONS)})")  # fmt: skip
    add("--dtype", choices=["float32", "float64"], help="default: both")
    add("--rounds", type=int, metavar="N", help="default: 15")
    add("--out", type=Path, default=Path("bench"), metavar="DIR", help="default: bench")
    add("--readme", type=Path, nargs="?", const=Path("README.md"), metavar="FILE",
        help="also write the tables of the steps between the markers in README.md")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least one is needed")
    only = options.only or SECTIONS
    options.workloads = [name for name in WORKLOADS if name in only] or list(WORKLOADS)
    options.sections = [
        name
        for name in SECTIONS
        if name in only or (name == "steps" and not WORKLOADS.keys().isdisjoint(only))
    ]
    options.dtypes = [options.dtype] if options.dtype else ["float32", "float64"]
    if options.quick and not options.dtype:
        options.dtypes = ["float32"]
    if options.readme and "steps" not in options.sections:
        parser.error("--readme writes the tables of the steps: leave them in with --only")
    return options


if __name__ == "__main__":
    sys.exit(main())
