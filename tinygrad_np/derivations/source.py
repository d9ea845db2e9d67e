"""The lines as the source of a Python function."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from ..compiler.program import Value
from .lines import Line, Lines
from .literals import literal

COLUMN = 52
"""Where comments begin, if the line is short enough."""
WIDTH = 96
"""A comment that reaches further stands above its line."""


def source(lines: Lines, function: str = "loss_and_gradients") -> str:
    """A function of plain NumPy; each Line learns the number of its first line of text."""
    written = lines.written
    names = arguments(lines)
    inputs = {name: value for name, value in written.inputs.items() if name in names}
    everything = "\n".join([row for line in lines.lines for row in line.text])
    text = _imports(everything)
    head = f"def {function}({', '.join(names)}):"
    text += [head] if len(head) <= 100 else _wrapped(f"def {function}(", names, "):")
    shapes = ", ".join(
        [
            f"{name} {_shape(written.shapes.get(value, value.shape))}"
            for name, value in inputs.items()
        ]
    )
    text += ['    """The loss, and its gradient for each parameter.', ""]
    text += [*_filled(f"For {shapes}.", "    "), '    """']
    here, before = None, ""
    for line in lines.lines:
        if line.backward is not here:
            if here is None and re.search(r"\bn\b", everything):
                text.append(f"    n = len({written.batch})")
            here, before = line.backward, ""
            text.append(f"    # {'Backward' if here else 'Forward'}")
        first, *rest = line.text
        note = comment(line)
        note, before = ("" if note == before else note), note
        if note and max(COLUMN - 4, len(line.text[0])) + len(note) > WIDTH:
            text.append(f"    # {note}")
            note = ""
        line.number = len(text) + 1
        text.append(f"    {first}".ljust(COLUMN if note else 0) + (f"  # {note}" if note else ""))
        text += [f"    {more}" for more in rest]
    pairs = [f'"{name}": {result}' for name, result in lines.result_names.items()]
    end = f"    return loss, {{{', '.join(pairs)}}}"
    text += [end] if len(end) <= 100 else _wrapped("    return loss, {", pairs, "}", "    ")
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
    """The ops that a line comes from: in the backward pass those whose rules it is made of."""
    if not line.ops:
        return ""
    ops = ", ".join(line.ops)
    if not line.backward:
        return ops
    total = line.calls[-1]
    summed = total.name == "add.reduce" and not total.kwargs.get("keepdims")
    if summed and isinstance(line.value, Value) and len(total.args) > 1:
        axes = total.args[1] if isinstance(total.args[1], tuple) else (total.args[1],)
        if None not in axes:
            word = "axes" if len(axes) > 1 else "axis"
            where = ", ".join(map(str, axes))
            return f"{ops}: summed over the broadcast {word} {where}"
    return ops


def arguments(lines: Lines) -> list[str]:
    """The arguments of the function: what is read, and all parameters."""
    read = {value for call in lines.written.program.calls for value in call.inputs}
    read |= {value for value in lines.written.outputs if isinstance(value, Value)}
    inputs = lines.written.inputs.items()
    parameters = lines.written.parameters
    return [*[n for n, v in inputs if v in read or n in parameters], *lines.constants]


def _shape(shape: tuple[Any, ...]) -> str:
    return literal(shape) if shape else "(a number)"


def _filled(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 96, initial_indent=indent, subsequent_indent=indent,
                         break_on_hyphens=False)  # fmt: skip


def _wrapped(head: str, parts: list[str], tail: str, indent: str = "") -> list[str]:
    return [head, *_filled(f"{', '.join(parts)},", f"{indent}    "), f"{indent}{tail}"]


def execute(text: str, given: dict[str, Any], function: str = "loss_and_gradients") -> Any:
    """What the function of this source returns for these arrays."""
    namespace: dict[str, Any] = {}
    exec(compile(text, "<derivation>", "exec"), namespace)
    return namespace[function](**given)
