"""Where a function has a kink, such as relu at 0, several gradients are right."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graph import Node, Rule
from ..tensor import Array
from .passes import run
from .trace import BackwardTrace, Gradients, Use, fitted, parent_of

SIDES = (0, 1, -1, 2, -2)
"""Autograd's own derivative, those of the sides, where operands are a little larger (1) or less
(−1), and for each element the larger (2) or the smaller (−2) of these two slopes."""
NEAR = 1e-13
MOST = 3
"""How many kinds of ops may each take a side of their own."""


def best_convention(
    trace: BackwardTrace, fits: Any, given: Mapping[Node, Any]
) -> tuple[Gradients, list[str]]:
    """The true gradients, by the subgradients that agree with most of the given, and notes."""
    usual = run(trace)
    if all(fits(node, usual[node]) for node in given):
        return usual, []
    bent: dict[str, dict[int, dict[Use, Rule]]] = defaultdict(lambda: defaultdict(dict))
    for node in trace.order:
        if node.op and not getattr(node.op, "analytic", True):
            for side, rules in _sides(trace, node).items():
                bent[node.op.name][side] |= rules
    bent = {name: sides for name, sides in bent.items() if any(sides.values())}
    own, names, passes = dict(trace.rules), [*bent][:MOST], []
    for sides in itertools.product(SIDES, repeat=len(names)):
        trace.rules = dict(own)
        for name, side in zip(names, sides, strict=True):
            trace.rules |= bent[name].get(side, {})
        found = run(trace)
        passes.append(([n for n in given if fits(n, found[n])], found, trace.rules))
        if len(passes[-1][0]) == len(given):
            break
    right, true, trace.rules = max(passes, key=lambda each: len(each[0]))
    true = dict(true)
    for nodes, found, _ in passes:
        true |= {n: found[n] for n in nodes if n not in right}
    others = [k for k, n in trace.targets.items() if n in given and (true[n] != usual[n]).any()]
    if not others:
        return true, []
    nodes = [node for sides in bent.values() for uses in sides.values() for node, _ in uses]
    labels = [trace.labels[node] for node in dict.fromkeys(nodes)]
    kinks = ", ".join(labels[:3]) + ", …" * (len(labels) > 3)
    return true, [
        f"{', '.join(others)}: f has a kink here ({kinks}), where any value between the "
        "slopes of both sides is right; yours is not the one that autograd takes"
    ]


def _sides(trace: BackwardTrace, node: Node) -> dict[int, dict[Use, Rule]]:
    """An op's rules on either side of its kink, and those that take the steeper side or the flat."""
    found = {side: _beside(trace, node, side) for side in (1, -1)}
    for use in {*found[1], *found[-1]} & {*trace.factors}:
        pair = [found[side].get(use, trace.rules[use]) for side in (1, -1)]
        slopes = [abs(rule(np.ones(node.shape), node.saved or ())) for rule in pair]
        for side, first in ((2, slopes[0] >= slopes[1]), (-2, slopes[0] < slopes[1])):
            found.setdefault(side, {})[use] = _chosen(first, pair)
    return found


def _chosen(first: Array, pair: list[Rule]) -> Rule:
    return lambda g, saved: np.where(first, pair[0](g, saved), pair[1](g, saved))


def _beside(trace: BackwardTrace, node: Node, side: int) -> dict[Use, Rule]:
    """The rules of an op as they are a little to one side, where that makes a difference.

    The elements are moved unequally, so that one of those that tie for a maximum wins.
    """
    operands, ones = list(trace.operands[node]), np.ones(node.shape)
    place = next(i for i, parent in enumerate(node.parents) if parent is not None)
    array = np.asarray(operands[place], float)
    ramp = np.linspace(2, 1, array.size).reshape(array.shape)
    operands[place] = array + side * NEAR * max(1.0, float(np.abs(array).max())) * ramp
    there, found = trace.again(node, *operands), dict[Use, Rule]()
    for use, _ in trace.slots(node) if there else ():
        rule = _reading(trace.rules[use], there)
        if (
            np.abs(trace.part(use, ones) - fitted(rule(ones, ()), parent_of(*use).shape)).max()
            > 1e-6
        ):
            found[use] = rule
    return found


def _reading(rule: Rule, there: Any) -> Rule:
    return lambda g, _: rule(g, there[1])
