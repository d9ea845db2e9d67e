"""Gradient rules as mathematics, with the user's names: ``dW1 = xᵀ @ g``."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..shapes import Shape

_SAME = frozenset(["wide", "spread", "like", "astype", "reshape", "copy"])
"""Functions and methods that change dtypes or shapes, but no values."""
_ELEMENTWISE = frozenset(["where", "sigmoid", "abs", "wide"])
"""Functions, besides NumPy's ufuncs, that work element by element."""
_OWN = frozenset(["g", "out", "n"])
"""Names with a meaning in formulas: a user's name like these is not shown."""


def summed_axes(formula: str, own: Shape, out: Shape) -> tuple[int, ...]:
    """The axes of the output along which an input of shape ``own`` was broadcast.

    The engine sums the rule's result over these. Products of matrices broadcast the axes before
    their last two; a vector has no axis in their result.
    """
    if "@" in formula or formula.startswith("solve("):
        own, out = own[:-2], out[: -min(2, len(own))]
    elif not _is_elementwise(formula):
        return ()
    more = len(out) - len(own)
    if more < 0:  # a sum
        return ()
    pairs = enumerate(zip(own, out[more:], strict=False), more)
    return (*range(more), *[i for i, (one, other) in pairs if one == 1 != other])


@functools.lru_cache(maxsize=1024)
def _is_elementwise(formula: str) -> bool:
    """Whether a formula has the shape of its operands, broadcast: no index, no other function."""
    try:
        nodes = list(ast.walk(ast.parse(formula, mode="eval")))
    except SyntaxError:
        return False
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    names = [getattr(function, "attr", getattr(function, "id", "")) for function in called]
    return not any(isinstance(node, ast.MatMult | ast.Subscript) for node in nodes) and all(
        name in _ELEMENTWISE or isinstance(getattr(np, name, None), np.ufunc) for name in names
    )


def variables(inputs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The names of an op's inputs in formulas: the user's, or else the op's own."""
    found: dict[str, str] = {}
    pairs = [(name, theirs.rpartition(".")[2]) for name, theirs in inputs]
    theirs = {name: word for name, word in pairs if word.isidentifier() and word not in _OWN}
    for name, _ in pairs:
        word = theirs.get(name, name)
        while name not in theirs and word in theirs.values():
            word += "′"  # another input has this name
        found.setdefault(name, word)
    return found


@functools.lru_cache(maxsize=4096)
def equation(
    formula: str, name: str, axes: tuple[int, ...], names: tuple[tuple[str, str], ...]
) -> str:
    """A formula as an equation; ``names`` pairs the rule's names with those to be shown.

    >>> equation("x.mT @ g", "y", (), (("x", "x"), ("y", "W1")))
    'dW1 = xᵀ @ g'
    >>> equation("g", "y", (0,), (("x", "x"), ("y", "b")))
    'db = sum of g over axis 0'
    >>> equation("np.where(x > 0, g * out * out, 0)", "x", (), ())
    'dx = g * out² if x > 0 else 0'
    """
    try:
        text = ast.unparse(_Mathematics(dict(names)).visit(ast.parse(formula, mode="eval")))
    except SyntaxError:  # the formula is in words
        text = formula
    if axes:
        over = f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
        text = f"sum of {text} over {over}"
    return f"d{dict(names).get(name, name)} = {text}"


class _Mathematics(ast.NodeTransformer):
    """Python's expression with names, powers and transposes as people write them."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> Any:
        return ast.Name(self.names.get(node.id, node.id.lstrip("_")))

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        value = self.visit(node.value)
        if node.attr in ("T", "mT"):
            return ast.Name(f"{_atom(value)}ᵀ")
        module = isinstance(value, ast.Name) and value.id in ("np", "math")
        return ast.Name(node.attr) if module else ast.Attribute(value, node.attr)

    def visit_Call(self, node: ast.Call) -> Any:
        args = [self.visit(arg) for arg in node.args]
        match node.func:
            case ast.Subscript(ast.Name("OPS"), ast.Constant(str() as name)):
                pass
            case ast.Attribute(ast.Name("np" | "math"), name) | ast.Name(name):
                pass
            case ast.Attribute(owner, name):
                args = [self.visit(owner), *args]
            case _:
                return self.generic_visit(node)
        match name, args:
            case "where", [condition, one, other]:
                return ast.IfExp(condition, one, other)
            case "abs" | "absolute", [x]:
                return ast.Name(f"|{ast.unparse(x)}|")
        if name in _SAME:
            return args[0]
        return ast.Call(ast.Name(name.lstrip("_")), args, [])

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if all(isinstance(part, ast.Constant) and part.value in (..., None) for part in parts):
            return self.visit(node.value)  # one more axis
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        left, right = self.visit(node.left), self.visit(node.right)
        match node.op, left, right:
            case ast.Pow(), _, ast.Constant(2 | 3 as power):
                return ast.Name(f"{_atom(left)}{'²' if power == 2 else '³'}")
            case ast.Mult(), ast.Name(one), ast.Name(other) if one == other:
                return ast.Name(f"{one}²")
            case ast.Mult(), ast.BinOp(first, ast.Mult(), ast.Name(one)), ast.Name(other) if (
                one == other
            ):
                return ast.BinOp(first, ast.Mult(), ast.Name(f"{one}²"))
        return ast.BinOp(left, node.op, right)


def _atom(node: ast.expr) -> str:
    """An expression that gets an exponent."""
    text = ast.unparse(node)
    return text if isinstance(node, ast.Name | ast.Call) else f"({text})"
