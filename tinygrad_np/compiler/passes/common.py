"""Common subexpressions: the same pure function of the same arguments, computed once."""

from typing import Any

import numpy as np

from ..program import Call, Program, Value
from ..same import identity
from .facts import Facts


def run(program: Program) -> int:
    """Let later calls read the result of the first of several equal ones."""
    first: dict[Any, Value] = {}
    same: dict[Value, Value] = {}
    kept = []
    facts = Facts(program)
    for call in program.calls:
        program.substitute(same, call)
        if call.kind == "effect":  # a number from the host may be another one from here on
            first = {key: value for key, value in first.items() if value.source != "host"}
        elif call.kind == "store":  # and so may whatever is read of an array outside
            first = {key: value for key, value in first.items() if not _reads(facts, value)}
        key = _key(call)
        if key in first and call.out and not facts.are_apart(call.out, first[key], same):
            same[call.out] = first[key]
            continue
        if key is not None and call.out is not None:
            first[key] = call.out
        kept.append(call)
    program.substitute(same)
    program.calls = kept
    return len(same)


def _reads(facts: Facts, value: Value) -> bool:
    call = facts.producer(value)
    return call is not None and call.kind == "array" and any(map(facts.is_changeable, call.inputs))


def _key(call: Call) -> Any:
    if call.kind == "host":
        return ("host", identity(call.function) or call.function)
    if call.kind not in ("array", "view"):
        return None
    try:
        errors = tuple(call.errors.items())
        key = (call.function, _frozen(call.args), _frozen(call.kwargs), errors)
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
