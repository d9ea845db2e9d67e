"""Audits of classes and functions as people write them: a layer's backward pass, a whole update."""

from __future__ import annotations

import copy
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autodiff import leaf  # noqa: F401
from ..tensor import Array
from .judging import judge
from .recording import Recorded, bare, recorded, recording
from .report import AuditReport

RATES = frozenset(["alpha", "eta", "learning_rate", "lr", "rate", "step_size"])
CACHES = frozenset(["cache", "caches", "context", "ctx", "memory", "saved"])
PATTERNS = (
    "d{}",
    "d_{}",
    "grad_{}",
    "{}_grad",
    "grad{}",
    "g{}",
    "delta_{}",
    "dL_d{}",
    "dL{}",
    "{}.grad",
)
Place = tuple[Any, ...]
"""Where an array stands in an object: names of attributes, keys and numbers."""


def audit_a_layer(
    layer: Any, inputs: Any, forward: Any, backward: Any, params: Any, rtol: float | None, seed: int
) -> AuditReport:
    """The report on a layer; ``audit_layer`` documents the arguments."""
    call = _method(layer, forward or ("forward", "__call__"))
    back = _method(layer, backward or ("backward", "backprop", "grad"))
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    names = _parameters(_bound(layer, call))[: len(given)]
    values = {n: np.asarray(v) for n, v in zip(names, given, strict=True)}
    extra = dict(params) if isinstance(params, Mapping) and not isinstance(call, str) else {}
    fixed = {n: v for n, v in {**values, **extra}.items() if np.asarray(v).dtype.kind != "f"}
    arrays = {n: np.asarray(v) for n, v in {**values, **extra}.items() if n not in fixed}
    rng = np.random.default_rng([seed, 1])  # not the numbers that x may be made of
    with _dice(layer) as again:
        mine, own = copy.deepcopy(layer), {}
        before = dict(arrays_in(mine)) if isinstance(call, str) else {}
        again()
        returned = _bound(mine, call)(*_fresh(values.values()), **_fresh_named(extra))
        outs, cache = _outputs(returned, _parameters(_bound(mine, back)))
        upstream = [rng.normal(size=np.shape(out)) if np.ndim(out) else np.ones(()) for out in outs]
        middle = {place: array.copy() for place, array in arrays_in(mine)}
        gave = _call_backward(_bound(mine, back), outs, upstream, cache)
        gradients, rest = _given(gave, [*values, *extra], fixed)
        if isinstance(call, str):
            after = dict(arrays_in(mine))
            wanted = (
                None
                if params is None
                else dict(params)
                if isinstance(params, Mapping)
                else dict.fromkeys(params)
            )
            found = _gradients_in(before, middle, after, rest, wanted)
            own = {name: (place, before[place]) for name, (place, _) in found.items()}
            gradients |= {name: gradient for name, (_, gradient) in found.items()}

        def loss(**tensors: Any) -> Any:
            ours = copy.deepcopy(layer)
            for name, (place, _) in own.items():
                put(ours, place, Recorded(tensors[name]))
            again()
            arguments = {
                n: Recorded(tensors[n]) if n in tensors else v
                for n, v in {**values, **extra}.items()
            }
            firsts = [arguments.pop(n) for n in values]
            with recording(_bound(ours, call)):
                results, _ = _outputs(
                    _bound(ours, call)(*firsts, **arguments),
                    ["g"] * (len(outs) + (cache is not _NONE)),
                )
                total = sum((result * g).sum() for result, g in zip(results, upstream, strict=True))
            return bare(total)

        inputs = {**arrays, **{name: array for name, (_, array) in own.items()}}
        inputs = {n: a for n, a in inputs.items() if n in gradients}
        if not inputs:
            raise ValueError(
                "audit_layer: backward returned no gradient, and none was found in the layer: say "
                'where they are, params={"W": "dW"}'
            )
        missing = {n: a for n, a in arrays.items() if n not in inputs}
        values |= {n: a for n, a in missing.items() if n in values}
        return judge(loss, inputs, gradients, {}, rtol)


def audit_a_step(
    step: Callable[..., Any], params: Any, lr: float | None, loss: Callable[..., Any] | None,
    rtol: float | None,
) -> AuditReport:  # fmt: skip
    """The report on an update; ``audit_step`` documents the arguments."""
    places = {place: array for place, array in arrays_in(params) if array.dtype.kind == "f"}
    names = short_names(places)
    before = {place: array.copy() for place, array in places.items()}
    kept = copy.deepcopy(params)
    with _dice(step) as again:
        again()
        needed = len(_parameters(step))
        result = step(*([params] if needed == 1 else [places[p] for p in places][:needed]))
        if needed and isinstance(result, tuple | dict) and loss is not None:
            items = (
                result.items()
                if isinstance(result, dict)
                else zip(names.values(), result, strict=False)
            )
            after = {
                place: np.asarray(v) for n, v in items for place in places if names[place] == n
            }
        else:
            after = {place: array.copy() for place, array in arrays_in(params) if place in places}
        for place, array in before.items():  # everything back to where it was
            put(params, place, array)
        moved = {p: a for p, a in after.items() if not np.array_equal(a, before[p])}
        if not moved:
            raise ValueError(
                "audit_step: the step changed none of the parameters: is params what it updates?"
            )

        def total(**tensors: Any) -> Any:
            again()
            for place in moved:
                put(params, place, Recorded(tensors[names[place]]))
            try:
                function = loss or step
                with recording(function):
                    count = len(_parameters(function))
                    result = function(
                        *(
                            [params]
                            if count == 1 and len(moved) != 1
                            else [Recorded(tensors[names[p]]) for p in moved][:count]
                        )
                    )
                return bare(result)
            finally:
                for place, array in before.items():
                    put(params, place, array.copy())

        inputs = {names[p]: before[p] for p in moved}
        changes = {names[p]: before[p] - moved[p] for p in moved}
        rate, note = (lr, "") if lr is not None else _rate(total, inputs, changes)
        del kept
        gradients = {name: change / rate for name, change in changes.items()}
        floor = max(float(np.abs(a).max()) for a in before.values()) * 2e-16 / rate
        sizes = max(float(np.abs(g).max()) for g in gradients.values())
        allowed = max(1e-7, 100 * floor / sizes) if rtol is None else rtol
        report = judge(total, inputs, gradients, {}, allowed)
        notes = (f"The gradients are the changes of the parameters divided by {rate:.6g}{note}.",)
        return AuditReport(report.verdicts, report.mistakes, report.numerical, notes + report.notes)


def _rate(
    loss: Any, inputs: Mapping[str, Array], changes: Mapping[str, Array]
) -> tuple[float, str]:
    """The learning rate with which most changes are gradients."""
    from ..tensor import Tensor

    tensors = {name: Tensor(array, True) for name, array in inputs.items()}
    loss(**tensors).backward()
    found: list[tuple[bool, float]] = []
    for name, change in changes.items():
        true = tensors[name].grad
        if true is None or not true.any():
            continue
        number = float(np.vdot(true, change) / np.vdot(true, true))
        exact = bool(np.abs(number * true - change).max() <= 1e-6 * np.abs(change).max())
        found.append((exact, number))
    exact = [abs(number) for ok, number in found if ok] or [abs(n) for _, n in found] or [1.0]
    rate = max(exact, key=lambda r: (sum(np.isclose(r, exact, 1e-5)), r))
    return (
        rate,
        ", the learning rate with which most of them are right (or its product with a batch size)",
    )


# Objects, and the arrays in them


def arrays_in(owner: Any, depth: int = 3) -> Iterator[tuple[Place, Array]]:
    """The arrays of an object, with their places: attributes, and items of dicts and lists."""
    if isinstance(owner, Mapping):
        items = list(owner.items())
    elif isinstance(owner, list):
        items = list(enumerate(owner))
    else:
        items = [*getattr(owner, "__dict__", {}).items()]
    for key, value in items:
        step = (key,) if isinstance(owner, Mapping | list) else (f".{key}",)
        if isinstance(value, np.ndarray | np.floating) and np.asarray(value).dtype.kind == "f":
            yield step, np.asarray(value)
        elif (depth and not callable(value) and not inspect.ismodule(value)) or hasattr(
            value, "__dict__"
        ):
            if depth and not inspect.isroutine(value) and not isinstance(value, type):
                for place, array in arrays_in(value, depth - 1):
                    yield step + place, array


def put(owner: Any, place: Place, value: Any) -> None:
    """Write to a place in an object."""
    for key in place[:-1]:
        owner = getattr(owner, key[1:]) if _is_attribute(key) else owner[key]
    if _is_attribute(place[-1]):
        setattr(owner, place[-1][1:], value)
    elif isinstance(owner[place[-1]], np.ndarray) and isinstance(value, np.ndarray):
        owner[place[-1]] = value
    else:
        owner[place[-1]] = value


def _is_attribute(key: Any) -> bool:
    return isinstance(key, str) and key.startswith(".")


def short_names(places: Any) -> dict[Place, str]:
    """A name for each place: its last word, or all of them where that is not clear."""
    last = [str(place[-1]).lstrip(".") for place in places]
    full = [
        "".join(f"[{k!r}]" if not _is_attribute(k) else k for k in place).lstrip(".")
        for place in places
    ]
    return {p: s if last.count(s) == 1 else f for p, s, f in zip(places, last, full, strict=True)}


@contextmanager
def _dice(owner: Any) -> Iterator[Callable[[], None]]:
    """A function that sets all generators that somebody may draw from back to where they were."""
    function = owner if inspect.isroutine(owner) else getattr(type(owner), "forward", None)
    names = {**getattr(function, "__globals__", {})}
    module = sys.modules.get(type(owner).__module__)
    names |= vars(module) if module is not None and module is not sys.modules["builtins"] else {}
    try:
        names |= inspect.getclosurevars(function).nonlocals if function is not None else {}
    except (TypeError, ValueError):
        pass
    own = [v for v in names.values() if isinstance(v, np.random.Generator | np.random.RandomState)]
    states = [(g, copy.deepcopy(_state(g))) for g in own]
    legacy, python = np.random.get_state(), random.getstate()

    def again() -> None:
        np.random.set_state(legacy)
        random.setstate(python)
        for generator, state in states:
            if isinstance(generator, np.random.Generator):
                generator.bit_generator.state = copy.deepcopy(state)
            else:
                generator.set_state(state)

    try:
        yield again
    finally:
        again()


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state()


# Calls, and what they return

_NONE = object()


def _method(layer: Any, names: Any) -> Any:
    if callable(names):
        return names
    if inspect.isroutine(layer):
        return layer
    for name in (names,) if isinstance(names, str) else names:
        if hasattr(layer, name):
            return name
    raise TypeError(f"audit_layer: the layer has no method {' or '.join(map(str, names))}: name it")


def _bound(owner: Any, method: Any) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(owner, method) if isinstance(method, str) else method
    return found


def _parameters(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a function needs."""
    try:
        kinds = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in kinds if p.kind in places and p.default is p.empty]


def _fresh(values: Any) -> list[Any]:
    return [np.array(v) for v in values]


def _fresh_named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        n: np.array(v) if isinstance(v, np.ndarray) else copy.deepcopy(v) for n, v in values.items()
    }


def _outputs(returned: Any, needs: list[str]) -> tuple[list[Any], Any]:
    """What a forward pass returned: its outputs, and the cache for the backward pass, if any."""
    if not isinstance(returned, tuple):
        return [returned], _NONE
    needs = [n for n in needs if n not in RATES]
    if len(needs) == len(returned) > 1 and (
        needs[-1] in CACHES or needs[-1] == "g" or not _is_output(returned[-1])
    ):
        return list(returned[:-1]), returned[-1]
    if len(needs) == 2 and len(returned) >= 2 and not _is_output(returned[-1]):
        return list(returned[:1]), returned[-1]
    if len(needs) == len(returned):
        return list(returned), _NONE
    return [returned[0]], returned[1] if len(needs) > 1 else _NONE


def _is_output(value: Any) -> bool:
    return isinstance(value, np.ndarray | Recorded)


def _call_backward(back: Callable[..., Any], outs: Any, upstream: Any, cache: Any) -> Any:
    needs = _parameters(back)
    rates = [n for n in needs if n in RATES]
    count = len(needs) - len(rates)
    if count == 0:  # a loss layer, or one with dout=1
        return back(*[1.0] * len(rates))
    arguments = [np.array(g) for g in upstream] + ([cache] if cache is not _NONE else [])
    arguments = [1.0 if not np.ndim(g) and isinstance(g, np.ndarray) else g for g in arguments]
    return back(*arguments[:count], **dict.fromkeys(rates, 1.0))


def _given(gave: Any, names: list[str], fixed: Any) -> tuple[dict[str, Any], list[Any]]:
    """The gradients that a backward pass returned, by name, and those that are left over."""
    if isinstance(gave, Mapping):
        return {n: v for n in names for k, v in gave.items() if k in (n, *_candidates(n))}, []
    listed = list(gave) if isinstance(gave, tuple | list) else [gave]
    pairs = [(n, g) for n, g in zip(names, listed, strict=False)]
    if len(listed) < len(names):  # those without a gradient are left out
        pairs = list(zip([n for n in names if n not in fixed], listed, strict=False))
    found = {n: g for n, g in pairs if g is not None and n not in fixed}
    return found, listed[len(names) :]


def _candidates(name: str) -> list[str]:
    return [pattern.format(name) for pattern in PATTERNS]


def _gradients_in(
    before: Mapping[Place, Array], middle: Mapping[Place, Array], after: Mapping[Place, Array],
    rest: list[Any], wanted: Mapping[str, Any] | None,
) -> dict[str, tuple[Place, Array]]:  # fmt: skip
    """The parameters of a layer: their names, their places, their gradients."""
    names, found = short_names(before), dict[str, tuple[Place, Array]]()
    left = {_plain(place): array for place, array in after.items()}
    for place in before:
        name = names[place]
        if wanted is not None and name not in wanted:
            continue
        where = wanted.get(name) if wanted else None
        last = str(place[-1]).lstrip(".")
        tries = (
            [str(where).replace("['", ".").replace("']", "").replace('["', ".").replace('"]', "")]
            if where
            else [
                ".".join([*_plain(place).split(".")[:-1], c]).lstrip(".") for c in _candidates(last)
            ]
        )
        if not where:
            owner = _plain(place).split(".")[:-1]
            for d in ("grads", "gradients", "grad", "dparams", "g"):
                for c in (last, *_candidates(last)):
                    tries += [".".join([*owner[:-1], d, c]), ".".join([*owner, d, c])]
        gradient = next((left[t] for t in tries if t in left), None)
        if (
            gradient is None
            and place in middle
            and not np.array_equal(middle[place], after.get(place, middle[place]))
        ):
            gradient = middle[place] - after[place]
        if gradient is not None and name not in found:
            found[name] = place, gradient
    if not found and rest:
        pairs = zip([p for p in before if wanted is None or names[p] in wanted], rest, strict=False)
        found = {names[place]: (place, gradient) for place, gradient in pairs}
    return found


def _plain(place: Place) -> str:
    return ".".join(str(key).lstrip(".") for key in place)


__all__ = ["audit_a_layer", "audit_a_step", "recorded"]
