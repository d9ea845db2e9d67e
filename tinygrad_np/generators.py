"""Random generators: their states, and which ones a function can reach."""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any

from .nn import Module
from .random import default_generator

_LIMIT = 10_000  # objects to visit; a container with more than a tenth of these holds data
_SKIPPED = {__name__.partition(".")[0], "numpy", "scipy", "builtins"}


def state_of(rng: Any) -> Any:
    """The state of one of NumPy's generators (of any kind) or of a ``random.Random``."""
    if isinstance(rng, Random):
        return rng.getstate()
    if hasattr(rng, "get_state"):  # a RandomState
        return rng.get_state(legacy=False)
    return getattr(rng, "bit_generator", rng).state


def restore(rng: Any, state: Any) -> None:
    """Set a generator back to a state."""
    if isinstance(rng, Random):
        rng.setstate(state)
    elif hasattr(rng, "set_state"):
        rng.set_state(state)
    else:
        getattr(rng, "bit_generator", rng).state = state


def is_generator(thing: Any) -> bool:
    """Whether this is a generator whose state can be read and set."""
    kinds = "bit_generator", "get_state", "random_raw"  # numpy.random may not be loaded yet
    in_numpy = type(thing).__module__.startswith("numpy.random")
    return isinstance(thing, Random) or (in_numpy and any(hasattr(thing, k) for k in kinds))


def reachable(*starts: Any) -> Iterator[Any]:
    """The default generators, and those that functions and objects refer to.

    A function refers to its closure, its defaults, and the values of the global names in its code;
    a method to its object; an object to its attributes and its class's methods. Generators that
    cannot be reached in this way are not found.
    """
    yield default_generator()
    for module, name in (("numpy.random.mtrand", "_rand"), ("random", "_inst")):
        if module in sys.modules:  # otherwise nothing has drawn from it yet
            yield getattr(sys.modules[module], name)
    stack, seen = list(starts), dict[int, Any]()
    while stack and len(seen) < _LIMIT:
        thing = stack.pop()
        if id(thing) in seen or isinstance(thing, str | bytes | int | float | complex | None):
            continue
        seen[id(thing)] = thing
        if is_generator(thing):
            yield thing
        else:
            stack += _referred_to(thing)


def _referred_to(thing: Any) -> Iterable[Any]:
    if isinstance(thing, types.MethodType | types.BuiltinMethodType):
        return [thing.__self__, getattr(thing, "__func__", None)]
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, types.FunctionType):
        return [] if _is_skipped(thing) else _of_function(thing)
    if isinstance(thing, list | tuple | set | frozenset | deque | Mapping):
        if len(thing) > _LIMIT // 10:
            return []
        return [*thing.values()] if isinstance(thing, Mapping) else [*thing]
    if isinstance(thing, types.ModuleType) or not hasattr(thing, "__dict__"):
        return []
    kind = type(thing)
    if isinstance(thing, type):
        kind, attributes = thing, []
    elif _is_skipped(kind) and not isinstance(thing, Module):
        return []
    else:
        attributes = [*vars(thing).values()]
    classes = [cls for cls in kind.__mro__ if not _is_skipped(cls)]
    return [*attributes, *(value for cls in classes for value in vars(cls).values())]


def _is_skipped(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "builtins").partition(".")[0] in _SKIPPED


def _of_function(function: types.FunctionType) -> list[Any]:
    found = [function.__defaults__, function.__kwdefaults__, getattr(function, "__wrapped__", None)]
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # a variable that has no value yet
            continue
    names = _names(function.__code__)
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType) and not value.__name__.startswith(tuple(_SKIPPED)):
            found += [vars(value).get(attribute) for attribute in names]
        found.append(value)
    return found


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner)
