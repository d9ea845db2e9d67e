"""The output of a benchmark: Markdown, JSON, a chart, and the tables in the documentation."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tinygrad_np as tg
from scripts import figures

from .libraries import LIBRARIES, REFERENCE
from .workloads import WORKLOADS

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
MISSING = "–"


class Section(NamedTuple):
    """One part of the report: paragraphs and tables in Markdown, and the data behind them."""

    title: str
    text: list[str]
    data: Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, the first column left-aligned and the others right-aligned."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    packages = sorted({(library.package, library.version()) for library in LIBRARIES.values()})
    return {
        **tg.show_config(mode="dicts"),
        "python": platform.python_version(),
        "packages": {package: version for package, version in packages if version},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,  # not on Windows
    }


def about(found: dict[str, Any]) -> list[str]:
    """The machine and the versions, in a sentence each, and what is missing."""
    blas, processor = found["blas"], found["processor"]
    kernel = f", kernel {blas['kernel']}" if blas["kernel"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    text = [
        f"{processor['name']}, {processor['cores']} cores; Python {found['python']}, {versions}; "
        f"NumPy's BLAS: {blas['library']} {blas['version']}{kernel}, {blas['threads']} threads. "
        "Each library runs in its own process, with its default number of threads. They take "
        "turns, after their losses and parameters have been found equal to those by hand.",
        *found["advice"],
    ]
    if (found["load"] or 0) > 0.5:
        text.append(
            f"**The machine was busy** at the start (load average {found['load']:.1f}): "
            "measure again when nothing else runs."
        )
    missing = [library.title for library in LIBRARIES.values() if library.version() is None]
    if missing:
        names = ", ".join(missing)
        text.append(f"Not compared: {names}. `pip install -e '.[peers]'` installs them.")
    return "\n\n".join(text).splitlines()


def markdown(found: dict[str, Any], sections: Iterable[Section]) -> list[str]:
    """The report's lines below its title."""
    text = about(found)
    for section in sections:
        text += ["", f"## {section.title}", "", *section.text]
    return text


def write(out: Path, found: dict[str, Any], sections: dict[str, Section]) -> list[Path]:
    """Write benchmark.md, .json and, if steps were timed, .png; return the paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "benchmark.md", out / "benchmark.json"]
    lines = ["# Benchmark", "", *markdown(found, sections.values()), ""]
    paths[0].write_text("\n".join(lines), encoding="utf-8")
    data = {"environment": found, **{name: part.data for name, part in sections.items()}}
    paths[1].write_text(json.dumps(data, indent=1) + "\n")
    if "steps" in sections:
        paths.append(out / "benchmark.png")
        chart(paths[-1], sections["steps"].data)
    return paths


def chart(path: Path, steps: dict[str, Any]) -> None:
    """Draw the ratios of all libraries on all workloads, in the first dtype that was measured."""
    dtype, workloads = next(iter(steps.items()))
    panels = {
        f"{name}\n{WORKLOADS[name].title}": {
            timing["title"]: (timing["ratio"], *timing["quartiles"])
            for module, timing in libraries.items() if module != REFERENCE.module
        }
        for name, libraries in workloads.items()
    }  # fmt: skip
    title = f"One training step in {dtype}: time divided by that of hand-written NumPy"
    figures.ratios(path, title, panels)


def splice(file: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the file's two markers.

    Raises ValueError where they are not there, each once and in order.
    """
    text = file.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not begin or not end or BEGIN in between + after or END in before + after:
        raise ValueError(f"{file}: the table goes between one {BEGIN} and one {END} after it")
    file.write_text("\n".join([before + begin, *lines, end + after]), encoding="utf-8")
