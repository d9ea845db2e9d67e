"""A traced function as data: values in single assignment, and the calls that compute them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Function = Callable[..., Any]


class Value:
    """One array of the program: what is known of it before any run.

    ``source`` tells where it comes from: "call" (computed), "input" (an argument), "external" (an
    array that lives outside, at the Place ``where``), "constant" (``where`` is the array) or "host"
    (a number that Python computes by calling ``where``). The strides are those of the traced run:
    sums and products come out the same to the last bit only where the layout is the same.
    """

    __slots__ = ("dtype", "number", "shape", "source", "strides", "where")

    _numbers = itertools.count()

    def __init__(self, like: Any, source: str = "call", where: Any = None) -> None:
        self.shape: tuple[int, ...] = like.shape
        self.strides: tuple[int, ...] = like.strides
        self.dtype: np.dtype[Any] = like.dtype
        self.source, self.where = source, where
        self.number = next(Value._numbers)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def nbytes(self) -> int:
        """The bytes of the elements."""
        return self.size * self.dtype.itemsize

    def fits(self, array: Any) -> bool:
        """Whether an array can stand in for the one that was traced."""
        return bool(
            type(array) is np.ndarray
            and array.shape == self.shape
            and array.strides == self.strides
            and array.dtype == self.dtype
        )

    def fitting(self) -> tuple[str, tuple[Any, ...]]:
        """The condition that what lives outside fits; see ``guard``."""
        return f"{{0}}({{1}}{self.where.path})", (self.fits, self.where.owner)

    def __repr__(self) -> str:
        letter = {"call": "v", "input": "in", "external": "ext", "constant": "c", "host": "h"}
        return f"{letter[self.source]}{self.number}"


@dataclass(frozen=True, eq=False)
class Place:
    """Where an array from outside lives: ``path``, in Python's words, of ``owner``."""

    owner: Any
    path: str
    label: str

    def get(self) -> Any:
        """What is there now."""
        return eval(f"owner{self.path}", {"owner": self.owner})

    def same(self, other: Place) -> bool:
        """Whether this is the same place."""
        return self.owner is other.owner and self.path == other.path

    def __repr__(self) -> str:
        return self.label


@dataclass(eq=False)
class Call:
    """One step: ``out = function(*args, **kwargs)``, with Values anywhere inside the arguments.

    ``kind`` is "array" (a pure function of arrays), "view" (one whose result shares its first
    input's memory), "store" (args: an external and the value that is copied into its array), "put"
    (args: an external and the value of which its place gets a copy, or None), or what Python does
    at every run: "host" and "draw" (``out`` is what ``function()`` gives), "check" and "effect" (no
    result). ``errors`` are the settings of ``np.errstate`` that were in force.
    """

    kind: str
    function: Function
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    out: Value | None = None
    line: str = ""
    errors: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Value]:
        """The Values that are read, in order."""
        args = self.args[1:] if self.kind in ("store", "put") else self.args
        return list(values_in((args, self.kwargs)))

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
    """The calls in order, and the structure of what the function returned (Values inside).

    ``apart`` are pairs of externals that must not share memory: one is stored to, while a value
    stands for the other.
    """

    calls: list[Call]
    result: Any
    inputs: list[Value]
    apart: set[tuple[Value, Value]]

    @property
    def outputs(self) -> list[Value]:
        """The Values that the function returns."""
        return list(values_in(self.result))

    def substitute(self, same: dict[Value, Value], call: Call | None = None) -> None:
        """Let one call (None: the result) read other Values in place of its own."""

        def now(leaf: Any) -> Any:
            return same.get(leaf, leaf) if isinstance(leaf, Value) else leaf

        if call is None:
            self.result = map_tree(now, self.result)
        elif not same.keys().isdisjoint(call.inputs):
            call.args, call.kwargs = map_tree(now, call.args), map_tree(now, call.kwargs)


def values_in(tree: Any) -> Iterator[Value]:
    """All Values in nested tuples, lists and dicts."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from values_in(item)
    elif isinstance(tree, dict):
        yield from values_in(list(tree.values()))


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with ``function`` applied to its leaves."""
    if isinstance(tree, tuple | list):
        items = [map_tree(function, item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if isinstance(tree, dict):
        mapped = copy.copy(tree)
        mapped.update({key: map_tree(function, item) for key, item in tree.items()})
        return mapped
    return function(tree)


# What is known of NumPy's functions

REDUCTIONS: dict[Function, Function] = {
    np.sum: np.add.reduce, np.ndarray.sum: np.add.reduce,
    np.prod: np.multiply.reduce, np.ndarray.prod: np.multiply.reduce,
    np.max: np.maximum.reduce, np.amax: np.maximum.reduce, np.ndarray.max: np.maximum.reduce,
    np.min: np.minimum.reduce, np.amin: np.minimum.reduce, np.ndarray.min: np.minimum.reduce,
}  # fmt: skip
"""Functions and methods that are a ufunc's ``reduce``, which takes ``out``."""

TAKE_OUT: frozenset[Function] = frozenset(
    [np.matmul, np.dot, np.concatenate, np.stack, np.cumsum, np.cumprod, np.mean, np.clip,
     np.einsum]
)  # fmt: skip
"""Functions that are no elementwise ufuncs, but write into a given ``out`` as well.

Not in float16: the mean of one adds up in float32, but in ``out`` where there is one.
"""


def is_ufunc(call: Call, *functions: Any) -> bool:
    """Whether a call is one of these ufuncs (of any elementwise one, where none is named)."""
    if call.kind != "array":
        return False
    if functions:
        return any(call.function is function for function in functions)
    return isinstance(call.function, np.ufunc) and call.function.signature is None
