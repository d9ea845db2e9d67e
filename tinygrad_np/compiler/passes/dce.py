"""Dead code elimination: calls whose results nobody reads."""

from ..program import Program


def run(program: Program) -> None:
    """Keep the calls that the outputs and updates depend on."""
    needed = set(program.results)
    kept = []
    for call in reversed(program.calls):
        if call.out in needed:
            needed.update(call.inputs)
            kept.append(call)
    program.calls = kept[::-1]
