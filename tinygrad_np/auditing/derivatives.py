"""Mistakes in the derivative of a function: missing, twice, of another function, somewhere else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..definition import OPS
from ..tensor import Array
from .mistakes import Mistake, handed_on, slip
from .trace import Tape, parent_of
from .units import Unit, units

FUNCTIONS = ("exp", "log", "normal_cdf", "relu", "sigmoid", "tanh")
"""Functions that people mix up."""
Factor = tuple[str, str, Any, float]
OTHER = 0.2
"""The extra cost of another function's derivative; it is never tried without the gradient."""


def mistakes(trace: Tape) -> Iterator[Mistake]:
    """Mistakes in the derivatives of a graph's functions."""
    for unit in units(trace):
        yield from _of(unit)
    for node, slot in [use for use in trace.rules if use not in trace.factors]:  # a product's, say
        if len(trace.slots[node]) > 1 and parent_of(node, slot).shape == node.shape:
            words = f"the derivative of {trace.labels[node]} is missing"
            yield slip(trace, "derivative", words, (node, slot), handed_on, "missing", 1.05)


def _of(unit: Unit) -> Iterator[Mistake]:
    """Wrong derivatives of a unit, multiplied by the incoming gradient or alone."""
    of, alone = f"the derivative of {unit.label}", "is not multiplied by the incoming gradient"
    least = 1.0 if unit.single else 1.1  # it is harder to take several ops for one function
    if unit.is_curved:
        factors = _factors(unit, of)
        yield unit.slip("derivative", f"{of} {alone}", lambda g: unit.slope, "alone", least + 0.1)
    elif unit.is_elementwise and unit.x is not None and np.ptp(unit.slope) > 0:  # relu, say
        factors = _itself(unit, of)
    else:
        return
    for kind, words, factor, more in factors:
        at: Any = factor if callable(factor) else lambda g, value=factor: value
        key, cost = words.replace(of, ""), least + more
        yield unit.slip(kind, words, partial(_times, at), key, cost)
        if more != OTHER:
            yield unit.slip(kind, f"{words}, and {alone}", at, (key, 0), cost + 0.15)


def _times(factor: Callable[[Array], Any], g: Array) -> Any:
    return g * factor(g)


def _itself(unit: Unit, of: str) -> Iterator[Factor]:
    yield "derivative", f"the function itself is used in place of {of}", unit.out, 0.1
    if unit.x is not None:
        yield "derivative", f"its input is used in place of {of}", unit.x, 0.1


def _factors(unit: Unit, of: str) -> Iterator[Factor]:
    """Wrong derivatives: the kind of mistake, its description, the factor, and the extra cost."""
    slope, out, x, plain = unit.slope, unit.out, unit.x, unit.is_elementwise
    inner = "" if unit.single or not plain else ": the inner derivative"
    yield "derivative", f"{of} is missing{inner}", np.ones_like(slope), 0.0
    if plain:
        yield "derivative", f"{of} is multiplied twice", slope * slope, 0.0
        yield "derivative", f"{of} is divided by, not multiplied", 1 / slope, 0.1
    else:
        what = f"the sum in {of} is missing: only"
        yield "sum", f"{what} its diagonal is there", slope, 0.0
        yield "sum", f"{what} the first term is there", out, 0.0
        yield "sum", f"{what} its diagonal is there, as 1 − out", 1 - out, 0.1
    if x is not None and plain:
        yield from _itself(unit, of)
        own = unit.end.op.name if unit.end.op and unit.single else ""
        for formula, factor in _formulas(x, out, own):
            ratio = factor / slope
            if np.allclose(ratio, ratio.flat[0], 1e-9):
                yield "factor", f"{of} is multiplied by {ratio.flat[0]:.6g}", factor, 0.1
            elif np.isfinite(factor).all():
                yield "derivative", f"{formula} is used in place of {of}", factor, OTHER
    if not unit.single or x is None or (there := unit.at(out)) is None:
        return
    diagonal, kind = ("", "value") if plain else ("the diagonal of ", "sum")
    yield kind, f"{diagonal}{of} is taken at its result, not at its input", there[1], 0.0
    yield kind, f"the function itself, at its result, is used in place of {of}", there[0], 0.1
    if plain:

        def at(g: Array, what: int) -> Array:
            found = unit.at(g)
            return np.full(g.shape, np.nan) if found is None else found[what]

        words = f"{of} is taken at the incoming gradient, not at its input"
        yield "value", words, lambda g: at(g, 1), 0.1
        name = unit.trace.labels[unit.end].partition(" ")[0]
        words = f"{name}(1 − {name}(g)) is used in place of {of}"
        yield "value", words, lambda g: at(1 - at(g, 0), 0), 0.3


def _formulas(x: Array, out: Array, own: str) -> Iterator[tuple[str, Array]]:
    """Wrong formulas for a derivative: products of simple terms, other functions' derivatives."""
    terms = {"x": x, "out": out, "(1 − x)": 1 - x, "(1 − out)": 1 - out}
    terms |= {"(1 + x)": 1 + x, "(1 + out)": 1 + out}
    yield from [(words.strip("()"), term) for words, term in [*terms.items()][2:]]
    for (a, first), (b, second) in itertools.combinations_with_replacement(terms.items(), 2):
        yield f"{a} {b}", first * second
    for words, low in (("exp(x)", np.exp(x)), ("out", out), ("x", x)):
        yield f"{words} below 0 and 1 above", np.where(x > 0, 1.0, low)
    for name in FUNCTIONS:
        f, slope = OPS[name](x), _slope(name, x, OPS[name](x))
        if name != own:
            yield f"{name} of its input", f
            yield f"{name}'s derivative", slope
            yield f"{name}'s derivative at its result", _slope(name, out, OPS[name](out))
            yield f"{name}'s derivative, as if this were its result,", _slope(name, x, out)
            yield f"{name}'s derivative, as if the input were its result,", _slope(name, x, x)
        yield f"{name}(x) + x {name}'(x)", f + x * slope
        yield f"out / x + x {name}'(x)", out / x + x * slope
        yield f"out + {name}(x) (1 − out)", out + f * (1 - out)


def _slope(name: str, x: Array, out: Any) -> Array:
    """The derivative of a function, computed from its input or its result."""
    [rule] = OPS[name].rules
    return np.asarray(rule(np.ones_like(x), (x, out)))
