"""The Tensor: an ndarray, its gradient, and the node that records how it was computed.

Operators and methods find the ops by name in a table, which ``definition.py`` fills. So this module
imports nothing from the floors above it.
"""

from __future__ import annotations

import opcode
import sys
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import graph, messages
from .arrays import Traced, aligned_copy, as_array, name_array
from .changes import SMALL, hand_out, memory_of
from .graph import Node
from .hints import of_attribute
from .numpy_calls import by_numpy, by_ufunc
from .shapes import Axis, Shape

Array = NDArray[Any]
Function = Callable[..., Any]
TensorFunction = Callable[..., "Tensor"]
N = TypeVar("N", float, int, complex)
Operand = Any
"""What ops accept as an array: a Tensor, an ndarray, a Python or NumPy number, nested lists."""


functions: dict[str, TensorFunction] = {}
"""The ops' functions by name, added by ``definition.py``."""

_METHODS = """
    abs all any argmax argmin astype clip cumprod cumsum diagonal dot exp log log_softmax logsumexp
    max mean min prod ravel relu repeat sigmoid softmax sort sqrt square squeeze std sum swapaxes
    take tanh trace var
"""
METHODS = {name: name for name in _METHODS.split()} | {
    "abs": "abs __abs__", "invert": "__invert__", "negative": "__neg__", "positive": "__pos__",
    "ravel": "ravel flatten",
}  # fmt: skip
"""Ops that are also methods, with the methods' names. ``definition.py`` adds them to Tensor."""


def _operator(name: str) -> Callable[[Tensor, Operand], Tensor]:
    """An operator by an op; NotImplemented if the other operand wants to compute it by itself.

    Python asks ``other.__radd__`` then. As in NumPy, such types say ``__array_ufunc__ = None``.
    """

    def operator(self: Tensor, other: Operand) -> Tensor:
        try:
            return functions[name](self, other)
        except TypeError:
            if getattr(type(other), "__array_ufunc__", False) is None:
                return NotImplemented  # type: ignore[no-any-return]
            raise

    return operator


def _reflected(name: str) -> Function:
    return lambda self, other: functions[name](other, self)


def _in_place(name: str, sign: str) -> Function:
    """``x += y`` makes a new Tensor and calls it x. TypeError for a leaf, which would be lost."""

    def in_place(self: Tensor, other: Operand) -> Any:
        node = self.node
        if node is not None and node.op is None and node not in graph.INPUTS:
            called = self.name if (self.name or "").isidentifier() else "w"
            message = messages.LOST_LEAF.format(w=called, sign=sign, label=self.label())
            raise TypeError(message)
        return getattr(self, name)(other)

    return in_place


def _number(kind: type[N]) -> Callable[[Tensor], N]:
    def number(self: Tensor) -> N:
        if not _is_formatting(sys._getframe(1)):
            self.refuse_to_be("a Python number")
        return kind(self.item())

    return number


# The middle of __add__, __radd__ and __iadd__, the sign, and the op.
_ARITHMETIC = [
    ("add", "+", "add"), ("sub", "-", "subtract"), ("mul", "*", "multiply"),
    ("truediv", "/", "divide"), ("floordiv", "//", "floor_divide"), ("mod", "%", "remainder"),
    ("pow", "**", "power"), ("matmul", "@", "matmul"), ("and", "&", "bitwise_and"),
    ("or", "|", "bitwise_or"),
]  # fmt: skip


class Tensor:
    """An array that records the operations on it, so that gradients can be computed.

    ``data`` is anything that ``np.asarray`` accepts, of a real, integer, boolean or complex dtype.
    A Tensor that requires grad owns its array, because optimisers write to it. Any other shares
    memory with the ndarray that it was given. Only real floating-point Tensors can require grad.

    Raises TypeError for data that is not numeric or has a mask, for a Tensor (use ``detach``), and
    for ``requires_grad`` with integers, booleans or complex numbers.

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True, name="w")
    >>> loss = (w * w).sum()
    >>> loss.backward()
    >>> w.grad
    array([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "_frozen", "_name", "array", "node")

    array: Array  # for this package; users get it as ``data``, which notes that they may write
    node: Node | None
    _name: str | None
    _frozen: Node | None  # the node of a frozen parameter

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
            raise TypeError(messages.TENSOR_OF_TENSOR)
        self.array = _numbers(data, dtype)
        self.node = self._frozen = None
        self.name = name
        self.requires_grad = requires_grad

    # What it is

    @property
    def data(self) -> Array:
        """The array itself, not a copy. Set it to replace the values, e.g. ``w.data -= step``.

        A Tensor that requires grad copies the new values, because optimisers write to its array.
        Write to the array after ``backward``, not between forward and backward (see there).
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
        if node is not None:
            if node.op is not None:
                raise ValueError(messages.COMPUTED_DATA)
            if array.shape != node.shape or array.dtype != node.dtype:
                raise ValueError(messages.OTHER_DATA.format(array=array, label=self.label()))
            array = array if isinstance(array, Traced) else _own(array)
            node.memory = memory_of(array)
        self.array = array
        self.name = self._name  # also of the new array

    @property
    def grad(self) -> Array | None:
        """The gradient that ``backward`` has accumulated: an ndarray of this shape and dtype."""
        node = self.own_node()
        if node is not None and node.op is not None:
            raise RuntimeError(messages.COMPUTED_GRAD.format(label=self.label()))
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
        """Whether gradients flow to this Tensor. Leaves can switch it on and off.

        To switch a leaf off is to freeze it: ops do not record it, but it stays a parameter of its
        module and keeps its ``.grad``. Graphs that were recorded before still lead to it.
        """
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool | np.bool):
            raise TypeError(messages.TRUE_OR_FALSE.format(value=value))
        if bool(value) == self.requires_grad:
            return
        if not self.is_leaf:
            raise ValueError("requires_grad of a computed Tensor cannot be changed: use detach()")
        if self.is_frozen or not value:
            self.node, self._frozen = self._frozen, self.node
            return
        if self.dtype.kind != "f":
            raise TypeError(messages.NOT_FLOATING.format(dtype=self.dtype))
        self.array = _own(self.array)
        self.node = Node(None, (), (), self.shape, self.dtype)
        self.node.memory = memory_of(self.array)
        self.name = self._name  # also of the node and of the copied array

    @property
    def is_leaf(self) -> bool:
        """Whether this Tensor was made directly, not computed by a recorded op."""
        return self.node is None or self.node.op is None

    @property
    def is_frozen(self) -> bool:
        """Whether this is a leaf whose ``requires_grad`` was switched off."""
        return self._frozen is not None

    def own_node(self) -> Node | None:
        """The node, also that of a frozen leaf. It holds the gradient."""
        return self.node or self._frozen

    def _hand_out(self) -> None:
        """Note that the user gets the array. (The graph copies small arrays anyway.)"""
        if self.node is not None and type(self.array) is np.ndarray and self.array.nbytes > SMALL:
            hand_out(weakref.ref(self.array))

    def label(self) -> str:
        """Name, shape and dtype in a few words, for messages."""
        name = f" {self._name!r}" if self._name else ""
        return f"Tensor{name} of shape {self.shape}, {self.dtype}"

    def __repr__(self) -> str:
        return messages.shown(self)

    # Gradients

    def backward(
        self,
        gradient: ArrayLike | Tensor | None = None,
        create_graph: bool = False,
        retain_graph: bool | None = None,
    ) -> None:
        """Add d self / d leaf to ``leaf.grad`` for every leaf that this Tensor depends on.

        ``gradient`` (of this Tensor's shape) weights the elements; a scalar does not need it. The
        pass releases the graph, unless ``retain_graph``. With ``create_graph`` the rules run as
        recorded ops and the graph is kept; ``.grad`` is an ndarray even so: use ``tg.grad`` for
        gradients that can be differentiated again.

        Raises RuntimeError if there is no graph or it was already consumed, ValueError for a
        non-scalar without ``gradient`` or for a gradient of another shape, and ChangedArrayError if
        an optimiser, or a write through ``data``, has changed an array since the forward pass that
        the pass needs. (The graph copies arrays up to 4 KB, indices and conditions: gradients are
        then those of the values in the forward pass. Of larger ndarrays, such as a batch buffer, it
        compares 64 elements: it notices a buffer that was filled again, but a change of a few
        elements only inside ``tg.debug()``.)

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
        self.grad = None

    def detach(self) -> Tensor:
        """The same array as a constant: gradients stop here."""
        self._hand_out()
        return wrap(self.array, None)

    # Back to plain NumPy and Python

    def numpy(self) -> Array:
        """The array itself: the same as ``data``."""
        return self.data

    def item(self) -> Any:
        """The one element as a Python number. Raises ValueError if there are several."""
        return self.array.item()

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return self.array.tolist()

    if TYPE_CHECKING:
        # The dtype has no arithmetic. So type checkers accept np.tanh(tensor), because NumPy's
        # functions accept what has an __array__, but do not take ndarray @ tensor for an ndarray.
        def __array__(self) -> np.ndarray[Any, np.dtype[np.void]]: ...

    else:

        def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
            raise TypeError(messages.NO_NDARRAY.format(label=self.label()))

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(of_attribute(name), name=name, obj=self)

        @property
        def _data(self) -> Array:
            """What np.ma reads from every operand."""
            self.refuse_to_be("an operand of a masked array")
            return self.array

    def refuse_to_be(self, what: str) -> None:
        """TypeError if this would cut a graph that is still to be used."""
        if graph.is_recording() and graph.still_to_be_used(self.node):
            raise TypeError(messages.CUT.format(label=self.label(), what=what))

    def __bool__(self) -> bool:
        return bool(self.array)

    __float__, __int__, __complex__ = _number(float), _number(int), _number(complex)

    def __index__(self) -> int:
        self.refuse_to_be("an index")
        return self.array.__index__()

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d Tensor")
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    # NumPy's protocols: np.tanh(tensor), ndarray + tensor, np.concatenate([tensor, ...])

    __array_ufunc__ = by_ufunc

    def __array_function__(
        self, func: Function, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return by_numpy(func, args, kwargs)

    # Operators, and methods that the functions of the same name document

    __hash__ = object.__hash__
    __lt__, __le__ = _operator("less"), _operator("less_equal")
    __gt__, __ge__ = _operator("greater"), _operator("greater_equal")
    __eq__, __ne__ = _operator("equal"), _operator("not_equal")  # type: ignore[assignment]

    def __getitem__(self, index: Any) -> Tensor:
        return functions["getitem"](self, plain(index))

    def __divmod__(self, other: Operand) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __rdivmod__(self, other: Operand) -> tuple[Tensor, Tensor]:
        return other // self, other % self

    if TYPE_CHECKING:  # those of _ARITHMETIC and METHODS
        # fmt: off
        def __add__(self, other: Operand) -> Tensor: ...
        __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = __matmul__ = __add__
        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __add__
        __rpow__ = __rmatmul__ = __and__ = __rand__ = __or__ = __ror__ = dot = __add__
        def exp(self) -> Tensor: ...
        log = tanh = sigmoid = relu = square = sqrt = abs = ravel = flatten = exp
        __neg__ = __pos__ = __invert__ = __abs__ = exp
        def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        mean = prod = max = min = all = any = logsumexp = sum
        def var(self, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor: ...
        std = var
        def softmax(self, axis: int = -1) -> Tensor: ...
        log_softmax = sort = softmax
        def cumsum(self, axis: int | None = None) -> Tensor: ...
        cumprod = cumsum
        def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
        argmin = argmax
        def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor: ...
        diagonal = trace
        def swapaxes(self, axis1: int, axis2: int) -> Tensor: ...
        def squeeze(self, axis: Axis = None) -> Tensor: ...
        def clip(self, a_min: Operand = None, a_max: Operand = None) -> Tensor: ...
        def repeat(self, repeats: Any, axis: int | None = None) -> Tensor: ...
        def take(self, indices: Any, axis: int | None = None) -> Tensor: ...
        def astype(self, dtype: DTypeLike, copy: bool = True) -> Tensor: ...
        # fmt: on

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(messages.SET_ITEM)

    @property
    def T(self) -> Tensor:
        """The Tensor with its axes in reverse order."""
        return functions["transpose"](self)

    @property
    def mT(self) -> Tensor:
        """The Tensor with its last two axes swapped: the transpose of each matrix."""
        if self.ndim < 2:
            raise ValueError(f"mT needs at least two axes; this is a {self.label()}")
        return functions["swapaxes"](self, -1, -2)

    def reshape(self, *shape: Any) -> Tensor:
        """See ``tg.reshape``; takes ``reshape(2, 3)`` and ``reshape((2, 3))``, as ndarrays do."""
        return functions["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """See ``tg.transpose``; takes the axes as ndarrays do."""
        return functions["transpose"](self, axes[0] if len(axes) == 1 else axes or None)


for _short, _sign, _name in _ARITHMETIC:
    setattr(Tensor, f"__{_short}__", _operator(_name))
    setattr(Tensor, f"__r{_short}__", _reflected(_name))
    setattr(Tensor, f"__i{_short}__", _in_place(f"__{_short}__", _sign))


def _is_formatting(frame: FrameType) -> bool:
    """Whether a frame is at ``"%.3f" % tensor``, for which Python calls ``__float__``.

    For other operands ``%`` never calls it, because Tensors have ``__rmod__``.
    """
    code, at = frame.f_code.co_code, frame.f_lasti
    return opcode.opname[code[at]] == "BINARY_OP" and code[at + 1] in (6, 19)  # % and %=


def _numbers(data: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(messages.MASKED)
    array: Array = as_array(data, dtype)
    if array.dtype.kind not in "fiubc":
        raise TypeError(f"a Tensor holds numbers; got {type(data).__name__} of dtype {array.dtype}")
    return array


def _own(array: Array) -> Array:
    """A copy for a Tensor that requires grad."""
    return array.copy() if isinstance(array, Traced) else aligned_copy(array)


def wrap(data: Array, node: Node | None) -> Tensor:
    """A Tensor of an array and its node, without checks: for ops."""
    tensor = Tensor.__new__(Tensor)
    tensor.array = data
    tensor.node = node
    tensor._frozen = None
    tensor._name = None
    return tensor


def plain(value: Any) -> Any:
    """The array of a Tensor; other values unchanged. Tuples and lists are copied, with arrays."""
    if isinstance(value, Tensor):
        return value.array
    if isinstance(value, (tuple, list)):
        items = [plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def lift(node: Node) -> tuple[Any, ...]:
    """A node's saved values for rules that are recorded: arrays of the graph become Tensors.

    An input gets the node of its parent, the output the node itself; constants stay as they are.
    The order is that of ``definition.py``: one entry per parent, the output, the extras.
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
    """``graph.backward`` on Tensors: rules run as recorded ops, and the graph is kept."""
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
    """A Tensor's node, and the gradient that a backward pass starts from: checked; 1 by default."""
    node = tensor.node
    if node is not None and gradient is None and tensor.size == 1:
        return node, np.ones(tensor.shape, tensor.dtype)
    label = tensor.label()
    if node is None:
        why = messages.NO_GRAPH if tensor.dtype.kind == "f" else messages.NO_GRADIENTS
        raise RuntimeError(why.format(tensor=label, dtype=tensor.dtype))
    if gradient is None:
        raise ValueError(messages.NOT_SCALAR.format(tensor=label))
    array = as_array(plain(gradient))
    if array.shape != tensor.shape:
        raise ValueError(f"the gradient has shape {array.shape}, but it belongs to a {label}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the gradient must hold real numbers, got dtype {array.dtype}")
    return node, array.astype(tensor.dtype, copy=False)
