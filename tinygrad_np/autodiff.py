"""Gradients as functions: grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp, checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from . import graph
from .graph import Node, Rule
from .record import backward_pass
from .tensor import Operand, Tensor, lift, plain, seed, wrap
from .tracing import as_array

__all__ = [
    "checkpoint", "grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp",
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
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
    *,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """The gradients of the sum of ``outputs``, weighed by ``grad_outputs``, for each of ``inputs``.

    Returns Tensors of the inputs' shapes and dtypes: one for a Tensor, a tuple for a sequence.
    ``.grad`` is not touched. Inputs may be leaves or computed Tensors. With ``create_graph`` the
    results can be differentiated again; the graph is then kept (``retain_graph`` keeps it, too).

    Raises ValueError for an input that no output depends on (``allow_unused=True``: zeros), and
    what ``Tensor.backward`` raises.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor(3.0, requires_grad=True)
    >>> first = tg.grad(x**3, x, create_graph=True)
    >>> first.item(), tg.grad(first, x).item()
    (27.0, 18.0)
    """
    single = isinstance(inputs, Tensor)
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    starts = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    weights = [grad_outputs] if isinstance(outputs, Tensor) else grad_outputs
    weights = [None] * len(starts) if weights is None else list(weights)
    if len(weights) != len(starts):
        raise ValueError(f"{len(starts)} outputs, but {len(weights)} grad_outputs")
    for i, tensor in enumerate(wanted):
        if tensor._node is None:
            raise ValueError(
                f"input {i} (a {tensor._label()}) does not require grad: "
                "make it with Tensor(data, requires_grad=True)"
            )
    seeds: dict[Node, Any] = {}
    for output, weight in zip(starts, weights, strict=True):
        node, array = seed(output, weight)
        start: Any = array
        if create_graph:
            start = weight if isinstance(weight, Tensor) else wrap(array, None)
        seeds[node] = seeds[node] + start if node in seeds else start
    retain = create_graph if retain_graph is None else retain_graph or create_graph
    targets = [tensor._node for tensor in wanted if tensor._node is not None]
    if create_graph:
        with backward_pass():
            found = graph.backward(seeds, targets, lift=lift, retain=True)
    else:
        found = graph.backward(seeds, targets, retain=retain)
    results = []
    for i, (tensor, node) in enumerate(zip(wanted, targets, strict=True)):
        value = found.get(node)
        if value is None:
            if not allow_unused:
                raise ValueError(
                    f"no output depends on input {i} (a {tensor._label()}): is it the Tensor that "
                    "was used? allow_unused=True gives zeros instead"
                )
            value = np.zeros(tensor.shape, tensor.dtype)
        results.append(value if isinstance(value, Tensor) else wrap(as_array(value), None))
    return results[0] if single else tuple(results)


def leaf(value: Operand) -> Tensor:
    """A new leaf that requires grad, with a copy of a Tensor's or array's values."""
    array = as_array(plain(value))
    if array.dtype.kind in "iub":
        raise TypeError(
            f"gradients are for real floating-point inputs, got {array.dtype}: "
            "write 2.0 instead of 2, or array.astype(float)"
        )
    return Tensor(array, requires_grad=True)


def _connected(value: Operand) -> Tensor:
    """The Tensor itself if it is part of a graph, so that outer gradients see it; else a leaf."""
    return value if isinstance(value, Tensor) and value.requires_grad else leaf(value)


def _output(function: Callable[..., Any], args: Sequence[Any], what: str) -> Tensor:
    out = function(*args)
    if not isinstance(out, Tensor):
        raise TypeError(f"{what}: the function must return a Tensor, got {type(out).__name__}")
    return out


def value_and_grad(
    function: Scalar, argnums: int | Sequence[int] = 0
) -> Callable[..., tuple[Tensor, Any]]:
    """A function that returns ``function``'s value and its gradient for the arguments ``argnums``.

    The function must return a scalar Tensor. Arguments may be arrays, numbers or Tensors.

    >>> import tinygrad_np as tg
    >>> value, gradient = tg.value_and_grad(lambda x: (x * x).sum())([1.0, 2.0])
    >>> value.item(), gradient.tolist()
    (5.0, [2.0, 4.0])
    """

    def call(*args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        full = list(args)
        for i in [argnums] if isinstance(argnums, int) else argnums:
            full[i] = leaf(full[i])
        inputs = full[argnums] if isinstance(argnums, int) else [full[i] for i in argnums]
        out = _output(functools.partial(function, **kwargs), full, "value_and_grad")
        return out.detach(), grad(out, inputs, allow_unused=True)

    return call


def vjp(function: Scalar, *primals: Operand) -> tuple[Tensor, Callable[[Any], tuple[Tensor, ...]]]:
    """The value at ``primals``, and the function v ↦ vᵀ J (one Tensor for each primal).

    >>> import tinygrad_np as tg
    >>> out, pull = tg.vjp(lambda x: x * x, [1.0, 2.0])
    >>> pull([1.0, 10.0])[0].tolist()
    [2.0, 40.0]
    """
    inputs = [leaf(primal) for primal in primals]
    out = _output(function, inputs, "vjp")

    def pull(v: Any) -> tuple[Tensor, ...]:
        return grad(out, inputs, v, retain_graph=True, allow_unused=True)

    return out.detach(), pull


def jvp(
    function: Scalar, primals: Sequence[Operand], tangents: Sequence[Operand]
) -> tuple[Tensor, Tensor]:
    """The value at ``primals``, and J · tangents: the derivative along a direction.

    It is the gradient of a gradient: v ↦ vᵀ J is linear in v, and its own gradient is J · t.

    >>> import tinygrad_np as tg
    >>> out, tangent = tg.jvp(lambda x: x * x, [[1.0, 2.0]], [[1.0, 0.5]])
    >>> tangent.tolist()
    [2.0, 2.0]
    """
    if len(primals) != len(tangents):
        raise ValueError(f"jvp: {len(primals)} primals, but {len(tangents)} tangents")
    inputs = [_connected(primal) for primal in primals]
    out = _output(function, inputs, "jvp")
    v = Tensor(np.zeros(out.shape, out.dtype), requires_grad=True)
    pulled: Sequence[Tensor] = ()
    if out.requires_grad:
        pulled = grad(out, inputs, v, create_graph=True, allow_unused=True)
    parts = [(p, t) for p, t in zip(pulled, tangents, strict=False) if p.requires_grad]
    if not parts:
        return out.detach(), wrap(np.zeros(out.shape, out.dtype), None)
    tangent = grad([p for p, _ in parts], v, [t for _, t in parts], allow_unused=True)
    return out.detach(), tangent


def jacobian(function: Scalar, x: Operand) -> Tensor:
    """All derivatives d out / d x at ``x``, of shape ``out.shape + x.shape``; a pass per element.

    >>> import tinygrad_np as tg
    >>> tg.jacobian(lambda x: x * x, [1.0, 2.0]).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    x = leaf(x)
    return _jacobian(_output(function, [x], "jacobian"), x)


def _jacobian(out: Tensor, x: Tensor) -> Tensor:
    rows = np.zeros((out.size, *x.shape), x.dtype)
    for i in range(out.size):
        unit = np.zeros(out.size, out.dtype)
        unit[i] = 1
        rows[i] = _pulled(out, x, unit.reshape(out.shape)).data
    return wrap(rows.reshape(*out.shape, *x.shape), None)


def _pulled(out: Tensor, x: Tensor, v: Any) -> Tensor:
    """vᵀ J; zeros where ``out`` does not depend on x."""
    if not out.requires_grad:
        return wrap(np.zeros(x.shape, x.dtype), None)
    return grad(out, x, v, retain_graph=True, allow_unused=True)


def hessian(function: Scalar, x: Operand) -> Tensor:
    """The second derivatives of a scalar function at ``x``, of shape ``x.shape + x.shape``.

    >>> import tinygrad_np as tg
    >>> tg.hessian(lambda x: (x**3).sum(), [1.0, 2.0]).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return _jacobian(*_first(function, x, "hessian"))


def _first(function: Scalar, x: Operand, what: str) -> tuple[Tensor, Tensor]:
    """The gradient of a scalar function, recorded, and the leaf it is by."""
    x = leaf(x)
    return grad(_output(function, [x], what), x, create_graph=True, allow_unused=True), x


def hvp(function: Scalar, x: Operand, v: Operand) -> Tensor:
    """The Hessian of a scalar function times ``v``, without the Hessian: two passes.

    >>> import tinygrad_np as tg
    >>> tg.hvp(lambda x: (x**3).sum(), [1.0, 2.0], [1.0, 1.0]).tolist()
    [6.0, 12.0]
    """
    return _pulled(*_first(function, x, "hvp"), v)


class _Checkpoint:
    """The op of one checkpointed call: its rules run the function again, recorded this time."""

    name = "checkpoint"

    def __init__(
        self, function: Callable[..., Tensor], args: Sequence[Any], inputs: list[int]
    ) -> None:
        self.function, self.args, self.inputs = function, args, inputs
        self.outer: list[Node] = []

    @property
    def rules(self) -> Iterator[Rule]:
        found: list[Any] = []  # shared by the rules of one pass, and gone with them
        count = len(self.inputs) + len(self.outer)
        return (functools.partial(self.gradient, found, i) for i in range(count))

    def gradient(self, found: list[Any], i: int, g: Any, saved: Any) -> Any:
        """The gradient of input ``i``; all are computed when the first is asked for."""
        if not found:
            recorded = isinstance(g, Tensor)
            args = list(self.args)
            for place in () if recorded else self.inputs:
                args[place] = leaf(args[place])
            with graph.enable_grad():
                out = self.function(*args)
            inputs = [args[place] for place in self.inputs]
            inputs += [wrap(np.zeros(n.shape, n.dtype), n) for n in self.outer]
            gradients = grad(out, inputs, g, recorded, retain_graph=False, allow_unused=True)
            found += [t if recorded else t.data for t in gradients]
        return found[i]


def checkpoint(
    function: Callable[..., Tensor], *args: Any, rng: np.random.Generator | None = None
) -> Tensor:
    """``function(*args)`` without keeping its graph: backward runs it again. Memory for time.

    The function must give the same result again; a generator that it draws from is passed as
    ``rng``, and is set back for the second run. Parameters it closes over get their gradients.
    Training a deep network in √n such segments needs memory for √n layers. (Chen et al. 2016.)

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> tg.checkpoint(lambda x: tg.exp(tg.sin(x)), x).sum().backward()
    >>> bool(abs(x.grad[0] - tg.exp(tg.sin(1.0)).item() * tg.cos(1.0).item()) < 1e-12)
    True
    """
    if not graph.is_recording():
        return function(*args)
    before = rng.bit_generator.state if rng else {}

    def again(*args: Any) -> Tensor:
        if rng is None:
            return function(*args)
        after = rng.bit_generator.state
        rng.bit_generator.state = before
        try:
            return function(*args)
        finally:
            rng.bit_generator.state = after

    start = graph.tick()
    out = _output(function, args, "checkpoint")
    if out._node is None:
        return out
    inputs = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    op = _Checkpoint(again, args, inputs)
    given = [args[i]._node for i in inputs]
    # What the function used of the world outside: its parents there get gradients as well.
    inside = [n for n in graph.reachable([out._node]) if n.tick > start]
    used = {p for n in inside for p in n.parents if p is not None and p.tick < start}
    if out._node.tick < start:  # it returned something that was there before
        used.add(out._node)
    op.outer = sorted(used.difference(given), key=lambda n: n.tick)
    parents = (*given, *op.outer)
    node = Node(op, parents, (None,) * (len(parents) + 1), out.shape, out.dtype)
    return wrap(out._data, node)
