"""A traced function as data: values in single assignment, and the calls that compute them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Function = Callable[..., Any]


class Value:
    """One array of the program: what is known of it before any run.

    ``source`` tells where it comes from: "call" (computed), "input" (an argument), "external" (an
    array that lives outside: a parameter, say), "constant" or "host" (a number computed by Python).
    """

    __slots__ = ("dtype", "fortran", "number", "shape", "source", "where")

    _numbers = itertools.count()

    def __init__(self, array: Any, source: str = "call", where: Any = None) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        flags = getattr(array, "flags", None)
        self.fortran = flags is not None and flags.f_contiguous and not flags.c_contiguous
        self.source = source
        self.where = where
        self.number = next(Value._numbers)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def nbytes(self) -> int:
        """The bytes of the elements."""
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        letter = {"call": "v", "input": "in", "external": "ext", "constant": "c", "host": "h"}
        return f"{letter[self.source]}{self.number}"


@dataclass(eq=False)
class Call:
    """One step: ``out = function(*args, **kwargs)``, with Values anywhere inside the arguments.

    ``kind`` is "array" (a pure function of arrays), "view" (one whose result shares its input's
    memory), "store" (args: an external and its new value), or what Python does at every run: "host"
    and "draw" (``out`` is what ``function()`` gives), "check" and "effect" (no result).
    """

    kind: str
    function: Function
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    out: Value | None = None
    line: str = ""

    @property
    def inputs(self) -> list[Value]:
        """The Values among the arguments, in order."""
        return list(values_in((self.args, self.kwargs)))

    @property
    def name(self) -> str:
        """The function's name, as NumPy has it."""
        owner = getattr(self.function, "__self__", None)
        name = getattr(self.function, "__name__", str(self.function))
        return f"{owner.__name__}.{name}" if isinstance(owner, np.ufunc) else name.strip("<>")

    def __repr__(self) -> str:
        words = [_word(a) for a in self.args] + [f"{k}={_word(v)}" for k, v in self.kwargs.items()]
        head = f"{self.out} = " if self.out is not None else ""
        return f"{head}{self.name}({', '.join(words)})"


def _word(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


@dataclass(eq=False)
class Program:
    """The calls in order, and the structure of what the function returned (Values inside)."""

    calls: list[Call]
    result: Any
    inputs: list[Value]
    ignored: dict[str, str] = field(default_factory=dict)

    @property
    def outputs(self) -> list[Value]:
        """The Values that the function returns."""
        return list(values_in(self.result))

    def uses(self) -> dict[Value, list[Call]]:
        """For each Value, the calls that read it, in order; a call once for each reading."""
        found: dict[Value, list[Call]] = {}
        for call in self.calls:
            for value in call.inputs:
                found.setdefault(value, []).append(call)
        return found

    def producers(self) -> dict[Value, Call]:
        """The call that computes each Value."""
        return {call.out: call for call in self.calls if call.out is not None}


def values_in(tree: Any) -> Iterator[Value]:
    """All Values in nested tuples, lists, dicts and slices."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from values_in(item)
    elif isinstance(tree, dict):
        yield from values_in(list(tree.values()))
    elif isinstance(tree, slice):
        yield from values_in((tree.start, tree.stop, tree.step))


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with ``function`` applied to its leaves."""
    if type(tree) in (tuple, list):
        return type(tree)([map_tree(function, item) for item in tree])
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[map_tree(function, item) for item in tree])
    if type(tree) is dict:
        return {key: map_tree(function, item) for key, item in tree.items()}
    if type(tree) is slice:
        return slice(*[map_tree(function, item) for item in (tree.start, tree.stop, tree.step)])
    return function(tree)


def replace(call: Call, old: Value, new: Any) -> None:
    """Let a call read ``new`` where it read ``old``."""
    call.args = map_tree(lambda leaf: new if leaf is old else leaf, call.args)
    call.kwargs = map_tree(lambda leaf: new if leaf is old else leaf, call.kwargs)


# What is known of NumPy's functions

REDUCTIONS: dict[Function, Function] = {
    np.sum: np.add.reduce, np.ndarray.sum: np.add.reduce,
    np.prod: np.multiply.reduce, np.ndarray.prod: np.multiply.reduce,
    np.max: np.maximum.reduce, np.amax: np.maximum.reduce, np.ndarray.max: np.maximum.reduce,
    np.min: np.minimum.reduce, np.amin: np.minimum.reduce, np.ndarray.min: np.minimum.reduce,
    np.all: np.logical_and.reduce, np.ndarray.all: np.logical_and.reduce,
    np.any: np.logical_or.reduce, np.ndarray.any: np.logical_or.reduce,
}  # fmt: skip
"""Functions and methods that are a ufunc's ``reduce``, which takes ``out``."""

REDUCES: frozenset[Function] = frozenset(REDUCTIONS.values())


def is_ufunc(call: Call, *functions: Any) -> bool:
    """Whether a call is one of these ufuncs (of any ufunc but matmul, where none is named)."""
    if call.kind != "array":
        return False
    if functions:
        return any(call.function is function for function in functions)
    return isinstance(call.function, np.ufunc) and call.function is not np.matmul
