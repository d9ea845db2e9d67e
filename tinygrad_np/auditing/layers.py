"""Audits of existing NumPy layers: their forward pass, and the gradients of their backward pass."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..tensor import Array
from .judging import judge
from .objects import Place, arrays_in, dotted, needs, put, repeatable_randomness, short_names
from .recording import Recorded, bare, recording
from .report import AuditReport
from .trace import Function

RATES = frozenset(["alpha", "eta", "learning_rate", "lr", "rate", "step_size"])
CACHES = frozenset(["cache", "caches", "context", "ctx", "memory", "saved"])
MARKS = ("d{}", "d_{}", "grad_{}", "{}_grad", "grad{}", "g{}", "delta_{}", "dL_d{}", "dL{}",
         "{}_gradient", "gradient_{}")  # fmt: skip
"""Usual names for the gradient of an array."""
GRADIENTS = ("grads", "gradients", "grad", "dparams", "derivatives")
"""Usual names for an object that holds gradients."""
CONTENTS = ("value", "data", "array", "val", "w")
"""Usual names for the array of a parameter object, beside its ``grad``."""
Method = Callable[[Any], Function]
"""A function that returns the method of a layer or of its copy."""


def audit_a_layer(
    layer: Any, inputs: Any, forward: Any, backward: Any, params: Any, rtol: float | None, seed: int
) -> AuditReport:
    """The report on a layer; ``audit_layer`` documents the arguments."""
    if inspect.ismethod(layer):
        layer, forward = layer.__self__, layer
    call = _method(layer, forward, ("forward", "__call__"))
    back = _method(layer, backward, ("backward", "backprop", "backward_pass", "grad"))
    functions = [f for f in (call(layer), back(layer)) if not hasattr(f, "__self__")]
    names = needs(call(layer))
    given = dict(zip(names, inputs if isinstance(inputs, tuple) else (inputs,), strict=False))
    arguments = dict(given)
    if inspect.isroutine(layer) and params is not None:
        named = isinstance(params, Mapping)
        arguments |= params if named else zip(names[len(given) :], params, strict=True)
    arrays = {n: np.asarray(v) for n, v in arguments.items() if _is_real(v)}

    with repeatable_randomness() as again:

        def run(owner: Any, values: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
            """The outputs of the forward pass, and the cache, if there is one."""
            again()
            rest = {n: v if n in values else copy.deepcopy(v) for n, v in arguments.items()}
            wanted = [n for n in needs(back(owner)) if n not in RATES]
            return _parted(call(owner)(**{**rest, **values}), wanted)

        def pulled(watch: Callable[[Function], Any]) -> tuple[Any, ...]:
            """The arrays of the layer before, between and after its passes, and what they give."""
            rng = np.random.default_rng([seed, 1])  # not the numbers that x may be made of
            with _at_work(layer, back) as mine:
                before = {place: array.copy() for place, array in arrays_in(mine)}
                outs, cache = run(mine, {n: a.copy() for n, a in arrays.items()})
                upstream = [rng.normal(size=o.shape) if np.ndim(o) else np.float64(1) for o in outs]
                between = {place: array.copy() for place, array in arrays_in(mine)}
                gave = watch(lambda: _pull(back(mine), [np.array(g) for g in upstream], cache))
                after = {dotted(place): array.copy() for place, array in arrays_in(mine)}
            return before, between, after, upstream, gave

        before, between, after, upstream, gave = pulled(lambda backward: backward())
        gradients, rest = _returned(gave, arguments, arrays)
        after |= dict(gave) if isinstance(gave, Mapping) else {}
        wanted = {} if inspect.isroutine(layer) else _wanted(before, params)
        found = _of_params(before, between, after, rest, wanted)
        gradients |= {name: gradient for name, (_, gradient) in found.items()}
        values = {**arrays, **{name: before[place] for name, (place, _) in found.items()}}
        values = {name: array for name, array in values.items() if name in gradients}
        if not values:
            told = 'found none in the layer either: say where they are, params={"W": "dW"}'
            raise ValueError(f"audit_layer: backward returned no gradient, and the audit {told}")

        def loss(**tensors: Any) -> Any:
            ours = copy.deepcopy(layer)
            for place, array in [*arrays_in(ours)]:  # people write to those they made before, too
                put(ours, place, Recorded(array))
            for name, (place, _) in found.items():
                put(ours, place, Recorded(tensors[name]))
            with recording(*functions):
                results = run(ours, {n: Recorded(t) for n, t in tensors.items() if n in arguments})
                pairs = zip(results[0], upstream, strict=True)
                return bare(sum((out * g).sum() for out, g in pairs))

        return judge(loss, values, gradients, {}, rtol, pulled)


@contextmanager
def _at_work(layer: Any, back: Method) -> Iterator[Any]:
    """A copy of the layer or, if that is impossible, the layer, which is restored afterwards."""
    bound = getattr(back(layer), "__self__", None)
    if bound is layer or inspect.isroutine(layer):
        yield copy.deepcopy(layer)
        return
    before = {place: array.copy() for place, array in arrays_in(layer)}
    state = dict(vars(layer))
    try:
        yield layer  # backward is a function of its own, which reads this very object
    finally:
        for place, array in arrays_in(layer):
            if place in before:
                array[...] = before[place]
        vars(layer).clear()
        vars(layer).update(state)


def _method(layer: Any, given: Any, usual: tuple[str, ...]) -> Method:
    if getattr(given, "__self__", None) is layer:
        given = given.__name__
    if callable(given):
        return lambda owner: given
    if inspect.isroutine(layer):
        if usual[0] == "backward":
            raise TypeError("audit_layer: give the backward function, too: backward=...")
        return lambda owner: owner
    names = [given] if given else usual
    if not (own := [name for name in names if hasattr(layer, name)]):
        kind, tried = type(layer).__name__, " or ".join(names)
        raise TypeError(f"audit_layer: {kind} has no method {tried}: name the one it has")
    return lambda owner: getattr(owner, own[0])


def _is_real(value: Any) -> bool:
    kinds = (list, np.ndarray, np.floating, float)
    return isinstance(value, kinds) and np.asarray(value).dtype.kind == "f"


def _parted(returned: Any, wanted: list[str]) -> tuple[list[Any], list[Any]]:
    """The outputs of a forward pass, and the cache for the backward pass."""
    if not isinstance(returned, tuple):
        return [returned], []
    arrays = [isinstance(item, np.ndarray | np.floating | Recorded) for item in returned]
    if len(wanted) > 1 and (wanted[-1] in CACHES or not arrays[-1]):
        return [*returned[: len(wanted) - 1]], [returned[-1]]
    return [*returned[: max(1, len(wanted)) if all(arrays) else 1]], []


def _pull(back: Function, upstream: list[Any], cache: list[Any]) -> Any:
    wanted = needs(back)
    rates = {name: 1.0 for name in wanted if name in RATES}
    arguments = [g if np.ndim(g) else 1.0 for g in upstream] + cache
    return back(*arguments[: len(wanted) - len(rates)], **rates)


def _returned(
    gave: Any, names: Mapping[str, Any], real: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Any]]:
    """The returned gradients of the arguments, and the remaining returned arrays."""
    if isinstance(gave, Mapping):
        marked = {n: (n, *(mark.format(n) for mark in MARKS)) for n in real}
        return {n: gave[k] for n, keys in marked.items() for k in keys if k in gave}, []
    listed = list(gave) if isinstance(gave, tuple | list) else [gave]
    order = list(names) if len(listed) >= len(names) else list(real)
    pairs = [(n, g) for n, g in zip(order, listed, strict=False) if g is not None and n in real]
    return dict(pairs), listed[len(order) :]


def _wanted(before: Mapping[Place, Array], params: Any) -> dict[Place, tuple[str, Any]]:
    """The places of the selected arrays, with their names and the places of their gradients.

    ``params`` are names, or {name: where the gradient is}.
    """
    names = short_names(before)
    wanted = names.values() if params is None else params
    wanted = wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted)
    known = {key: place for place, name in names.items() for key in (dotted(place), name)}
    if not wanted.keys() <= known.keys():
        has = ", ".join(names.values()) or "none"
        told = f"params name arrays that the layer does not have; it has: {has}"
        raise ValueError(f"audit_layer: {told}")
    return {known[key]: (key, where) for key, where in wanted.items()}


def _of_params(
    before: Mapping[Place, Array], between: Mapping[Place, Array], after: Mapping[str, Array],
    rest: list[Any], wanted: Mapping[Place, tuple[str, Any]],
) -> dict[str, tuple[Place, Array]]:  # fmt: skip
    """The parameters of a layer by name: their places, and their gradients."""
    found: dict[str, tuple[Place, Array]] = {}
    likely = {place: [p for p in _gradient_places(dotted(place)) if p in after] for place in before}
    taken = {place for places in likely.values() for place in places}
    free = [p for p in wanted if len(wanted) < len(before) or dotted(p) not in taken]
    for place in free:
        name, where = wanted[place]
        tries = [str(where).replace('["', ".").replace('"]', "")] if where else likely[place]
        gradient = next((after[t] for t in tries if t in after), None)
        old = between.get(place, before[place])
        if gradient is None and not np.array_equal(old, after.get(dotted(place), old)):
            gradient = old - after[dotted(place)]  # an update, with the learning rate 1
        if gradient is not None:
            found[name] = place, np.asarray(gradient)
    pairs = zip(free, rest, strict=False)
    return found or {wanted[place][0]: (place, np.asarray(g)) for place, g in pairs}


def _gradient_places(place: str) -> Iterator[str]:
    """Where the gradient of the array at a place may be."""
    *owner, last = place.split(".")
    marked = [mark.format(name) for name in (last, last.lstrip("_")) for mark in MARKS]
    marked += [f"_{name}" for name in marked]
    marked += GRADIENTS if last in CONTENTS else ()
    yield from (".".join([*owner, name]) for name in marked)
    for holder in GRADIENTS:
        for at in range(len(owner) + 1):
            for end in (owner[at + 1 :], owner[at:]):
                for name in (last, *marked):
                    yield ".".join([*owner[:at], holder, *end, name])
