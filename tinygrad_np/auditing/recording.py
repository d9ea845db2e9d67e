"""Arrays that record what is done with them, so that existing NumPy code runs on Tensors.

``Recorded`` behaves as an ndarray where a Tensor does not: code can copy it, write to it in place
and add to it. Each read gives a Tensor of the values so far, so that gradients flow through
``out = np.zeros(...); out[i] = x[i] * w``.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from .. import ops as _ops  # noqa: F401  # defines the ops used below
from ..compiler.program import map_tree
from ..definition import OPS
from ..numpy_calls import NUMPY, by_numpy
from ..tensor import Array, Tensor, plain

MAKERS = ("array", "asarray", "empty", "empty_like", "full", "full_like", "ones", "ones_like",
          "zeros", "zeros_like")  # fmt: skip
REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}
PACKAGE = __name__.partition(".")[0]
PACKAGES = ("site-packages", "dist-packages")
FOREIGN = sys.stdlib_module_names | {PACKAGE, "numpy"}
MOVING = frozenset(["broadcast_to", "flip", "fliplr", "flipud", "repeat", "roll", "rot90",
                    "sliding_window_view", "tile"])  # fmt: skip
"""NumPy's functions that move elements about."""


class Recorded(np.lib.mixins.NDArrayOperatorsMixin):
    """An array whose values a Tensor holds, perhaps a view of ``base`` at ``index``."""

    __array_priority__ = 1e6

    def __init__(self, value: Any, base: Recorded | None = None, index: Any = None) -> None:
        self._value = value
        self._base, self._index = base, index
        self._writes: list[tuple[Array, Any]] = []

    @property
    def value(self) -> Any:
        """The Tensor, or the array where nothing recorded was written, as it is now."""
        constant = not any(isinstance(written, Tensor) for _, written in self._writes)
        if self._writes and constant:  # a mask, say: out[mask] = 0
            values, written_to = np.zeros(self.shape), np.zeros(self.shape, bool)
            for places, written in self._writes:
                values.flat[places.ravel()], written_to.flat[places.ravel()] = written.ravel(), True
            self._writes = []
            self._value = OPS["where"].function(written_to, values, self._value)
        if self._writes:
            count = math.prod(self.shape)
            parts, source = [self._value.reshape(-1)], np.arange(count)
            for places, written in self._writes:
                source[places.ravel()] = np.arange(count, count + places.size)
                parts.append(written.reshape(-1))
                count += places.size
            self._writes = []
            joined = OPS["concatenate"].function(parts)
            self._value = joined[source].reshape(self.shape)
        return self._value

    @property
    def plain(self) -> Array:
        """The values alone."""
        value = self.value
        return value.data if isinstance(value, Tensor) else value

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._value.shape)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.value if name not in _PLAIN else self.plain, name)
        if not callable(found):
            return recorded(found)
        return lambda *args, **kwargs: recorded(found(*bare(args), **bare(kwargs)))

    def __len__(self) -> int:
        return len(self.plain)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.plain)

    def __float__(self) -> float:
        return float(self.__array__())

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        if isinstance(self.value, Tensor):
            raise TypeError("an audit records this array: as a number it would lose its gradient")
        return np.array(self.value, dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        index = bare_index(index)
        part = self.value[index]
        return Recorded(part, self, index) if self.shape else recorded(part)

    def __setitem__(self, index: Any, value: Any) -> None:
        places = np.arange(math.prod(self.shape)).reshape(self.shape)[bare_index(index)]
        places, value = np.asarray(places), bare(value)
        if not isinstance(value, Tensor) and not isinstance(self.value, Tensor):
            self._value = np.array(self._value)
            self._value.flat[places.ravel()] = np.ravel(np.broadcast_to(value, places.shape))
        else:
            fits = getattr(value, "shape", None) == places.shape
            spread = value if fits else _spread(value, places.shape)
            self._writes.append((places, spread))
        if self._base is not None:
            self._base[self._index] = self

    def copy(self, *_: Any) -> Recorded:
        """An array of its own with the same values."""
        return Recorded(self.value)

    def fill(self, value: Any) -> None:
        """Every element replaced."""
        self[...] = value

    def astype(self, dtype: Any, **_: Any) -> Any:
        """The same for floats, else the values alone."""
        return self.copy() if np.dtype(dtype).kind == "f" else self.plain.astype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if method == "at" and ufunc in (np.add, np.subtract):
            target, index, values = inputs
            sign = 1 if ufunc is np.add else -1
            places = np.arange(target.size).reshape(target.shape)[bare_index(index)]
            values = _spread(bare(values), np.shape(places))
            added = OPS["scatter"].function(values.reshape(-1), np.ravel(places), (target.size,))
            target[...] = target.value + sign * added.reshape(target.shape)
            return None
        if method == "reduce":
            return recorded(getattr(np, REDUCTIONS[ufunc.__name__])(*bare(inputs), **kwargs))
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        result = recorded(function(*bare(inputs), **bare(kwargs)))
        if out is None:
            return result
        if not isinstance(out[0], Recorded):
            raise TypeError("a recorded array cannot be added to a plain one in place")
        out[0][...] = result
        return out[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        arguments, keywords = bare(args), bare(kwargs)
        if function.__name__ in MAKERS:
            result = function(*values(arguments), **values(keywords))
            return Recorded(result) if result.dtype.kind == "f" else result
        if function is np.copy:
            return self.copy()
        if function in NUMPY:
            return recorded(by_numpy(function, tuple(arguments), keywords))
        if function.__name__ in MOVING:
            first = arguments[0]
            places = np.arange(np.size(values(first))).reshape(np.shape(first))
            return recorded(first.reshape(-1)[function(places, *arguments[1:], **keywords)])
        result = function(*values(arguments), **values(keywords))
        if isinstance(result, np.ndarray | np.generic) and result.dtype.kind == "f":
            raise TypeError(f"np.{function.__name__} has no gradient here")
        return result


_PLAIN = frozenset(["all", "any", "argmax", "argmin", "argsort", "dtype", "flags", "nonzero",
                    "tobytes", "tolist"])  # fmt: skip


def _spread(value: Any, shape: tuple[int, ...]) -> Any:
    tensor = value if isinstance(value, Tensor) else np.asarray(value, float)
    return tensor + np.zeros(shape)


def recorded(tree: Any) -> Any:
    """Tensors of floats as recorded arrays; other Tensors as arrays; the rest as it is."""
    return map_tree(_recorded, tree)


def _recorded(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Recorded(value) if value.dtype.kind == "f" else value.data
    return value


def bare(tree: Any) -> Any:
    """Recorded arrays as Tensors, also in lists, tuples and dicts."""
    return map_tree(lambda value: value.value if isinstance(value, Recorded) else value, tree)


def values(tree: Any) -> Any:
    """Tensors as arrays, also in lists, tuples and dicts."""
    return map_tree(plain, tree)


def bare_index(index: Any) -> Any:
    """An index without recorded arrays."""
    return values(bare(index))


def _on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of this package, on recorded arrays."""
    return lambda *args, **kwargs: recorded(function(*bare(args), **bare(kwargs)))


def _maker(function: Callable[..., Any]) -> Callable[..., Any]:
    def made(*args: Any, **kwargs: Any) -> Any:
        if function in (np.array, np.asarray):
            return _gathered(function, args, kwargs)
        result = function(*args, **kwargs)
        plain = isinstance(result, np.ndarray) and result.dtype.kind == "f"
        return Recorded(result) if plain else result

    return made


@contextmanager
def recording(*functions: Any) -> Iterator[None]:
    """Within this context, np.zeros and the like make recorded arrays in the user's modules.

    A plain array cannot record what is written to it. NumPy itself does not change: the name
    ``np`` in these modules is replaced for the time of one call, and so are the functions of this
    package, which do not accept recorded arrays.
    """
    makers = {name: _maker(getattr(np, name)) for name in MAKERS}
    package = sys.modules[PACKAGE]
    tensors = {name: _on_tensors(f) for name, f in vars(package).items() if inspect.isroutine(f)}
    stands_for: dict[int, Any] = {}
    for module, own in ((np, makers), (package, tensors)):
        stands_for |= {id(getattr(module, name)): new for name, new in own.items()}
        stand_in = stands_for[id(module)] = ModuleType(module.__name__)
        vars(stand_in).update(own, __getattr__=partial(getattr, module))
    spaces = {id(d): d for f in functions if isinstance(d := getattr(f, "__globals__", None), dict)}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) or ""
        top = getattr(module, "__name__", "").partition(".")[0]
        if top == "__main__" or not (top in FOREIGN or any(f in path for f in PACKAGES)):
            spaces[id(vars(module))] = vars(module)
    changed = [(d, k, v) for d in spaces.values() for k, v in [*d.items()] if id(v) in stands_for]
    try:
        for names, key, value in changed:
            names[key] = stands_for[id(value)]
        yield
    finally:
        for names, key, value in changed:
            names[key] = value


def _gathered(function: Any, args: Any, kwargs: Any) -> Any:
    """``np.array`` of recorded arrays, or of lists of them."""
    [first, *rest] = args
    if isinstance(first, Recorded):
        return first.copy() if function is np.array else first
    if isinstance(first, list | tuple):
        items = [_gathered(np.asarray, (item,), {}) for item in first]
        if any(isinstance(item, Recorded) for item in items):
            return recorded(OPS["stack"].function([bare(item) for item in items]))
    return function(first, *rest, **kwargs)
