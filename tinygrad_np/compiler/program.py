"""A traced step as data: values in single assignment, and the pure calls that compute them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Function = Callable[..., Any]


class Value:
    """An array or a number of the program: what is known of it before any run.

    ``source`` tells where it comes from: "input" (an array that each run receives), "number" (a
    Python float that each run receives), "constant" (``array`` itself, read at each run) or "call".
    Strides are those of the traced run, because sums and products have the same bits only in the
    same memory layout.
    """

    __slots__ = ("array", "dtype", "name", "number", "shape", "source", "strides")

    _numbers = itertools.count()

    def __init__(self, like: Any, source: str = "call", name: str | None = None) -> None:
        self.shape: tuple[int, ...] = like.shape
        self.strides: tuple[int, ...] = like.strides
        self.dtype: np.dtype[Any] = like.dtype
        self.source, self.name = source, name
        self.array = like if source == "constant" else None
        self.number = next(Value._numbers)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def nbytes(self) -> int:
        """The number of bytes of the elements."""
        return self.size * self.dtype.itemsize

    def fits(self, array: Any) -> bool:
        """Whether an array has the traced one's shape, strides and dtype."""
        return bool(
            type(array) is np.ndarray
            and array.shape == self.shape
            and array.strides == self.strides
            and array.dtype == self.dtype
        )

    def like(self, other: Value) -> bool:
        """Whether two values have the same shape, dtype and strides."""
        return (self.shape, self.dtype, self.strides) == (other.shape, other.dtype, other.strides)

    def __repr__(self) -> str:
        letter = {"call": "v", "input": "in", "constant": "c", "number": "n"}[self.source]
        return self.name or f"{letter}{self.number}"


@dataclass(eq=False)
class Call:
    """One call: ``out = function(*args, **kwargs)``, with Values anywhere inside the arguments.

    The function is pure. ``view`` tells that the result shares its first input's memory. ``op`` is
    the op whose rule or forward function made the call, ``line`` the user's line. ``errors`` are
    the settings of ``np.errstate`` where they differ from the defaults.
    """

    function: Function
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Value
    view: bool = False
    op: str = ""
    line: str = ""
    errors: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Value]:
        """The Values that the call reads, in order."""
        return list(values_in((self.args, self.kwargs)))

    @property
    def name(self) -> str:
        """The function's name in NumPy."""
        owner = getattr(self.function, "__self__", None)
        name = str(getattr(self.function, "__name__", self.function)).strip("<>")
        return f"{owner.__name__}.{name}" if isinstance(owner, np.ufunc) else name

    def __repr__(self) -> str:
        words = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{self.out} = {self.name}({', '.join(w if len(w) < 60 else '…' for w in words)})"


@dataclass(eq=False)
class Program:
    """A pure function of arrays and numbers, with its outputs and updates.

    Each run receives ``inputs`` and ``numbers``, in this order, and returns ``outputs``, each in
    an array of its own. ``updates`` pairs an input with the value that its array holds after the
    run. The result is as if all values were computed before the first update is written.
    """

    inputs: list[Value]
    numbers: list[Value]
    calls: list[Call]
    outputs: list[Value]
    updates: list[tuple[Value, Value]]

    @property
    def results(self) -> list[Value]:
        """The values that a run must have computed at its end: outputs and updates."""
        return [*self.outputs, *(new for _, new in self.updates)]

    def substitute(self, same: dict[Value, Value]) -> None:
        """Replace Values by others wherever they are read."""
        if not same:
            return

        def now(leaf: Any) -> Any:
            while isinstance(leaf, Value) and leaf in same:
                leaf = same[leaf]
            return leaf

        for call in self.calls:
            if not same.keys().isdisjoint(call.inputs):
                call.args, call.kwargs = map_tree(now, call.args), map_tree(now, call.kwargs)
        self.outputs = [now(value) for value in self.outputs]
        self.updates = [(place, now(new)) for place, new in self.updates]


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
    """The tree of tuples, lists, dicts and slices with ``function`` applied to its leaves."""
    if isinstance(tree, tuple | list):
        items = [map_tree(function, item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if isinstance(tree, dict):
        mapped = copy.copy(tree)  # keeps subclasses of dict
        mapped.update({key: map_tree(function, item) for key, item in tree.items()})
        return mapped
    if isinstance(tree, slice):
        return slice(*[function(part) for part in (tree.start, tree.stop, tree.step)])
    return function(tree)


def expression(tree: Any, word: Callable[[Any], str]) -> str:
    """Python source for a slice, tuple or list; ``word`` gives the source of its leaves."""
    if isinstance(tree, slice):
        return f"slice({', '.join(map(word, (tree.start, tree.stop, tree.step)))})"
    words = ", ".join(map(word, tree))
    return f"[{words}]" if isinstance(tree, list) else f"({words},)"


# Kinds of NumPy functions

REDUCTIONS: dict[Function, Function] = {
    np.sum: np.add.reduce, np.ndarray.sum: np.add.reduce,
    np.prod: np.multiply.reduce, np.ndarray.prod: np.multiply.reduce,
    np.max: np.maximum.reduce, np.amax: np.maximum.reduce, np.ndarray.max: np.maximum.reduce,
    np.min: np.minimum.reduce, np.amin: np.minimum.reduce, np.ndarray.min: np.minimum.reduce,
    np.any: np.logical_or.reduce, np.ndarray.any: np.logical_or.reduce,
    np.all: np.logical_and.reduce, np.ndarray.all: np.logical_and.reduce,
}  # fmt: skip
"""Functions and methods that equal a ufunc's ``reduce``, which takes ``out``."""


def is_elementwise(call: Call, *functions: Any) -> bool:
    """Whether a call is one of these ufuncs; without any, whether it is an elementwise ufunc."""
    if functions:
        return any(call.function is function for function in functions)
    return isinstance(call.function, np.ufunc) and call.function.signature is None


def has_out(function: Function) -> bool:
    """Whether it is a function of ours with a keyword-only ``out``, an array for its result.

    Such a function writes there only once nothing more can raise.
    """
    return "out" in (getattr(function, "__kwdefaults__", None) or ())
