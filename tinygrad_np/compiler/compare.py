"""Comparing two traces of a step: where they differ, a replay would be wrong."""

from __future__ import annotations

import itertools
import types
from typing import Any, NamedTuple

import numpy as np

from .program import Value, map_tree
from .trace import Trace


class Reference(NamedTuple):
    """A Value by its number in the trace."""

    number: int
    name: str | None

    def __repr__(self) -> str:
        return self.name or f"v{self.number}"


class Entry(NamedTuple):
    """One call of a trace, in a form that two traces have in common."""

    function: Any
    arguments: Any
    shape: Any
    line: str


def entries(trace: Trace) -> list[Entry]:
    """A trace's calls, steps and results. Take them before the passes, which change the calls."""
    numbers = {value: i for i, value in enumerate([*trace.places, *trace.program.numbers])}

    def numbered(tree: Any) -> Any:
        def leaf(value: Any) -> Any:
            if not isinstance(value, Value):
                return value
            if value.source == "constant":
                return value.array
            return Reference(numbers.setdefault(value, len(numbers)), value.name)

        return map_tree(leaf, tree)

    made = [
        Entry(c.function, numbered((c.args, c.kwargs)), (c.out.shape, c.out.dtype), c.line)
        for c in trace.program.calls
        if numbers.setdefault(c.out, len(numbers)) >= 0
    ]
    made += [Entry(s.function, numbered(s.args), s.kind, s.line) for s in trace.steps]
    left = [(key, numbered(tree)) for _, key, tree in trace.writes]
    ends = numbered(trace.result), left, [numbered(pair) for pair in trace.program.updates]
    return [*made, Entry("the result", ends, None, "")]


def difference(first: list[Entry], second: list[Entry]) -> str | None:
    """The first difference between two traces, with its line; None if there is none."""
    for a, b in itertools.zip_longest(first, second):
        if a is None or b is None or not equal(a.function, b.function):
            names = [_name(entry) for entry in (a, b)]
            found = f"it calls {names[1]} where it called {names[0]}"
        elif not equal(a.arguments, b.arguments):
            found = f"{_name(a)} gets {_words(b)} where it got {_words(a)}"
        elif not equal(a.shape, b.shape):
            found = f"{_name(a)} gives {b.shape} where it gave {a.shape}"
        else:
            continue
        line = (b or a).line
        return (
            f"the step does not do the same at each call: {found}. A step may depend only on what "
            "it is given. Pass what changes as an argument, or hold it in an object that is an "
            "argument; draw random numbers with tg.dropout"
        ) + (f"\n    at {line}" if line else "")
    return None


def _name(entry: Entry | None) -> str:
    function = "nothing" if entry is None else entry.function
    return str(getattr(function, "__name__", function))


def _words(entry: Entry) -> str:
    def word(tree: Any) -> str:
        if isinstance(tree, tuple | list) and not isinstance(tree, Reference):
            return f"({', '.join(map(word, tree))})"
        if isinstance(tree, np.ndarray) and tree.size > 8:
            return f"an array of {tree.dtype}{tree.shape}"
        return repr(tree)

    args, kwargs = entry.arguments if len(entry.arguments) == 2 else (entry.arguments, {})
    words = word(args) + (f", {kwargs}" if kwargs else "")
    return words if len(words) < 80 else f"{words[:77]}..."


def equal(a: Any, b: Any) -> bool:
    """Whether two parts of two traces are equal, in type and to the last bit."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return (a.dtype, a.strides) == (b.dtype, b.strides) and np.array_equal(
            a, b, equal_nan=a.dtype.kind in "fc"
        )
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, slice):
        return equal((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, types.FunctionType):  # two closures of the same code with equal variables
        cells = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (a, b)]
        return a.__code__ is b.__code__ and equal(*cells) and equal(a.__defaults__, b.__defaults__)
    if isinstance(a, float | complex | np.generic):
        return repr(a) == repr(b)
    return bool(a == b)
