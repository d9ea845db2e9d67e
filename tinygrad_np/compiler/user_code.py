"""Which functions, classes and modules are the user's own code, and the names in that code."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

LIBRARIES = {*sys.stdlib_module_names, "numpy", "scipy", "matplotlib", "tinygrad_np"} - {"__main__"}
"""Folders of installed code: the trace does not look into its functions or modules."""


def names_in(code: types.CodeType) -> Iterator[str]:
    """The names of variables and attributes in a function's code, and in the code inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)


def is_users(thing: Any) -> bool:
    """Whether a function, a class or a module is the user's own."""
    name = thing.__name__ if isinstance(thing, types.ModuleType) else thing.__module__
    return (name or "").partition(".")[0] not in LIBRARIES
