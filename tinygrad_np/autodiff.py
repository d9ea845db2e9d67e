"""Gradients as functions: grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np

from . import graph
from .arrays import as_array
from .graph import INPUTS as _INPUTS
from .graph import Node
from .modes import enable_grad
from .tensor import Operand, Tensor, plain, recorded_backward, seed, wrap

__all__ = [
    "grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp",
]  # fmt: skip

Scalar = Callable[..., Tensor]


@overload
def grad(
    outputs: Tensor | Sequence[Tensor], inputs: Tensor, grad_outputs: Any = None,
    create_graph: bool = False, *, retain_graph: bool | None = None, allow_unused: bool = False,
) -> Tensor: ...  # fmt: skip
@overload
def grad(
    outputs: Tensor | Sequence[Tensor], inputs: Sequence[Tensor], grad_outputs: Any = None,
    create_graph: bool = False, *, retain_graph: bool | None = None, allow_unused: bool = False,
) -> tuple[Tensor, ...]: ...  # fmt: skip
def grad(
    outputs: Any,
    inputs: Tensor | Sequence[Tensor] = (),
    grad_outputs: Any = None,
    create_graph: bool = False,
    *,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """The gradients of the sum of ``outputs``, weighted by ``grad_outputs``, by each of ``inputs``.

    Returns Tensors of the inputs' shapes and dtypes: one for a Tensor, a tuple for a sequence.
    ``.grad`` does not change. Inputs may be leaves or computed Tensors. With ``create_graph`` the
    results can be differentiated again, and the graph is kept, as with ``retain_graph``.

    Raises ValueError for an input that no output depends on (``allow_unused=True`` gives zeros),
    and the errors of ``Tensor.backward``.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor(3.0, requires_grad=True)
    >>> first = tg.grad(x**3, x, create_graph=True)
    >>> first.item(), tg.grad(first, x).item()
    (27.0, 18.0)
    """
    if callable(outputs) or isinstance(outputs, np.ndarray):
        raise TypeError(
            f"tg.grad takes computed Tensors, got a {type(outputs).__name__}: write y = f(x), then "
            "tg.grad(y, x); or tg.value_and_grad(f)(x) for the value and the gradient of a function"
        )
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not wanted:
        raise TypeError("tg.grad(loss) lacks its inputs: write tg.grad(loss, [w, b])")
    starts = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    weights = [grad_outputs] if isinstance(outputs, Tensor) else grad_outputs
    weights = [None] * len(starts) if weights is None else list(weights)
    if len(weights) != len(starts):
        raise ValueError(f"{len(starts)} outputs, but {len(weights)} grad_outputs")
    targets = [_target(i, tensor) for i, tensor in enumerate(wanted)]
    seeds: dict[Node, Any] = {}
    for output, weight in zip(starts, weights, strict=True):
        node, array = seed(output, weight)
        start: Any = array
        if create_graph and isinstance(weight, Tensor):
            start = weight if weight.dtype == output.dtype else weight.astype(output.dtype)
        seeds[node] = seeds[node] + start if node in seeds else start
    if create_graph:
        found = recorded_backward(seeds, targets)
    else:
        found = graph.backward(seeds, targets, retain=bool(retain_graph))
    results = []
    for i, (tensor, node) in enumerate(zip(wanted, targets, strict=True)):
        value = found.get(node)
        if value is None:
            if not allow_unused:
                raise ValueError(
                    f"no output depends on input {i} (a {tensor.label()}): is it the Tensor that "
                    "was used? allow_unused=True gives zeros instead"
                )
            value = np.zeros(tensor.shape, tensor.dtype)
        results.append(value if isinstance(value, Tensor) else wrap(as_array(value), None))
    return results[0] if isinstance(inputs, Tensor) else tuple(results)


def _target(i: int, tensor: Any) -> Node:
    """The node of input ``i``; TypeError or ValueError if it has none."""
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"grad: input {i} is a {type(tensor).__name__}: gradients are by Tensors, "
            "model.parameters() say, or list(tensors.values())"
        )
    if tensor.node is None:
        raise ValueError(
            f"input {i} (a {tensor.label()}) does not require grad: "
            "make it with Tensor(data, requires_grad=True)"
        )
    return tensor.node


_SEVERAL = (
    "Give the arrays as arguments of their own; value_and_grad(function, argnums=(0, 1)) takes "
    "several"
)
_ONE = (
    "Where a module's parameters are meant: loss.backward(), or tg.grad(loss, model.parameters())"
)


def leaf(value: Operand, what: str = "input") -> Tensor:
    """A new leaf that requires grad, with a copy of a Tensor's or array's values.

    Raises TypeError, whose message calls the value ``what``, if it is not an array, or if an outer
    derivative's function computed it from its inputs: the outer derivative would miss that part.
    """
    try:
        array = as_array(plain(value))
    except (ValueError, TypeError):  # a ragged list
        array = np.array(None)
    if array.dtype.kind not in "fiubc":
        several = isinstance(value, list | tuple | Mapping)
        raise TypeError(
            f"{what} is a {type(value).__name__}{' of several arrays' if several else ''}: "
            f"derivatives are by one array, number or Tensor each. {_SEVERAL if several else _ONE}"
        )
    if array.dtype.kind in "iub":
        raise TypeError(
            f"gradients are for real floating-point inputs, got {array.dtype}: "
            "write 2.0 instead of 2, or array.astype(float)"
        )
    past = graph.reachable([value.node]) if isinstance(value, Tensor) and value.node else []
    if not _INPUTS.isdisjoint(past):  # for the outer derivative a copy is a constant
        raise TypeError(
            f"a derivative inside another is a constant to it: here it is by a {value.label()} "
            "that the outer one's input led to. Use tg.grad(..., create_graph=True) inside, or "
            "tensor.detach() where a constant is meant"
        )
    made = Tensor(array, requires_grad=True)
    assert made.node is not None
    _INPUTS.add(made.node)
    return made


def run_recorded(function: Callable[..., Any], args: Sequence[Any], what: str) -> Tensor:
    """The recorded result of a function; TypeError unless it is a Tensor."""
    with enable_grad():  # otherwise derivatives would be zero inside no_grad()
        out = function(*args)
    _INPUTS.difference_update(filter(None, [getattr(arg, "node", None) for arg in args]))
    if not isinstance(out, Tensor):
        raise TypeError(f"{what}: the function must return a Tensor, got {type(out).__name__}")
    return out


def connected(out: Tensor) -> Tensor:
    """The Tensor. A constant gets a node without parents, so that its gradients are zeros."""
    fits = out.node is not None or out.dtype.kind != "f"
    return out if fits else wrap(out.array, Node(None, (), (), out.shape, out.dtype))


def value_and_grad(
    function: Scalar, argnums: int | Sequence[int] = 0
) -> Callable[..., tuple[Tensor, Any]]:
    """A function that returns the value of ``function`` and its gradient for arguments ``argnums``.

    The function must return a scalar Tensor. Arguments may be arrays, numbers or Tensors.

    >>> import tinygrad_np as tg
    >>> value, gradient = tg.value_and_grad(lambda x: (x * x).sum())([1.0, 2.0])
    >>> value.item(), gradient.tolist()
    (5.0, [2.0, 4.0])
    """

    def call(*args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        full = list(args)
        for i in [argnums] if isinstance(argnums, int) else argnums:
            if not -len(full) <= i < len(full):
                raise ValueError(
                    f"value_and_grad: argnums={argnums}, but {len(full)} positional arguments"
                )
            full[i] = leaf(full[i], f"value_and_grad: argument {i}")
        inputs = full[argnums] if isinstance(argnums, int) else [full[i] for i in argnums]
        out = run_recorded(functools.partial(function, **kwargs), full, "value_and_grad")
        return out.detach(), grad(connected(out), inputs, allow_unused=True)

    return call


def vjp(function: Scalar, *primals: Operand) -> tuple[Tensor, Callable[[Any], tuple[Tensor, ...]]]:
    """The value at ``primals``, and the function v ↦ vᵀ J, which returns a Tensor for each primal.

    >>> import tinygrad_np as tg
    >>> out, pull = tg.vjp(lambda x: x * x, [1.0, 2.0])
    >>> pull([1.0, 10.0])[0].tolist()
    [2.0, 40.0]
    """
    inputs = [leaf(primal, f"vjp: primal {i}") for i, primal in enumerate(primals)]
    out = connected(run_recorded(function, inputs, "vjp"))
    return out.detach(), lambda v: grad(out, inputs, v, retain_graph=True, allow_unused=True)


def jvp(
    function: Scalar, primals: Sequence[Operand], tangents: Sequence[Operand]
) -> tuple[Tensor, Tensor]:
    """The value at ``primals``, and J · tangents: the derivative along a direction.

    It is computed as the gradient of a gradient: vᵀ J · t is linear in v, with gradient J · t.

    >>> import tinygrad_np as tg
    >>> out, tangent = tg.jvp(lambda x: x * x, [[1.0, 2.0]], [[1.0, 0.5]])
    >>> tangent.tolist()
    [2.0, 2.0]
    """
    if len(primals) != len(tangents):
        raise ValueError(f"jvp: {len(primals)} primals, but {len(tangents)} tangents")
    inputs = [leaf(primal, f"jvp: primal {i}") for i, primal in enumerate(primals)]
    out = run_recorded(function, inputs, "jvp")
    v = Tensor(np.zeros(out.shape, out.dtype), requires_grad=True)
    pulled = grad(connected(out), inputs, v, create_graph=True, allow_unused=True)
    parts = [(p, t) for p, t in zip(pulled, tangents, strict=False) if p.requires_grad]
    if not parts:
        return out.detach(), wrap(np.zeros(out.shape, out.dtype), None)
    tangent = grad([p for p, _ in parts], v, [t for _, t in parts], allow_unused=True)
    return out.detach(), tangent


def jacobian(function: Scalar, x: Operand) -> Tensor:
    """All derivatives d out / d x at ``x``: shape ``out.shape + x.shape``, one pass per element.

    >>> import tinygrad_np as tg
    >>> tg.jacobian(lambda x: x * x, [1.0, 2.0]).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    x = leaf(x, "jacobian: x")
    return _jacobian(run_recorded(function, [x], "jacobian"), x)


def _jacobian(out: Tensor, x: Tensor) -> Tensor:
    out = connected(out)
    rows = np.zeros((out.size, *x.shape), x.dtype)
    for i in range(out.size):
        unit = np.zeros(out.shape, out.dtype)
        unit.flat[i] = 1
        rows[i] = grad(out, x, unit, retain_graph=True, allow_unused=True).data
    return wrap(rows.reshape(out.shape + x.shape), None)


def hessian(function: Scalar, x: Operand) -> Tensor:
    """The second derivatives of a scalar function at ``x``, of shape ``x.shape + x.shape``.

    >>> import tinygrad_np as tg
    >>> tg.hessian(lambda x: (x**3).sum(), [1.0, 2.0]).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return _jacobian(*_first(function, x, "hessian"))


def _first(function: Scalar, x: Operand, what: str) -> tuple[Tensor, Tensor]:
    """The recorded gradient of a scalar function, and its leaf."""
    x = leaf(x, f"{what}: x")
    out = connected(run_recorded(function, [x], what))
    return grad(out, x, create_graph=True, allow_unused=True), x


def hvp(function: Scalar, x: Operand, v: Operand) -> Tensor:
    """The Hessian of a scalar function times ``v``, in two passes, without forming the Hessian.

    >>> import tinygrad_np as tg
    >>> tg.hvp(lambda x: (x**3).sum(), [1.0, 2.0], [1.0, 1.0]).tolist()
    [6.0, 12.0]
    """
    first, x = _first(function, x, "hvp")
    return grad(connected(first), x, v, allow_unused=True)
