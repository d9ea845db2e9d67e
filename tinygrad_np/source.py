"""A rule as text: the source of a lambda, or the first line of a function's docstring."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@functools.lru_cache(maxsize=1024)
def expression(function: Callable[..., Any]) -> str:
    """What a rule computes, as an expression of its arguments.

    This is the first line of its docstring, or the body of a lambda as in the source file; without
    either, its name and arguments.

    >>> import tinygrad_np as tg
    >>> expression(tg.OPS["tanh"].gradients["x"])
    'g * (1 - out * out)'
    >>> expression(tg.OPS["matmul"].gradients["y"])
    'x.mT @ g'
    """
    code = function.__code__
    name = "λ" if code.co_name == "<lambda>" else code.co_name
    text = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    text = text or (_body(function) if name == "λ" else "")
    return text or f"{name}({', '.join(code.co_varnames[: code.co_argcount])})"


def said(words: str, rule: F) -> F:
    """A lambda with a docstring that says what it computes, if its source is hard to read."""
    rule.__doc__ = words
    return rule


def _body(function: Callable[..., Any]) -> str:
    try:
        bodies = _lambdas("".join(inspect.findsource(function)[0]))
    except (OSError, SyntaxError):  # typed in at a prompt: there is no source
        return ""
    # One line can hold several lambdas: the body is where this code's first expression begins.
    start = min((line, at) for line, _, at, _ in function.__code__.co_positions() if line and at)
    return ast.unparse(bodies[start]) if start in bodies else ""


@functools.lru_cache(maxsize=64)
def _lambdas(source: str) -> dict[tuple[int, int], ast.expr]:
    """The bodies of a file's lambdas by the line and column where they begin."""
    found = [node.body for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Lambda)]
    return {(body.lineno, body.col_offset): body for body in found}
