"""The lines as equations, in the LaTeX that both matplotlib's mathtext and KaTeX know."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..compiler.program import Call, Value
from ..compiler.symbol import with_item
from .lines import Line, Lines
from .literals import ROOTS, Size, counts, filled, is_identity, is_number
from .numpy_text import (
    ATOM,
    COMPARE,
    POWER,
    PRODUCT,
    SUM,
    Operand,
    Text,
    function_name,
    is_transposed,
    scatters,
)
from .textbook import KERNEL, OUTPUT, added_up

_GREEK = frozenset(
    ["alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "kappa", "lambda", "mu", "nu",
     "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega", "zeta", "xi"]
)  # fmt: skip


def symbol(name: str) -> str:
    r"""A name as a mathematical symbol.

    >>> print(symbol("W1"), symbol("Wq"), symbol("delta2"), symbol("logits"), symbol("W_out_0"))
    W_{1} W_{q} \delta_{2} \mathrm{logits} W_{\mathrm{out}, 0}
    """
    word, index = re.fullmatch(r"(.*?)_?(\d*)", name).groups()  # type: ignore[union-attr]
    if word in _GREEK:
        word = f"\\{word}"
    elif re.fullmatch("[A-Z][a-z]", word) and not index:
        word, index = word[0], word[1]
    elif found := re.fullmatch("([A-Za-z])_([a-z]+)", word):
        word, index = found[1], rf"\mathrm{{{found[2]}}}" + (f", {index}" if index else "")
    elif len(word) > 1:
        word = r"\mathrm{" + word.replace("_", r"\_") + "}"
    return f"{word}_{{{index}}}" if index else word


def dimensions(shape: tuple[Any, ...]) -> str:
    """A shape, such as n × 10; empty for a number."""
    words = [size.text if isinstance(size, Size) else str(size) for size in shape]
    return r" \times ".join(words).replace("*", r"\cdot")


class Equations:
    """The lines of a derivation as equations: left side, right side and shape of each."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        hidden = lines.value_names.gradient_of
        self._symbols = {line.name: symbol(line.name) for line in lines.lines}
        self._symbols |= {name: _partial(symbol(of)) for name, of in hidden.items()}
        for parameter, result in lines.result_names.items():
            self._symbols[result] = _partial(symbol(parameter))
        self._symbols["loss"] = "L"

    def rows(self) -> list[tuple[Line, str, str, str]]:
        """Each line with its left side, its right side, and its shape."""
        return [(line, *self._equation(line), dimensions(self.lines.shape(line)))
                for line in self.lines.lines]  # fmt: skip

    def _equation(self, line: Line) -> tuple[str, str]:
        left = self._symbols[line.name]
        if not line.calls:
            return left, self._operand(line.value, own=False).text
        call = line.calls[-1]
        if call.function is np.einsum and (axes := _subscripts(call)):
            return f"({left})_{{{axes[-1]}}}", self._operand(line.value, own=False).text
        if call.function is added_up:
            place, each = _taps(call)
            taps, pieces = ", ".join(KERNEL[len(call.args[1])]), self._operand(call.args[0]).text
            return f"({left})_{{{place}}}", rf"\sum_{{{taps}}} ({pieces})_{{{each}}}"
        if scatters(call):
            value = call.args[2 if call.function is with_item else 0]
            return f"({left}){self._index(call.args[1])}", self._operand(value).text
        return left, expression(call, self._operand, self._index).text

    def _operand(self, value: Any, own: bool = True) -> Text:
        if not isinstance(value, Value):
            return number(value)
        name, made = self.lines.names.get(value), self.lines.made.get(value)
        if made is not None and not (name and own):
            return expression(made, self._operand, self._index)
        if name is not None:
            return Text(self._symbols.get(name, symbol(name)) if own else symbol(name))
        return Text(constant(value, self.lines.written.texts.get(value)))

    def _index(self, index: Any) -> str:
        """An index below the line; new axes are left out, and 0, 1, 2, ... is i."""
        parts = index if isinstance(index, tuple) else (index,)
        words = []
        for part in parts:
            if part is None:
                continue
            if isinstance(part, slice):
                ends = ["" if e is None else self._operand(e).text for e in (part.start, part.stop)]
                step = [] if part.step is None else [str(part.step)]
                words.append(":".join([*ends, *step]))
            elif part is Ellipsis:
                words.append(r"\ldots")
            elif isinstance(part, Value) and part.source == "constant" and counts(part.array):
                words.append("i")
            elif isinstance(part, list | np.ndarray):
                words.append(f"({', '.join(map(str, np.ravel(part).tolist()))})")
            else:
                words.append(self._operand(part).text)
        if "i" in words:
            words = [f"{w}_{{i}}" if "_" not in w and w.startswith("\\") else w for w in words]
        if all(word in (":", r"\ldots") for word in words):
            return ""
        return f"_{{{', '.join(words)}}}"


def _partial(of: str) -> str:
    return rf"\dfrac{{\partial L}}{{\partial {of}}}"


def _subscripts(call: Call) -> list[str]:
    """The subscripts of the operands and of the result of an einsum, if each axis has one."""
    text = call.args[0]
    return re.split("->|,", text) if re.fullmatch(r"[a-z]+(,[a-z]+)*->[a-z]*", str(text)) else []


def _taps(call: Call) -> tuple[str, str]:
    """The indices of the elements of pieces: those of the images, and those of the pieces."""
    pieces, kernel, shape, stride, dilation = call.args
    out, inner = OUTPUT[len(kernel)], KERNEL[len(kernel)]
    taps = [
        f"{s if s > 1 else ''}{h} + {d if d > 1 else ''}{i}"
        for h, i, s, d in zip(out, inner, stride, dilation, strict=True)
    ]
    each = "" if len(pieces.shape) == len(shape) else inner
    return f"n, c, {', '.join(taps)}", f"nc{out}{each}"


def number(value: Any) -> Text:
    """A number, or the name of something else that is not an array."""
    if isinstance(value, Size):
        text = value.text.replace(" ** 2", "^{2}").replace(" * ", r"\,")
        return Text(text, PRODUCT if r"\," in text else ATOM)
    if not is_number(value):
        return Text(rf"\mathrm{{{value}}}".replace("_", r"\_"))
    if isinstance(value, Fraction) and value.denominator > 1:
        sign = "-" if value < 0 else ""
        return Text(rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}", PRODUCT)
    if value in ROOTS:
        return Text(ROOTS[float(value)][1], PRODUCT)
    text = f"{float(value):.6g}".replace("inf", r"\infty")
    if "e" in text:
        digits, power = text.split("e")
        text = rf"{digits} \cdot 10^{{{int(power)}}}"
    return Text(text, SUM if value < 0 else ATOM)


def constant(value: Value, text: str | None) -> str:
    """An array that the program holds: its elements, if they are few."""
    array: Any = value.array
    if text is not None:
        return r"(0, \ldots, n - 1)"
    if counts(array) and array.size > 3:
        return rf"(0, \ldots, {array.size - 1})"
    if filled(array) is not None:
        return number(filled(array)).text
    if is_identity(array):
        return "I"
    if array.size <= 6:
        return f"({', '.join([number(x).text for x in array.ravel().tolist()])})"
    return "C"


_INFIX: dict[Any, tuple[str, int]] = {
    np.add: ("+", SUM), np.subtract: ("-", SUM), np.matmul: (r"\,", PRODUCT),
}  # fmt: skip
_COMPARE: dict[Any, str] = {
    np.equal: "=", np.not_equal: r"\neq", np.less: "<", np.less_equal: r"\leq",
    np.greater: ">", np.greater_equal: r"\geq", np.bitwise_and: r"\wedge",
    np.bitwise_or: r"\vee", np.logical_and: r"\wedge", np.logical_or: r"\vee",
}  # fmt: skip
_WORDS = frozenset(
    ["exp", "log", "tanh", "sin", "cos", "tan", "sinh", "cosh", "arctan", "arcsin", "arccos", "det"]
)
"""Functions that have a command in LaTeX."""
_BIG: dict[Any, str] = {
    np.add.reduce: r"\sum", np.multiply.reduce: r"\prod", np.maximum.reduce: r"\max",
    np.minimum.reduce: r"\min", np.mean: r"\mathrm{mean}",
}  # fmt: skip


_AROUND: dict[Any, str] = {np.sqrt: r"\sqrt{%s}", np.absolute: "|%s|"}
_ARRANGED = (np.ndarray.reshape, np.broadcast_to, np.ndarray.astype, np.squeeze)
"""Functions that change only shape or dtype: the shape stands beside the equation."""


def expression(call: Call, operand: Operand, index: Callable[..., str]) -> Text:
    """A call as mathematics."""
    found = _arithmetic(call, operand) or _selection(call, operand, index) or _sum(call, operand)
    if found:
        return found
    name = (function_name(call.function) or call.name).split(".")[-1].replace("_", r"\_")
    name = {"maximum": "max", "minimum": "min", "remainder": "mod"}.get(name, name)
    known = rf"\{name}" if name in _WORDS else rf"\mathrm{{{name}}}"
    return Text(f"{known}({', '.join([_argument(arg, operand) for arg in call.args])})")


def _arithmetic(call: Call, operand: Operand) -> Text | None:
    """Operators, comparisons, fractions, roots and exponents."""
    function, args = call.function, call.args
    if function in _INFIX:
        sign, binds = _INFIX[function]
        left, right = operand(args[0]).inside(binds), operand(args[1])
        return Text(f"{left} {sign} {right.inside(binds + (function is not np.add))}", binds)
    if function is np.multiply:
        return _product(call, operand)
    if function is np.divide:
        return _fraction(args, *map(operand, args))
    if function is np.negative:
        return Text(f"-{operand(args[0]).inside(PRODUCT)}", SUM)
    if function in _COMPARE:
        sides = [operand(arg).inside(COMPARE + 1) for arg in args]
        return Text(f"[{sides[0]} {_COMPARE[function]} {sides[1]}]")
    if function in _AROUND:
        return Text(_AROUND[function] % operand(args[0]).text)
    if function is np.exp and len(operand(args[0]).text) < 24:
        return Text(f"e^{{{operand(args[0]).text}}}", POWER)
    exponent = operand(args[1]).text if function is np.power else ""
    if is_transposed(call) or (function is np.ndarray.swapaxes and args[1] < 0):
        exponent = r"\top"
    elif function is np.linalg.inv:
        exponent = "-1"
    return Text(f"{_base(operand(args[0]))}^{{{exponent}}}", POWER) if exponent else None


def _selection(call: Call, operand: Operand, index: Callable[..., str]) -> Text | None:
    """Elements of an array, chosen by an index or a condition, or all of them."""
    function, args = call.function, call.args
    if function is np.where:
        condition, x, y = [operand(arg).text for arg in args]
        return Text(rf"({x}\ \mathrm{{if}}\ {condition}\ \mathrm{{else}}\ {y})")
    if function is sliding_window_view:
        return Text(rf"\mathrm{{windows}}_{{{dimensions(args[1])}}}({operand(args[0]).text})")
    if function is not np.ndarray.__getitem__:
        return operand(args[0]) if function in _ARRANGED else None
    same = isinstance(args[0], Value) and args[0].size == call.out.size and not call.inputs[1:]
    base, below = operand(args[0]), "" if same else index(args[1])  # same: an axis more or less
    if not below:
        return base
    return Text((f"({base.text})" if "_" in base.text else _base(base)) + below, POWER)


def _sum(call: Call, operand: Operand) -> Text | None:
    """Reductions, and products with subscripts."""
    function, args = call.function, call.args
    if function in _BIG and isinstance(args[0], Value):
        axis = args[1] if len(args) > 1 else call.kwargs.get("axis")
        below = "" if axis is None else _axes(axis, len(args[0].shape))
        # A sum reaches as far as the next + does; what is added up is put in brackets.
        return Text(f"{_BIG[function]}{below} {operand(args[0]).inside(PRODUCT)}", PRODUCT - 1)
    if function is np.einsum and (axes := _subscripts(call)):
        factors = [f"({operand(arg).text})_{{{b}}}" for arg, b in zip(args[1:], axes, strict=False)]
        summed = ", ".join(sorted(set("".join(axes[:-1])) - set(axes[-1])))
        big = rf"\sum_{{{summed}}} " if summed else ""
        return Text(big + r" \, ".join(factors), PRODUCT - 1)
    return None


def _fraction(args: tuple[Any, ...], above: Text, below: Text) -> Text:
    """A fraction; a numerator over a number, or with a fraction inside, stands beside it."""
    if isinstance(args[-1], Value) and "frac" not in above.text:
        return Text(rf"\dfrac{{{above.text}}}{{{below.text}}}", PRODUCT + 1)
    if above.text == "1":
        return Text(rf"\dfrac{{1}}{{{below.text}}}", PRODUCT + 1)
    return Text(rf"\dfrac{{1}}{{{below.text}}}\,{above.inside(PRODUCT)}", PRODUCT)


def _argument(tree: Any, operand: Operand) -> str:
    if isinstance(tree, tuple | list):
        return f"({', '.join([_argument(item, operand) for item in tree])})"
    return operand(tree).text


def _axes(axis: Any, ndim: int) -> str:
    axes = [one % ndim for one in (axis if isinstance(axis, tuple) else (axis,))]
    word = "axis" if len(axes) == 1 else "axes"
    return rf"_{{\mathrm{{{word}}}\ {', '.join(map(str, axes))}}}"


def _base(text: Text) -> str:
    """An expression that gets an exponent or an index."""
    return text.text if text.binds == ATOM and "frac" not in text.text[:5] else f"({text.text})"


def _product(call: Call, operand: Operand) -> Text:
    """Numbers stand before arrays; arrays are multiplied element by element."""
    scalar = [not isinstance(arg, Value) or arg.shape == () for arg in call.args]
    first, second = [operand(arg) for arg in call.args]
    if call.args[0] is call.args[1]:
        return Text(f"{_base(first)}^{{2}}", POWER)
    sign = r"\," if any(scalar) else r"\odot"
    if any(scalar) and second.text[:1].isdigit():
        sign = r"\cdot"
    return Text(f"{first.inside(PRODUCT)} {sign} {second.inside(PRODUCT)}", PRODUCT)
