"""Dead code elimination: drop calls and inputs that no output or update depends on."""

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
    needed.update(place for place, _ in program.updates)
    program.inputs = [value for value in program.inputs if value in needed]
    program.numbers = [value for value in program.numbers if value in needed]
