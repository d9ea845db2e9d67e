"""Common subexpression elimination: equal calls are computed once."""

from typing import Any

import numpy as np

from ..program import Call, Program, Value
from .use_def import UseDef


def run(program: Program) -> None:
    """Replace the results of equal calls by that of the first one."""
    first: dict[Any, Value] = {}
    same: dict[Value, Value] = {}
    use_def = UseDef(program)
    kept = []
    for call in program.calls:
        key = _key(call, same)
        earlier = first.get(key) if key is not None else None
        if earlier is not None and earlier.like(call.out) and not use_def.meet(earlier, call.out):
            same[call.out] = earlier
            continue
        if key is not None:
            first.setdefault(key, call.out)
        kept.append(call)
    program.calls = kept
    program.substitute(same)


def _key(call: Call, same: dict[Value, Value]) -> Any:
    def frozen(tree: Any) -> Any:
        if isinstance(tree, Value):
            return same.get(tree, tree)
        if isinstance(tree, tuple | list):
            return (type(tree).__name__, *map(frozen, tree))
        if isinstance(tree, dict):
            return tuple([(key, frozen(item)) for key, item in sorted(tree.items())])
        if isinstance(tree, slice):
            return ("slice", *map(frozen, (tree.start, tree.stop, tree.step)))
        if isinstance(tree, np.generic | int | float | bool):
            return (type(tree).__name__, repr(tree))  # 1, 1.0 and True are equal, -0.0 and 0.0 too
        return tree

    key = call.function, frozen(call.args), frozen(call.kwargs), tuple(call.errors.items())
    try:
        hash(key)
    except TypeError:
        return None
    return key
