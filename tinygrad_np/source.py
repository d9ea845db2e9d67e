"""A rule in its own words: the expression that a lambda or a small function was written as."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from typing import Any


def expression(function: Callable[..., Any]) -> str:
    """The body of a lambda, or a function's name and arguments, as in the source file.

    >>> import tinygrad_np as tg
    >>> expression(tg.OPS["tanh"].gradients["x"])
    'g * (1 - out * out)'
    """
    code = function.__code__
    arguments = ", ".join(code.co_varnames[: code.co_argcount])
    if code.co_name != "<lambda>":
        return f"{code.co_name.lstrip('_')}({arguments})"
    try:
        lambdas = _lambdas("".join(inspect.findsource(function)[0]))
    except (OSError, SyntaxError):  # typed in at a prompt: there is no source to show
        return f"λ({arguments})"
    # One line can hold several lambdas: take the innermost whose body holds all of this code.
    places = [(line, column) for line, _, column, _ in code.co_positions() if line and column]
    found = [node.body for node in lambdas if all(_holds(node.body, place) for place in places)]
    return ast.unparse(found[-1]) if found else f"λ({arguments})"


def _holds(body: ast.expr, place: tuple[int, int]) -> bool:
    end = (body.end_lineno or body.lineno, body.end_col_offset or 0)
    return (body.lineno, body.col_offset) <= place < end


@functools.lru_cache(maxsize=64)
def _lambdas(source: str) -> list[ast.Lambda]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Lambda)]
