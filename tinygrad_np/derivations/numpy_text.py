"""A call of the program as plain NumPy: how each function is written down."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..compiler.program import REDUCTIONS, Call, Value
from ..compiler.symbol import with_item
from ..compiler.tracer import Item
from . import textbook
from .problem import DerivationError


class Text(NamedTuple):
    """An expression, how strongly its last operator binds, and which one that is."""

    text: str
    binds: int = 100
    sign: str = ""

    def inside(self, binds: int) -> str:
        """The expression as an operand of an operator that binds so strongly."""
        return self.text if self.binds >= binds else f"({self.text})"


Operand = Callable[[Any], Text]
"""What stands for an operand: its name, or an expression of its own."""

COMPARE, OR, AND, SUM, PRODUCT, SIGN, POWER = 10, 20, 25, 30, 40, 50, 60

OPERATORS: dict[Any, tuple[str, int]] = {
    np.add: ("+", SUM), np.subtract: ("-", SUM), np.multiply: ("*", PRODUCT),
    np.divide: ("/", PRODUCT), np.floor_divide: ("//", PRODUCT), np.remainder: ("%", PRODUCT),
    np.matmul: ("@", PRODUCT), np.equal: ("==", COMPARE), np.not_equal: ("!=", COMPARE),
    np.less: ("<", COMPARE), np.less_equal: ("<=", COMPARE), np.greater: (">", COMPARE),
    np.greater_equal: (">=", COMPARE), np.bitwise_and: ("&", AND), np.bitwise_or: ("|", OR),
}  # fmt: skip

NAMES: dict[Any, str] = {}
for _module, _prefix in ((np, "np."), (np.linalg, "np.linalg.")):
    for _name in sorted(_module.__all__, key=len, reverse=True):
        _function = getattr(_module, _name)
        if callable(_function) and not isinstance(_function, type):
            NAMES[_function] = _prefix + _name
for _name in ("absolute", "maximum", "minimum", "concatenate", "transpose", "power", "matmul"):
    NAMES[getattr(np, _name)] = f"np.{_name}"
NAMES[np.absolute] = "np.abs"
for _method, _reduce in REDUCTIONS.items():
    if _method in NAMES:
        NAMES[_reduce] = NAMES[_method]
NAMES |= {np.add.reduce: "np.sum", np.multiply.reduce: "np.prod",
          np.maximum.reduce: "np.max", np.minimum.reduce: "np.min",
          sliding_window_view: "sliding_window_view", textbook.erf: "erf"}  # fmt: skip
_METHODS: dict[Any, str] = {
    method: name
    for name in dir(np.ndarray)
    if callable(method := getattr(np.ndarray, name)) and not name.startswith("_")
}


def scatters(call: Call) -> bool:
    """Whether the call makes an array and then writes into it: several statements."""
    return call.function in (with_item, textbook.added_up) or (
        textbook.known_as(call.function) == "indexing.scattered"
    )


def statements(call: Call, name: str, operand: Operand) -> list[str]:
    """The call as statements that give the result its name."""
    if call.function is with_item:
        array, index, value = call.args
        place = f"{name}[{index_text(index, operand)}]"
        return [f"{name} = {operand(array).inside(100)}.copy()", f"{place} = {operand(value).text}"]
    if call.function is textbook.added_up:
        return _loop(call, name, operand)
    if scatters(call):
        value, index, shape = call.args
        dtype = "" if call.out.dtype == float else f", np.{call.out.dtype}"
        empty = f"{name} = np.zeros({literal(tuple(shape))}{dtype})"
        where = index_text(index, operand)
        if picks_once(index):
            return [empty, f"{name}[{where}] = {operand(value).text}"]
        return [empty, f"np.add.at({name}, {_place(index, operand)}, {operand(value).text})"]
    return [f"{name} = {expression(call, operand).text}"]


LOOPS = ("depth", "row", "col")
"""The variables of loops over the elements of a kernel."""


def _loop(call: Call, name: str, operand: Operand) -> list[str]:
    """Pieces added up where their windows lie, one element of the kernel at a time."""
    pieces, kernel, shape, stride, dilation = call.args
    loops = LOOPS[3 - len(kernel) :]
    taps = zip(loops, pieces.shape[2:], stride, dilation, strict=False)
    index = []
    for i, count, s, d in taps:
        start = i if d == 1 else f"{d} * {i}"
        index.append(f"{start}:{start} + {s * count}" + (f":{s}" if s > 1 else ""))
    dtype = "" if call.out.dtype == float else f", np.{call.out.dtype}"
    each = operand(pieces).inside(100)
    each += "" if len(pieces.shape) == len(shape) else f"[..., {', '.join(loops)}]"
    ranges = ", ".join(map(str, kernel))
    over = f"{loops[0]} in range({ranges})" if len(loops) == 1 else (
        f"{', '.join(loops)} in np.ndindex({ranges})"
    )  # fmt: skip
    return [
        f"{name} = np.zeros({literal(tuple(shape))}{dtype})",
        f"for {over}:",
        f"    {name}[:, :, {', '.join(index)}] += {each}",
    ]


def _place(index: Any, operand: Operand) -> str:
    """An index as an argument of a function."""
    if any(isinstance(part, slice) for part in (index if isinstance(index, tuple) else (index,))):
        return f"np.s_[{index_text(index, operand)}]"
    return _argument(index, operand)


def picks_once(index: Any) -> bool:
    """Whether an index picks no element twice, and gives a view: numbers and slices."""
    parts = index if isinstance(index, tuple) else (index,)
    kinds = (int, bool, slice, type(None), EllipsisType, np.integer)
    return all(isinstance(part, kinds) for part in parts)


def expression(call: Call, operand: Operand) -> Text:
    """The call as one expression; DerivationError where NumPy has none."""
    function, args, kwargs = call.function, call.args, call.kwargs
    if function in OPERATORS and not kwargs and len(args) == 2:
        whole = any(isinstance(arg, Value) and arg.dtype.kind in "biu" for arg in args)
        real = whole and call.out.dtype.kind == "f"  # 1 * mask would be an integer
        texts = [Text(repr(arg)) if real and type(arg) is float else operand(arg) for arg in args]
        return _infix(function, *texts)
    if function is np.negative and not kwargs:
        return Text(f"-{operand(args[0]).inside(SIGN)}", SIGN)
    if function is np.invert:
        return Text(f"~{operand(args[0]).inside(SIGN)}", SIGN)
    if function is np.power and not kwargs:
        base, exponent = operand(args[0]), operand(args[1])
        return Text(f"{base.inside(POWER + 1)} ** {exponent.inside(POWER)}", POWER)
    if function is np.reciprocal:
        return _infix(np.divide, Text("1"), operand(args[0]))
    if function is np.ndarray.reshape and (added := _new_axes(args[0], call.out.shape)):
        return Text(f"{operand(args[0]).inside(100)}[{added}]")
    if function is np.ndarray.__getitem__:
        return Text(f"{operand(args[0]).inside(100)}[{index_text(args[1], operand)}]")
    if function is np.broadcast_to and not isinstance(args[0], Value):
        return Text(_full(args[0], call))
    if is_transposed(call):
        return Text(f"{operand(args[0]).inside(100)}.T")
    if function is np.ndarray.swapaxes and {args[1] % 9, args[2] % 9} == {8, 7}:
        return Text(f"{operand(args[0]).inside(100)}.mT")
    if isinstance(function, Item):
        inner = Call(function.function, args, kwargs, call.out)
        return Text(f"{expression(inner, operand).text}[{function.index}]")
    if function is np.ndarray.astype and not isinstance(args[0], Value):
        return Text(f"{literal(args[1])}({literal(args[0])})")
    if function in _METHODS:
        owner, *others = args
        if function in (np.ndarray.reshape, np.ndarray.transpose) and np.size(others[0]) > 1:
            others = list(others[0])  # x.reshape(2, 3)
        return Text(
            f"{operand(owner).inside(100)}.{_METHODS[function]}"
            f"({_arguments(others, kwargs, operand)})"
        )
    if function in NAMES:
        kept = {k: v for k, v in kwargs.items() if not (k == "keepdims" and v is False)}
        if (function in REDUCTIONS.values() or function is np.mean) and len(args) == 2:
            kept = {"axis": args[-1]} | kept
            args = args[:1]
        if isinstance(kept.get("axis"), tuple) and len(kept["axis"]) == 1:
            kept["axis"] = kept["axis"][0]
        if kept.get("axis", 0) is None:
            del kept["axis"]
        return Text(f"{NAMES[function]}({_arguments(args, kept, operand)})")
    raise DerivationError(
        f"op {call.op.removeprefix('gradient of ')!r} calls {_full_name(function)}, which is no "
        "function of NumPy's: a derivation is plain NumPy alone. Write the op, or its rule, with "
        "NumPy's functions"
    )


def _infix(function: Any, left: Text, right: Text) -> Text:
    sign, binds = OPERATORS[function]
    first, second = left.inside(binds), right.inside(binds + 1)
    if binds == PRODUCT == left.binds and (sign == "@") != (left.sign == "@"):
        first = f"({left.text})"  # Python reads it the same without, people do not
    elif binds == COMPARE and left.binds == COMPARE:  # a < b < c means something else
        first = f"({left.text})"
    return Text(f"{first} {sign} {second}", binds, sign)


def _new_axes(x: Any, shape: tuple[int, ...]) -> str:
    """The index that gives an array new axes of length 1; nothing where it has to be reshaped."""
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


def _full(number: Any, call: Call) -> str:
    shape, dtype = literal(call.args[1]), call.out.dtype
    word = "" if dtype == np.float64 else f", np.{dtype}"
    if number in (0, 1):
        return f"np.{'ones' if number else 'zeros'}({shape}{word})"
    return f"np.full({shape}, {literal(number)}{word})"


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


ROOTS: dict[float, tuple[str, str]] = {
    -np.finfo(float).max.item(): ("np.finfo(float).min", r"-\infty"),
    math.sqrt(2): ("math.sqrt(2)", r"\sqrt{2}"),
    math.sqrt(2 / math.pi): ("math.sqrt(2 / math.pi)", r"\sqrt{2 / \pi}"),
    2 * math.sqrt(2 / math.pi): ("2 * math.sqrt(2 / math.pi)", r"2 \sqrt{2 / \pi}"),
    2 / math.sqrt(math.pi): ("2 / math.sqrt(math.pi)", r"\frac{2}{\sqrt{\pi}}"),
    1 / math.sqrt(2 * math.pi): ("1 / math.sqrt(2 * math.pi)", r"\frac{1}{\sqrt{2 \pi}}"),
}  # fmt: skip
"""Numbers that are better known as what gives them, in Python and in LaTeX."""


def literal(value: Any) -> str:
    """A number, word, dtype or array as Python has it."""
    if isinstance(value, np.ndarray):
        return array_text(value)
    if isinstance(value, Size):
        return value.text
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return f"np.{np.dtype(value).name}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if value in ROOTS:
            return ROOTS[value][0]
        if value != value or value in (np.inf, -np.inf):
            return "np.nan" if value != value else "np.inf" if value > 0 else "-np.inf"
        return repr(int(value)) if value == int(value) and abs(value) < 1e6 else repr(value)
    if isinstance(value, Fraction):
        whole = value.denominator == 1
        return str(value.numerator) if whole else f"{value.numerator} / {value.denominator}"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    return "..." if value is Ellipsis else repr(value)


class Size(int):
    """A number that depends on the size n of the batch: ``factor`` times a power of n."""

    factor: int
    power: int
    n: int

    def __new__(cls, n: int, factor: int = 1, power: int = 1) -> Size:
        """The number for this n."""
        size = super().__new__(cls, factor * n**power)
        size.n, size.factor, size.power = n, factor, power
        return size

    @classmethod
    def of(cls, factor: int, other: Size) -> Size:
        """The same power of n with another factor."""
        return cls(other.n, factor, other.power)

    @property
    def text(self) -> str:
        """The number in terms of n."""
        word = "n" if self.power == 1 else f"n ** {self.power}"
        return word if self.factor == 1 else f"{self.factor} * {word}"


LARGEST = 64
"""Elements of a constant that is written out; larger ones are arguments."""


def counts(array: Any) -> bool:
    """Whether an array is 0, 1, 2, ..."""
    ordered = array.ndim == 1 and array.dtype.kind == "i"
    return bool(ordered and (array == np.arange(array.size)).all())


def array_text(array: Any, largest: int = LARGEST) -> str:
    """A constant array as an expression; nothing where it is too large to be written out."""
    size, dtype = array.size, array.dtype
    word = "" if dtype == np.float64 else f", np.{dtype}"
    shape = literal(array.shape)
    if size > 1 and counts(array):
        return f"np.arange({size})"
    several = array.ndim == 2 and len(array) > 1
    if several and dtype.kind == "b" and (array == np.tri(*array.shape, dtype=np.bool)).all():
        return f"np.tri({shape[1:-1]}, dtype=bool)"
    if size and dtype.kind == "f" and (array == array.flat[0]).all() and array.flat[0] in (0, 1):
        return f"np.{'ones' if array.flat[0] else 'zeros'}({shape}{word})"
    if size > largest:
        return ""
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    if square and dtype.kind == "f" and (array == np.eye(len(array))).all():
        return f"np.eye({len(array)}{', dtype=np.' + str(dtype) if word else ''})"
    if not size:
        return f"np.zeros({shape}{word})"
    return f"np.array({array.tolist()!r}{word if dtype.kind not in 'ib' else ''})"


def _full_name(function: Any) -> str:
    name = getattr(function, "__name__", repr(function))
    return f"{getattr(function, '__module__', None) or ''}.{name}".lstrip(".")
