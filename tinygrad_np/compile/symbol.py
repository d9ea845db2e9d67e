"""The array that stands in for an ndarray while a function is traced.

It behaves like the ndarray whose value it carries, so that rules, forward functions and plain
NumPy code run on it unchanged; each call that it meets goes to the tracer. What would need the
value itself, such as ``if x > 0``, is an error that names the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..tensor import Tensor
from ..tracing import Traced
from .program import Value

if TYPE_CHECKING:
    from .trace import Trace

# NumPy's operator ** takes these ways for plain exponents, and so must the trace.
_POWERS = {2: np.square, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal}


class Symbol(NDArrayOperatorsMixin, Traced):
    """A traced array: its concrete value in this run, and its place in the program."""

    __slots__ = ("owner", "trace", "value", "variable")

    def __init__(self, trace: Trace, value: Any, variable: Value, owner: Any = None) -> None:
        self.trace, self.value, self.variable = trace, value, variable
        self.owner = owner  # what holds the array outside, for one that may be written to

    # What is known without looking at values

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return np.shape(self.value)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return np.ndim(self.value)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.size(self.value))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The elements' dtype."""
        return self.variable.dtype

    @property
    def base(self) -> None:
        """No ndarray's view."""
        return None

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__

    # Calls

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        if any(isinstance(item, Tensor) for item in inputs):
            return NotImplemented
        out = keywords.pop("out", None)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        result = self.trace.call(function, inputs, keywords)
        if out is None:
            return result
        return self.trace.assign(out[0], result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(issubclass(kind, Tensor) for kind in types):
            return NotImplemented
        if function is np.copyto:
            return self.trace.assign(*args, **kwargs)
        if function in (np.shape, np.ndim, np.size):
            return function(self.value)
        if function in (np.zeros_like, np.ones_like, np.full_like, np.empty_like):
            plain = [item.value if isinstance(item, Symbol) else item for item in args]
            return function(*plain, **kwargs)
        return self.trace.call(function, args, kwargs)

    def __pow__(self, exponent: Any) -> Any:
        if self.dtype.kind == "f" and type(exponent) in (int, float) and exponent in _POWERS:
            return _POWERS[exponent](self)
        return np.power(self, exponent)

    def __getitem__(self, index: Any) -> Any:
        return self.trace.call(np.ndarray.__getitem__, (self, index), {})

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
        """Itself, since traced arrays are real."""
        return self

    def reshape(self, *shape: Any) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.ndarray.reshape, (self, *shape), {})

    def transpose(self, *axes: Any) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.ndarray.transpose, (self, *axes), {})

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.ndarray.swapaxes, (self, axis1, axis2), {})

    def squeeze(self, axis: Any = None) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.ndarray.squeeze, (self, axis), {})

    def ravel(self) -> Any:
        """As an ndarray's."""
        return self.reshape(-1)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """As an ndarray's; itself where the dtype is the same already."""
        if np.dtype(dtype) == self.dtype and not copy:
            return self
        return self.trace.call(np.ndarray.astype, (self, np.dtype(dtype)), {})

    def copy(self) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.ndarray.copy, (self,), {})

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.sum, (self,), {"axis": axis, "keepdims": keepdims})

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.mean, (self,), {"axis": axis, "keepdims": keepdims})

    def prod(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.prod, (self,), {"axis": axis, "keepdims": keepdims})

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.max, (self,), {"axis": axis, "keepdims": keepdims})

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.min, (self,), {"axis": axis, "keepdims": keepdims})

    def all(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.all, (self,), {"axis": axis, "keepdims": keepdims})

    def any(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As an ndarray's."""
        return self.trace.call(np.any, (self,), {"axis": axis, "keepdims": keepdims})

    # What cannot be replayed, because it asks for the value

    def _refuse(self, what: str) -> NoReturn:
        self.trace.refuse(
            f"{what} asks for the value of a traced array, which differs from call to call: return "
            "the Tensor and look at it outside, or use tg.where instead of if"
        )

    def __bool__(self) -> bool:
        self._refuse("if, while, and, or, not")

    def __float__(self) -> float:
        self._refuse("float()")

    def __int__(self) -> int:
        self._refuse("int()")

    def __index__(self) -> int:
        self._refuse("an index or range()")

    def item(self, *args: Any) -> Any:
        """Refused: the value is not the program's to know."""
        self._refuse(".item()")

    def tolist(self) -> Any:
        """Refused: the value is not the program's to know."""
        self._refuse(".tolist()")

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        self._refuse("np.asarray() or a function that NumPy does not hand on")

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        self.trace.refuse(
            "array[index] = value changes a traced array in place: use np.where or tg.where"
        )

    def __repr__(self) -> str:
        return f"<traced array {self.variable} {self.dtype}{self.shape}>"
