"""Dead code: calls whose results nobody reads, and stores that are overwritten unseen.

A store counts as looked at where an array from outside is read, or where a check may raise.
"""

from ..program import Program, Value
from .facts import Facts


def run(program: Program) -> int:
    """Remove what changes neither the caller's results nor anything outside."""
    needed: set[Value] = set(program.outputs)
    overwritten: set[Value] = set()
    facts = Facts(program)
    kept = []
    for call in reversed(program.calls):
        if call.kind == "store":
            if call.args[0] in overwritten:
                continue
            overwritten.add(call.args[0])
        elif call.kind == "check" or any(map(facts.is_changeable, call.inputs)):
            overwritten.clear()
        if call.kind in ("store", "put", "check", "effect", "draw") or call.out in needed:
            needed.update(call.inputs)
            kept.append(call)
    removed = len(program.calls) - len(kept)
    program.calls = kept[::-1]
    return removed
