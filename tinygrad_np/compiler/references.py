"""What the code of a function refers to by name, read from its bytecode: it need not run for that.

An attribute is told of whom it is named where that can be seen: ``module.x``, ``self.x``.
"""

from __future__ import annotations

import builtins
import dis
import sys
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from . import CompileError

_KNOWN = {__name__.partition(".")[0], "numpy", *sys.stdlib_module_names}
_ALL = {"vars", "__dict__", "asdict", "astuple"}
_BY_STRING = {"getattr", "hasattr", "setattr", "attrgetter", "methodcaller", *_ALL}


class ClassName(NamedTuple):
    """A class by its name, which is what the functions written in it know of it."""

    module: str
    name: str


def is_foreign(module: str | None) -> bool:
    """Whether code may do anything: it is neither this package's nor NumPy's nor Python's own."""
    return (module or "").partition(".")[0] not in _KNOWN


def references(function: types.FunctionType) -> Iterator[tuple[str, Any, str]]:
    """The names in a function's code and in the functions written inside it, but for their own.

    Each is ("variable", its namespace, name), ("attribute", of whom, name) or ("module", None,
    name), where "of whom" is an id or a ClassName, or None where that is not known; "*" stands for
    names that are not written there. CompileError if the function assigns to a variable outside.
    """
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a variable that has no value yet
            cells[name] = cell.cell_contents
    own = ClassName(function.__module__, function.__qualname__.rpartition(".")[0])
    for code in _codes(top := function.__code__):
        yield from _named(code, function.__globals__, cells, own if code is top else None)


def _named(
    code: types.CodeType, variables: dict[str, Any], cells: dict[str, Any], own: ClassName | None
) -> Iterator[tuple[str, Any, str]]:
    if not _BY_STRING.isdisjoint(code.co_names):
        parts = [c if isinstance(c, tuple) else (c,) for c in code.co_consts]
        strings = {string for part in parts for string in part if type(string) is str}
        if not strings or not _ALL.isdisjoint(code.co_names):
            strings.add("*")
        yield from [("attribute", None, string) for string in strings]
    found: Any = None  # what an instruction puts on the stack, if that is known
    for instruction in dis.get_instructions(code):
        what, name = instruction.opname, instruction.argval
        own = None if what.startswith("STORE_FAST") and "self" in name else own  # another one now
        owner, found = None if instruction.is_jump_target else found, None
        if what in ("LOAD_GLOBAL", "LOAD_NAME"):
            found = variables.get(name)
            if name in variables or not hasattr(builtins, name):
                yield "variable", variables, name
        elif what == "LOAD_DEREF":
            found = cells.get(name)
        elif what.startswith("LOAD_FAST") and name == "self" and own and own.name.isidentifier():
            found = own
        elif what == "MATCH_CLASS" or (what.startswith("FORMAT_") and "getattr" in code.co_names):
            yield "attribute", None, "*"
        elif what.endswith("_ATTR") or what in ("LOAD_METHOD", "IMPORT_FROM"):
            yield "attribute", owner if isinstance(owner, ClassName | None) else id(owner), name
            with suppress(TypeError):
                value = vars(owner).get(name)
                found = None if hasattr(type(value), "__get__") else value
        elif what == "IMPORT_NAME":
            # Without its dots: "from .name import" may mean that of any of the packages around.
            for i in range(len(parents := (variables.get("__package__") or "").split(".")) + 1):
                yield "module", None, ".".join(filter(None, [*parents[:i], name]))
        elif what == "STORE_GLOBAL" or (what == "STORE_DEREF" and name in code.co_freevars):
            line = instruction.positions.lineno if instruction.positions else 0
            raise CompileError(
                f"a replay would not assign to {name}, as the function does: return it\n"
                f"    at {code.co_filename}:{line} in {code.co_name}"
            )


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function and of the functions written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
