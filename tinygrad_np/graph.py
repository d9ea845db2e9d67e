"""The graph and its backward pass: nodes, recording, order, accumulation.

This module does not know ``Tensor``. Gradients are whatever the rules return, usually ndarrays.
With a ``lift`` the same pass runs on Tensors and is itself recorded, which gives higher orders.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

from . import changes, messages
from .arrays import Traced, as_array
from .changes import ChangedArrayError, Excerpt, ticks
from .shapes import Shape, unbroadcast

Rule = Callable[[Any, Any], Any]
"""The gradient rule of one input as the graph calls it: ``rule(gradient, saved) -> gradient``."""


class Operation(Protocol):
    """What the backward pass needs of an op: a name, and one rule per input, in their order."""

    @property
    def name(self) -> str: ...
    @property
    def rules(self) -> Iterable[Rule]: ...


class Observer(Protocol):
    """Watches the forward pass: ``observe`` is called once for each new node.

    If it has a method ``before_rules(node, gradient)``, the backward pass calls that for each node,
    also for leaves, before the node's rules run.
    """

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None: ...


class GraphReleasedError(RuntimeError):
    """A backward pass needs arrays that an earlier backward pass has released.

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor(2.0, requires_grad=True)
    >>> loss = w * w
    >>> loss.backward()
    >>> loss.backward()
    Traceback (most recent call last):
    ...
    tinygrad_np.graph.GraphReleasedError: the graph was already consumed: ...
    """


class Node:
    """One recorded call of an op, or a leaf (``op is None``) that collects a gradient.

    ``saved`` holds the values that the op's rules read (see ``definition.py``), or None once they
    are released. ``parents`` has one entry per input: its node, or None if it needs no gradient.
    ``tick`` numbers the nodes in the order in which they were made. Nodes refer neither to Tensors
    nor to the nodes that use them, so there are no cycles, and reference counting frees the memory.

    ``samples`` are excerpts of large constants among the saved values, ``originals`` the constants
    themselves, by their places, for drawings. Some nodes have more: leaves ``memory``, which
    identifies the array's memory (``changes.memory_of``), and ``written``, the tick at which an
    optimiser last updated it; nodes made by a backward pass ``in_backward``; ``record`` is for
    observers (see ``recorder.py``).
    """

    __slots__ = (
        "__weakref__", "dtype", "grad", "in_backward", "memory", "name", "op", "originals",
        "parents", "record", "samples", "saved", "shape", "tick", "written",
    )  # fmt: skip
    record: Any
    in_backward: bool
    memory: int
    written: int

    def __init__(
        self,
        op: Operation | None,
        parents: tuple[Node | None, ...],
        saved: tuple[Any, ...] | None,
        shape: Shape,
        dtype: np.dtype[Any],
    ) -> None:
        self.op = op
        self.parents = parents
        self.saved = saved
        self.shape = shape
        self.dtype = dtype
        self.tick = next(ticks)
        self.samples: tuple[Excerpt, ...] = ()
        self.originals: tuple[tuple[int, Any], ...] = ()
        self.name: str | None = None
        self.grad: Any = None

    def __repr__(self) -> str:
        what = self.op.name if self.op else "leaf"
        name = f" {self.name!r}" if self.name else ""
        return f"<Node {self.tick} {what}{name} {self.dtype}{self.shape}>"


# False: nothing is recorded. True: ops on Tensors that require grad are recorded. An Observer: they
# are recorded, and it sees each node. Each thread has its own value: no_grad() holds in one thread.
recording: ContextVar[bool | Observer] = ContextVar("recording", default=True)

INPUTS = weakref.WeakSet[Node]()
"""The inputs of the derivatives that are being computed: leaves, while the function runs."""


def is_recording() -> bool:
    """Whether ops are recorded at this point: False inside ``no_grad``.

    >>> import tinygrad_np as tg
    >>> with tg.no_grad():
    ...     tg.is_recording()
    False
    """
    return recording.get() is not False


def reachable(roots: Iterable[Node], through_released: bool = True) -> list[Node]:
    """The roots and all nodes they depend on, the latest first; without recursion."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        node = stack.pop()
        for parent in node.parents if through_released or node.saved is not None else ():
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=operator.attrgetter("tick"), reverse=True)


def still_to_be_used(node: Node | None) -> bool:
    """Whether a backward pass from here would still reach a leaf, through no released node."""
    return node is not None and any(n.op is None for n in reachable([node], through_released=False))


def tick() -> int:
    """A number later than every node made so far, and earlier than every node to come."""
    return next(ticks)


def leading_to(targets: Collection[Node], order: list[Node]) -> set[Node]:
    """The nodes of ``order`` that depend on at least one target."""
    found = set(targets)
    for node in reversed(order):
        if not found.isdisjoint(node.parents):
            found.add(node)
    return found


def backward(
    seeds: Mapping[Node, Any],
    targets: Collection[Node] | None = None,
    *,
    lift: Callable[[Node], tuple[Any, ...]] | None = None,
    retain: bool = False,
) -> dict[Node, Any]:
    """Carry the seeds' gradients back through the graph; return those of the targets.

    ``seeds`` maps output nodes to their gradients. ``targets`` are the nodes whose gradients are
    wanted; None means every leaf that is reached. ``lift`` turns a node's saved arrays into
    Tensors, so that the pass itself is recorded. Unless ``retain``, saved arrays are released as
    soon as they have been used. The returned arrays share no memory with the graph.

    Raises GraphReleasedError if saved arrays are gone, ChangedArrayError if one has changed, and
    TypeError or ValueError if a rule does not return a gradient. An error inside a rule gets a note
    that names the op and the input.
    """
    order = reachable(seeds)
    wanted = {node for node in order if node.op is None} if targets is None else set(targets)
    leading = set(order) if targets is None else leading_to(wanted, order)
    pending = dict(seeds)
    # Arrays that this pass made itself and nothing else refers to: the only ones it writes to.
    private: set[Node] = set()
    found: dict[Node, Any] = {}
    watcher = getattr(recording.get(), "before_rules", None)
    changed = changes.last_change()
    written: dict[int, int] | None = None  # when optimisers wrote to which leaf's memory
    for node in order:
        gradient = pending.pop(node, None)
        if gradient is None:
            continue
        op = node.op
        if node in wanted:
            # NumPy adds 0-d arrays to a scalar, which is not an array.
            found[node] = gradient if node in private and gradient.shape else _own(gradient)
        if op is None or leading.isdisjoint(node.parents):
            if watcher is not None and not node.parents:  # a leaf, or a checkpoint's input
                watcher(node, gradient)
            continue  # nothing upstream is needed, and nothing of it is released
        saved = node.saved
        if saved is None:
            raise GraphReleasedError(messages.CONSUMED.format(op=op.name, shape=node.shape))
        if node.tick < changed or (node.samples and changes.is_other(node.samples)):
            if written is None:
                written = {n.memory: n.written for n in order if hasattr(n, "written")}
            _refuse_changes(node, op, saved, leading, written)
        if watcher is not None:
            watcher(node, gradient)
        if lift is not None:
            saved = lift(node)
        for parent, rule in zip(node.parents, op.rules, strict=False):
            if parent not in leading:
                continue
            try:
                part = rule(gradient, saved)
            except Exception as error:
                error.add_note(messages.raised(node, parent))
                raise
            plain = type(part) is np.ndarray
            if not plain or part.dtype != parent.dtype or part.shape != parent.shape:
                part = _as_gradient(part, node, parent, lift is not None)
            earlier = pending.get(parent)
            if earlier is None:
                pending[parent] = part
                if parent.op is None and _is_new(part, gradient, saved):
                    private.add(parent)
            elif parent in private and type(earlier) is type(part) is np.ndarray:
                earlier += part
            else:
                pending[parent] = earlier + part
                private.add(parent)
        if not retain:
            node.saved = None
            node.samples = ()
    return found


def _is_new(part: Any, gradient: Any, saved: tuple[Any, ...]) -> bool:
    """Whether a rule made its result: an array that is neither a view nor one of its arguments."""
    if type(part) is not np.ndarray or part.base is not None or part is gradient:
        return False
    for array in saved:  # noqa: SIM110  # a generator in any() takes three times as long
        if array is part:
            return False
    return True


def _own(gradient: Any) -> Any:
    """A copy of a gradient. Tensors are not copied: nobody writes to them."""
    if isinstance(gradient, Traced):
        return gradient.copy()  # type: ignore[attr-defined]
    if isinstance(gradient, np.ndarray | np.generic):
        return np.array(gradient)
    return gradient


def _as_gradient(part: Any, node: Node, parent: Node, lifted: bool) -> Any:
    """A rule's result in the dtype and shape of its input; TypeError or ValueError if impossible.

    If a rule makes a Tensor of plain arrays, its array is used.
    """
    if not lifted and hasattr(part, "numpy"):
        part = part.numpy()
    if not hasattr(part, "dtype"):
        raise TypeError(messages.not_an_array(part, node, parent))
    if part.dtype.kind not in "fiub":
        raise TypeError(messages.not_real(part, node, parent))
    if part.dtype != parent.dtype:
        part = part.astype(parent.dtype)
    if part.shape == parent.shape:
        return part
    try:
        return unbroadcast(part, parent.shape)
    except ValueError as error:
        raise ValueError(f"{messages.rule_of(node, parent)}: {error}") from None


def _refuse_changes(
    node: Node, op: Operation, saved: tuple[Any, ...], leading: set[Node], written: dict[int, int]
) -> None:
    """Raise ChangedArrayError if an array that a rule is about to read has changed."""
    read: set[int] = set()
    for parent, rule in zip(node.parents, op.rules, strict=False):
        if parent in leading:
            read.update(getattr(rule, "reads", range(len(saved))))
    found = changes.find_change(saved, read, node.samples, node.tick, written)
    if found is not None:
        raise ChangedArrayError(messages.changed(node, saved, *found))


def accumulate(gradients: Mapping[Node, Any]) -> None:
    """Add gradients to their leaves' ``grad``, each time in a new array: users may hold the old."""
    if changes.handed_out:  # the backward pass may have released what held them
        changes.take_back()
    for leaf, gradient in gradients.items():
        leaf.grad = gradient if leaf.grad is None else as_array(leaf.grad + gradient)
