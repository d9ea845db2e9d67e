"""What a trace took as given, checked before each replay by one generated function.

Beside arguments a function depends on the variables it refers to, on modules and optimisers, and on
which parameters have gradients. Each such fact is a condition in Python's own words; one function
that checks them all costs 30 ns a condition.
"""

from __future__ import annotations

import dis
import functools
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_SMALL = 16384
"""Arrays outside of at most so many bytes are compared with what they were when traced."""

Condition = tuple[str, tuple[Any, ...]]
"""An expression with {0}, {1}, ... for objects, and these objects."""

_PACKAGE = __name__.rsplit(".", 2)[0]


def guard(conditions: list[Condition]) -> Callable[[], bool]:
    """A function that tells whether all the conditions hold."""
    namespace: dict[str, Any] = {"alike": _alike, "equal": np.array_equal}
    texts = []
    for text, things in conditions:
        names = [f"k{len(namespace) + i}" for i in range(len(things))]
        namespace.update(zip(names, things, strict=True))
        texts.append(text.format(*names))
    exec(f"def check(): return {' and '.join(texts) or True}", namespace)
    check: Callable[[], bool] = namespace.pop("check")
    return check


def entry(mapping: dict[str, Any], name: str, value: Any) -> list[Condition]:
    """A variable or attribute still has its value: the very same, or an equal number or word."""
    return _still("{0}.get({1})", (mapping, name), value)


def _still(now: str, where: tuple[Any, ...], value: Any) -> list[Condition]:
    then = f"{{{len(where)}}}"
    if isinstance(value, bool | int | float | str):
        return [(f"({now} is {then} or {now} == {then})", (*where, value))]
    conditions: list[Condition] = [(f"{now} is {then}", (*where, value))]
    if isinstance(value, np.ndarray) and value.nbytes <= _SMALL:
        conditions.append(("equal({0}, {1}, equal_nan={2})",
                           (value, value.copy(), value.dtype.kind in "fc")))  # fmt: skip
    elif isinstance(value, list):
        items = [f" and {{0}}[{i}] is {{{i + 1}}}" for i in range(len(value))]
        conditions.append((f"len({{0}}) == {len(value)}{''.join(items)}", (value, *value)))
    elif type(value) is dict:
        conditions.append(("alike({0}.values(), {1})", (value, list(value.values()))))
    return conditions


def _alike(now: Any, then: list[Any]) -> bool:
    return len(now) == len(then) and all(map(operator.is_, now, then))


def surroundings(function: Any) -> tuple[list[Condition], str | None]:
    """What a function's global and enclosing variables are, as conditions; what it assigns to.

    The functions it refers to, and the methods of its object, are looked at as well, but for this
    package's.
    """
    conditions: list[Condition] = []
    assigned = None
    seen: set[Any] = set()
    stack = [function]
    while stack:
        now = stack.pop()
        while isinstance(now, functools.partial):
            now = now.func
        owner = getattr(now, "__self__", None)
        now = getattr(now, "__func__", now)
        if not isinstance(now, types.FunctionType) or now in seen:
            continue
        seen.add(now)
        foreign = not now.__module__ or not now.__module__.startswith((f"{_PACKAGE}.", "numpy"))
        for cell, value in _cells(now):
            conditions += _still("{0}.cell_contents", (cell,), value)
            stack.append(value)
        for code in _codes(now.__code__) if foreign else ():
            for name in code.co_names:
                if isinstance(method := getattr(type(owner), name, None), types.FunctionType):
                    stack.append(types.MethodType(method, owner))
                value = now.__globals__.get(name)
                if value is not None and not isinstance(value, types.ModuleType):
                    conditions += entry(now.__globals__, name, value)
                    stack.append(value)
            assigned = assigned or _assigned(code)
    return conditions, assigned


def _cells(function: types.FunctionType) -> Iterator[tuple[Any, Any]]:
    for cell in function.__closure__ or ():
        try:
            yield cell, cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function and of the functions written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _assigned(code: types.CodeType) -> str | None:
    """A variable outside that the code assigns to, with its line."""
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        line = instruction.starts_line or line
        outside = instruction.opname == "STORE_GLOBAL" or (
            instruction.opname == "STORE_DEREF" and instruction.argval in code.co_freevars
        )
        if outside:
            return f"{instruction.argval}\n    at {code.co_filename}:{line} in {code.co_name}"
    return None
