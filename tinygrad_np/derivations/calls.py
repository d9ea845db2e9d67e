"""What the rules of reading share: calls by their values, and arithmetic of numbers."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from ..compiler.program import Call, Program, Value
from .literals import exact


class Made(dict[Value, Call]):
    """The call that makes each value, how often it is read, and which values are results.

    ``sizes_known`` says that numbers which depend on the size of the batch are known as such.
    """

    def __init__(self, program: Program, sizes_known: bool = False) -> None:
        super().__init__({call.out: call for call in program.calls})
        self.sizes_known = sizes_known
        self.results = set(program.results)
        self.uses = Counter([value for call in program.calls for value in call.inputs])

    def by(self, value: Any, *functions: Any, once: bool = False) -> Call | None:
        """The call that makes a value, if it is of one of these functions (and read only once)."""
        call = self.get(value) if isinstance(value, Value) else None
        if call is None or call.function not in functions:
            return None
        return None if once and (self.uses[value] > 1 or value in self.results) else call


FOLDED: dict[Any, Callable[..., Any]] = {
    np.multiply: operator.mul, np.add: operator.add, np.subtract: operator.sub,
    np.divide: operator.truediv, np.negative: operator.neg,
}  # fmt: skip


def folded(call: Call) -> Any:
    """The result for numbers; None for 1 / 0."""
    try:
        return FOLDED[call.function](*[exact(number) for number in call.args])
    except (ZeroDivisionError, OverflowError, ValueError):
        return None


def become(call: Call, function: Any, *args: Any, **kwargs: Any) -> bool:
    """Turn this call into another one; returns True."""
    call.function, call.args, call.kwargs = function, args, kwargs
    return True
