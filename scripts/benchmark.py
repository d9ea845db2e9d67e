"""Measure training steps against hand-written NumPy and other libraries, and what ops cost.

Sections: steps (of training), start (a training from the start of the process), first (calls of a
compiled step), overhead (of an op), growth (with the network's size), ranks (under mpiexec),
import, seeds (the seed document's tables). Other libraries are compared when they are installed:
pip install -e '.[peers]'

Examples:
  python -m scripts.benchmark
  python -m scripts.benchmark --quick --only W1 W3
  python -m scripts.benchmark --only overhead import
  python -m scripts.benchmark --write docs/benchmarks.md
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.bench import growth, overhead, ranks, report, seeds, start, steps
from scripts.bench.libraries import installed
from scripts.bench.report import Section
from scripts.bench.rounds import BenchmarkError, Plan
from scripts.bench.workloads import WORKLOADS
from scripts.command import parser_of, positive, reports

SECTIONS: dict[str, Callable[[argparse.Namespace, Plan], Section]] = {
    "steps": lambda options, plan: steps.section(
        installed(), [WORKLOADS[name] for name in options.workloads], options.dtypes, plan
    ),
    "start": lambda options, plan: start.start_section(installed(), plan),
    "first": lambda options, plan: start.first_section(installed(), plan),
    "overhead": lambda options, plan: overhead.section(plan),
    "growth": lambda options, plan: growth.section(installed(), plan),
    "ranks": lambda options, plan: ranks.section(plan),
    "import": lambda options, plan: start.import_section(plan),
    "seeds": lambda options, plan: seeds.section(plan),
}
"""The sections of the report, in order; to add one is to add a function here."""


@reports(BenchmarkError, OSError, ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    plan = Plan(options.rounds or 15, 0.05)
    if options.quick:
        plan = Plan(options.rounds or 3, 0.01, 300)
    found, sections = report.environment(), {}
    for name in options.sections:
        print(f"{name} ...", file=sys.stderr)
        sections[name] = SECTIONS[name](options, plan)
    paths = report.write(options.out, found, sections)
    if options.write:
        report.splice(options.write, report.markdown(found, sections.values()))
        paths.append(options.write)
    print(paths[0].read_text(encoding="utf-8"))
    print(f"written: {', '.join(map(str, paths))}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of("benchmark", __doc__)
    titles = "; ".join(f"{name} {workload.title}" for name, workload in WORKLOADS.items())
    add = parser.add_argument
    add("--quick", action="store_true", help="few short rounds, float32 only: a trial run")
    add("--only", nargs="+", choices=[*WORKLOADS, *SECTIONS], metavar="NAME",
        help=f"only these sections, or workloads: {titles}")  # fmt: skip
    add("--dtype", choices=["float32", "float64"], help="default: both")
    add("--rounds", type=positive, metavar="N", help="default: 15")
    add("--out", type=Path, default=Path("bench"), metavar="DIR", help="default: bench")
    add("--write", type=Path, metavar="FILE", help="also write the tables between the markers in "
        "this file, such as docs/benchmarks.md")  # fmt: skip
    options = parser.parse_args(arguments)
    only = {*(options.only or SECTIONS)}
    options.workloads = [name for name in WORKLOADS if name in only] or list(WORKLOADS)
    options.sections = [name for name in SECTIONS if name in only]
    if only & {*WORKLOADS} and "steps" not in only:
        options.sections.insert(0, "steps")
    options.dtypes = ["float32"] if options.quick else ["float32", "float64"]
    if options.dtype:
        options.dtypes = [options.dtype]
    if options.write and "steps" not in options.sections:
        parser.error("--write replaces the tables of the steps: leave them in with --only")
    return options


if __name__ == "__main__":
    sys.exit(main())
