"""Dead code: calls whose results nobody reads."""

from ..program import Program, Value


def run(program: Program) -> int:
    """Remove pure calls whose result neither another call nor the caller reads."""
    needed: set[Value] = set(program.outputs)
    kept = []
    for call in reversed(program.calls):
        if call.kind in ("store", "put", "check", "effect", "draw") or call.out in needed:
            needed.update(call.inputs)
            kept.append(call)
    removed = len(program.calls) - len(kept)
    program.calls = kept[::-1]
    return removed
