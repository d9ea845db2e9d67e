"""Gradients of another shape than their Tensor's: sums too many or too few, wrong products."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .factors import known_numbers, name_factor
from .mistakes import KINDS, Mistake, reading, saved_arrays
from .problem import Mistakes, Problem
from .trace import Gradients, Trace


def _inner(g: Array, v: Array) -> Any:
    return np.einsum("i,i", g, v)


Way = tuple[str, str, Array, Array]
"""A kind, its words, and two arrays that would be the same if that mistake had been made."""
PRODUCTS: dict[str, tuple[str, Callable[[Array, Array], Any]]] = {
    "an inner product of {g} and {v} stands in place of the outer one": (
        "sum",
        _inner,
    ),
    "it is the elementwise product of {g} and {v}, not summed": ("sum", np.multiply),
    "it is the product {g} @ {v}": ("value", np.matmul),
    "it is the product {g}ᵀ @ {v}": ("value", lambda g, v: g.T @ v),
    "it is the product {v} @ {g}": ("value", lambda g, v: v @ g),
    "it is the product {v}ᵀ @ {g}": ("value", lambda g, v: v.T @ g),
    "it is the product {g} @ {v}ᵀ": ("value", lambda g, v: g @ v.T),
    "it is the outer product of {v} and {g}": ("value", lambda g, v: np.outer(v, g)),
}
"""What people compute from the gradient that arrives at an op and an array of the forward pass."""


def explained(
    problem: Problem, target: Node, gradients: Gradients
) -> Iterator[tuple[Mistakes, float]]:
    """The mistakes that make a gradient come out as given, and what these cost to believe.

    A constant factor may be left; it is then a mistake of its own.
    """
    trace, given = problem.trace, problem.misshapen[target]
    least = 1e-6 * float(np.max(np.abs(gradients[target])))
    rtol = max(problem.rtol[target], 1e-7)
    what = f"the gradient of {trace.labels[target]}"
    for kind, how, ours, theirs in _ways(trace, target, gradients, given):
        words = f"{what} {how}: shape {given.shape}, not {target.shape}"
        made = Mistake(kind, words, (target, None))
        cost = 1.0 if kind == "shape" else 1 + 0.01 * KINDS.index(kind)
        allowed = rtol * max(float(np.max(np.abs(theirs), initial=0.0)), least, 1e-300)
        if np.all(np.abs(ours - theirs) <= allowed):
            yield (made,), cost
            continue
        number = float(np.vdot(ours, theirs)) / (float(np.vdot(ours, ours)) or 1.0)
        near = np.abs(number * ours - theirs) <= allowed
        if ours.size > 1 and near.all() and abs(number) > 1e-6:
            value, name, _ = name_factor(number, target, known_numbers(trace))
            factor = "factor", f"{what} is {name} times the true one"
            if value == -1:
                factor = "sign", f"{what} has the wrong sign"
            yield (made, Mistake(*factor, (target, None))), cost + 1.3


def unexplained(problem: Problem, target: Node) -> Mistake:
    """A gradient of a shape that nothing explains."""
    words = f"the gradient of {problem.trace.labels[target]} has shape "
    words += (
        f"{problem.misshapen[target].shape}, not {target.shape}, and nothing tried makes it fit"
    )
    return Mistake("unknown", words, (target, None))


def _ways(trace: Trace, target: Node, gradients: Gradients, given: Array) -> Iterator[Way]:
    true = gradients[target]
    for words, total in _totals(given):
        if total.size == true.size < given.size:
            yield "sum", f"lacks a {words}", total.reshape(true.shape), true
    if given.ndim >= 2 and given.mT.shape == true.shape:
        yield "transpose", "is transposed", given.mT, true
    if given.size == true.size:
        words = "has the right numbers in the wrong shape"
        yield "shape", words, given.reshape(true.shape), true
    for words, total in _totals(true):
        if total.size == given.size < true.size:
            yield (
                "sum",
                f"has one {words.replace(' ', ' too many, ', 1)}",
                total.reshape(given.shape),
                given,
            )
    for row in (0, -1) if true.ndim and true[0].shape == given.shape else ():
        yield "sum", f"is its {'last' if row else 'first'} row alone", true[row], given
    for node, slot in trace.users[target]:
        g, of = gradients[node], f"the gradient of {trace.labels[node]}"
        for words, total in _totals(g):
            if total.size == given.size:
                yield "sum", f"is the {words} of {of}", total.reshape(given.shape), given
        if g.size == given.size:
            yield (
                "sum",
                f"is that of {trace.labels[node]}, not summed",
                g.reshape(given.shape),
                given,
            )
        for row in (0, -1) if g.ndim > 1 and g[0].shape == given.shape else ():
            yield "sum", f"is the {'last' if row else 'first'} row of {of} alone", g[row], given
        for value, (place, array) in itertools.product(trace.values, saved_arrays(node)):
            words = f"comes from the rule of {trace.labels[node]} with {value.label} in place of "
            rule, saved = trace.rules[node, slot], reading(node, place, value.array)
            if value.array is not array and value.array.ndim == array.ndim:
                part = _tried(lambda g, _, rule=rule, saved=saved: rule(g, saved), g, array, given)
                if part is not None:
                    yield "value", words + trace.label_of(array), part, given
        for value, (words, (kind, made)) in itertools.product(trace.values, PRODUCTS.items()):
            fits = value.array.dtype.kind == "f" and value.array.ndim == g.ndim
            if fits and (part := _tried(made, g, value.array, given)) is not None:
                yield kind, "is wrong: " + words.format(g=of, v=value.label), part, given


def _tried(made: Callable[..., Any], g: Array, other: Array, given: Array) -> Array | None:
    """A product, if it has the right size."""
    try:
        part = np.asarray(made(g, other))
    except Exception:  # it does not fit
        return None
    same = part.shape == given.shape or part.size == given.size == 1
    return part.reshape(given.shape) if same else None


def _totals(array: Array) -> Iterator[tuple[str, Array]]:
    """The sums and means of an array over its axes."""
    axes = range(array.ndim)
    for some in [c for count in axes for c in itertools.combinations(axes, count + 1)]:
        over = f"over axis {some[0]}" if len(some) == 1 else f"over axes {some}"
        yield f"sum {over}", array.sum(some)
        yield f"mean {over}", array.mean(some)
