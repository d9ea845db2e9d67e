"""The Tensor: an ndarray, its gradient, and the node that remembers where it came from.

Operators and methods call the ops by name through ``ops``, a namespace that ``definition.py`` fills
as the ops are defined: so this floor needs nothing from the floors above it.
"""

from __future__ import annotations

import functools
import inspect
import opcode
import sys
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import graph
from .arrays import Traced, aligned_copy, as_array, name_array
from .changes import SMALL, hand_out, memory_of
from .graph import Node
from .hints import of_attribute
from .shapes import Axis, Shape

Array = NDArray[Any]
Function = Callable[..., Any]
TensorFunction = Callable[..., "Tensor"]
Operand = Any
"""What an op takes for an array: a Tensor, an ndarray, a Python or NumPy number, nested lists."""


# What NumPy's functions take for these when they are not given.
_DEFAULTS = {
    "casting": "same_kind", "dtype": None, "initial": np._NoValue, "keepdims": np._NoValue,
    "out": None, "where": np._NoValue,
}  # fmt: skip

# The arguments of BINARY_OP that stand for % and %=.
_PERCENT = (6, 19)


class _Ops:
    """The ops' functions as attributes, added by ``definition.py``."""

    def __getattr__(self, name: str) -> TensorFunction:
        raise AttributeError(f"no op is called {name!r}: was tinygrad_np.ops imported?")


ops = _Ops()
NUMPY: dict[Function, Function] = {}
"""NumPy's functions, and what to call instead when one of their arguments is a Tensor."""


METHODS = frozenset([
    "abs", "all", "any", "argmax", "argmin", "astype", "clip", "cumprod", "cumsum", "diagonal",
    "dot", "exp", "log", "log_softmax", "logsumexp", "max", "mean", "min", "prod", "ravel", "relu",
    "repeat", "sigmoid", "softmax", "sort", "sqrt", "square", "squeeze", "std", "sum", "swapaxes",
    "take", "tanh", "trace", "var",
])  # fmt: skip
"""Ops that are methods of Tensors as well: ``definition.py`` adds them as they are defined."""


def _operator(name: str) -> Callable[[Tensor, Operand], Tensor]:
    """An operator by an op; NotImplemented for an operand that wants to do it by itself.

    Python asks ``other.__radd__`` then. As NumPy has it, such types say ``__array_ufunc__ = None``.
    """
    functions: dict[str, TensorFunction] = vars(ops)

    def operator(self: Tensor, other: Operand) -> Tensor:
        try:
            return functions[name](self, other)
        except TypeError:
            if getattr(type(other), "__array_ufunc__", False) is None:
                return NotImplemented  # type: ignore[no-any-return]
            raise

    return operator


def _in_place(operator: str, sign: str) -> Callable[[Tensor, Operand], Tensor]:
    """``x += y`` makes a new Tensor of the name x, but leaves are not lost so."""

    def in_place(self: Tensor, other: Operand) -> Tensor:
        result: Tensor = getattr(self._rebound(sign), operator)(other)
        return result

    return in_place


class Tensor:
    """An array whose operations are remembered, so that gradients can be computed.

    ``data`` is anything ``np.asarray`` takes, of a real, integer, boolean or complex dtype.
    A Tensor that requires grad owns its array, because optimisers write to it; any other shares
    its memory with the ndarray it was given. Only real floating dtypes can require grad.

    Raises TypeError for data that is not numeric or has a mask, for a Tensor (use ``detach``), and
    where ``requires_grad`` meets integers, booleans or complex numbers.

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True, name="w")
    >>> loss = (w * w).sum()
    >>> loss.backward()
    >>> w.grad
    array([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "_frozen", "_name", "array", "node")

    array: Array  # for the package: ``data`` tells the graph that it may be written to
    node: Node | None
    _name: str | None
    _frozen: Node | None  # the node of a parameter that is frozen

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Tensor is not made for subclassing: hold one as an attribute instead")

    def __init__(
        self,
        data: ArrayLike,
        requires_grad: bool = False,
        dtype: DTypeLike | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(data, Tensor):
            raise TypeError(
                "Tensor(tensor) would cut the graph without a word: "
                "use tensor.detach(), or Tensor(tensor.data) where a new leaf is meant"
            )
        self.array = _numbers(data, dtype)
        self.node = self._frozen = None
        self.name = name
        if requires_grad is not False:
            self.requires_grad = requires_grad

    # What it is

    @property
    def data(self) -> Array:
        """The array itself, not a copy. Set it to replace the values, e.g. ``w.data -= step``.

        A Tensor that requires grad takes a copy, so that optimisers write to no other's array.
        Write to it after ``backward``, not between forward and backward: see there.
        """
        self._hand_out()
        return self.array

    @data.setter
    def data(self, value: ArrayLike) -> None:
        if value is self.array:
            return
        if isinstance(value, Tensor):
            raise TypeError("tensor.data is an ndarray: assign other.data, not the Tensor")
        node = self.own_node()
        array = _numbers(value)
        if node is not None and node.op is not None:
            raise ValueError(
                "this Tensor was computed: its graph holds the old values, and gradients would "
                "be wrong. Replace the data of leaves only, or work on tensor.detach()"
            )
        if node is not None and (array.shape != node.shape or array.dtype != node.dtype):
            raise ValueError(
                f"data of shape {array.shape}, {array.dtype} cannot replace {self.label()}: a "
                "Tensor that requires grad, or that is frozen, keeps its shape and dtype. Make a "
                "new Tensor instead"
            )
        if node is None:
            self.array = array
        else:  # its own array, as ever, unless nobody can write to the one given
            self.array = array if isinstance(array, Traced) else _own(array)
            node.memory = memory_of(self.array)
        self.name = self._name  # the new array's, too

    @property
    def grad(self) -> Array | None:
        """The gradient that ``backward`` accumulated: an ndarray of the same shape and dtype."""
        node = self.own_node()
        if node is not None and node.op is not None:
            raise RuntimeError(
                f"the {self.label()} was computed, and only leaves collect gradients in .grad: "
                "write tg.grad(loss, tensor) for the gradient of a computed Tensor"
            )
        return None if node is None else node.grad

    @grad.setter
    def grad(self, value: ArrayLike | None) -> None:
        node = self.own_node()
        if node is None:
            if value is not None:
                raise ValueError(f"{self.label()} does not require grad: it cannot hold one")
            return
        if value is not None:
            array = as_array(value)
            if array.shape != self.shape:
                raise ValueError(f"a gradient of shape {array.shape} for {self.label()}")
            value = array.astype(self.dtype, copy=False)
        node.grad = value

    @property
    def shape(self) -> Shape:
        """The lengths of the axes."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The elements' NumPy dtype."""
        return self.array.dtype

    @property
    def name(self) -> str | None:
        """A name for messages, tables and drawings."""
        return self._name

    @name.setter
    def name(self, name: str | None) -> None:
        self._name = name
        if name is not None:
            name_array(self.array, name)
        node = self.own_node()
        if node is not None:
            node.name = name

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this Tensor. Can be switched on and off on leaves.

        A leaf that is switched off is frozen: ops do not record it, and it stays a parameter of its
        module. It keeps its ``.grad``, and graphs that were recorded before still lead to it.
        """
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool | np.bool):
            raise TypeError(
                f"requires_grad must be True or False, got {value!r}: "
                "a dtype is given by name, Tensor(data, dtype=np.float32)"
            )
        if bool(value) == self.requires_grad:
            return
        if not self.is_leaf:
            raise ValueError("requires_grad of a computed Tensor cannot be changed: use detach()")
        if not value:
            assert self.node is not None
            self._frozen, self.node = self.node, None
            return
        if self.is_frozen:
            self.node, self._frozen = self._frozen, None
            return
        if self.dtype.kind != "f":
            raise TypeError(
                f"only real floating-point Tensors can require grad, this one is {self.dtype}: "
                "write Tensor(data, dtype=np.float32, requires_grad=True)"
            )
        self.array = _own(self.array)
        self.node = Node(None, (), (), self.shape, self.dtype)
        self.node.memory = memory_of(self.array)
        self.name = self._name  # the node's and the copied array's

    @property
    def is_leaf(self) -> bool:
        """Whether this Tensor was made by hand, not computed by a recorded op."""
        return self.node is None or self.node.op is None

    @property
    def is_frozen(self) -> bool:
        """Whether this is a leaf that required grad until ``requires_grad`` was switched off."""
        return self._frozen is not None

    def own_node(self) -> Node | None:
        """The node that holds the gradient, also of a frozen leaf."""
        return self.node or self._frozen

    def _hand_out(self) -> None:
        """Be prepared for changes of the array: small ones the graph copies anyway."""
        if self.node is not None and type(self.array) is np.ndarray and self.array.nbytes > SMALL:
            hand_out(weakref.ref(self.array))

    def label(self) -> str:
        """For messages: name, dtype and shape in a few words."""
        name = f" {self._name!r}" if self._name else ""
        return f"Tensor{name} of shape {self.shape}, {self.dtype}"

    def __repr__(self) -> str:
        body = np.array2string(self.array, separator=", ", prefix="Tensor(", threshold=50)
        facts = [f"shape={self.shape}", f"dtype={self.dtype}"] if self.ndim else [f"{self.dtype}"]
        if self._name:
            facts.append(f"name={self._name!r}")
        if self.node is not None:
            facts.append("requires_grad" if self.node.op is None else f"op={self.node.op.name}")
        if self.is_frozen:
            facts.append("frozen")
        return f"Tensor({body}, {', '.join(facts)})"

    # Gradients

    def backward(
        self,
        gradient: ArrayLike | Tensor | None = None,
        create_graph: bool = False,
        retain_graph: bool | None = None,
    ) -> None:
        """Add d self / d leaf to ``leaf.grad`` for every leaf that this Tensor depends on.

        ``gradient`` (this Tensor's shape) weighs the elements and may be left out for a scalar.
        The graph is released on the way unless ``retain_graph``. ``create_graph`` runs the rules
        as recorded ops and keeps the graph; ``.grad`` is an ndarray all the same: use ``grad()``
        for gradients that can be differentiated again.

        Raises RuntimeError where there is no graph or it was already consumed, ValueError for a
        non-scalar without ``gradient`` or a gradient of another shape, and ChangedArrayError where
        an array that it needs was changed since the forward pass: by an optimiser, or through
        ``data``. (Arrays up to 4 KB, indices and conditions are copied: gradients are then those of
        the values that the forward pass saw. Of larger ndarrays, such as a batch buffer, 64
        elements are compared: a buffer filled anew is noticed, a change of few elements only inside
        ``tg.debug()``.)

        >>> import tinygrad_np as tg
        >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
        >>> (x ** 2).backward(gradient=[1.0, 10.0])
        >>> x.grad
        array([ 2., 40.])
        """
        node, start = seed(self, gradient)
        if create_graph:
            lifted = recorded_backward({node: start}, None)
            found = {leaf: plain(value).copy() for leaf, value in lifted.items()}
        else:
            found = graph.backward({node: start}, retain=bool(retain_graph))
        graph.accumulate(found)

    def zero_grad(self) -> None:
        """Forget the accumulated gradient (``.grad`` becomes None)."""
        node = self.own_node()
        if node is not None:
            node.grad = None

    def detach(self) -> Tensor:
        """The same array, without its past: gradients stop here."""
        self._hand_out()
        return wrap(self.array, None)

    # Back to plain NumPy and Python

    def numpy(self) -> Array:
        """The array itself: the same as ``data``."""
        return self.data

    def item(self) -> Any:
        """The one element as a Python number. Raises ValueError where there are more."""
        return self.array.item()

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return self.array.tolist()

    if TYPE_CHECKING:
        # Of a dtype that has no arithmetic: np.tanh(tensor) is allowed, as NumPy's functions take
        # what has an __array__, but ndarray @ tensor is not taken for an ndarray.
        def __array__(self) -> np.ndarray[Any, np.dtype[np.void]]: ...

    else:

        def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
            raise TypeError(
                f"a {self.label()} does not turn into an ndarray by itself, because its graph "
                "would be lost without a word: write tensor.data (or tensor.detach() to stay a "
                "Tensor); to join Tensors, use tg.stack or tg.concatenate"
            )

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(of_attribute(name), name=name, obj=self)

        @property
        def _data(self) -> Array:
            """What np.ma reads of anything that it meets."""
            self.refuse_to_be("an operand of a masked array")
            return self.array

    def refuse_to_be(self, what: str) -> None:
        """TypeError where the graph is still to be used, and would be cut."""
        if graph.is_recording() and still_to_be_used(self.node):
            raise TypeError(
                f"a {self.label()} cannot become {what}: its graph would be cut, and gradients "
                "would be wrong. Write tensor.item() for a plain number, or tensor.detach() for a "
                "constant; functions of Tensors are tg.cos(t), tg.where(mask, t, other), "
                "tg.stack([t, ...]) (not math.cos, array[mask] = t)"
            )

    def _rebound(self, operator: str) -> Tensor:
        """This Tensor, for an operator that gives a new one; TypeError for a leaf."""
        node = self.node
        if node is not None and node.op is None and node not in graph.INPUTS:
            name = self._name if (self._name or "").isidentifier() else "w"
            raise TypeError(
                f"{name} {operator} ... does not change this leaf, a {self.label()}: it makes "
                f"{name} the name of a new Tensor that is not a leaf. To update its values, write "
                f"{name}.data {operator} ... (with arrays, such as {name}.grad), or use an "
                f"optimiser (tg.optim). For a new Tensor, write {name} = {name} {operator[:-1]} ..."
            )
        return self

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> float:
        if not _is_formatting(sys._getframe(1)):
            self.refuse_to_be("a Python number")
        return float(self.item())

    def __int__(self) -> int:
        if not _is_formatting(sys._getframe(1)):
            self.refuse_to_be("a Python number")
        return int(self.item())

    def __complex__(self) -> complex:
        self.refuse_to_be("a Python number")
        return complex(self.item())

    def __index__(self) -> int:
        self.refuse_to_be("an index")
        return self.array.__index__()

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d Tensor")
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d Tensor")
        return (self[i] for i in range(len(self)))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    # Copies: of leaves and constants. A computed Tensor's copy would need a copy of its graph.

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise TypeError(
                f"a computed Tensor cannot be copied or pickled, its graph cannot travel: "
                f"use tensor.detach() ({self.label()})"
            )
        return _copied, (
            self.array, self.requires_grad, self._name, self.grad, self.is_frozen,
        )  # fmt: skip

    # NumPy's protocols: np.tanh(tensor), ndarray + tensor, np.concatenate([tensor, ...])

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        if keywords.get("out") is not None:
            raise TypeError(
                f"{_full_name(ufunc)} cannot write its result into an array where a Tensor takes "
                "part (array += tensor does that too): the graph would be lost. "
                "Write array = array + tensor, or use tensor.data"
            )
        function = NUMPY.get(ufunc)
        if method != "__call__" or function is None:
            raise _no_gradient(ufunc, "" if method == "__call__" else f".{method}")
        return function(*inputs, **keywords)

    def __array_function__(
        self, func: Function, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return by_numpy(func, args, kwargs)

    # Operators, and the method forms that the functions of the same name document

    __hash__ = object.__hash__

    # fmt: off
    __add__ = _operator("add")
    def __radd__(self, other: Operand) -> Tensor: return ops.add(other, self)
    __sub__ = _operator("subtract")
    def __rsub__(self, other: Operand) -> Tensor: return ops.subtract(other, self)
    __mul__ = _operator("multiply")
    def __rmul__(self, other: Operand) -> Tensor: return ops.multiply(other, self)
    __truediv__ = _operator("divide")
    def __rtruediv__(self, other: Operand) -> Tensor: return ops.divide(other, self)
    __floordiv__ = _operator("floor_divide")
    def __rfloordiv__(self, other: Operand) -> Tensor: return ops.floor_divide(other, self)
    __mod__ = _operator("remainder")
    def __rmod__(self, other: Operand) -> Tensor: return ops.remainder(other, self)
    __pow__ = _operator("power")
    def __rpow__(self, other: Operand) -> Tensor: return ops.power(other, self)
    def __divmod__(self, other: Operand) -> Any: return self // other, self % other
    def __rdivmod__(self, other: Operand) -> Any: return other // self, other % self
    __matmul__ = _operator("matmul")
    def __rmatmul__(self, other: Operand) -> Tensor: return ops.matmul(other, self)
    def __neg__(self) -> Tensor: return ops.negative(self)
    def __pos__(self) -> Tensor: return ops.positive(self)
    def __abs__(self) -> Tensor: return ops.abs(self)
    __lt__ = _operator("less")
    __le__ = _operator("less_equal")
    __gt__ = _operator("greater")
    __ge__ = _operator("greater_equal")
    def __invert__(self) -> Tensor: return ops.invert(self)
    __and__ = _operator("bitwise_and")
    def __rand__(self, other: Operand) -> Tensor: return ops.bitwise_and(other, self)
    __or__ = _operator("bitwise_or")
    def __ror__(self, other: Operand) -> Tensor: return ops.bitwise_or(other, self)
    __iadd__ = _in_place("__add__", "+=")
    __isub__ = _in_place("__sub__", "-=")
    __imul__ = _in_place("__mul__", "*=")
    __itruediv__ = _in_place("__truediv__", "/=")
    __ifloordiv__ = _in_place("__floordiv__", "//=")
    __imod__ = _in_place("__mod__", "%=")
    __ipow__ = _in_place("__pow__", "**=")
    __imatmul__ = _in_place("__matmul__", "@=")
    __iand__ = _in_place("__and__", "&=")
    __ior__ = _in_place("__or__", "|=")
    def __getitem__(self, index: Any) -> Tensor: return ops.getitem(self, plain(index))

    def flatten(self) -> Tensor: return ops.ravel(self)

    if TYPE_CHECKING:  # the ops of METHODS: see there
        def cumsum(self, axis: int | None = None) -> Tensor: ...
        def cumprod(self, axis: int | None = None) -> Tensor: ...
        def dot(self, y: Operand) -> Tensor: ...
        def ravel(self) -> Tensor: ...
        def swapaxes(self, axis1: int, axis2: int) -> Tensor: ...
        def squeeze(self, axis: Axis = None) -> Tensor: ...
        def sort(self, axis: int = -1) -> Tensor: ...
        def square(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def sigmoid(self) -> Tensor: ...
        def relu(self) -> Tensor: ...
        def softmax(self, axis: int = -1) -> Tensor: ...
        def log_softmax(self, axis: int = -1) -> Tensor: ...
        def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def var(self, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor: ...
        def std(self, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor: ...
        def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
        def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
        def clip(self, a_min: Operand = None, a_max: Operand = None) -> Tensor: ...
        def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor: ...
        def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor: ...
        def repeat(self, repeats: Any, axis: int | None = None) -> Tensor: ...
        def take(self, indices: Any, axis: int | None = None) -> Tensor: ...
        def astype(self, dtype: DTypeLike, copy: bool = True) -> Tensor: ...
    # fmt: on

    __eq__ = _operator("equal")  # type: ignore[assignment]  # elementwise, as NumPy's
    __ne__ = _operator("not_equal")  # type: ignore[assignment]

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(
            "a Tensor cannot be changed in place, its graph may need the old values: use "
            "tg.where(mask, value, tensor), or write to a leaf's array, tensor.data[index] = value"
        )

    @property
    def T(self) -> Tensor:
        """The Tensor with its axes in reverse order."""
        return ops.transpose(self)

    @property
    def mT(self) -> Tensor:
        """The Tensor with its last two axes swapped: the transpose of each matrix."""
        if self.ndim < 2:
            raise ValueError(f"mT needs at least two axes; this is a {self.label()}")
        return ops.swapaxes(self, -1, -2)

    def reshape(self, *shape: Any) -> Tensor:
        """See ``tg.reshape``; takes ``reshape(2, 3)`` and ``reshape((2, 3))``, as ndarrays do."""
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """See ``tg.transpose``; takes the axes as ndarrays do."""
        return ops.transpose(self, axes[0] if len(axes) == 1 else axes or None)


def still_to_be_used(node: Node | None) -> bool:
    """Whether a backward pass from here would still reach a leaf, through no released node."""
    if node is None or node.op is None:
        return node is not None
    seen, stack = {node}, [node]
    while stack:
        node = stack.pop()
        if node.op is None:
            return True
        if node.saved is not None:
            fresh = [p for p in node.parents if p is not None and p not in seen]
            seen.update(fresh)
            stack += fresh
    return False


def _is_formatting(frame: FrameType) -> bool:
    """Whether a frame is at ``"%.3f" % tensor``, which Python does by ``__float__`` as well.

    Between other operands ``%`` never asks for a float: Tensors have an ``__rmod__``.
    """
    code, at = frame.f_code.co_code, frame.f_lasti
    return opcode.opname[code[at]] == "BINARY_OP" and code[at + 1] in _PERCENT


def _numbers(data: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(
            "a Tensor has no mask, and that of the MaskedArray would be lost: write "
            "Tensor(masked.filled(0)), or Tensor(masked.data) with tg.where(masked.mask, 0, tensor)"
        )
    array: Array = as_array(data, dtype)
    if array.dtype.kind not in "fiubc":
        raise TypeError(f"a Tensor holds numbers; got {type(data).__name__} of dtype {array.dtype}")
    return array


def _own(array: Array) -> Array:
    """A copy for a Tensor that requires grad."""
    return array.copy() if isinstance(array, Traced) else aligned_copy(array)


def _copied(
    data: Array, requires_grad: bool, name: str | None, grad: Array | None, frozen: bool = False
) -> Tensor:
    tensor = Tensor(data.copy(), requires_grad or frozen, name=name)
    tensor.grad = None if grad is None else grad.copy()
    if frozen:
        tensor.requires_grad = False
    return tensor


def by_numpy(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What one of NumPy's functions gives for Tensors; TypeError where no op stands for it."""
    function = NUMPY.get(func)
    if function is None:
        raise _no_gradient(func)
    if len(args) > 2 and (names := _names_from_third(func)):
        args, kwargs = args[:2], dict(zip(names, args[2:], strict=False)) | kwargs
    # np.row_stack, say, gives np.vstack such defaults that nobody has asked for.
    given = {k: v for k, v in kwargs.items() if k not in _DEFAULTS or v is not _DEFAULTS[k]}
    return function(*args, **given)


@functools.cache
def _names_from_third(function: Function) -> tuple[str, ...]:
    """NumPy's names for its third argument on, where that is ``dtype`` or ``out``; else none.

    Ops have neither: by place, they would take it for their next argument.
    """
    try:
        names = tuple(inspect.signature(function).parameters)[2:]
    except ValueError:  # some of NumPy's functions in C do not tell theirs
        return ()
    return names if names[:1] in (("dtype",), ("out",)) else ()


def _full_name(function: Any) -> str:
    """``np.exp``; of a ufunc that is not NumPy's, which do not say whose they are, ``erf``."""
    name: str = function.__name__
    if isinstance(function, np.ufunc):
        return f"np.{name}" if getattr(np, name, None) is function else f"ufunc {name!r}"
    return f"{(getattr(function, '__module__', None) or 'numpy').replace('numpy', 'np')}.{name}"


def _no_gradient(function: Any, method: str = "") -> TypeError:
    own = isinstance(function, np.ufunc) and getattr(np, function.__name__, None) is not function
    return TypeError(
        f"{_full_name(function)}{method} has no gradient here: use one of tg.OPS, or tensor.data "
        f"where no gradient is needed{'; tg.ufunc makes an op of it' if own else ''}"
    )


def wrap(data: Array, node: Node | None) -> Tensor:
    """A Tensor around an array and its node, with no check: for ops, which know what they do."""
    tensor = Tensor.__new__(Tensor)
    tensor.array = data
    tensor.node = node
    tensor._frozen = None
    tensor._name = None
    return tensor


def plain(value: Any) -> Any:
    """A Tensor's array, whatever else unchanged; also inside tuples and lists, which are copied."""
    if isinstance(value, Tensor):
        return value.array
    if isinstance(value, (tuple, list)):
        items = [plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def lift(node: Node) -> tuple[Any, ...]:
    """A node's saved values for rules that are to be recorded: arrays of the graph as Tensors.

    Inputs keep their own past, the output has the node itself; constants stay as they are. The
    order is that of ``definition.py``: one entry per parent, then the output, then constants.
    """
    saved, parents = node.saved, node.parents
    assert saved is not None
    count = len(parents)
    inputs = [
        value if parent is None or value is None else wrap(value, parent)
        for value, parent in zip(saved, parents, strict=False)
    ]
    out = saved[count]
    extras = list(saved[count + 1 :])
    residual = getattr(node.op, "residual", None)
    if residual is not None:
        names = residual[1].__code__.co_varnames[count : residual[1].__code__.co_argcount]
        settings = dict(zip(node.op.extras, extras, strict=True))  # type: ignore[union-attr]
        extras[-1] = residual[1](*inputs, *[settings[name] for name in names])
    return (*inputs, None if out is None else wrap(out, node), *extras)


def recorded_backward(seeds: dict[Node, Any], targets: list[Node] | None) -> dict[Node, Any]:
    """``graph.backward`` on Tensors, as recorded ops; the graph is kept."""
    starts = {n: g if isinstance(g, Tensor) else wrap(g, None) for n, g in seeds.items()}
    now, mode = graph.tick(), graph.recording.set(graph.recording.get() or True)
    try:
        found = graph.backward(starts, targets, lift=lift, retain=True)
    finally:
        graph.recording.reset(mode)
    for node in graph.reachable([g.node for g in found.values() if getattr(g, "node", None)]):
        if node.tick > now:
            node.in_backward = True
    return found


def seed(tensor: Tensor, gradient: ArrayLike | Tensor | None) -> tuple[Node, Array]:
    """A Tensor's node with the gradient a backward pass starts from, checked; 1 for a scalar."""
    node = tensor.node
    if node is not None and gradient is None and tensor.size == 1:
        return node, np.ones(tensor.shape, tensor.dtype)
    label = tensor.label()
    if node is None:
        if tensor.dtype.kind != "f":
            why = f"it is of dtype {tensor.dtype}; only real floating-point Tensors have gradients"
        else:
            why = (
                "neither it nor anything it was computed from requires grad (or it was computed "
                "inside no_grad()). Make a leaf with Tensor(data, requires_grad=True)"
            )
        raise RuntimeError(f"no graph leads to this {label}: {why}")
    if gradient is None:
        raise ValueError(
            f"the non-scalar {label} needs a gradient of the same shape to start from: write "
            "y.backward(gradient), or reduce first, e.g. y.sum().backward()"
        )
    array = as_array(plain(gradient))
    if array.shape != tensor.shape:
        raise ValueError(f"the gradient has shape {array.shape}, but it belongs to a {label}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the gradient must hold real numbers, got dtype {array.dtype}")
    return node, array.astype(tensor.dtype, copy=False)
