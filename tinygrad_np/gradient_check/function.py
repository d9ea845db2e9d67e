"""The function under check: its inputs by name, and its outputs as one scalar."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..autodiff import leaf
from ..tensor import Array, Tensor, plain


def arguments(f: Callable[..., Any], inputs: Any) -> tuple[Callable[[], Any], dict[str, Tensor]]:
    """A call of f with its inputs, and by name those inputs whose gradients are checked."""
    labels, values, call = _named(f, inputs)
    given: list[Tensor] = []
    checked: dict[str, Tensor] = {}
    for name, value in zip(labels, values, strict=True):
        tensor = value if isinstance(value, Tensor) else leaf(_array(name, value))
        given.append(tensor)
        if not tensor.requires_grad:
            continue
        label = tensor.name or name
        if not tensor.size:
            raise ValueError(
                f"{label} has length 0 (shape {tensor.shape}): there is no derivative to check"
            )
        checked[label if label not in checked else f"{label} ({name})"] = tensor
    if not checked:
        raise ValueError(
            "nothing to check: none of the inputs requires grad. Pass arrays, or Tensors made with "
            "requires_grad=True"
        )
    return lambda: call(*given), checked


def _named(f: Callable[..., Any], inputs: Any) -> tuple[list[str], list[Any], Callable[..., Any]]:
    """The names of the inputs, the inputs, and a function that takes them by position."""
    if hasattr(inputs, "named_parameters"):
        raise TypeError(
            f"inputs is a {type(inputs).__name__}: pass its parameters, "
            "gradcheck(f, model.named_parameters())"
        )
    items = [] if isinstance(inputs, Mapping) else listed(inputs)
    if items and all(isinstance(i, tuple) and len(i) == 2 and isinstance(i[0], str) for i in items):
        inputs = dict(items)
    if not isinstance(inputs, Mapping):
        return names(f, len(items)), items, f
    labels, values = [str(name) for name in inputs], list(inputs.values())
    parameters = _parameters(f)
    known = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if known.issuperset(labels) or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return labels, values, lambda *given: f(**dict(zip(labels, given, strict=True)))
    if known.intersection(labels):
        raise TypeError(
            f"f takes {', '.join(sorted(known))}, but the inputs are called {', '.join(labels)}: "
            "give all of them the names that f uses, or none"
        )
    return labels, values, f


def _parameters(f: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of f; none where Python does not know them."""
    try:
        return list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return []


def names(f: Callable[..., Any], count: int) -> list[str]:
    """The names of the first ``count`` parameters of f."""
    found = [
        p.name for p in _parameters(f) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return found[:count] if len(found) >= count else [f"input {i}" for i in range(count)]


def listed(inputs: Any) -> list[Any]:
    """The inputs as a list; a list of numbers is a single input."""
    several = isinstance(inputs, tuple | Iterator) or (
        isinstance(inputs, list)
        and any(isinstance(item, Tensor | tuple) or np.ndim(item) for item in inputs)
    )
    return list(inputs) if several else [inputs]


def _array(name: str, value: Any) -> Array:
    """An input that is not a Tensor, as an array of numbers."""
    try:
        array = np.asarray(plain(value))
        if array.dtype.kind in "fiubc":
            return array
    except ValueError:  # a ragged list
        pass
    raise TypeError(
        f"{name} is a {type(value).__name__} that is not an array of numbers: give gradcheck "
        "arrays or Tensors, one, or several in a flat tuple, list or mapping of names"
    )


class Scalar:
    """The outputs of a function as one scalar: the sum of all elements, each times its weight.

    ``weights`` are as for ``gradcheck``: None for a scalar, whose weight is 1. Two trial calls show
    whether the function can be checked.
    """

    def __init__(
        self, call: Callable[[], Any], weights: ArrayLike | str | None, rng: np.random.Generator
    ) -> None:
        outs = _trial(call)
        drawn = _drawn(weights, outs, rng)
        self.call = call
        self.weights = [Tensor(w, dtype=o.dtype) for w, o in zip(drawn, outs, strict=True)]

    def __call__(self) -> Tensor:
        pairs = zip(_outputs(self.call()), self.weights, strict=True)
        return total([(out * weight).sum() for out, weight in pairs])


def _trial(call: Callable[[], Any]) -> list[Tensor]:
    """The outputs of a function, after two calls that show whether it can be checked."""
    outs = _outputs(call())
    for out, again in zip(outs, _outputs(call()), strict=True):
        if out.dtype.kind != "f":
            raise TypeError(f"f returns {out.dtype}: only real floating results have gradients")
        if out.size and not np.isfinite(out.data).all():
            what = "nan" if np.isnan(out.data).any() else "infinite"
            raise ValueError(f"f is {what} at these inputs: it has no derivative to check there")
        if not np.array_equal(out.data, again.data):
            raise ValueError(
                "f gave two different results for the same inputs: draw random numbers (dropout's "
                "mask, say) before the check, or pass a seed instead of a generator"
            )
    return outs


def _drawn(
    weights: ArrayLike | str | None, outs: list[Tensor], rng: np.random.Generator
) -> list[Any]:
    """The weights of the outputs as arrays."""
    if weights is None:
        if len(outs) != 1 or outs[0].size != 1:
            shapes = ", ".join(str(out.shape) for out in outs)
            raise ValueError(
                f"f returns no scalar but shape {shapes}: reduce it, as in (f(x) * w).sum() with "
                "an array w, or give gradcheck weights=w or weights='random', and it does so"
            )
        return [np.ones(outs[0].shape)]
    if isinstance(weights, str):
        if weights != "random":
            raise ValueError(f"weights={weights!r}: give an array, or 'random'")
        return [rng.normal(size=out.shape) for out in outs]
    array = np.asarray(plain(weights))
    if len(outs) != 1 or array.shape != outs[0].shape:
        raise ValueError(f"weights of shape {array.shape} for outputs of shape {outs[0].shape}")
    return [array]


def total(parts: list[Tensor]) -> Tensor:
    """The sum of several Tensors."""
    return sum(parts[1:], parts[0])


def _outputs(out: Any) -> list[Tensor]:
    outs = list(out) if isinstance(out, tuple | list) else [out]
    for tensor in outs:
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"f must return a Tensor (or several), got {type(tensor).__name__}: for gradients "
                "derived by hand see tg.audit"
            )
    return outs
