"""Every random generator that training may draw from: what state it is in, and back to it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

import tinygrad_np as tg
from tinygrad_np.nn import Module

Generator = np.random.Generator | np.random.RandomState


def seed_all(seed: int) -> np.random.Generator:
    """Start the package's, NumPy's and Python's default generators anew; return the package's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    return tg.manual_seed(seed)


def state_of(generator: Generator) -> dict[str, Any]:
    """A generator's state, as JSON can hold it."""
    if isinstance(generator, np.random.RandomState):
        state: Any = generator.get_state(legacy=False)
    else:
        state = generator.bit_generator.state
    found: dict[str, Any] = json.loads(json.dumps(state, default=lambda array: array.tolist()))
    return found


def restore(generator: Generator, state: Mapping[str, Any]) -> None:
    """Bring a generator to a state; ValueError where it is another kind of generator's."""
    if isinstance(generator, np.random.RandomState):
        generator.set_state(dict(state))
    else:
        generator.bit_generator.state = state


def states(model: Module, **more: Generator) -> dict[str, Any]:
    """The states of all generators: the defaults, those of the modules, and those named."""
    version, words, gauss = random.getstate()
    found = {name: state_of(generator) for name, generator in _all(model, more).items()}
    return {**found, "python": [version, list(words), gauss]}


def restore_all(given: Mapping[str, Any], model: Module, **more: Generator) -> None:
    """Bring all generators to what ``states`` gave; ValueError where there are others now."""
    generators = _all(model, more)
    if {*given} != {*generators, "python"}:
        raise ValueError(
            f"the random generators differ: saved were {', '.join(sorted(given))}; "
            f"the model now has {', '.join(sorted(generators))}"
        )
    for name, generator in generators.items():
        restore(generator, given[name])
    version, words, gauss = given["python"]
    random.setstate((version, tuple(words), gauss))


@contextmanager
def untouched(model: Module, **more: Generator) -> Iterator[None]:
    """Whatever is drawn inside, the generators are afterwards where they were."""
    before = states(model, **more)
    try:
        yield
    finally:
        restore_all(before, model, **more)


def _all(model: Module, more: Mapping[str, Generator]) -> dict[str, Generator]:
    found: dict[str, Generator] = {
        "tinygrad_np": tg.random.default_generator(),
        "numpy": np.random.mtrand._rand,  # has no public name
        **more,
    }
    for path, holder, key in places(model):
        if isinstance(holder[key], np.random.Generator | np.random.RandomState):
            found[f"model.{path}"] = holder[key]
    return found


def places(model: Module) -> Iterator[tuple[str, Any, Any]]:
    """Where everything in a model is, also in lists, tuples and dicts: its path, holder and key."""
    for path, module in model.named_modules():
        yield from _inside(vars(module), f"{path}." if path else "")


def _inside(holder: Any, start: str) -> Iterator[tuple[str, Any, Any]]:
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield f"{start}{key}", holder, key
        if isinstance(holder[key], dict | list | tuple):
            yield from _inside(holder[key], f"{start}{key}.")
