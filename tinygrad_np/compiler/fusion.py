"""Elementwise calls of one shape as one loop over blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .. import native
from .c_code import (
    Axis,
    CArray,
    c_type,
    converted,
    expression,
    index,
    literal,
    loop_call,
    loops,
    nest,
    substituted,
)  # fmt: skip
from .program import Call, Value, is_elementwise
from .tracer import laid_out

BLOCK = 1024
_WHOLE = 2 * BLOCK
"""So many elements are one block: its size is then known to the compiler."""
_FLAGS = {"invalid": "INVALID", "divide": "DIVIDE", "over": "OVER"}
_COPIES = (np.ndarray.astype, np.ndarray.copy, laid_out)
_CLIP: Any = np._core.umath.clip  # type: ignore[attr-defined]


class Names(Protocol):
    """What the text of a kernel asks for."""

    def place(self, value: Value) -> CArray | None:
        """Where a value lies; None for one that has no memory, between the loops of a group."""

    def loop(self, ufunc: np.ufunc, types: tuple[np.dtype[Any], ...]) -> str:
        """The name of one of NumPy's inner loops."""

    def address(self, name: str, address: int) -> str:
        """The name under which C finds another function."""

    def number(self, value: Value) -> str:
        """The name of a number that the program is given."""

    def shared(self, lines: list[str], variable: str, work: float) -> list[str]:
        """The lines; where it pays, several threads share a loop with independent runs.

        ``work`` estimates the nanoseconds that the lines take on one thread.
        """

    def in_parts(self, task: str, work: float, most: int, *pointers: str) -> str:
        """The C call that runs a task in at most ``most`` parts; its value is their number."""

    def head(self, text: str) -> None:
        """C text that is to stand before the functions, once."""

    def function(self, kind: str, text: str) -> str:
        """The name of a function of this text, in which it is NAME; equal ones have one name."""


Emit = Callable[[Names], list[str]]
"""Writes the C text of a kernel."""


def placed(names: Names, *values: Value) -> list[CArray]:
    """Where values lie that have memory."""
    found = [names.place(value) for value in values]
    return [place for place in found if place is not None]


@dataclass(eq=False)
class Part:
    """An elementwise call whose operands C can convert: an expression, or one of NumPy's loops."""

    call: Call
    function: Any
    args: tuple[Any, ...]
    types: tuple[np.dtype[Any], ...]
    text: str | None
    out: Value
    level: int = 0  # even: a loop of C over the block; odd: NumPy's loops, called on the block

    @property
    def values(self) -> list[Value]:
        """The arrays among the operands."""
        return [a for a in self.args if isinstance(a, Value) and a.source != "number"]


def items_of(call: Call) -> list[Part] | None:
    """An elementwise call, after conversions that need a loop of their own; None if C cannot."""
    function, args = call.function, call.args
    if function in _COPIES:
        function, args = np.positive, args[:1]
        types: Any = call.out.dtype, call.out.dtype
    elif function is np.where and len(args) == 3 and not call.kwargs:
        types = np.dtype(bool), call.out.dtype, call.out.dtype, call.out.dtype
    else:
        if function in (np.clip, np.ndarray.clip) and len(args) == 3:
            function = _CLIP
        types = _resolved(function, args, call)
    if types is None or types[-1] != call.out.dtype or not all(map(c_type, types)):
        return None
    text = expression(function, types)
    if text is None and (
        not isinstance(function, np.ufunc) or native.loop(function, types) is None
        or (function is np.power and _repeats(args, call.out.shape))  # x ** 2 along a row is x * x
    ):  # fmt: skip
        return None
    made: list[Part] = []
    operands = []
    for given, dtype in zip(args, types[:-1], strict=True):
        arg = given
        if not isinstance(arg, Value):
            try:
                if not isinstance(arg, int | float | complex | np.generic) or (
                    arg == arg and dtype.type(arg) != arg and np.asarray(arg).dtype.kind != "f"
                ):  # fmt: skip
                    return None
            except (OverflowError, TypeError):
                return None
        elif converted("x", arg.dtype, dtype) is None or c_type(arg.dtype) is None:
            return None
        elif text is None and arg.dtype != dtype and arg.source != "number":
            now = Value(np.broadcast_to(np.zeros((), dtype), call.out.shape))
            both = arg.dtype, dtype
            made.append(Part(call, np.positive, (arg,), both, "a", now))
            arg = now
        operands.append(arg)
    return [*made, Part(call, function, tuple(operands), types, text, call.out)]


def _resolved(function: Any, args: tuple[Any, ...], call: Call) -> Any:
    """The dtypes of the loop that NumPy takes."""

    def kind(arg: Any) -> Any:
        if type(arg) in (int, float, complex):
            return type(arg)
        if isinstance(arg, Value):
            return float if arg.source == "number" else arg.dtype
        return np.asarray(arg).dtype

    if not (function is _CLIP or is_elementwise(call)) or function.nout != 1:
        return None
    if not call.kwargs.keys() <= {"order"} or len(args) != function.nin:
        return None
    try:
        return function.resolve_dtypes((*map(kind, args), None))
    except (TypeError, ValueError):
        return None


def _repeats(args: tuple[Any, ...], shape: tuple[int, ...]) -> bool:
    return any(isinstance(a, Value) and 1 < a.size != int(np.prod(shape)) for a in args)


def _needs_no_python(item: Part) -> bool:
    """Whether a NumPy loop never takes the GIL, as the one for integer powers does to raise."""
    known = item.function is _CLIP or getattr(np, item.function.__name__, None) is item.function
    return known and all(dtype.kind in "fb" for dtype in item.types)


def without_flags(calls: list[Call], lines: list[str]) -> list[str]:
    """The lines, after which the flags that all the calls ignore are as before.

    Where only some ignore a flag it is set, and NumPy finds out whether it has to warn.
    """
    ignored = [flag for key, flag in _FLAGS.items()
               if all(call.errors.get(key) == "ignore" for call in calls)]  # fmt: skip
    if not ignored:
        return lines
    after = f"set_flags(before | (flags() & ~({' | '.join(ignored)})));"
    return ["{", "const int before = flags();", *lines, after, "}"]


@dataclass(eq=False)
class Group:
    """Elementwise calls of one shape, in order."""

    shape: tuple[int, ...]
    items: list[Part] = field(default_factory=list)
    raises = False

    def accepts(self, items: list[Part], made: Callable[[Value], Any]) -> bool:
        """Whether calls fit in: what they read of the group's results are these themselves."""
        own = {item.out for item in (*self.items, *items)}
        # An update is not written before all that may raise or warn has been computed.
        alike = bool(self.items[0].call.op) == bool(items[0].call.op)
        alike = alike and items[-1].out.shape == self.shape
        return alike and all(
            made(value) is not self or value in own for item in items for value in item.values
        )

    def add(self, items: list[Part]) -> None:
        """Take calls in, each at the lowest level that its operands allow."""
        levels = {item.out: item.level for item in self.items}
        for item in items:
            for value in item.values:
                if value in levels:
                    below = levels[value] + levels[value] % 2  # of the next loop of C's
                    item.level = max(item.level, below if item.text else below + 1)
            item.level += item.text is None and item.level % 2 == 0
            levels[item.out] = item.level
            self.items.append(item)

    @property
    def calls(self) -> list[Call]:
        """The calls, in order."""
        return list(dict.fromkeys(item.call for item in self.items))

    def lines(self, names: Names) -> list[str]:
        """The C text."""
        return _Text(self, names).lines() if all(self.shape) else []


class _Text:
    """The text of one group."""

    def __init__(self, group: Group, names: Names) -> None:
        self.group, self.names = group, names
        self.items = {item.out: item for item in group.items}
        self.places: dict[Value, CArray] = {}
        for item in reversed(group.items):
            for value in (item.out, *item.values):
                place = names.place(value)
                if place is not None:
                    self.places[value] = place.broadcast(group.shape)
        full = sorted(
            self.places, key=lambda v: (v not in self.items, v.size < group.items[0].out.size)
        )
        axes = nest(group.shape, *[self.places[value].steps for value in full])
        self.blocked = any(item.level for item in group.items)
        self.outer, (self.rows, self.columns) = axes[:-2], _two(axes[-2:], len(full))
        if self.blocked and self.rows[0] > 1 and self.columns[0] > BLOCK:
            self.outer, self.rows = [*self.outer, self.rows], _two([], len(full))[0]
        self.steps = {value: [axis[1][k] for axis in (*self.outer, self.rows, self.columns)]
                      for k, value in enumerate(full)}  # fmt: skip
        # By how much of each a block grows, and whether it is all of it
        n, m = self.rows[0], self.columns[0]
        self.whole = not self.blocked or n * m <= _WHOLE
        if self.whole:
            self.block = n, m
        else:
            self.block = (max(1, BLOCK // m), m) if n > 1 else (1, BLOCK)
        self.later = {
            value for item in group.items for value in item.values
            if value in self.items
            and (self.items[value].level < item.level or self.items[value].level % 2)
        }  # fmt: skip
        self.slots: dict[str, tuple[str, int]] = {}  # names of block's arrays: type, last level
        self.temporary: dict[Value, str] = {}
        for item in sorted(group.items, key=lambda item: item.level):
            value = item.out
            if value not in self.places and (value in self.later or item.level % 2):
                self.temporary[value] = self._slot(item)

    def _slot(self, item: Part) -> str:
        """An array of a block's size, free from this level on."""
        kind = c_type(item.out.dtype) or ""
        last = max([i.level for i in self.group.items if item.out in i.values], default=item.level)
        free = [n for n, (k, end) in self.slots.items() if k == kind and end < item.level]
        name = free[0] if free else f"t{len(self.slots)}"
        self.slots[name] = kind, last
        return name

    def lines(self) -> list[str]:
        """Loops over blocks, and in each the levels in order."""
        self.count = str(self.block[0]), str(self.block[1])
        self.at: tuple[str, ...] = tuple(f"i{k}" for k in range(len(self.outer)))
        self.from_row = self.from_column = ""
        size = self.block[0] * self.block[1]
        body = [f"{kind} {name}[{size}];" for name, (kind, _) in self.slots.items()]
        heads: list[str] = []
        if not self.whole:
            by_rows = self.rows[0] > 1
            name, most, step = ("row", self.rows[0], self.block[0]) if by_rows else (
                "at", self.columns[0], BLOCK)  # fmt: skip
            heads = [f"for (isize {name} = 0; {name} < {most}; {name} += {step}) {{",
                     f"isize n = {most} - {name} < {step} ? {most} - {name} : {step};"]  # fmt: skip
            self.from_row, self.from_column = (name, "") if by_rows else ("", name)
            self.count = ("n", self.count[1]) if by_rows else (self.count[0], "n")
        for level in sorted({item.level for item in self.group.items}):
            chosen = [item for item in self.group.items if item.level == level]
            lines = self._by_numpy(chosen) if level % 2 else self._by_c(chosen)
            body += without_flags([item.call for item in chosen], lines)
        lines = loops(self.outer, self.at, [*heads, *body, *["}"] * bool(heads)])
        if self.blocked and self.whole and not self.outer:
            return lines
        variable = "i0" if self.outer else name if heads else "r" if self.rows[0] > 1 else "c"
        return self.names.shared(lines, variable, self._work())

    def _work(self) -> float:
        """An estimate of the loops' nanoseconds; 0 where only Python's own thread may run them."""
        called = [item for item in self.group.items if item.level % 2]
        if not all(_needs_no_python(item) for item in called):
            return 0.0
        others = len(self.group.items) - len(called) + len(self.places)
        return self.group.items[0].out.size * (len(called) + 0.1 * others)

    def _index(self, value: Value, row: str, column: str) -> str:
        if value in self.temporary:
            used = [(row, self.block[1])] * bool(row) + [(column, 1)] * bool(column)
            return index([v for v, _ in used], [s for _, s in used])
        *outer, rows, columns = self.steps[value]
        variables = [*self.at, self.from_row, row, self.from_column, column]
        steps = [*outer, rows, rows, columns, columns]
        kept = [(v, s) for v, s in zip(variables, steps, strict=True) if v]
        return index([v for v, _ in kept], [s for _, s in kept])

    def _word(self, value: Value) -> str:
        return self.temporary.get(value) or self.places[value].pointer

    # C's own loops

    def _by_c(self, items: list[Part]) -> list[str]:
        one_row = self.count[0] == "1"
        row, column = "" if one_row else "r", "" if self.count[1] == "1" else "c"
        lines, stores = [], []
        local = {item.out: f"s{item.out.number}" for item in items}
        for item in items:
            operands = [self._operand(arg, dtype, local, row, column)
                        for arg, dtype in zip(item.args, item.types, strict=False)]  # fmt: skip
            words = dict(zip("abc", operands, strict=False))
            text = substituted(item.text or "", **words)
            type_, name = c_type(item.out.dtype), local[item.out]
            lines.append(f"const {type_} {name} = {text};")
            if item.out in self.places or item.out in self.temporary:
                stores.append(
                    f"{self._word(item.out)}[{self._index(item.out, row, column)}] = {name};"
                )
        axes = [(self.count[0], "r")] * (not one_row) + [(self.count[1], "c")] * bool(column)
        heads = [f"for (isize {name} = 0; {name} < {n}; {name}++) {{" for n, name in axes]
        heads[-1:-1] = ["INDEPENDENT"] if heads else []
        if not heads:
            return ["{", *lines, *stores, "}"]
        return [*heads, *lines, *stores, *["}"] * len(axes)]

    def _operand(self, arg: Any, dtype: np.dtype[Any], local: Any, row: str, column: str) -> str:
        if not isinstance(arg, Value):
            return literal(arg, dtype)
        if arg.source == "number":
            return converted(self.names.number(arg), np.dtype(float), dtype) or ""
        word = local.get(arg) or f"{self._word(arg)}[{self._index(arg, row, column)}]"
        return converted(word, arg.dtype, dtype) or ""

    # NumPy's loops

    def _by_numpy(self, items: list[Part]) -> list[str]:
        lines = []
        for item in items:
            before: list[str] = []
            pointers: list[tuple[Value | None, str]] = []
            steps: list[str] = []
            flat = True
            for k, (arg, dtype) in enumerate(zip((*item.args, item.out), item.types, strict=True)):
                if isinstance(arg, Value) and arg.source != "number":
                    itemsize = arg.dtype.itemsize
                    rows, columns = (
                        (self.block[1], 1) if arg in self.temporary else self.steps[arg][-2:]
                    )
                    flat &= self.rows[0] == 1 or rows == columns * self.columns[0]
                    pointers.append((arg, self._word(arg)))
                    steps.append(str(columns * itemsize))
                    continue
                name = f"k{k}"
                if isinstance(arg, Value):
                    word = f"{{{self.names.number(arg)}}}"
                    before.append(f"{c_type(dtype)} {name}[1] = {word};")
                else:
                    data = np.asarray(arg).astype(dtype).tobytes()
                    before.append(
                        f"_Alignas(16) uint8_t {name}[] = {{{', '.join(map(str, data))}}};"
                    )
                pointers.append((None, name))
                steps.append("0")
            row = "" if flat or self.rows[0] == 1 else "r"
            starts = ["0" if arg is None else self._index(arg, row, "") for arg, _ in pointers]
            words = [word if start == "0" else f"{word} + {start}"
                     for (_, word), start in zip(pointers, starts, strict=True)]  # fmt: skip
            count = self.count[1] if row or self.count[0] == "1" else index(
                [self.count[0]], [int(self.count[1])])  # fmt: skip
            call = loop_call(self.names.loop(item.function, item.types), count, steps, words)
            if row:
                before += [f"for (isize r = 0; r < {self.count[0]}; r++)", call]
            else:
                before.append(call)
            lines += ["{", *before, "}"] if len(before) > 1 else before
        return lines


def _two(axes: list[Axis], count: int) -> tuple[Axis, Axis]:
    """Rows and columns, of which either may be but one."""
    one: Axis = (1, (0,) * count)
    rows, columns = [one, one, *axes][-2:]
    return rows, columns
