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

    This is the first line of the rule's docstring or, without one, the text that a lambda or a
    single ``return`` has in its source file. Empty where there is neither.

    >>> import tinygrad_np as tg
    >>> expression(tg.OPS["tanh"].gradients["x"])
    'g * (1 - out * out)'
    >>> expression(tg.OPS["matmul"].gradients["y"])
    'x.mT @ g'
    """
    text = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    return text or _body(function)


def said(words: str, rule: F) -> F:
    """A lambda with a docstring that says what it computes, if its source is hard to read."""
    rule.__doc__ = words
    return rule


def _body(function: Callable[..., Any]) -> str:
    try:
        bodies = _bodies("".join(inspect.findsource(function)[0]))
    except (OSError, SyntaxError):  # typed in at a prompt: there is no source to show
        return ""
    # One line can hold several lambdas: the body is where this code's first instruction begins.
    start = min((line, at) for line, _, at, _ in function.__code__.co_positions() if line and at)
    return ast.unparse(bodies[start]) if start in bodies else ""


@functools.lru_cache(maxsize=64)
def _bodies(source: str) -> dict[tuple[int, int], ast.expr]:
    """What a file's lambdas and ``return`` statements give, by where these begin."""
    nodes: list[Any] = list(ast.walk(ast.parse(source)))
    begins: list[Any] = [(node.body, node.body) for node in nodes if isinstance(node, ast.Lambda)]
    begins += [(node, node.value) for node in nodes if isinstance(node, ast.Return)]
    return {(begin.lineno, begin.col_offset): body for begin, body in begins if body}
