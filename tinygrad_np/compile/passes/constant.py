"""Constant folding: what depends on constants alone is computed now."""

import numpy as np

from ..program import Program, Value, map_tree


def run(program: Program) -> int:
    """Replace calls whose arguments are all constants by their results."""
    folded: dict[Value, Value] = {}
    kept = []
    for call in program.calls:
        call.args = map_tree(
            lambda leaf: folded.get(leaf, leaf) if isinstance(leaf, Value) else leaf, call.args
        )
        call.kwargs = map_tree(
            lambda leaf: folded.get(leaf, leaf) if isinstance(leaf, Value) else leaf, call.kwargs
        )
        inputs = call.inputs
        if (
            call.kind in ("array", "view")
            and call.out
            and all(v.source == "constant" for v in inputs)
        ):
            args = map_tree(_array, call.args)
            kwargs = map_tree(_array, call.kwargs)
            array = np.array(call.function(*args, **kwargs))
            array.setflags(write=False)
            folded[call.out] = Value(array, "constant", array)
            continue
        kept.append(call)
    program.result = map_tree(
        lambda leaf: folded.get(leaf, leaf) if isinstance(leaf, Value) else leaf, program.result
    )
    program.calls = kept
    return len(folded)


def _array(leaf: object) -> object:
    return leaf.where if isinstance(leaf, Value) else leaf
