"""Formulas as MathML, which browsers show by themselves, without scripts and a network."""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def show_inline(self: Any, node: Any) -> None:
    """Write a formula inside a line."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def show_block(self: Any, node: Any) -> None:
    """Write a formula that stands by itself; one that is too wide can be scrolled."""
    formula = convert(node.astext(), display="block")
    self.body.append(f'<div class="formula">{formula}</div>')
    raise nodes.SkipNode


def convert_outputs(app: Any, doctree: Any) -> None:
    """Convert what stands between dollars in the HTML of outputs, as Jupyter does."""
    for node in doctree.findall(nodes.raw):
        if node.get("format") == "html" and "$" in node.astext() and "<table" in node.astext():
            text = re.sub(r"\$([^$]+)\$", lambda m: convert(html.unescape(m[1])), node.astext())
            node.children = [nodes.Text(text)]
            node.rawsource = text
