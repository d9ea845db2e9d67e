"""A program as lines: which values get a name, and which are part of an expression."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..compiler.program import Call, Value
from ..definition import Op
from ..shapes import Shape
from .literals import array_text, literal
from .naming import Namer
from .numpy_text import PRODUCT, Text, expression, picks_once, scatters, statements
from .textbook import added_up
from .value_names import ValueNames
from .writer import Written

_SPREAD = ("max_pooling", "convolution")
"""Ops whose rules take several lines, so that the gradient gets a line of its own."""
WIDTH = 78
"""The longest expression; a part of a longer one gets a line of its own."""


@dataclass(eq=False)
class Line:
    """``name = ...``: one value of the derivation.

    ``calls`` are the calls of the program that the line consists of; the last one gives the value.
    ``ops`` are the ops that made the calls, in the backward pass by their rules. ``number`` is the
    line's number in the NumPy source.
    """

    name: str
    value: Any
    calls: list[Call]
    ops: list[str]
    backward: bool
    text: list[str] = field(default_factory=list)
    number: int = 0

    @property
    def shape(self) -> Shape:
        """The shape of the value."""
        shape: Shape = getattr(self.value, "shape", ())
        return shape


class Lines:
    """The lines of a derivation, in order.

    ``names`` has the names of all values with a line, ``result_names`` those of the gradients by
    parameter. ``arguments`` are the names of the inputs that are read, of all parameters, and of
    ``constants``, the arrays that are too large to be written out.
    """

    def __init__(self, written: Written, namer: Namer) -> None:
        self.written, self.namer = written, namer
        calls, outputs = written.program.calls, written.outputs
        self.names: dict[Value, str] = {value: name for name, value in written.inputs.items()}
        self.constants: dict[str, Any] = {}
        self.lines: list[Line] = []
        self.made = {call.out: call for call in calls}
        self._texts: dict[Value, Text] = {}
        self._parts: dict[Value, list[Call]] = {}
        self.value_names = ValueNames(written, namer)
        self._uses = Counter([value for call in calls for value in call.inputs])
        self._uses.update([value for value in outputs if isinstance(value, Value)])
        for call in calls:
            self._visit(call)
        self.result_names = {
            parameter: self._result(parameter, value)
            for parameter, value in written.parameters.items()
        }
        if not isinstance(written.loss, Value) or self.names.get(written.loss) != "loss":
            self._rename("loss", written.loss, backward=False)
        self.lines.sort(key=lambda line: line.backward)
        inputs = written.inputs.items()
        read = [n for n, value in inputs if value in self._uses or n in written.parameters]
        self.arguments = [*read, *self.constants]

    def shape(self, line: Line) -> tuple[Any, ...]:
        """The shape of a line's value, with n for the size of the batch."""
        return self.written.shapes.get(line.value, line.shape)

    def _visit(self, call: Call) -> None:
        self._parts[call.out] = self._calls_of(call)
        if self._has_line(call) or scatters(call):
            self._emit(call)
        else:
            self._texts[call.out] = self._within(call)

    def _calls_of(self, call: Call) -> list[Call]:
        """The calls of a line that ends with this one."""
        inner = [self._parts[v] for v in dict.fromkeys(call.inputs) if v in self._texts]
        return [*itertools.chain(*inner), call]

    def _has_line(self, call: Call) -> bool:
        value, names = call.out, self.value_names
        if value in names.results or value is self.written.loss:
            return True
        node = names.outputs.get(value)
        if node is not None and node.name:
            return True
        if self._uses[value] > 1:
            return not self._is_cheap(call)
        if node is not None and isinstance(node.op, Op):
            return not names.merges(node)
        node = names.gradients.get(value)
        if node is not None and node.op is not None:
            return bool(node.name) or node in names.layers or node.op.name in _SPREAD
        return False

    def _is_cheap(self, call: Call) -> bool:
        """Whether a call is a transpose or a slice of something with a name."""
        named = isinstance(call.args[0], Value) and call.args[0] in self.names
        turned = call.function in (np.ndarray.swapaxes, np.ndarray.transpose)
        sliced = call.function is np.ndarray.__getitem__ and picks_once(call.args[1])
        return named and (turned or sliced)

    def _within(self, call: Call) -> Text:
        """The expression of a call; parts of it get lines of their own where it is too long."""
        text = expression(call, self._operand)
        while len(text.text) > WIDTH:
            parts = [v for v in dict.fromkeys(call.inputs) if v in self._texts]
            parts = [v for v in parts if len(self._texts[v].text) > 20 and self.made[v].args]
            if not parts:
                break
            self._emit(self.made[max(parts, key=lambda v: len(self._texts[v].text))])
            self._parts[call.out] = self._calls_of(call)
            text = expression(call, self._operand)
        return text

    def _operand(self, value: Any) -> Text:
        if not isinstance(value, Value):
            return _literal(value)
        if value in self.names:
            return Text(self.names[value])
        if value in self._texts:
            return self._texts[value]
        if value.source == "constant":
            text = self.written.texts.get(value) or array_text(value.array)
            if text:
                return Text(text)
            name = self.namer.free("constant", numbered=True)
            self.names[value], self.constants[name] = name, value.array
            return Text(name)
        raise AssertionError(f"{value} is read before it is made")

    def _emit(self, call: Call) -> None:
        if not scatters(call):
            self._within(call)
        elif call.function is added_up and call.args[0] in self._texts:  # it is read in a loop
            self._emit(self.made[call.args[0]])
            self._parts[call.out] = [call]
        self._texts.pop(call.out, None)
        name = self.value_names.name(call, self.made, self.names)
        text = statements(call, name, self._operand)
        calls = self._parts[call.out]
        line = Line(name, call.out, calls, _ops(calls), call in self.written.backward, text)
        self.names[call.out] = name
        self.lines.append(line)

    def _result(self, parameter: str, value: Any) -> str:
        """The name of a gradient; it has a line even if it equals another value, or a number."""
        name = self.names.get(value) if isinstance(value, Value) else None
        own = self.value_names.results.get(value) == parameter and value.source == "call"
        return name if name and own else self._rename(f"d{parameter}", value, backward=True)

    def _rename(self, name: str, value: Any, backward: bool) -> str:
        name = name if name == "loss" else self.namer.free(name)
        text = [f"{name} = {self._operand(value).text}"]
        self.lines.append(Line(name, value, [], [], backward, text))
        return name


def _ops(calls: list[Call]) -> list[str]:
    return list(dict.fromkeys([call.op.removeprefix("gradient of ") for call in calls if call.op]))


def _literal(value: Any) -> Text:
    text = literal(value)
    return Text(text, PRODUCT if text.startswith("-") or " / " in text or " * " in text else 100)
