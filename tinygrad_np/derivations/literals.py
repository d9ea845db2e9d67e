"""Numbers, shapes and constant arrays as Python's source has them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

LARGEST = 64
"""Elements of a constant that is written out; larger ones are arguments."""
ROOTS: dict[float, tuple[str, str]] = {
    -np.finfo(float).max.item(): ("np.finfo(float).min", r"-\infty"),
    math.sqrt(2): ("math.sqrt(2)", r"\sqrt{2}"),
    math.sqrt(2 / math.pi): ("math.sqrt(2 / math.pi)", r"\sqrt{2 / \pi}"),
    2 * math.sqrt(2 / math.pi): ("2 * math.sqrt(2 / math.pi)", r"2 \sqrt{2 / \pi}"),
    2 / math.sqrt(math.pi): ("2 / math.sqrt(math.pi)", r"\frac{2}{\sqrt{\pi}}"),
    1 / math.sqrt(2 * math.pi): ("1 / math.sqrt(2 * math.pi)", r"\frac{1}{\sqrt{2 \pi}}"),
}  # fmt: skip
"""Numbers that are better known by a formula, in Python and in LaTeX."""


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

    @property
    def text(self) -> str:
        """The number in terms of n."""
        word = "n" if self.power == 1 else f"n ** {self.power}"
        return word if self.factor == 1 else f"{self.factor} * {word}"


def is_number(leaf: Any) -> bool:
    """Whether an argument is a plain number."""
    return isinstance(leaf, int | float | Fraction) and not isinstance(leaf, bool)


def exact(number: Any) -> Any:
    """A whole number as a Fraction, so that 1 / n stays what it is."""
    if isinstance(number, Size):
        return number
    whole = isinstance(number, int | Fraction) or (abs(number) < 2**53 and number == int(number))
    return Fraction(number) if whole else number


def literal(value: Any) -> str:
    """A number, string, dtype, tuple or array as Python has it."""
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
        if not math.isfinite(value):
            return f"{value:+}".lstrip("+").replace("nan", "np.nan").replace("inf", "np.inf")
        return repr(int(value)) if value == int(value) and abs(value) < 1e6 else repr(value)
    if isinstance(value, Fraction):
        return str(value).replace("/", " / ")
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    return "..." if value is Ellipsis else repr(value)


def counts(array: Any) -> bool:
    """Whether an array is 0, 1, 2, ..."""
    ordered = array.ndim == 1 and array.dtype.kind == "i"
    return bool(ordered and (array == np.arange(array.size)).all())


def filled(array: Any) -> float | None:
    """The number that fills an array of floats; None if there are several."""
    real = array is not None and array.size and array.dtype.kind == "f"
    return float(array.flat[0]) if real and (array == array.flat[0]).all() else None


def is_identity(array: Any) -> bool:
    """Whether an array is an identity matrix."""
    square = array.ndim == 2 and array.shape[0] == array.shape[1] and array.dtype.kind == "f"
    return bool(square and (array == np.eye(len(array))).all())


def full_text(number: float, shape: Any, dtype: Any) -> str:
    """An array filled with a number as an expression."""
    word = "" if dtype == np.float64 else f", np.{dtype}"
    if number in (0, 1):
        return f"np.{'ones' if number else 'zeros'}({literal(tuple(shape))}{word})"
    return f"np.full({literal(tuple(shape))}, {literal(number)}{word})"


def array_text(array: Any, largest: int = LARGEST) -> str:
    """A constant array as an expression; empty if it is too large to be written out."""
    size, dtype, number = array.size, array.dtype, filled(array)
    if size > 1 and counts(array):
        return f"np.arange({size})"
    several = array.ndim == 2 and len(array) > 1 and dtype.kind == "b"
    if several and (array == np.tri(*array.shape, dtype=np.bool)).all():
        return f"np.tri({array.shape[0]}, {array.shape[1]}, dtype=bool)"
    if not size or number in (0, 1):
        return full_text(number or 0, array.shape, dtype)
    if size > largest:
        return ""
    word = "" if dtype == np.float64 else f", dtype=np.{dtype}"
    if is_identity(array):
        return f"np.eye({len(array)}{word})"
    word = "" if dtype.kind in "ib" else word.replace("dtype=", "")
    return f"np.array({array.tolist()!r}{word})"
