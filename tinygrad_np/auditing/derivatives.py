"""Mistakes in the derivative of a function: missing, twice, of another function, somewhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Slip, handed_on, instead, slip, times
from .trace import Trace, parent_of
from .units import Unit, units


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _density(x: Array) -> Array:
    return np.asarray(np.exp(-x * x / 2) / math.sqrt(2 * math.pi))


def _normal(x: Array) -> Array:
    return np.asarray([math.erf(v / math.sqrt(2)) / 2 + 0.5 for v in x.flat]).reshape(x.shape)


FORMULAS: dict[str, Callable[[Array, Array], Array]] = {
    "its result, the function itself,": lambda x, out: out,
    "its input": lambda x, out: x,
    "out (1 − out)": lambda x, out: out * (1 - out),
    "1 − out²": lambda x, out: 1 - out * out,
    "1 − out": lambda x, out: 1 - out,
    "1 + out": lambda x, out: 1 + out,
    "out²": lambda x, out: out * out,
    "out (1 + out)": lambda x, out: out * (1 + out),
    "(1 − out)²": lambda x, out: (1 - out) ** 2,
    "1 − x²": lambda x, out: 1 - x * x,
    "1 + x²": lambda x, out: 1 + x * x,
    "x (1 − x)": lambda x, out: x * (1 - x),
    "1 / x": lambda x, out: 1 / x,
    "1 / out": lambda x, out: 1 / out,
    "exp(x)": lambda x, out: np.exp(x),
    "exp(−x)": lambda x, out: np.exp(-x),
    "sigmoid(x)": lambda x, out: _sigmoid(x),
    "sigmoid's derivative": lambda x, out: _sigmoid(x) * (1 - _sigmoid(x)),
    "tanh's derivative": lambda x, out: 1 - np.tanh(x) ** 2,
    "tanh's derivative at its result": lambda x, out: 1 - np.tanh(out) ** 2,
    "sigmoid's derivative at its result": lambda x, out: _sigmoid(out) * (1 - _sigmoid(out)),
    "swish's derivative for α = 1": lambda x, out: out + _sigmoid(x) * (1 - out),
    "swish's own derivative for α = 1": lambda x, out: (
        _sigmoid(x) + x * _sigmoid(x) * (1 - _sigmoid(x))
    ),
    "the exact GELU's derivative": lambda x, out: _normal(x) + x * _density(x),
    "out / x + x · (the density of the exact GELU)": lambda x, out: out / x + x * _density(x),
    "GELU's derivative without the cube's": lambda x, out: (
        out / x + x / 2 * (1 - (2 * out / x - 1) ** 2) * math.sqrt(2 / math.pi)
    ),
    "GELU's derivative without the inner one": lambda x, out: (
        out / x + x / 2 * (1 - (2 * out / x - 1) ** 2)
    ),
    "exp(x) below 0 and 1 above": lambda x, out: np.where(x > 0, 1.0, np.exp(x)),
    "its result below 0 and 1 above": lambda x, out: np.where(x > 0, 1.0, out),
    "softplus'": lambda x, out: np.log1p(np.exp(x)),
    "the step x > 0": lambda x, out: (x > 0) * 1.0,
}
"""What people write for the derivative of one function or another."""


def mistakes(trace: Trace) -> Iterator[Slip]:
    """Mistakes in the derivatives of a graph's elementwise functions."""
    for unit in units(trace):
        if _is_curved(unit):
            yield from _of(unit)
    for node, slot in trace.uses:
        if parent_of(node, slot).shape == node.shape and node.shape:
            yield from _of_use(trace, node, slot)


def _of_use(trace: Trace, node: Node, slot: int) -> Iterator[Slip]:
    """The derivative of an op by one of several operands, or of one that is not elementwise."""
    factor, label, use = trace.factors.get((node, slot)), trace.labels[node], (node, slot)
    if factor is None and node.op and node.op.name not in ("transpose", "swapaxes"):
        words = f"the derivative of {label} is missing"
        yield slip("derivative", words, use, handed_on, "missing", 1.05)
    elif factor is not None and len(trace.links[node]) > 1 and len(np.unique(factor)) > 2:
        of = f"the derivative of {label} by {trace.labels[parent_of(node, slot)]}"
        yield slip("derivative", f"{of} is missing", use, handed_on, "missing")
        yield slip("derivative", f"{of} is multiplied twice", use, times(factor), "twice")
        alone = instead(lambda g: 0 * g + factor)
        words = f"{of} is not multiplied by the incoming gradient"
        yield slip("derivative", words, use, alone, "alone", 1.2)


def _is_curved(unit: Unit) -> bool:
    """Whether a unit is more than a line and a mask: its slope is another close by."""
    if len(np.unique(unit.slope)) > 2:
        return True
    there = None if unit.x is None else unit.at(unit.x + 0.375)
    return there is not None and not np.isin(np.round(there[1], 9), np.round(unit.slope, 9)).all()


def _of(unit: Unit) -> Iterator[Slip]:
    slope, out, x = unit.slope, unit.out, unit.x
    of, single = f"the derivative of {unit.label}", len(unit.inside) == 1
    cost = 1.0 if single else 1.1
    words = f"{of} is missing" + ("" if single else ": the inner derivative")
    yield unit.slip("derivative", words, lambda g: g, "missing", cost)
    yield unit.slip(
        "derivative", f"{of} is multiplied twice", lambda g: g * slope * slope, "twice", cost
    )
    words = f"{of} is not multiplied by the incoming gradient"
    yield unit.slip("derivative", words, lambda g: slope, "alone", cost + 0.1)
    if x is None:
        return
    if single and (there := unit.at(out)) is not None:
        own = unit.trace.labels[unit.end]
        words = f"{of} is taken at {own} in place of its input"
        yield unit.slip("value", words, lambda g: g * there[1], "out")
        yield unit.slip(
            "value", f"{words}, and not multiplied", lambda g: there[1], "out alone", 1.2
        )
        words = f"the function itself at {own} is used in place of {of}"
        yield unit.slip("value", words, lambda g: g * there[0], "again", 1.1)
    for formula, function in FORMULAS.items():
        factor = function(x, out)
        if factor.shape != slope.shape or not np.isfinite(factor).all():
            continue
        words = f"{formula} is used in place of {of}"
        own_cost = cost + (0.1 if factor is out else 0.2)
        yield unit.slip("derivative", words, lambda g, f=factor: g * f, formula, own_cost)
        words += ", and is not multiplied by the incoming gradient"
        yield unit.slip("derivative", words, lambda g, f=factor: f, (formula, 0), cost + 0.3)
    if not single:
        return

    def at(g: Array, what: int) -> Array:
        found = unit.at(g)
        return np.full(g.shape, np.nan) if found is None else found[what]

    words = f"{of} is taken at the incoming gradient in place of its input"
    yield unit.slip("value", words, lambda g: g * at(g, 1), "at g", 1.1)
    yield unit.slip(
        "value", f"{words}, and not multiplied by it", lambda g: at(g, 1), "g alone", 1.2
    )
    name = unit.trace.labels[unit.end].partition(" ")[0]
    for argument, value in (("g", lambda g: g), ("x", lambda g: x)):
        words = f"{name}(1 − {name}({argument})) is used in place of {of}"
        nested: Any = lambda g, v=value: at(1 - at(v(g), 0), 0)  # noqa: E731
        yield unit.slip("value", words, nested, ("nested", argument), 1.3)
        words = f"g · {words}"
        yield unit.slip("value", words, lambda g, f=nested: g * f(g), ("nested g", argument), 1.3)
