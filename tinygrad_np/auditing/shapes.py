"""Gradients of another shape than their Tensor's: sums too many or too few, wrong products."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import suppress

import numpy as np

from ..graph import Node
from ..tensor import Array
from .factors import known_numbers, named
from .mistakes import KINDS, Mistake
from .problem import Mistakes, Problem
from .sums import PRODUCTS
from .trace import Gradients, Tape, fitted

Way = tuple[str, str, Array, Array]
"""A kind, its description, and two arrays that are equal if that is the mistake."""


def explained(
    problem: Problem, target: Node, gradients: Gradients
) -> Iterator[tuple[Mistakes, float]]:
    """The mistakes that explain a gradient of the wrong shape, and their costs.

    A constant factor may be left; it is then a mistake of its own.
    """
    trace, given = problem.trace, problem.misshapen[target]
    least = 1e-6 * float(np.max(np.abs(gradients[target])))
    rtol = max(problem.rtol[target], 1e-7)
    what = f"the gradient of {trace.labels[target]}"
    for kind, how, ours, theirs in _ways(trace, target, gradients, given):
        words = f"{what} {how}; it has shape {given.shape}, not {target.shape}"
        made = Mistake(kind, words, (target, None))
        cost = 1.0 if kind == "shape" else 1 + 0.01 * KINDS.index(kind)
        allowed = rtol * max(float(np.max(np.abs(theirs), initial=0.0)), least, 1e-300)
        if np.all(np.abs(ours - theirs) <= allowed):
            yield (made,), cost
            continue
        number = float(np.vdot(ours, theirs)) / (float(np.vdot(ours, ours)) or 1.0)
        near = np.abs(number * ours - theirs) <= allowed
        if ours.size > 1 and near.all() and abs(number) > 1e-6:
            factor = named(number, what, target, known_numbers(trace))[1:3]
            yield (made, Mistake(*factor, (target, None))), cost + 1.3


def unexplained(problem: Problem, target: Node) -> Mistake:
    """A gradient of a shape that nothing explains."""
    label, shape = problem.trace.labels[target], problem.misshapen[target].shape
    words = f"the gradient of {label} has shape {shape}, not {target.shape}; no mistake explains it"
    return Mistake("unknown", words, (target, None))


def _ways(trace: Tape, target: Node, gradients: Gradients, given: Array) -> Iterator[Way]:
    true, size = gradients[target], given.size
    for words, total in _totals(given):
        if total.size == true.size < size:
            yield "sum", f"lacks a {words}", total.reshape(true.shape), true
    if given.ndim >= 2 and given.mT.shape == true.shape:
        yield "transpose", "is transposed", given.mT, true
    if size == true.size:
        words = "has the right numbers in the wrong shape"
        yield "shape", words, given.reshape(true.shape), true
    many = [(words.replace(" over", " too many, over"), total) for words, total in _totals(true)]
    made = [("sum", f"has one {words}", total) for words, total in many]
    for name, leaf in trace.leaves.items():
        made.append(("value", f"is that of {name}", gradients[leaf]))
    users = [node for node, _ in trace.users[target]]
    made += _products(trace, users if trace.is_long else trace.order, gradients)
    for node in users:
        if node.op and node.op.name == "padded":
            made.append(("shape", "is not cut back from what was padded", gradients[node]))
        of = f"the gradient of {trace.labels[node]}"
        made += [("sum", f"is the {words} of {of}", t) for words, t in _totals(gradients[node])]
    for kind, words, array in made:
        if array.shape == given.shape or array.size == size < true.size:
            yield kind, words, array.reshape(given.shape), given


def of_other_arrays(problem: Problem, target: Node, gradients: Gradients) -> Mistake | None:
    """The given gradient as a product of some gradient and some array, if it is one."""
    trace, shape = problem.trace, target.shape
    summed = any(user.op and user.op.name in PRODUCTS for user, _ in trace.users[target])
    for kind, how, array in _products(trace, [] if trace.is_long else trace.order, gradients):
        with suppress(ValueError):  # it does not fit
            found = fitted(array, shape)
            if found.shape == shape and problem.fits(target, found):
                name = kind if summed and array.shape == shape else "value"
                words = f"the gradient of {trace.labels[target]} {how}"
                effect = lambda now: found - now[target]  # noqa: B023, E731
                return Mistake(name, words, (target, None), ((target, effect),), None, 1.5)
    return None


def _products(
    trace: Tape, nodes: Iterable[Node], gradients: Gradients
) -> Iterator[tuple[str, str, Array]]:
    """Products of the gradient that arrives at an op and another array."""
    for node, (label, a, _) in itertools.product(nodes, trace.values):
        g, of = gradients.get(node, np.zeros(())), f"of {label} and the gradient of "
        of += trace.labels[node]
        if a.dtype.kind != "f" or not g.ndim:
            continue
        with suppress(ValueError):
            yield "sum", f"is the elementwise product {of}, not summed", a * g
        if g.shape == a.shape == (g.size,):
            yield "sum", f"is the inner product {of}, not the outer one", np.asarray(np.vdot(a, g))
        for first, second in ((a.T, g), (g.T, a), (g, a.T)) if g.ndim == a.ndim == 2 else ():
            with suppress(ValueError):
                yield "value", f"is the matrix product {of}", first @ second


def _totals(array: Array) -> Iterator[tuple[str, Array]]:
    """The sums and means of an array over its axes."""
    axes = range(array.ndim)
    for some in [c for count in axes for c in itertools.combinations(axes, count + 1)]:
        over = f"over axis {some[0]}" if len(some) == 1 else f"over axes {some}"
        yield f"sum {over}", array.sum(some)
        yield f"mean {over}", array.mean(some)
