"""Conditions that are checked before each replay, all of them by one generated function.

Each is written in Python's own words: 30 ns a condition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Condition = tuple[str, tuple[Any, ...]]
"""An expression with {0}, {1}, ... for objects, and these objects."""

PLAIN = bool | int | float | complex | str | bytes | np.generic
"""What is compared by its value."""


def guard(conditions: list[Condition]) -> Callable[[], bool]:
    """A function that tells whether all the conditions hold."""
    namespace: dict[str, Any] = {"unchanged": unchanged}
    texts = []
    once = {(text, *map(id, things)): (text, things) for text, things in conditions}
    for text, things in once.values():
        names = [f"k{len(namespace) + i}" for i in range(len(things))]
        namespace.update(zip(names, things, strict=True))
        texts.append(text.format(*names))
    exec(f"def check(): return {' and '.join(texts) or True}", namespace)
    check: Callable[[], bool] = namespace.pop("check")
    return check


def unchanged(now: Any, then: Any) -> bool:
    """Whether a variable is what it was: an equal number or word, or the very same object."""
    alike = isinstance(then, PLAIN) and type(now) is type(then)
    return now is then or (alike and repr(now) == repr(then))  # 0.0 and -0.0 are equal
