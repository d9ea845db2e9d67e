"""Rules for shapes and axes as a person writes them, with NumPy's broadcasting."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from ..compiler.program import Call, Value, is_elementwise
from ..ops.axes import kept_shape
from .calls import FOLDED, Made, become, folded
from .literals import filled, is_number


def plainer(call: Call, made: Made) -> bool:
    """One notation for each thing: products of matrices with @, transposes with .T, np.mean(x)."""
    function, args = call.function, call.args
    if function is np.dot and all(len(getattr(a, "shape", ())) == 2 for a in args):
        return become(call, np.matmul, *args)
    if function is np.square:
        return become(call, np.power, args[0], 2)
    if function is np.reciprocal:
        return become(call, np.divide, 1.0, args[0])
    if "order" in call.kwargs or call.kwargs.get("optimize") is False:
        for name in ("order", "optimize"):
            call.kwargs.pop(name, None)
        return True
    turns = (np.swapaxes, np.ndarray.swapaxes, np.ndarray.transpose, np.transpose, np.moveaxis)
    if function in turns and len(args[0].shape) < 3 and len(args) > 1:
        if _leaves_axes(call):
            return become(call, np.ndarray.reshape, args[0], call.out.shape)
        return become(call, np.ndarray.transpose, args[0])
    if function in _FUNCTIONS or (function in _FUNCTIONS.values() and len(args) == 1):
        kept = {
            k: v for k, v in call.kwargs.items() if k != "axis" and (k, v) != ("keepdims", False)
        }
        axis = call.kwargs.get("axis", args[1] if len(args) > 1 else None)
        return become(call, _FUNCTIONS.get(function, function), args[0], axis, **kept)
    if function is np.ndarray.__getitem__ and isinstance(args[1], tuple) and len(args[1]) == 1:
        return become(call, function, args[0], args[1][0])
    return False


_FUNCTIONS: dict[Any, Any] = {
    np.ndarray.mean: np.mean, np.ndarray.std: np.std, np.ndarray.var: np.var,
}  # fmt: skip


def _leaves_axes(call: Call) -> bool:
    """Whether a call that moves the axes of a vector or matrix leaves them where they are."""
    x, *moved = call.args
    if len(x.shape) < 2 or moved == [None]:
        return len(x.shape) < 2
    axes = [int(axis) % 2 for axis in np.ravel(moved)]
    if call.function in (np.ndarray.transpose, np.transpose):
        return axes == [0, 1]
    return axes[: len(axes) // 2] == axes[len(axes) // 2 :]


def broadcasts(call: Call, made: Made) -> bool:
    """An operand need not be broadcast if the other operands have the full shape."""
    if not (is_elementwise(call) or call.function is np.where):
        return False
    for i, operand in enumerate(call.args):
        spread = made.by(operand, np.broadcast_to, np.ndarray.reshape, np.ndarray.__getitem__)
        if spread is not None and _only_broadcasts(spread):
            part = spread.args[0]
        elif isinstance(operand, Value) and filled(operand.array) is not None:
            part = filled(operand.array)
        else:
            continue
        args = (*call.args[:i], part, *call.args[i + 1 :])
        shapes = [getattr(arg, "shape", ()) for arg in args]
        if np.broadcast_shapes(*shapes) == call.out.shape and _same_dtype(call, args):
            call.args = args
            return True
    full = [made.by(operand, np.broadcast_to) for operand in call.args]
    parts = [f.args[0] if f else a for f, a in zip(full, call.args, strict=True)]
    if call.function in FOLDED and any(full) and all(map(is_number, parts)):
        number = folded(Call(call.function, tuple(parts), {}, call.out))
        return number is not None and become(call, np.broadcast_to, number, call.out.shape)
    return False


def _only_broadcasts(call: Call) -> bool:
    """Whether NumPy's broadcasting does the same by itself."""
    x, shape = call.args[0], call.out.shape
    if call.function is np.broadcast_to:
        return True
    given = getattr(x, "shape", ())
    if call.function is np.ndarray.reshape:
        return bool(shape == (1,) * (len(shape) - len(given)) + given)
    return given == () and all(part in (None, Ellipsis) for part in np.atleast_1d(call.args[1]))


def _same_dtype(call: Call, args: tuple[Any, ...]) -> bool:
    samples = [
        np.ones((), a.dtype) if isinstance(a, Value) else float(a) if isinstance(a, Fraction) else a
        for a in args
    ]
    try:
        return bool(call.function(*samples).dtype == call.out.dtype)
    except (TypeError, AttributeError):
        return False


def shapes(call: Call, made: Made) -> bool:
    """Two reshapes are one; a sum whose axes are put back is one with keepdims."""
    function, (first, *_) = call.function, call.args or (None,)
    if function in (np.ndarray.__getitem__, np.ndarray.reshape) and is_number(first):
        return become(call, np.broadcast_to, first, call.out.shape)
    if function not in (np.ndarray.reshape, np.broadcast_to):
        return False
    inner = made.by(first, function)
    if inner is not None:
        return become(call, function, inner.args[0], call.out.shape)
    full = made.by(first, np.broadcast_to)
    if full is not None and is_number(full.args[0]):
        return become(call, np.broadcast_to, full.args[0], call.out.shape)
    total = made.by(first, *_REDUCTIONS, once=True) if function is np.ndarray.reshape else None
    if total is not None and len(total.args) == 2 and total.args[1] is not None:
        x, axis = total.args
        if call.out.shape == kept_shape(x.shape, axis) != total.out.shape:
            return become(call, total.function, x, axis, **{**total.kwargs, "keepdims": True})
    return False


_REDUCTIONS = (np.add.reduce, np.multiply.reduce, np.maximum.reduce, np.minimum.reduce, np.mean)
