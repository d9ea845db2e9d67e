"""checkpoint: a part of the graph that is computed again for the backward pass, and not kept."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import generators, graph, tracing
from .autodiff import grad, run_recorded
from .changes import ChangedArrayError
from .definition import OPS
from .graph import Node, Rule
from .random import default_generator, is_default
from .tensor import Array, Tensor, plain, wrap


def checkpoint(function: Callable[..., Tensor], *args: Any, rng: Any = None) -> Tensor:
    """``function(*args)`` without its graph: the backward pass runs it again. Saves memory.

    The second run must give the same result; otherwise the backward pass raises RuntimeError.
    Parameters in the function's closure get their gradients. A deep network in √n such segments
    needs memory for √n layers. (Chen et al. 2016.)

    For the second run, the random generators that the function draws from are set back: the default
    one, which ``dropout`` uses, NumPy's and Python's global ones, and those that the function
    refers to in its closure, its arguments, its global names, and the attributes of any of these.
    If it draws from another one, pass that as ``rng``.

    >>> import tinygrad_np as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> tg.checkpoint(lambda x: tg.exp(tg.sin(x)), x).sum().backward()
    >>> bool(abs(x.grad[0] - tg.exp(tg.sin(1.0)).item() * tg.cos(1.0).item()) < 1e-12)
    True
    """
    if not graph.is_recording():
        return function(*args)
    if rng is not None and not generators.is_generator(rng):
        raise TypeError(f"checkpoint: rng={rng!r} must be a random generator")
    traced = tracing.active.get() is not None
    drawn = _Remembered() if traced else _Drawn(function, args, rng)
    op = _Checkpoint(function, args)
    given = [args[place].node for place in op.places]
    nodes = [_apart(node) for node in given]
    start = graph.tick()
    with tracing.drawing(drawn.draw):
        out = op.run(nodes)
    if out.node is None:
        return out
    drawn.settle()
    op.function = functools.partial(drawn.again, function)
    op.result = plain(out)
    # Nodes from outside that the function used: they get gradients as well.
    inside = [n for n in graph.reachable([out.node]) if n.tick > start]
    used = {out.node, *(p for n in inside for p in n.parents if p is not None)}
    outer = [n for n in used.difference(nodes) if n.tick < start]
    op.parents = (*given, *sorted(outer, key=lambda n: n.tick))
    node = Node(op, op.parents, (None,) * (len(op.parents) + 1), out.shape, out.dtype)
    op.tick = node.tick
    return wrap(out.array, node)


class _Checkpoint:
    """The op of one checkpointed call. Its rules run the function again, and record it."""

    name = "checkpoint"
    # These get gradients: the arguments at ``places``, and nodes from outside that were used.
    parents: tuple[Node, ...] = ()
    tick = 0  # of its node

    def __init__(self, function: Callable[..., Tensor], args: Sequence[Any]) -> None:
        self.function, self.args = function, args
        self.result: Any = None  # of the first run
        self.places = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]

    def run(self, nodes: Sequence[Node]) -> Tensor:
        """The function's result for arguments with these nodes."""
        args = list(self.args)
        for place, node in zip(self.places, nodes, strict=False):
            args[place] = wrap(plain(args[place]), node)
        return run_recorded(self.function, args, self.name)

    @property
    def rules(self) -> Iterator[Rule]:
        found: list[Any] = []  # shared by the rules of one pass
        return (functools.partial(self.gradient, found, i) for i in range(len(self.parents)))

    def gradient(self, found: list[Any], i: int, g: Any, saved: Any) -> Any:
        """The gradient of input ``i``. The first call computes all of them."""
        if not found:
            for parent in self.parents:
                if getattr(parent, "written", 0) > self.tick:
                    called = f" {parent.name!r}" if parent.name else ""
                    raise ChangedArrayError(
                        f"a leaf{called} of shape {parent.shape}, {parent.dtype}, that op "
                        f"{self.name!r} uses again in the backward pass has been updated by an "
                        "optimiser since: call backward() before optimizer.step()"
                    )
            recorded = isinstance(g, Tensor)
            nodes = [_apart(parent, recorded) for parent in self.parents]
            start, count = graph.tick(), len(self.places)
            out = self.run(nodes)
            if tracing.active.get() is None:  # a traced program has no draws of its own
                _compare(self.result, plain(out))
            outer: dict[Any, Node] = dict(zip(self.parents[count:], nodes[count:], strict=True))
            for node in graph.reachable([out.node] if out.node else []):
                if node.tick > start:
                    node.parents = tuple([outer.get(parent, parent) for parent in node.parents])
            out = wrap(plain(out), outer.get(out.node, out.node))
            inputs = [wrap(np.zeros(n.shape, n.dtype), n) for n in nodes]
            gradients = grad(out, inputs, g, recorded, allow_unused=True)
            found += [t if recorded else plain(t) for t in gradients]
        return found[i]


def _apart(node: Node, connected: bool = True) -> Node:
    """A node of the same value that stands for one input of a checkpoint.

    An input may be computed from another one, or be given twice. Each has a node of its own, so
    that each gets its own part of the gradient.
    """
    parents = (node,) if connected else ()
    return Node(OPS["positive"], parents, (None, None), node.shape, node.dtype)


class _Drawn:
    """The generators that a call may draw from, with their states before the call."""

    def __init__(self, function: Callable[..., Tensor], args: Sequence[Any], rng: Any) -> None:
        self.found: dict[int, tuple[Any, Any]] = {}  # None: the default generator, whichever it is
        self.noted: list[Any] = []  # kept, so that their ids stay theirs
        for each in [*([] if rng is None else [rng]), *generators.reachable(function, args)]:
            self.note(each)

    def note(self, rng: Any) -> None:
        """Keep a generator's state, if it is not kept already."""
        key = id(getattr(rng, "bit_generator", None) or getattr(rng, "_bit_generator", rng))
        if key not in self.found:
            self.noted.append(rng)
            self.found[key] = None if is_default(rng) else rng, generators.state_of(rng)

    def draw(self, draw: tracing.Draw, function: Callable[[Any], Any], rng: Any) -> Any:
        """In the first run: note the generator, then draw."""
        self.note(rng)
        return draw(function, rng)

    def settle(self) -> None:
        """Forget the generators whose state has not changed: other threads may use them."""
        for key, (rng, state) in list(self.found.items()):
            now = generators.state_of(default_generator() if rng is None else rng)
            if pickle.dumps(now) == pickle.dumps(state):
                del self.found[key]
        self.noted.clear()

    def again(self, function: Callable[..., Tensor], *args: Any) -> Tensor:
        """The function's result with the same draws. The generators keep their present state."""
        found = [(default_generator() if r is None else r, s) for r, s in self.found.values()]
        now = [generators.state_of(rng) for rng, _ in found]
        for rng, before in found:
            generators.restore(rng, before)
        try:
            return function(*args)
        finally:
            for (rng, _), state in zip(found[::-1], now[::-1], strict=True):
                generators.restore(rng, state)  # two may share a bit generator


class _Remembered:
    """The random arrays of a traced call. The second run gets the same ones."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []

    def draw(self, draw: tracing.Draw, function: Callable[[Any], Any], rng: Any) -> Any:
        """In the first run: draw an array and keep it."""
        self.arrays.append(draw(function, rng))
        return self.arrays[-1]

    def settle(self) -> None:
        """Nothing to do: a tracer draws from copies of the generators."""

    def again(self, function: Callable[..., Tensor], *args: Any) -> Tensor:
        """The function's result with the same arrays."""
        left = iter(self.arrays)
        with tracing.drawing(lambda draw, function, rng: next(left)):
            return function(*args)


def _compare(first: Array, second: Array) -> None:
    """RuntimeError unless the second run gave the result of the first, up to rounding."""
    told = ""
    if first.shape != second.shape or first.dtype != second.dtype:
        told = f"{second.dtype} of shape {second.shape}, not {first.dtype} of shape {first.shape}"
    elif not np.array_equal(first, second, equal_nan=True):
        with np.errstate(all="ignore"):
            gap = np.abs(first - second)
            largest = np.max(np.abs(first), where=np.isfinite(first), initial=0)
            tolerance = min(1000 * float(np.finfo(first.dtype).eps), 0.01) * largest
            known = (first == second) | (np.isnan(first) & np.isnan(second))
            if not (known | (gap <= tolerance)).all():
                told = f"other numbers, which differ by up to {gap[~known].max():.3g}"
    if told:
        raise RuntimeError(
            f"checkpoint: the second run of the function gave {told}: its gradients would be those "
            "of another function. It must compute the same again: parameters, buffers and "
            "train/eval mode must stay as they are until backward, and a random generator that it "
            "draws from and that is not found has to be given as checkpoint(..., rng=rng)"
        )
