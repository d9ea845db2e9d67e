"""What several passes look for: scalings, and values that one call alone reads."""

from typing import Any

import numpy as np

from ..program import Call, Value, is_ufunc


def is_scale(operand: Any) -> bool:
    """Whether an operand is a number: Python's, the host's, or a 0-d constant."""
    if isinstance(operand, Value):
        return operand.source == "host" or (operand.source == "constant" and operand.shape == ())
    return isinstance(operand, int | float | np.number)


def product_of(call: Call | None, producers: dict[Value, Call]) -> tuple[Any, Value] | None:
    """The number and the array, where a call multiplies one by the other."""
    if call is None or not is_ufunc(call, np.multiply) or len(call.args) != 2:
        return None
    for number, array in (call.args, call.args[::-1]):
        if is_scale(number) and isinstance(array, Value) and not is_scale(array):
            if call.out is not None and array.dtype == call.out.dtype:
                return number, array
    return None


def single_use(value: Value, uses: dict[Value, list[Call]]) -> bool:
    """Whether exactly one call reads a value that was computed (outputs count as stores do)."""
    return value.source == "call" and len(uses.get(value, ())) == 1
