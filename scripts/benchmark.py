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

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.bench import overhead, ranks, report, seeds, start, steps
from scripts.bench.libraries import installed
from scripts.bench.report import Section
from scripts.bench.rounds import BenchmarkError, Plan
from scripts.bench.workloads import WORKLOADS
from scripts.command import parser_of, positive, reports

SECTIONS: dict[str, Callable[[Plan], Section]] = {
    "steps": steps.section, "start": start.start_section, "first": start.first_section,
    "overhead": overhead.section, "growth": steps.growth_section, "ranks": ranks.section,
    "import": start.import_section, "seeds": seeds.section,
}  # fmt: skip
"""The sections of the report, in order; to add one is to add a function here."""


@reports(BenchmarkError, OSError, ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = parser_of("benchmark", __doc__)
    titles = "; ".join(f"{name} {workload.title}" for name, workload in WORKLOADS.items())
    add = parser.add_argument
    add("--quick", action="store_true", help="few short rounds, float32 only: a trial run")
    add("--only", nargs="+", choices=[*WORKLOADS, *SECTIONS], default=[*SECTIONS], metavar="NAME",
        help=f"only these sections, or workloads: {titles}")  # fmt: skip
    add("--dtype", choices=["float32", "float64"], help="default: both")
    add("--rounds", type=positive, metavar="N", help="default: 15")
    add("--out", type=Path, default=Path("bench"), metavar="DIR", help="default: bench")
    add("--write", type=Path, metavar="FILE", help="also write the tables between the markers in "
        "this file, such as docs/benchmarks.md")  # fmt: skip
    options = parser.parse_args(arguments)
    workloads = [name for name in WORKLOADS if name in options.only]
    only = [*options.only, "steps"] if workloads else options.only
    if options.write and "steps" not in only:
        parser.error("--write replaces the tables of the steps: leave them in with --only")
    plan = Plan(3, 0.01, 300, dtypes=["float32"]) if options.quick else Plan(15, 0.05)
    plan = plan._replace(
        rounds=options.rounds or plan.rounds, libraries=installed(),
        workloads=[WORKLOADS[name] for name in workloads or WORKLOADS],
        dtypes=[options.dtype] if options.dtype else plan.dtypes,
    )  # fmt: skip
    found, sections = report.environment(), {}
    for name, section in SECTIONS.items():
        if name in only:
            print(f"{name} ...", file=sys.stderr)
            sections[name] = section(plan)
    paths = report.write(options.out, found, sections)
    if options.write:
        report.splice(options.write, report.markdown(found, sections.values()))
        paths.append(options.write)
    print(paths[0].read_text(encoding="utf-8"))
    print(f"written: {', '.join(map(str, paths))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
