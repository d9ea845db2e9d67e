"""C text: types, literals, loops over strided memory, and the expressions that equal NumPy's."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_TYPES = {"b1": "uint8_t", "f2": "uint16_t", "f4": "float", "f8": "double", "c8": "uint64_t",
          "c16": "uint128"}  # fmt: skip


def c_type(dtype: np.dtype[Any]) -> str | None:
    """The C type that holds an element; numbers to C only if real and no float16."""
    if dtype.isnative and dtype.kind in "iu":
        return f"{'u' if dtype.kind == 'u' else ''}int{8 * dtype.itemsize}_t"
    return _TYPES.get(f"{dtype.kind}{dtype.itemsize}") if dtype.isnative else None


def literal(number: Any, dtype: np.dtype[Any]) -> str:
    """A number as C has it, to the last bit."""
    if dtype.kind == "b":
        return str(int(bool(number)))
    if dtype.char in "eFD":  # C has their bits only
        bits = np.full(1, number, dtype).view(f"u{min(dtype.itemsize, 8)}")
        words = [f"{word}ULL" for word in bits]
        return words[0] if len(words) == 1 else f"(uint128){{{', '.join(words)}}}"
    if dtype.kind != "f":
        number = int(number)
        least = number == np.iinfo(np.int64).min  # -(2**63) is not a literal
        return "INT64_MIN" if least else f"({number}{'ULL' if number > 2**31 else 'LL'})"
    number, end = float(dtype.type(number)), "f" if dtype.itemsize == 4 else ""
    if not math.isfinite(number):
        return "NAN" if number != number else f"({'-' if number < 0 else ''}INFINITY)"
    short = repr(number)
    same = dtype.type(short) == number and "e" not in short and len(short) < 9
    text = (short if same else number.hex()) + end
    return f"({text})" if text.startswith("-") else text


# Expressions of the operands a, b, c that give the ufunc's bits; F becomes f in float32.
_FLOATS = {
    np.add: "a + b", np.subtract: "a - b", np.multiply: "a * b", np.divide: "a / b",
    np.negative: "-a", np.absolute: "fabsF(a)", np.sqrt: "sqrtF(a)", np.square: "a * a",
    np.reciprocal: "1 / a", np.sign: "a > 0 ? 1 : a < 0 ? -1 : a == 0 ? 0 : a",
    np.isnan: "a != a", np.isfinite: "fabsF(a) < INFINITY", np.isinf: "fabsF(a) == INFINITY",
}  # fmt: skip
if np.signbit(np.maximum(0.0, -0.0)) and not np.signbit(np.minimum(-0.0, 0.0)):
    _FLOATS[np.maximum] = "a > b || a != a ? a : b"  # of equal ones, the second
    _FLOATS[np.minimum] = "a < b || a != a ? a : b"
_REALS = {
    np.greater: "a > b", np.greater_equal: "a >= b", np.less: "a < b", np.less_equal: "a <= b",
    np.equal: "a == b", np.not_equal: "a != b", np.logical_not: "!a",
    np.logical_and: "a && b", np.logical_or: "a || b", np.logical_xor: "!a != !b",
}  # fmt: skip
_BOOLS = {np.bitwise_and: "a & b", np.bitwise_or: "a | b", np.bitwise_xor: "a ^ b",
          np.invert: "!a"}  # fmt: skip


def expression(function: Any, types: Sequence[np.dtype[Any]]) -> str | None:
    """How C computes an elementwise function of operands of these dtypes; None if it cannot."""
    chars = {dtype.char for dtype in types[:-1]}
    found = None
    if function is np.where:
        found = "a ? b : c"
    elif function is np.positive:
        found = "a"
    elif chars <= set("fd"):
        found = _FLOATS.get(function)
    elif chars == {"?"}:
        found = _BOOLS.get(function)
    if found is None and len(chars) == 1 and not chars & set("eFD"):
        found = _REALS.get(function)
    return found and found.replace("F(", "f(" if "f" in chars else "(")


def substituted(text: str, **words: str) -> str:
    """The text with words in place of names of one letter."""
    return re.sub(r"\b[abcAB]\b", lambda found: words[found[0]], text)


def converted(word: str, source: np.dtype[Any], target: np.dtype[Any]) -> str | None:
    """An expression in another dtype, as ``astype`` converts it; None if C does otherwise."""
    if source == target:
        return word
    if {source.kind, target.kind} - set("biuf") or "e" in (source.char, target.char):
        return None
    if target.kind == "b":
        return f"({word} != 0)"
    return None if source.kind == "f" and target.kind != "f" else f"({c_type(target)}){word}"


# Memory


@dataclass(frozen=True)
class CArray:
    """Where an array lies: from the pointer ``name`` to ``root`` on, all in bytes."""

    name: str
    root: np.dtype[Any]
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """The strides in elements."""
        return tuple(stride // self.dtype.itemsize for stride in self.strides)

    @property
    def pointer(self) -> str:
        """An expression of the first element's address."""
        name = self.name if self.dtype == self.root else f"(({c_type(self.dtype)} *){self.name})"
        at = self.offset // self.dtype.itemsize
        return f"({name} + {at})" if at else name

    def view(self, function: Callable[[Any], Any]) -> CArray:
        """The place of a view that a NumPy function makes of an array."""
        low, high = extent(self.shape, self.strides, self.dtype.itemsize)
        memory = np.empty(high - low, np.uint8)  # which nobody touches
        array: Any = np.ndarray(self.shape, self.dtype, memory, -low, self.strides)
        found = function(array)
        moved = found.ctypes.data - array.ctypes.data if found.size else 0
        return replace(self, offset=self.offset + moved, dtype=found.dtype, shape=found.shape,
                       strides=found.strides)  # fmt: skip

    def broadcast(self, shape: tuple[int, ...]) -> CArray:
        """Repeated up to a shape, without a copy."""
        added = len(shape) - len(self.shape)
        kept = [0 if length == 1 else s for length, s in zip(self.shape, self.strides, strict=True)]
        return replace(self, shape=shape, strides=(*[0] * added, *kept))


def extent(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> tuple[int, int]:
    """The first byte and the last, counted from the first element."""
    ends = (
        [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)] if all(shape) else []
    )
    return sum(min(end, 0) for end in ends), sum(max(end, 0) for end in ends) + itemsize


# Loops


Axis = tuple[int, tuple[int, ...]]
"""The length of an axis, and the step of each operand along it."""


def nest(shape: Sequence[int], *steps: Sequence[int]) -> list[Axis]:
    """The axes of a loop over operands in NumPy's order: the first one's long steps outside.

    Axes of length 1 are left out, and joined where one continues the other.
    """
    axes = [(n, tuple(s[i] for s in steps)) for i, n in enumerate(shape) if n != 1]
    axes.sort(key=lambda axis: [-abs(step) for step in axis[1]])
    joined: list[Axis] = []
    for n, along in axes:
        if joined and all(a == b * n for a, b in zip(joined[-1][1], along, strict=True)):
            joined[-1] = joined[-1][0] * n, along
        else:
            joined.append((n, along))
    return joined


def index(variables: Iterable[str], steps: Iterable[int], start: str = "") -> str:
    """The sum of variables times steps."""
    parts = [start] if start else []
    for variable, step in zip(variables, steps, strict=True):
        if step:
            parts.append(variable if step == 1 else f"{variable} * {step}")
    return " + ".join(parts) or "0"


def loops(
    axes: Sequence[Axis], names: Sequence[str], body: Iterable[str], independent: bool = False
) -> list[str]:
    """The body inside loops over the axes; the runs of the innermost may be independent."""
    heads = [f"for (isize {name} = 0; {name} < {n}; {name}++) {{"
             for name, (n, _) in zip(names, axes, strict=True)]  # fmt: skip
    ends = ["}"] * max(1, len(heads))
    if independent and heads:
        heads[-1:-1] = ["INDEPENDENT"]
    return [*heads, *body, *ends] if heads else ["{", *body, *ends]


def numbered(count: int, letter: str = "j") -> list[str]:
    """Names of loops' variables."""
    return [f"{letter}{k}" for k in range(count)]


def at(place: CArray, variables: Iterable[str], steps: Iterable[int]) -> str:
    """An element, by the variables of loops."""
    return f"{place.pointer}[{index(variables, steps)}]"


def element(place: CArray, variables: Iterable[str], axes: Iterable[Axis], k: int) -> str:
    """An element inside loops over axes, of which the place is operand k."""
    return at(place, variables, [steps[k] for _, steps in axes])


def assign(out: CArray, x: CArray | str) -> list[str]:
    """``out[...] = x``, for x of any strides or a number's text."""
    source = replace(out, strides=(0,) * len(out.shape)) if isinstance(x, str) else x
    axes = nest(out.shape, out.steps, source.broadcast(out.shape).steps)
    names = numbered(len(axes))
    left = element(out, names, axes, 0)
    right = x if isinstance(x, str) else converted(
        element(x, names, axes, 1), x.dtype, out.dtype)  # fmt: skip
    return loops(axes, names, [f"{left} = {right};"], independent=True)


def loop_call(loop: str, count: str, steps: Sequence[str], words: Sequence[str]) -> str:
    """A call of one of NumPy's loops."""
    return (
        f"call({loop}, {count}, (isize[]){{{', '.join(steps)}}}, (void *[]){{{', '.join(words)}}});"
    )


def indented(lines: Iterable[str]) -> str:
    """The lines, indented by their braces."""
    depth, text = 0, []
    for line in lines:
        depth -= line.startswith("}")
        text.append("    " * (depth - line.startswith("#") * depth) + line)
        depth += line.count("{") - line.count("}") + line.startswith("}")
    return "\n".join(text)
