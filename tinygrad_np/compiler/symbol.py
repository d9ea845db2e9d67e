"""The array that stands in for an ndarray while a step is traced.

It behaves like the ndarray that it carries, so that rules, forward functions and plain NumPy code
run on it unchanged, and the tracer notes each call. Whatever needs the values themselves, such as
``if x > 0``, is an error that names the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..arrays import Traced
from ..tensor import Tensor
from ..tracing import active
from .program import Value

if TYPE_CHECKING:
    from .tracer import Tracer

# NumPy's operator ** calls these functions for plain exponents, and so must the trace.
_POWERS = {2: np.square, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal}
_SHAPES = (np.shape, np.ndim, np.size, np.result_type, np.iscomplexobj, np.isrealobj)
_LIKE = (np.zeros_like, np.ones_like, np.full_like, np.empty_like)


class Symbol(NDArrayOperatorsMixin, Traced):
    """A traced array: its concrete value in this run, and its Value in the program.

    ``view`` is set for a view: the symbol of its base, the base's Value at that moment, and the
    call that made the view. ``writable`` tells whether the step may write to the array.
    """

    __slots__ = ("__weakref__", "tracer", "value", "variable", "view", "writable")

    def __init__(self, tracer: Tracer, value: Any, variable: Value, writable: bool = False) -> None:
        self.tracer, self.value, self.variable = tracer, value, variable
        self.view: Any = None
        self.writable = writable

    # Known without the values

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self.variable.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.variable.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.variable.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The elements' dtype."""
        return self.variable.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides in bytes."""
        return self.variable.strides

    base = None  # the base of an ndarray view

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # isinstance(x, np.ndarray) in a step answers as it does eagerly
        return np.ndarray

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__

    def __deepcopy__(self, memo: Any = None) -> Any:
        return self.copy()

    __copy__ = __deepcopy__

    # Calls

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        if any(isinstance(item, Tensor) for item in inputs):
            return NotImplemented
        if method == "at":
            self.tracer.refuse(f"np.{ufunc.__name__}.at changes an array in place")
        out = keywords.pop("out", None)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        result = self.tracer.call(function, inputs, keywords)
        return result if out is None else self.tracer.assign(out[0], result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(issubclass(kind, Tensor) for kind in types):
            return NotImplemented
        if function is np.copyto:
            target, source, where = args[0], args[1], kwargs.get("where", True)
            if where is not True:
                source = np.where(where, source, target)
            return self.tracer.assign(target, source, kwargs.get("casting", "same_kind"))
        if function in _SHAPES:
            return function(*[_value(a) for a in args], **kwargs)
        if function in _LIKE:
            return function(_value(args[0]), *args[1:], **kwargs)
        if function is np.copy:
            return args[0].copy(kwargs.get("order", "K"))
        return self.tracer.call(function, args, kwargs)

    def __pow__(self, exponent: Any) -> Any:
        if self.dtype.kind in "fc" and type(exponent) in (int, float) and exponent in _POWERS:
            return _POWERS[exponent](self)
        return np.power(self, exponent)

    def __getitem__(self, index: Any) -> Any:
        return self.tracer.call(np.ndarray.__getitem__, (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.assign(self, self.tracer.call(with_item, (self, index, value), {}))

    @property
    def T(self) -> Any:
        """The axes in reverse order."""
        return self.transpose()

    @property
    def mT(self) -> Any:
        """The last two axes swapped."""
        return self.swapaxes(-1, -2)

    @property
    def real(self) -> Any:
        """The real part: itself, unless complex."""
        return np.real(self) if self.dtype.kind == "c" else self

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """As an ndarray's; itself where the dtype is the same already."""
        if np.dtype(dtype) == self.dtype:
            return self.copy("K") if copy else self
        return self.tracer.call(np.ndarray.astype, (self, np.dtype(dtype)), {})

    def copy(self, order: Any = "C") -> Any:
        """As an ndarray's. A copy in the same layout is another name for the same value."""
        value = np.array(self.value, order=order)
        if value.strides == self.strides:
            return Symbol(self.tracer, value, self.tracer.place(self))
        return self.tracer.call(np.ndarray.copy, (self, order), {})

    def ravel(self) -> Any:
        """As an ndarray's."""
        return self.reshape(-1)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a traced array has no attribute {name!r}")
        if name in _METHODS:
            method = getattr(np.ndarray, name)
            return lambda *args, **kwargs: self.tracer.call(method, (self, *args), kwargs)
        return getattr(self._known(f".{name}"), name)

    # Reading the values: possible for state that the step does not change

    def _known(self, what: str) -> Any:
        self.tracer.expect_to_be(active.get())
        if self.tracer.is_fixed(self):
            return self.tracer.fixed(self)
        self.tracer.refuse(
            f"{what} asks for the value of a traced array, which differs from call to call. Return "
            "the Tensor and look at it outside; use tg.where instead of if; make an array that is "
            "to be indexed outside of the step"
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        known = self._known("np.asarray(), or a function that NumPy does not hand on,")
        return np.array(known, dtype)

    def __format__(self, spec: str) -> str:
        return format(self._known("a formatted string"), spec)

    def __repr__(self) -> str:
        return f"<traced array {self.variable} {self.dtype}{self.shape}>"


def _value(argument: Any) -> Any:
    return argument.value if type(argument) is Symbol else argument


def with_item(array: Any, index: Any, value: Any) -> Any:
    """A copy of the array with ``copy[index] = value``."""
    copy = np.array(array, order="K")
    copy[index] = value
    return copy


# ndarray's methods that are pure functions, and whose shape does not depend on the values.
_METHODS = frozenset(
    ["all", "any", "argmax", "argmin", "argsort", "clip", "conj", "cumprod", "cumsum",
     "diagonal", "dot", "flatten", "max", "mean", "min", "prod", "repeat", "reshape", "round",
     "squeeze", "std", "sum", "swapaxes", "take", "trace", "transpose", "var"]
)  # fmt: skip


def _asking(name: str, what: str) -> Callable[[Symbol], Any]:
    return lambda self: getattr(self._known(what), name)()


for _name, _what in {
    "bool": "if, while, and, or, not", "float": "float()", "int": "int()", "complex": "complex()",
    "index": "an index or range()",
}.items():  # fmt: skip
    setattr(Symbol, f"__{_name}__", _asking(f"__{_name}__", _what))
