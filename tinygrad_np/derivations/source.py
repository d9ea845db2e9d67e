"""The lines as the source of a Python function."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from .lines import Line, Lines
from .literals import literal

FUNCTION = "loss_and_gradients"
JOINT = "\N{NO-BREAK SPACE}"
COLUMN = 52
"""Where comments begin, if the line is short enough."""
WIDTH = 96
"""A comment that would end beyond this column stands above its line."""


def source(lines: Lines) -> str:
    """A function of plain NumPy; each Line learns the number of its first line of text."""
    written, names = lines.written, lines.arguments
    everything = "\n".join([row for line in lines.lines for row in line.text])
    text = _imports(everything)
    text += _call(f"def {FUNCTION}(", names, "):")
    shapes = [f"{name} {_shape(lines, name)}" for name in names if name in written.inputs]
    joined = ", ".join([shape.replace(" ", JOINT) for shape in shapes])
    text += ['    """The loss, and its gradient for each parameter.', ""]
    text += [row.replace(JOINT, " ") for row in _filled(f"Shapes: {joined}.", "    ")]
    text += ['    """']
    if re.search(r"\bn\b", everything):
        text.append(f"    n = len({written.batch})")
    for backward, title in ((False, "Forward"), (True, "Backward")):
        part = [line for line in lines.lines if line.backward is backward]
        text += [f"    # {title}"] if part else []
        before = ""
        for line in part:
            note = comment(line)
            note, before = ("" if note == before else note), note
            if note and max(COLUMN - 4, len(line.text[0])) + len(note) > WIDTH:
                text.append(f"    # {note}")
                note = ""
            line.number = len(text) + 1
            first, *rest = [f"    {row}" for row in line.text]
            text += [first.ljust(COLUMN) + f"  # {note}" if note else first, *rest]
    pairs = [f'"{name}": {result}' for name, result in lines.result_names.items()]
    text += _call("    return loss, {", pairs, "}")
    return "\n".join(text) + "\n"


def _imports(text: str) -> list[str]:
    """What stands above the function."""
    above = ["import numpy as np"]
    if re.search(r"\b(math\.|erf\()", text):
        above = ["import math", "", *above]
    if "sliding_window_view(" in text:
        above.append("from numpy.lib.stride_tricks import sliding_window_view")
    if re.search(r"\berf\(", text):
        above += ["", "erf = np.vectorize(math.erf, otypes=[float])"]
    return [*above, "", ""]


def comment(line: Line) -> str:
    """The ops of a line; in the backward pass, the ops whose rules it consists of."""
    ops = ", ".join(line.ops)
    if not line.ops or not line.backward:
        return ops
    total = line.calls[-1]
    axis = total.args[1] if total.name == "add.reduce" and len(total.args) > 1 else None
    if axis is None or total.kwargs.get("keepdims"):
        return ops
    axes = axis if isinstance(axis, tuple) else (axis,)
    word = "axes" if len(axes) > 1 else "axis"
    return f"{ops}: summed over the broadcast {word} {', '.join(map(str, axes))}"


def _shape(lines: Lines, name: str) -> str:
    value = lines.written.inputs[name]
    shape = lines.written.shapes.get(value, value.shape)
    return literal(shape) if shape else "(a number)"


def _filled(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 96, initial_indent=indent, subsequent_indent=indent,
                         break_on_hyphens=False)  # fmt: skip


def _call(head: str, parts: list[str], tail: str) -> list[str]:
    """A list of arguments in one line or, if it is too long, in several."""
    line = f"{head}{', '.join(parts)}{tail}"
    indent = " " * (len(head) - len(head.lstrip()))
    return [line] if len(line) <= 100 else [
        head, *_filled(f"{', '.join(parts)},", f"{indent}    "), f"{indent}{tail}"
    ]  # fmt: skip


def execute(text: str, given: dict[str, Any]) -> Any:
    """What the function of this source returns for these arrays."""
    namespace: dict[str, Any] = {}
    exec(compile(text, "<derivation>", "exec"), namespace)
    return namespace[FUNCTION](**given)
