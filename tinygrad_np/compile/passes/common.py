"""Common subexpressions: the same pure function of the same arguments, computed once."""

from typing import Any

import numpy as np

from ..program import Call, Program, Value, map_tree


def run(program: Program) -> int:
    """Let later calls read the result of the first of several equal ones."""
    first: dict[Any, Value] = {}
    same: dict[Value, Value] = {}
    kept = []
    for call in program.calls:
        call.args = map_tree(lambda leaf: _now(same, leaf), call.args)
        call.kwargs = map_tree(lambda leaf: _now(same, leaf), call.kwargs)
        if call.kind == "effect":  # a number from the host may be another one from here on
            first = {key: value for key, value in first.items() if value.source != "host"}
        key = _key(call) if call.out is not None else None
        if key is not None and key in first and call.out is not None:
            same[call.out] = first[key]
            continue
        if key is not None and call.out is not None:
            first[key] = call.out
        kept.append(call)
    program.result = map_tree(lambda leaf: _now(same, leaf), program.result)
    program.calls = kept
    return len(same)


def _now(same: dict[Value, Value], leaf: Any) -> Any:
    return same.get(leaf, leaf) if isinstance(leaf, Value) else leaf


def _key(call: Call) -> Any:
    if call.kind == "draw":
        return None
    try:
        if call.kind == "host":
            cells = getattr(call.function, "__closure__", None) or ()
            return ("host", call.function.__code__, *[id(cell.cell_contents) for cell in cells])
        key = (call.function, _frozen(call.args), _frozen(call.kwargs))
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(tree: Any) -> Any:
    if isinstance(tree, tuple | list):
        return (type(tree).__name__, *[_frozen(item) for item in tree])
    if isinstance(tree, dict):
        return tuple([(key, _frozen(item)) for key, item in sorted(tree.items())])
    if isinstance(tree, slice):
        return ("slice", _frozen((tree.start, tree.stop, tree.step)))
    if isinstance(tree, np.generic | int | float | bool):
        return (type(tree).__name__, repr(tree))  # 1, 1.0 and True are equal, -0.0 and 0.0 too
    return tree
