"""Max pooling's way back as one call: without the places of the largest elements."""

from typing import Any

import numpy as np

from ...ops import indexing, pooling
from ..program import Program, Value
from .use_def import UseDef

_SCATTERED: Any = indexing.scattered.__wrapped__  # type: ignore[attr-defined]
_PLACES: Any = pooling.places.__wrapped__  # type: ignore[attr-defined]


def pool_back(g: Any, shape: Any, *args: Any) -> Any:
    """Zeros of a shape, to which each g is added at its window's largest element."""
    return _SCATTERED(g, _PLACES(*args).reshape(-1), shape)


def run(program: Program) -> None:
    """Join what finds the places and what adds there; the bits stay."""
    use_def = UseDef(program)
    for call in program.calls:
        if call.function is not _SCATTERED:
            continue
        g, index, shape = call.args
        flat = use_def.producer(index) if isinstance(index, Value) else None
        if flat is None or flat.function is not np.ndarray.reshape or flat.args[1:] != (-1,):
            continue
        found = use_def.producer(flat.args[0])
        if found is not None and found.function is _PLACES and g.dtype == found.args[0].dtype:
            call.function, call.args = pool_back, (g, shape, *found.args)
