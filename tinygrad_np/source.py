"""A rule in its own words: what a lambda or a function returns, as it was written."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 60


def expression(function: Callable[..., Any], values: Mapping[str, Any] | None = None) -> str:
    """The body of a lambda as in the source file; of another function its name and arguments.

    With ``values`` of its arguments, of another function what it returns for them.

    >>> import tinygrad_np as tg
    >>> expression(tg.OPS["tanh"].gradients["x"])
    'g * (1 - out * out)'
    """
    code = function.__code__
    if code.co_name == "<lambda>":
        name, text = "λ", _body(function)
    else:
        name, text = code.co_name.lstrip("_"), _returned(function, values) if values else ""
    return text or f"{name}({', '.join(code.co_varnames[: code.co_argcount])})"


def _body(function: Callable[..., Any]) -> str:
    try:
        bodies = _lambdas("".join(inspect.findsource(function)[0]))
    except (OSError, SyntaxError):  # typed in at a prompt: there is no source to show
        return ""
    # One line can hold several lambdas: the body is where this code's first expression begins.
    start = min((line, at) for line, _, at, _ in function.__code__.co_positions() if line and at)
    return ast.unparse(bodies[start]) if start in bodies else ""


@functools.lru_cache(maxsize=64)
def _lambdas(source: str) -> dict[tuple[int, int], ast.expr]:
    """The bodies of a file's lambdas by the line and column where they begin."""
    found = [node.body for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Lambda)]
    return {(body.lineno, body.col_offset): body for body in found}


def _returned(function: Callable[..., Any], values: Mapping[str, Any]) -> str:
    """What a function returns for these arguments, local names spelled out while that is short.

    Nothing where its way there cannot be followed: it loops, say, or a value is missing.
    """
    words: dict[str, ast.expr] = {}  # what the local names stand for, in terms of the arguments

    class Spell(ast.NodeTransformer):
        """Local names replaced, and conditional expressions by the side that is taken."""

        def __init__(self, names: Mapping[str, ast.expr]) -> None:
            self.names = names

        def visit_Name(self, node: ast.Name) -> ast.expr:
            return self.names.get(node.id, node)

        def visit_IfExp(self, node: ast.IfExp) -> Any:
            return self.visit(node.body if holds(node.test) else node.orelse)

    def holds(test: ast.expr) -> bool:
        text = ast.unparse(Spell(words).visit(test))
        return bool(eval(text, {**function.__globals__, **values}))

    try:
        definition: Any = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        rest: list[ast.stmt] = definition.body
        while rest:
            match rest.pop(0):
                case ast.If(test, body, orelse):
                    rest = [*(body if holds(test) else orelse), *rest]
                case ast.Assign([ast.Name(name)], value):
                    words[name] = Spell(words).visit(value)
                case ast.Return(ast.expr() as value):
                    written = text = ast.unparse(Spell({}).visit(value))
                    spelled: dict[str, ast.expr] = {}
                    for name, word in words.items():
                        more = {**spelled, name: word}
                        longer = ast.unparse(Spell(more).visit(ast.parse(written)))
                        if len(longer) <= LONGEST:
                            text, spelled = longer, more
                    return text
                case ast.Expr(ast.Constant()):
                    continue
                case _:
                    return ""
    except Exception:  # a missing value, most often; or a missing source
        pass
    return ""
