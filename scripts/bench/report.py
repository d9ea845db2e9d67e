"""What a benchmark writes: Markdown, JSON, a chart, and the table in the README."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tinygrad_np as tg
from scripts import figures

from .libraries import LIBRARIES, REFERENCE
from .workloads import WORKLOADS

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"


@dataclass(frozen=True)
class Section:
    """One part of the report: paragraphs and tables in Markdown, and what they come from."""

    title: str
    text: list[str]
    data: Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, the first column to the left and the others to the right."""
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
    """The machine and the versions, in a sentence each; and what is missing."""
    blas, processor = found["blas"], found["processor"]
    kernel = f", kernel {blas['kernel']}" if blas["kernel"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    text = [
        f"{processor['name']}, {processor['cores']} cores; Python {found['python']}, {versions}; "
        f"NumPy's BLAS: {blas['library']} {blas['version']}{kernel}, {blas['threads']} threads. "
        "Each library in a process of its own with as many threads as it takes by itself, in "
        "turns, once its losses and parameters have been found equal to those by hand.",
        *found["advice"],
    ]
    if (found["load"] or 0) > 0.5:
        text.append(
            f"**The machine was busy** at the start (load average {found['load']:.1f}): "
            "measure again when nothing else runs."
        )
    missing = [library.title for library in LIBRARIES.values() if library.version() is None]
    if missing:
        text.append(
            f"Not installed, so not compared: {', '.join(missing)} "
            "(`pip install -e '.[peers]'` installs them)."
        )
    return [line for paragraph in text for line in (paragraph, "")][:-1]


def markdown(found: dict[str, Any], sections: Sequence[Section]) -> str:
    """The whole report."""
    text = ["# Benchmark", "", *about(found)]
    for section in sections:
        text += ["", f"## {section.title}", "", *section.text]
    return "\n".join(text) + "\n"


def write(out: Path, found: dict[str, Any], sections: dict[str, Section]) -> list[Path]:
    """benchmark.md and benchmark.json, and where steps were timed benchmark.png; their paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "benchmark.md", out / "benchmark.json"]
    paths[0].write_text(markdown(found, list(sections.values())))
    data = {"environment": found, **{name: part.data for name, part in sections.items()}}
    paths[1].write_text(json.dumps(data, indent=1) + "\n")
    if "steps" in sections:
        paths.append(out / "benchmark.png")
        chart(paths[-1], sections["steps"].data)
    return paths


def chart(path: Path, steps: dict[str, Any]) -> None:
    """The ratios of all libraries on all workloads, in the first dtype that was measured."""
    dtype, workloads = next(iter(steps.items()))
    panels = {
        f"{name}\n{WORKLOADS[name].title}": {
            timing["title"]: (timing["ratio"], *timing["quartiles"])
            for module, timing in libraries.items()
            if module != REFERENCE.module
        }
        for name, libraries in workloads.items()
    }
    title = f"One training step in {dtype}: time divided by that of hand-written NumPy"
    ours = {library.title for library in LIBRARIES.values() if library.ours}
    figures.ratios(path, title, panels, ours)


def splice(readme: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the README's two markers.

    Raises ValueError where they are not there, each once and in order.
    """
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not begin or not end or BEGIN in between + after or END in before + after:
        raise ValueError(f"{readme}: the table goes between one {BEGIN} and one {END} after it")
    readme.write_text("\n".join([before + begin, *lines, end + after]))
