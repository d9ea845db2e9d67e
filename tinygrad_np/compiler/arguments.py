"""The shadows of arguments: each call has its own, so that only their structure is static."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .given import Given, is_traceable
from .places import Place, like


def argument(given: Given, value: Any, place: Place) -> Any:
    """The shadow of an argument: of a container, type and length are conditions, not identity."""
    kind = type(value)
    if kind in (tuple, list, dict) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        given.require(place, "type({0}) is {1} and len({0}) == {2}", kind, len(value))
        items = value.items() if kind is dict else enumerate(value)
        parts = {key: argument(given, item, place.item(key)) for key, item in items}
        shadow = like(value, parts)
        given.hold(None, shadow, f"{place.label}[{{!r}}]")
        return shadow
    if dataclasses.is_dataclass(kind):
        given.require(place, "type({0}) is {1}", kind)
        shadow = object.__new__(kind)
        for field in dataclasses.fields(kind):
            part = argument(given, getattr(value, field.name), place.attribute(field.name))
            object.__setattr__(shadow, field.name, part)
        given.hold(None, shadow, f"{place.label}.{{}}", *[f.name for f in dataclasses.fields(kind)])
        return shadow
    if kind is Tensor and not value.requires_grad:
        given.require(place, "type({0}) is {1} and {0}.node is None", kind)
        array: Any = given.traced(value.array, place.attribute("array"))
        shadow = wrap(array, None)
        given.hold(None, shadow, f"{place.label}.{{}}", "array", "node")
        return shadow
    if isinstance(value, np.ndarray) and kind is not np.ndarray:
        given.tracer.refuse(f"an argument is a {kind.__name__}: pass np.asarray(it)")
    if isinstance(value, np.ndarray) and not is_traceable(value):
        given.tracer.refuse(f"an argument is an array of dtype {value.dtype!r}: pass numbers")
    return given.shadow(value, place)
