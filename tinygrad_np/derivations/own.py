"""Somebody's own code, run statement by statement: which values it computes, from which others."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .problem import DerivationError


@dataclass(eq=False)
class Statement:
    """One statement, or one entry of what is returned: a name, its value, what it was made of."""

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

    A function's arguments are the inputs of these names; one of another name is a dict of the
    parameters. Statements on the top level of the function are run one by one, loops as a whole.
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
    return _Run(text.splitlines(), first, space).steps(body)


def _source(own: str | Callable[..., Any]) -> tuple[str, int, dict[str, Any]]:
    """The text, the number of its first line, and the names that it can use."""
    if isinstance(own, str):
        return textwrap.dedent(own), 1, {}
    try:
        lines, first = inspect.getsourcelines(own)
    except (OSError, TypeError):
        raise DerivationError(
            f"the source of {own!r} cannot be read: give it as a text, compare(source)"
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
            f"inputs of the derivation: it has {', '.join(inputs)}. Name them alike, with "
            "derivation(..., names={'x': x}), say"
        )
    return found | {name: {p: inputs[p] for p in parameters} for name in missing}


class _Run:
    """Runs statements, and keeps the last step that set each name."""

    def __init__(self, lines: list[str], first: int, space: dict[str, Any]) -> None:
        self.lines, self.first, self.space = lines, first, space
        self.last: dict[str, Statement] = {}

    def steps(self, body: list[ast.stmt]) -> list[Statement]:
        """Run the statements; their steps in order."""
        found: list[Statement] = []
        for statement in body:
            if isinstance(statement, ast.Return):
                found += self._returned(statement.value)
                break
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue
            reads = self._reads(statement)
            with np.errstate(all="ignore"):
                exec(compile(ast.Module([statement], []), "<derivation>", "exec"), self.space)
            for name in _targets(statement):
                value = self.space.get(name)
                if isinstance(value, np.ndarray | np.generic | float | int):
                    before = (
                        [self.last[name]] if name in self.last and name in _read(statement) else []
                    )
                    step = Statement(
                        self._number(statement), self._text(statement), name,
                        copy.deepcopy(value), list(dict.fromkeys([*reads, *before])),
                    )  # fmt: skip
                    self.last[name] = step
                    found.append(step)
        return found

    def _returned(self, value: ast.expr | None) -> Iterator[Statement]:
        """A step for each result that has a name of its own, as in {"W1": x.T @ d1}."""
        if isinstance(value, ast.Tuple | ast.List):
            for item in value.elts:
                yield from self._returned(item)
        elif isinstance(value, ast.Dict):
            for key, item in zip(value.keys, value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield self._result(item, key.value)
        elif isinstance(value, ast.Call) and getattr(value.func, "id", "") == "dict":
            for keyword in value.keywords:
                if keyword.arg:
                    yield self._result(keyword.value, keyword.arg)

    def _result(self, item: ast.expr, name: str) -> Statement:
        with np.errstate(all="ignore"):
            found = eval(compile(ast.Expression(item), "<derivation>", "eval"), self.space)
        text = f"{name!r}: {ast.unparse(item)}".replace("'", '"')
        return Statement(
            self._number(item), text, name, copy.deepcopy(found), self._reads(item), True
        )

    def _reads(self, node: ast.AST) -> list[Statement]:
        return [self.last[name] for name in _read(node) if name in self.last]

    def _number(self, node: Any) -> int:
        return int(node.lineno) + self.first - 1

    def _text(self, statement: ast.stmt) -> str:
        return self.lines[statement.lineno - 1].strip()


def _read(node: ast.AST) -> list[str]:
    """The names that a statement reads; those of ``x[0] = 1`` and ``x += 1`` are read, too."""
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) for t in node.targets):
        node = node.value
    return list(dict.fromkeys([n.id for n in ast.walk(node) if isinstance(n, ast.Name)]))


def _targets(statement: ast.stmt) -> list[str]:
    """The names that a statement sets, or whose arrays it changes."""
    found: list[str] = []
    for node in ast.walk(statement):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call):  # np.add.at(dx, ...), np.exp(a, out=a)
            targets = [k.value for k in node.keywords if k.arg == "out"]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "at":
                targets = node.args[:1]
        for target in targets:
            for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
                base = part
                while isinstance(base, ast.Subscript | ast.Attribute | ast.Starred):
                    base = base.value
                if isinstance(base, ast.Name):
                    found.append(base.id)
    return list(dict.fromkeys(found))
