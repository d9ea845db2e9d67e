"""Where a function has a kink, such as relu at 0, several gradients are right."""

from __future__ import annotations

import itertools
from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np

from ..graph import Node, Rule
from ..tensor import Array
from .passes import run
from .trace import Given, Gradients, Tape, Use

NEAR = 1e-13
MOST = 3
"""How many kinds of ops may each choose a convention."""


def best_convention(trace: Tape, fits: Any, given: Given) -> tuple[Gradients, list[str]]:
    """The true gradients, by the subgradients that agree with most of the given ones, and notes."""
    true = usual = run(trace)
    right = [n for n in given if fits(n, usual[n])]
    if len(right) == len(given):
        return usual, []
    bent: dict[str, dict[Use, list[Rule]]] = defaultdict(dict)
    for node in trace.order:
        if node.op and not getattr(node.op, "analytic", True):
            bent[node.op.name] |= _conventions(trace, node)
    kinked = [uses for uses in bent.values() if uses]
    own = trace.rules
    for numbers in itertools.product(range(5), repeat=min(MOST, len(kinked))):
        chosen = zip(kinked, numbers, strict=False)
        trace.rules, before = dict(own), trace.rules
        trace.rules |= {use: rules[i] for uses, i in chosen for use, rules in uses.items()}
        found = run(trace)
        fitting = [n for n in given if fits(n, found[n])]
        others = {n: found[n] for n in fitting if n not in right}
        if len(fitting) > len(right):
            true, right = found | {n: true[n] for n in right if n not in fitting}, fitting
        else:
            true, trace.rules = true | others, before
        if len(right) == len(given):
            break
    names = [k for k, n in trace.targets.items() if n in given and (true[n] != usual[n]).any()]
    if not names:
        return true, []
    labels = [*dict.fromkeys(trace.labels[node] for uses in kinked for node, _ in uses)]
    kinks = ", ".join(labels[:3]) + ", …" * (len(labels) > 3)
    return true, [
        f"{', '.join(names)}: f has a kink here ({kinks}), where any value between the "
        "slopes of both sides is right; yours is not the one that autograd takes"
    ]


def _conventions(trace: Tape, node: Node) -> dict[Use, list[Rule]]:
    """The rules of an op at a kink: its own, that of either side, the steeper and the flatter.

    The elements are moved unequally, so that one of those that tie for a maximum wins.
    """
    operands, found = list(trace.operands[node]), dict[Use, list[Rule]]()
    place = next(i for i, parent in enumerate(node.parents) if parent is not None)
    array = np.asarray(operands[place], float)
    ramp = NEAR * max(1.0, float(np.abs(array).max())) * np.linspace(2, 1, array.size)
    sides = []
    for side in (1, -1):
        operands[place] = array + side * ramp.reshape(array.shape)
        sides.append(trace.again(node, *operands))
    for use, _ in trace.slots[node] if all(sides) else ():
        rules = [trace.rules[use], *[_reading(trace.rules[use], there) for there in sides]]
        here, above, below = (rule(np.ones(node.shape), node.saved or ()) for rule in rules)
        if np.allclose(above, here, 0, 1e-6) and np.allclose(below, here, 0, 1e-6):
            continue
        if use in trace.factors:
            steep = abs(above) >= abs(below)
            rules += [partial(_either, steep, rules[1:]), partial(_either, ~steep, rules[1:])]
        found[use] = [*rules, *rules[1:]]
    return found


def _reading(rule: Rule, there: Any) -> Rule:
    return lambda g, _: rule(g, there[1])


def _either(first: Array, pair: list[Rule], g: Any, saved: Any) -> Any:
    return np.where(first, pair[0](g, saved), pair[1](g, saved))
