"""A call of the program as plain NumPy: the notation of each function."""

from __future__ import annotations

from collections.abc import Callable
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..compiler.program import REDUCTIONS, Call, Value
from ..compiler.symbol import with_item
from ..compiler.tracer import Item
from . import textbook
from .literals import full_text, literal
from .problem import DerivationError

COMPARE, OR, AND, SUM, PRODUCT, SIGN, POWER, ATOM = 10, 20, 25, 30, 40, 50, 60, 100
"""How strongly operators bind; an ``ATOM`` needs no brackets."""
PREFIXES: dict[Any, str] = {np.negative: "-", np.invert: "~"}


class Text(NamedTuple):
    """An expression, how strongly its last operator binds, and that operator."""

    text: str
    binds: int = ATOM
    sign: str = ""

    def inside(self, binds: int) -> str:
        """The expression as an operand of an operator that binds this strongly."""
        return self.text if self.binds >= binds else f"({self.text})"


Operand = Callable[[Any], Text]
"""Returns the text of an operand: its name, or an expression."""

OPERATORS: dict[Any, tuple[str, int]] = {
    np.add: ("+", SUM), np.subtract: ("-", SUM), np.multiply: ("*", PRODUCT),
    np.divide: ("/", PRODUCT), np.floor_divide: ("//", PRODUCT), np.remainder: ("%", PRODUCT),
    np.matmul: ("@", PRODUCT), np.equal: ("==", COMPARE), np.not_equal: ("!=", COMPARE),
    np.less: ("<", COMPARE), np.less_equal: ("<=", COMPARE), np.greater: (">", COMPARE),
    np.greater_equal: (">=", COMPARE), np.bitwise_and: ("&", AND), np.bitwise_or: ("|", OR),
}  # fmt: skip

RENAMED: dict[Any, str] = {
    np.absolute: "np.abs", np.add.reduce: "np.sum", np.multiply.reduce: "np.prod",
    np.maximum.reduce: "np.max", np.minimum.reduce: "np.min", np.logical_or.reduce: "np.any",
    np.logical_and.reduce: "np.all", sliding_window_view: "sliding_window_view",
    textbook.erf: "erf",
}  # fmt: skip
"""Functions that are written by another name than their own."""


def scatters(call: Call) -> bool:
    """Whether the call makes an array and then writes into it: several statements."""
    return call.function in (with_item, textbook.added_up) or (
        textbook.known_as(call.function) == "indexing.scattered"
    )


def statements(call: Call, name: str, operand: Operand) -> list[str]:
    """The call as statements that give the result its name."""
    if not scatters(call):
        return [f"{name} = {expression(call, operand).text}"]
    if call.function is with_item:
        array, index, value = call.args
        place = f"{name}[{index_text(index, operand)}]"
        return [
            f"{name} = {operand(array).inside(ATOM)}.copy()",
            f"{place} = {operand(value).text}",
        ]
    value, index, shape, *_ = call.args
    empty = f"{name} = {full_text(0, shape, call.out.dtype)}"
    if call.function is textbook.added_up:
        return [empty, *_loop(call, name, operand)]
    if picks_once(index):
        return [empty, f"{name}[{index_text(index, operand)}] = {operand(value).text}"]
    return [empty, f"np.add.at({name}, {_place(index, operand)}, {operand(value).text})"]


LOOPS = ("depth", "row", "col")
"""The variables of loops over the elements of a kernel."""


def _loop(call: Call, name: str, operand: Operand) -> list[str]:
    """Pieces added up where their windows lie, one element of the kernel at a time."""
    pieces, kernel, shape, stride, dilation = call.args
    loops = LOOPS[3 - len(kernel) :]
    index = []
    for i, count, s, d in zip(loops, pieces.shape[2:], stride, dilation, strict=False):
        start = i if d == 1 else f"{d} * {i}"
        index.append(f"{start}:{start} + {s * count}" + (f":{s}" if s > 1 else ""))
    each = operand(pieces).inside(ATOM)
    each += "" if len(pieces.shape) == len(shape) else f"[..., {', '.join(loops)}]"
    ranges = "range" if len(loops) == 1 else "np.ndindex"
    return [
        f"for {', '.join(loops)} in {ranges}({', '.join(map(str, kernel))}):",
        f"    {name}[:, :, {', '.join(index)}] += {each}",
    ]


def _place(index: Any, operand: Operand) -> str:
    """An index as an argument of a function."""
    if any(isinstance(part, slice) for part in (index if isinstance(index, tuple) else (index,))):
        return f"np.s_[{index_text(index, operand)}]"
    return _argument(index, operand)


def picks_once(index: Any) -> bool:
    """Whether an index consists of numbers and slices: it picks no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    kinds = (int, bool, slice, type(None), EllipsisType, np.integer)
    return all(isinstance(part, kinds) for part in parts)


def expression(call: Call, operand: Operand) -> Text:
    """The call as one expression; DerivationError if NumPy has none."""
    function, args, kwargs = call.function, call.args, call.kwargs
    if function in OPERATORS and not kwargs and len(args) == 2:
        whole = any(isinstance(arg, Value) and arg.dtype.kind in "biu" for arg in args)
        real = whole and call.out.dtype.kind == "f"  # 1 * mask would be an integer
        texts = [Text(repr(arg)) if real and type(arg) is float else operand(arg) for arg in args]
        return _infix(function, *texts)
    if function in PREFIXES and not kwargs:
        return Text(PREFIXES[function] + operand(args[0]).inside(SIGN), SIGN)
    if function is np.power and not kwargs:
        base, exponent = operand(args[0]), operand(args[1])
        return Text(f"{base.inside(POWER + 1)} ** {exponent.inside(POWER)}", POWER)
    if function is np.broadcast_to and not isinstance(args[0], Value):
        return Text(full_text(args[0], args[1], call.out.dtype))
    if function is np.ndarray.astype and not isinstance(args[0], Value):
        return Text(f"{literal(args[1])}({literal(args[0])})")
    if isinstance(function, Item):
        inner = Call(function.function, args, kwargs, call.out)
        return Text(f"{expression(inner, operand).text}[{function.index}]")
    if suffix := _suffix(call, operand):
        return Text(operand(args[0]).inside(ATOM) + suffix)
    if name := function_name(function):
        kept = {k: v for k, v in kwargs.items() if not (k == "keepdims" and v is False)}
        if (function in REDUCTIONS.values() or function is np.mean) and len(args) == 2:
            kept = {"axis": args[1]} | kept
            args = args[:1]
        axis = kept.pop("axis", None)
        if axis is not None:
            single = isinstance(axis, tuple) and len(axis) == 1
            kept = {"axis": axis[0] if single else axis} | kept
        return Text(f"{name}({_arguments(args, kept, operand)})")
    raise DerivationError(
        f"op {call.op.removeprefix('gradient of ')!r} calls {_full_name(function)}, which is not "
        "a NumPy function, and a derivation is NumPy alone. Write the op, or its rule, with "
        "NumPy's functions"
    )


def function_name(function: Any) -> str:
    """A function of NumPy as it is written; empty for any other function."""
    if function in RENAMED:
        return RENAMED[function]
    module, name = getattr(function, "__module__", None), getattr(function, "__name__", "")
    owner = {"numpy": np, "numpy.linalg": np.linalg}.get(module or "")
    known = owner is not None and getattr(owner, name, None) is function
    return f"{module}.{name}".replace("numpy", "np") if known else ""


def _suffix(call: Call, operand: Operand) -> str:
    """What is written behind the array for a transpose, an index or a method; else empty."""
    function, args, kwargs = call.function, call.args, call.kwargs
    if function is np.ndarray.reshape and (added := _new_axes(args[0], call.out.shape)):
        return f"[{added}]"
    if function is np.ndarray.__getitem__:
        return f"[{index_text(args[1], operand)}]"
    if is_transposed(call):
        return ".T"
    if function is np.ndarray.swapaxes and {args[1] % 9, args[2] % 9} == {8, 7}:
        return ".mT"
    if getattr(np.ndarray, getattr(function, "__name__", ""), None) is not function:
        return ""
    others = args[1:]
    if function in (np.ndarray.reshape, np.ndarray.transpose) and np.size(others[0]) > 1:
        others = others[0]  # x.reshape(2, 3)
    return f".{function.__name__}({_arguments(others, kwargs, operand)})"


def _infix(function: Any, left: Text, right: Text) -> Text:
    sign, binds = OPERATORS[function]
    first, second = left.inside(binds), right.inside(binds + 1)
    chained = binds == COMPARE == left.binds  # a < b < c means something else
    # Python reads (x @ y) * z the same without brackets, people do not.
    if chained or (binds == PRODUCT == left.binds and (sign == "@") != (left.sign == "@")):
        first = f"({left.text})"
    return Text(f"{first} {sign} {second}", binds, sign)


def _new_axes(x: Any, shape: tuple[int, ...]) -> str:
    """The index that gives an array new axes of length 1; empty if it has to be reshaped."""
    given, parts = list(x.shape), []
    for length in shape:
        if given and length == given[0]:
            parts.append(":")
            given.pop(0)
        elif length == 1:
            parts.append("None")
        else:
            return ""
    return ", ".join(parts) if not given and x.shape else ""


def is_transposed(call: Call) -> bool:
    """Whether the call reverses the axes: ``x.T``."""
    ndim = len(call.out.shape)
    if call.function in (np.ndarray.transpose, np.transpose):
        axes = call.args[1:] if len(call.args) > 2 else (call.args[1:] or (None,))[0]
        return axes is None or list(axes) == list(range(ndim))[::-1]
    if call.function in (np.ndarray.swapaxes, np.swapaxes):
        return ndim == 2 and call.args[1] % 2 != call.args[2] % 2
    return False


def _arguments(args: Any, kwargs: dict[str, Any], operand: Operand) -> str:
    words = [_argument(arg, operand) for arg in args]
    return ", ".join(words + [f"{name}={_argument(arg, operand)}" for name, arg in kwargs.items()])


def _argument(tree: Any, operand: Operand) -> str:
    if isinstance(tree, Value):
        return operand(tree).text
    if isinstance(tree, list):
        return f"[{', '.join([_argument(item, operand) for item in tree])}]"
    if isinstance(tree, tuple):
        words = [_argument(item, operand) for item in tree]
        return f"({', '.join(words)}{',' * (len(words) == 1)})"
    return literal(tree)


def index_text(index: Any, operand: Operand) -> str:
    """An index as it stands between brackets."""
    if isinstance(index, tuple) and index:
        text = ", ".join([_index_part(part, operand) for part in index])
        return text + "," * (len(index) == 1)
    return _index_part(index, operand)


def _index_part(part: Any, operand: Operand) -> str:
    if isinstance(part, slice):
        part = slice(part.start or None, part.stop, part.step) if part.step is None else part
        ends = ["" if end is None else _argument(end, operand) for end in (part.start, part.stop)]
        step = "" if part.step is None else f":{_argument(part.step, operand)}"
        return ":".join(ends) + step
    return "..." if part is Ellipsis else _argument(part, operand)


def _full_name(function: Any) -> str:
    name = getattr(function, "__name__", repr(function))
    return f"{getattr(function, '__module__', None) or ''}.{name}".lstrip(".")
