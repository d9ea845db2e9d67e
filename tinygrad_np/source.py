"""A rule in its own words: what a lambda or a function returns, as it was written."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any


def expression(function: Callable[..., Any], values: Mapping[str, Any] | None = None) -> str:
    """The body of a lambda as in the source file; of another function its name and arguments.

    With ``values`` of its arguments, of another function what it returns for them.

    >>> import tinygrad_np as tg
    >>> expression(tg.OPS["tanh"].gradients["x"])
    'g * (1 - out * out)'
    """
    code = function.__code__
    arguments = ", ".join(code.co_varnames[: code.co_argcount])
    if code.co_name != "<lambda>":
        found = None if values is None else _returned(function, values)
        return found or f"{code.co_name.lstrip('_')}({arguments})"
    try:
        lambdas = _lambdas("".join(inspect.findsource(function)[0]))
    except (OSError, SyntaxError):  # typed in at a prompt: there is no source to show
        return f"λ({arguments})"
    # One line can hold several lambdas: take the innermost whose body holds all of this code.
    places = [(line, column) for line, _, column, _ in code.co_positions() if line and column]
    bodies = [node.body for node in lambdas if all(_holds(node.body, place) for place in places)]
    return ast.unparse(bodies[-1]) if bodies else f"λ({arguments})"


def _holds(body: ast.expr, place: tuple[int, int]) -> bool:
    end = (body.end_lineno or body.lineno, body.end_col_offset or 0)
    return (body.lineno, body.col_offset) <= place < end


@functools.lru_cache(maxsize=64)
def _lambdas(source: str) -> list[ast.Lambda]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Lambda)]


def _returned(function: Callable[..., Any], values: Mapping[str, Any]) -> str | None:
    """What a function returns for these arguments, local names spelled out while it stays short.

    None where its way there cannot be followed: it loops, say, or a value it asks for is missing.
    """
    local, words = dict(values), dict[str, ast.expr]()

    def evaluate(node: ast.expr) -> Any:
        code = compile(ast.Expression(node), "<rule>", "eval")
        return eval(code, {**function.__globals__, **local})  # as globals, comprehensions see them

    class Choose(ast.NodeTransformer):
        def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
            chosen: ast.expr = self.visit(node.body if evaluate(node.test) else node.orelse)
            return chosen

    try:
        rest = _statements(function)
        while rest:
            match rest.pop(0):
                case ast.If(test, body, orelse):
                    rest = [*(body if evaluate(test) else orelse), *rest]
                case ast.Assign([ast.Name(name)], value):
                    local[name], words[name] = evaluate(value), Choose().visit(value)
                case ast.Return(ast.expr() as value):
                    return _spelled_out(Choose().visit(value), words)
                case ast.Expr(ast.Constant()):
                    continue
                case _:
                    return None
    except Exception:  # a missing value, most often; or a missing source
        pass
    return None


def _statements(function: Callable[..., Any]) -> list[ast.stmt]:
    [definition] = ast.parse(_text(function)).body
    return list(definition.body) if isinstance(definition, ast.FunctionDef) else []


@functools.lru_cache(maxsize=256)
def _text(function: Callable[..., Any]) -> str:
    return textwrap.dedent(inspect.getsource(function))


def _spelled_out(node: ast.expr, words: Mapping[str, ast.expr], longest: int = 60) -> str:
    """An expression with local names replaced by what they were assigned, while it stays short."""

    class Replace(ast.NodeTransformer):
        def __init__(self, name: str) -> None:
            self.name = name

        def visit_Name(self, node: ast.Name) -> ast.expr:
            return words[self.name] if node.id == self.name else node

    text = ast.unparse(node)
    for name in [*words] * len(words):
        longer = ast.unparse(Replace(name).visit(ast.parse(text, mode="eval").body))
        text = longer if len(longer) <= longest else text
    return text
