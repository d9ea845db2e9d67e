"""Audits of layers as people write them: their forward pass, and what backward leaves behind."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..tensor import Array
from .judging import judge
from .objects import Place, arrays_in, dice, dotted, needs, put, short_names
from .recording import Recorded, bare, recording
from .report import AuditReport

RATES = frozenset(["alpha", "eta", "learning_rate", "lr", "rate", "step_size"])
CACHES = frozenset(["cache", "caches", "context", "ctx", "memory", "saved"])
MARKS = ("d{}", "d_{}", "grad_{}", "{}_grad", "grad{}", "g{}", "delta_{}", "dL_d{}", "dL{}",
         "{}_gradient", "gradient_{}")  # fmt: skip
"""What people call the gradient of something."""
GRADIENTS = ("grads", "gradients", "grad", "dparams", "derivatives")
"""What people call an object that holds gradients."""
CONTENTS = ("value", "data", "array", "val", "w")
"""What people call the array of a parameter, whose gradient is ``grad``."""


def audit_a_layer(
    layer: Any, inputs: Any, forward: Any, backward: Any, params: Any, rtol: float | None, seed: int
) -> AuditReport:
    """The report on a layer; ``audit_layer`` documents the arguments."""
    if inspect.ismethod(layer):
        layer, forward = layer.__self__, layer.__name__
    forward, backward = (_named(layer, method) for method in (forward, backward))
    call = _method(layer, forward, ("forward", "__call__"))
    back = _method(layer, backward, ("backward", "backprop", "backward_pass", "grad"))
    is_function = inspect.isroutine(layer)
    names = needs(_bound(layer, call))
    given = dict(zip(names, inputs if isinstance(inputs, tuple) else (inputs,), strict=False))
    arguments = given
    if is_function and params is not None:
        more = (
            params if isinstance(params, Mapping) else zip(names[len(given) :], params, strict=True)
        )
        arguments = {**given, **dict(more)}
    arrays = {n: np.asarray(v) for n, v in arguments.items() if _is_real(v)}
    rng = np.random.default_rng([seed, 1])  # not the numbers that x may be made of

    def run(owner: Any, values: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """The outputs of the forward pass, and the cache, if there is one."""
        again()
        rest = {n: v if n in values else copy.deepcopy(v) for n, v in arguments.items()}
        returned = _bound(owner, call)(**{**rest, **values})
        return _parted(returned, [n for n in needs(_bound(owner, back)) if n not in RATES])

    with dice(layer, *[f for f in (call, back) if callable(f)]) as again:
        mine = layer if callable(back) and not is_function else copy.deepcopy(layer)
        state = dict(vars(mine)) if mine is layer and not is_function else {}
        before = {place: array.copy() for place, array in arrays_in(mine)}
        outs, cache = run(mine, {n: a.copy() for n, a in arrays.items()})
        upstream = [rng.normal(size=np.shape(o)) if np.ndim(o) else np.float64(1) for o in outs]
        between = {place: array.copy() for place, array in arrays_in(mine)}
        gave = _pull(_bound(mine, back), [np.array(g) for g in upstream], cache)
        gradients, rest = _returned(gave, arguments, arrays)
        own: dict[str, Place] = {}
        if not is_function:
            after = {dotted(place): array for place, array in arrays_in(mine)}
            left = dict(gave) if isinstance(gave, Mapping) else {}
            wanted = _wanted(before, params, layer)
            found = _of_params(before, between, {**after, **left}, rest, wanted)
            if mine is layer:  # backward is a function of its own, which reads this very object
                for place, array in arrays_in(layer):
                    if place in before:
                        array[...] = before[place]
                vars(layer).clear()
                vars(layer).update(state)
            own = {name: place for name, (place, _) in found.items()}
            gradients |= {name: gradient for name, (_, gradient) in found.items()}

        def loss(**tensors: Any) -> Any:
            ours = copy.deepcopy(layer)
            for place, array in [*arrays_in(ours)]:  # people write to those they made before, too
                put(ours, place, Recorded(array))
            for name, place in own.items():
                put(ours, place, Recorded(tensors[name]))
            with recording(*[f for f in (call, back) if callable(f)]):
                recorded = {n: Recorded(tensors[n]) for n in arguments if n in tensors}
                results = run(ours, recorded)[0]
                pairs = zip(results, upstream, strict=True)
                return bare(sum((out * g).sum() for out, g in pairs))

        values = {**arrays, **{name: before[place] for name, place in own.items()}}
        values = {name: array for name, array in values.items() if name in gradients}
        if not values:
            raise ValueError(
                "audit_layer: backward returned no gradient, and none was found in the layer: say "
                'where they are, params={"W": "dW"}'
            )
        return judge(loss, values, gradients, {}, rtol)


def _named(layer: Any, method: Any) -> Any:
    """A method of the layer as its name, so that it can be called on a copy."""
    return method.__name__ if getattr(method, "__self__", None) is layer is not None else method


def _method(layer: Any, given: Any, usual: tuple[str, ...]) -> Any:
    if callable(given):
        return given
    if inspect.isroutine(layer):
        if usual[0] == "backward":
            raise TypeError("audit_layer: give the backward function, too: backward=...")
        return layer
    for name in (given,) if given else usual:
        if hasattr(layer, name):
            return name
    names = " or ".join([given] if given else usual)
    raise TypeError(
        f"audit_layer: {type(layer).__name__} has no method {names}: name the one it has"
    )


def _bound(owner: Any, method: Any) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(owner, method) if isinstance(method, str) else method
    return found


def _is_real(value: Any) -> bool:
    if isinstance(value, list):
        value = np.asarray(value)
    return (
        isinstance(value, np.ndarray | np.floating | float) and np.asarray(value).dtype.kind == "f"
    )


def _parted(returned: Any, wanted: list[str]) -> tuple[list[Any], list[Any]]:
    """What a forward pass returned: outputs, and the cache that the backward pass wants."""
    if not isinstance(returned, tuple):
        return [returned], []
    arrays = [isinstance(item, np.ndarray | np.floating | Recorded) for item in returned]
    has_cache = len(wanted) > 1 and (wanted[-1] in CACHES or not arrays[-1])
    if has_cache:
        return [*returned[: len(wanted) - 1]], [returned[-1]]
    return [*returned[: max(1, len(wanted))]] if all(arrays) else [returned[0]], []


def _pull(back: Callable[..., Any], upstream: list[Any], cache: list[Any]) -> Any:
    wanted = needs(back)
    rates = {name: 1.0 for name in wanted if name in RATES}
    arguments = [g if np.ndim(g) else 1.0 for g in upstream] + cache
    return back(*arguments[: len(wanted) - len(rates)], **rates)


def _returned(
    gave: Any, names: Mapping[str, Any], real: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Any]]:
    """The gradients of the arguments that a backward pass returned, and what is left over."""
    if isinstance(gave, Mapping):
        marked = {n: (n, *(mark.format(n) for mark in MARKS)) for n in real}
        return {n: gave[k] for n, keys in marked.items() for k in keys if k in gave}, []
    listed = list(gave) if isinstance(gave, tuple | list) else [gave]
    order = list(names) if len(listed) >= len(names) else list(real)
    pairs = [(n, g) for n, g in zip(order, listed, strict=False) if g is not None and n in real]
    return dict(pairs), listed[len(order) :]


def _wanted(before: Mapping[Place, Array], params: Any, layer: Any) -> dict[Place, tuple[str, Any]]:
    """The places of the arrays that are meant, with their names, and where their gradients are.

    ``params`` are names, {name: where the gradient is}, arrays of the layer, or {name: array}.
    """
    names = short_names(before)
    if params is None:
        return {place: (name, None) for place, name in names.items()}
    pairs = params.items() if isinstance(params, Mapping) else [(p, None) for p in params]
    own = {id(array): place for place, array in arrays_in(layer)}
    found: dict[Place, tuple[str, Any]] = {}
    for key, value in pairs:
        array = key if isinstance(key, np.ndarray) else value
        if isinstance(array, np.ndarray):
            if (place := own.get(id(array))) is not None:
                found[place] = names[place] if array is key else key, None
        else:
            places = [p for p, name in names.items() if key in (name, dotted(p))]
            found |= dict.fromkeys(places, (key, value))
    if len(found) < len(pairs):
        raise ValueError(
            f"audit_layer: params name arrays that the layer does not have; it has: "
            f"{', '.join(names.values()) or 'none'}"
        )
    return found


def _of_params(
    before: Mapping[Place, Array], between: Mapping[Place, Array], after: Mapping[str, Array],
    rest: list[Any], wanted: Mapping[Place, tuple[str, Any]],
) -> dict[str, tuple[Place, Array]]:  # fmt: skip
    """The parameters of a layer by name: their places, and their gradients."""
    found: dict[str, tuple[Place, Array]] = {}
    likely = {place: [p for p in _gradient_places(dotted(place)) if p in after] for place in before}
    taken = {place for found in likely.values() for place in found}
    free = [p for p in wanted if len(wanted) < len(before) or dotted(p) not in taken]
    for place in free:
        name, where = wanted[place]
        tries = [str(where).replace('["', ".").replace('"]', "")] if where else likely[place]
        gradient = next((after[t] for t in tries if t in after), None)
        old = between.get(place, before[place])
        now = after.get(dotted(place), old)
        if gradient is None and not np.array_equal(old, now):
            gradient = old - now  # an update, with the learning rate 1
        if gradient is not None:
            found[name] = place, np.asarray(gradient)
    if not found:
        found = {wanted[p][0]: (p, np.asarray(g)) for p, g in zip(free, rest, strict=False)}
    return found


def _gradient_places(place: str) -> Iterator[str]:
    """Where the gradient of the array at a place may be."""
    *owner, last = place.split(".")
    plain = last.lstrip("_")
    marked = [mark.format(n) for n in (last, plain) for mark in MARKS]
    marked += [f"_{name}" for name in marked]
    if last in CONTENTS:
        marked += GRADIENTS
    yield from (".".join([*owner, name]) for name in marked)
    for holder in GRADIENTS:
        for at in range(len(owner) + 1):
            for end in ([*owner[at + 1 :]], [*owner[at:]]):
                for name in (last, *marked):
                    yield ".".join([*owner[:at], holder, *end, name])
