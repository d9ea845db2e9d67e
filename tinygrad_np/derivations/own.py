"""Your own code, run statement by statement: which values it computes, and from which others."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .problem import DerivationError


@dataclass(eq=False)
class Statement:
    """One statement, or one entry of what is returned: a name, its value, and what it reads."""

    number: int
    text: str
    name: str
    value: Any
    reads: list[Statement]
    result: bool = False


def run(
    own: str | Callable[..., Any], inputs: Mapping[str, Any], parameters: Any
) -> list[Statement]:
    """The statements of a function (or of its source, or bare ones) on these inputs.

    A function's arguments are the inputs of these names; an argument of another name gets a dict of
    the parameters. The top-level statements of the function run one by one, a loop is one of them.
    """
    text, first, space = _source(own)
    tree = ast.parse(text)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    inputs = {name: np.array(value) for name, value in inputs.items()}
    space.setdefault("np", np)
    if functions and not any(isinstance(node, ast.Assign) for node in tree.body[-1:]):
        exec(compile(tree, "<derivation>", "exec"), space)
        space |= _arguments(space[functions[-1].name], inputs, parameters)
        body = functions[-1].body
    else:
        space |= inputs
        body = tree.body
    return _Run(text.splitlines(), first, space).run(body)


def _source(own: str | Callable[..., Any]) -> tuple[str, int, dict[str, Any]]:
    """The text, the number of its first line, and the names that it can use."""
    if isinstance(own, str):
        return textwrap.dedent(own), 1, {}
    try:
        lines, first = inspect.getsourcelines(own)
    except (OSError, TypeError):
        raise DerivationError(
            f"the source of {own!r} cannot be read: pass it as text, compare(source)"
        ) from None
    closed = inspect.getclosurevars(own)
    space = {**getattr(own, "__globals__", {}), **closed.nonlocals}
    return textwrap.dedent("".join(lines)), first, space


def _arguments(function: Any, inputs: dict[str, Any], parameters: Any) -> dict[str, Any]:
    """What the function is called with: the inputs, and the parameters as a dict."""
    signature = inspect.signature(function).parameters
    found = {name: inputs.get(name, p.default) for name, p in signature.items()}
    missing = [n for n, p in signature.items() if n not in inputs and p.default is p.empty]
    if len(missing) > 1:
        raise DerivationError(
            f"{function.__name__} has arguments {', '.join(map(repr, missing))}, which are not "
            f"inputs of the derivation: its inputs are {', '.join(inputs)}. Give both the same "
            "names, for example with derivation(..., names={'x': x})"
        )
    return found | {name: {p: inputs[p] for p in parameters} for name in missing}


class _Run:
    """Runs statements, and keeps the last one that set each name."""

    def __init__(self, lines: list[str], first: int, space: dict[str, Any]) -> None:
        self.lines, self.first, self.space = lines, first, space
        self.last: dict[str, Statement] = {}
        self.found: list[Statement] = []

    def run(self, body: list[ast.stmt]) -> list[Statement]:
        """Run the statements up to the first ``return``."""
        for node in body:
            if isinstance(node, ast.Return):
                self._returned(node.value)
                break
            if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                self._statement(node)
        return self.found

    def _statement(self, node: ast.stmt) -> None:
        """Run one statement, and add an entry for each name that it sets."""
        reads = self._reads(node)
        with np.errstate(all="ignore"):
            exec(compile(ast.Module([node], []), "<derivation>", "exec"), self.space)
        text = self.lines[node.lineno - 1].strip()
        for name in _targets(node):
            if isinstance(self.space.get(name), np.ndarray | np.generic | float | int):
                self.last[name] = self._add(node, text, name, self.space[name], reads)

    def _returned(self, value: ast.expr | None) -> None:
        """Add an entry for each result that has a name, as in {"W1": x.T @ d1} and dict(W1=...)."""
        match value:
            case ast.Tuple(elts) | ast.List(elts):
                for item in elts:
                    self._returned(item)
            case ast.Dict(keys, values):
                for key, item in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        self._result(item, key.value)
            case ast.Call(func=ast.Name("dict"), keywords=keywords):
                for keyword in keywords:
                    if keyword.arg:
                        self._result(keyword.value, keyword.arg)

    def _result(self, item: ast.expr, name: str) -> None:
        with np.errstate(all="ignore"):
            value = eval(compile(ast.Expression(item), "<derivation>", "eval"), self.space)
        text = f"{name!r}: {ast.unparse(item)}".replace("'", '"')
        self._add(item, text, name, value, self._reads(item), result=True)

    def _add(
        self, node: Any, text: str, name: str, value: Any, reads: list[Statement],
        result: bool = False,
    ) -> Statement:  # fmt: skip
        number = int(node.lineno) + self.first - 1
        statement = Statement(number, text, name, copy.deepcopy(value), reads, result)
        self.found.append(statement)
        return statement

    def _reads(self, node: ast.AST) -> list[Statement]:
        """The statements whose names this one reads; ``x[0] = 1`` and ``x += 1`` read x, too."""
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) for t in node.targets):
            node = node.value
        names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
        return [self.last[name] for name in dict.fromkeys(names) if name in self.last]


def _targets(statement: ast.stmt) -> list[str]:
    """The names that a statement sets, or whose arrays it changes."""
    targets: list[ast.expr] = []
    for node in ast.walk(statement):
        match node:
            case ast.Assign():
                targets += node.targets
            case ast.AugAssign() | ast.AnnAssign():
                targets.append(node.target)
            case ast.Call(func=ast.Attribute(attr="at")):  # np.add.at(dx, ...)
                targets += node.args[:1]
            case ast.Call():  # np.exp(a, out=a)
                targets += [k.value for k in node.keywords if k.arg == "out"]
    found: list[str] = []
    for target in targets:
        for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            base = part
            while isinstance(base, ast.Subscript | ast.Attribute | ast.Starred):
                base = base.value
            found += [base.id] if isinstance(base, ast.Name) else []
    return list(dict.fromkeys(found))
