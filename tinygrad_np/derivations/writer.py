"""Traces a replayed graph and its backward pass, call by call."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import graph, tracing
from ..compiler import CompileError
from ..compiler.passes import EXACT
from ..compiler.program import Program, Value
from ..compiler.tracer import Tracer
from ..graph import Node
from ..modes import observed
from ..recorder import record_of
from ..tensor import wrap
from . import reading, textbook
from .problem import DerivationError
from .replay import Replay


class Writer(Tracer):
    """A tracer that knows the value and the gradient of each node."""

    for_people = True

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[Node, Value] = {}
        self.gradients: dict[Node, Value] = {}
        self.forward = 0  # the number of calls of the forward pass

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Add a call; a helper of the ops becomes the NumPy calls of the textbook."""
        name = textbook.known_as(function)
        if name in textbook.PLAIN:
            return textbook.PLAIN[name](*args)
        return super().call(function, args, kwargs)

    def observe(self, node: Node, operands: tuple[Any, ...], output: Any) -> None:
        """Called for each op in the forward pass, after its calls."""
        super().observe(node, operands, output)
        self.values[node] = self.place(output)
        self.forward = len(self.calls)

    def before_rules(self, node: Node, gradient: Any) -> None:
        """Called for each node in the backward pass, before the calls of its rules."""
        super().before_rules(node, gradient)
        self.gradients[node] = self.place(gradient)


class Written:
    """A graph's forward and backward pass as a program, simplified for reading.

    ``values`` and ``gradients`` are the program's values by the graph's nodes. ``inputs`` are the
    program's inputs by name, ``given`` the arrays that it was traced with; ``loss_value`` and
    ``concrete`` are the loss and the gradients for these. If a pass found two values equal, one of
    them stands for both.
    """

    def __init__(self, replay: Replay) -> None:
        self.texts: dict[Value, str] = {}  # of constants that depend on the size of the batch
        self.shapes: dict[Value, tuple[Any, ...]] = {}  # in terms of n, where they depend on it
        self.batch = ""  # the input whose length is n, where the program is right for any n
        writer = Writer()
        token = tracing.active.set(writer)
        try:
            with np.errstate(all="ignore"), observed(writer):
                self._write(replay, writer)
        except CompileError as error:
            raise DerivationError(f"the graph cannot be written out: {error}") from None
        finally:
            tracing.active.reset(token)

    def _write(self, replay: Replay, writer: Writer) -> None:
        arguments: dict[str, Any] = {}
        self.inputs: dict[str, Value] = {}
        self.given = _arrays(replay)
        for name, array in self.given.items():
            symbol = writer.input(array, name, argument=array.dtype.kind == "f")
            self.inputs[name] = symbol.variable
            arguments[name] = symbol
        leaves: dict[str, Node] = {}
        for name in replay.parameters:
            array = self.inputs[name]
            leaves[name] = Node(None, (), (), array.shape, array.dtype)
            arguments[name] = wrap(arguments[name], leaves[name])
        made = replay.run(arguments)
        if replay.known and replay.as_recorded:
            _compare(replay, made)
        output = made[replay.output]
        assert output.node is not None
        start = writer.input(np.ones(output.shape, output.dtype), "g", argument=True)
        found = graph.backward({output.node: start}, set(leaves.values()), retain=True)
        writer.finish()
        same = {tensor.node: node for node, tensor in made.items()}
        self.concrete = {name: _concrete(found[node]) for name, node in leaves.items()}
        self.loss_value = _concrete(output.array)
        results = [writer.place(output.array), *[writer.place(found[n]) for n in leaves.values()]]
        # Each result has a line of its own: a gradient may be equal to another one, or to an input.
        self.program = _Program(list(self.inputs.values()), [], list(writer.calls), results, [])
        self.program.replaced = {}
        self.backward = set(writer.calls[writer.forward :])
        for run in EXACT:
            run(self.program)
        self.program.substitute({start.variable: 1.0})
        reading.run(self.program)
        self._names = list(leaves)
        self._values = {same[node]: value for node, value in writer.values.items()}
        self._gradients = {same[n]: value for n, value in writer.gradients.items() if n in same}
        self._residuals = {
            node.saved[-1].variable: residual[0]
            for node in writer.values
            if node.saved and (residual := getattr(node.op, "residual", None))
        }
        self._settle()

    def shorten(self) -> None:
        """Shorten fractions, as the last step: see ``arithmetic.factors``."""
        reading.run(self.program, sizes_known=True)
        self._settle()

    def _settle(self) -> None:
        """Look up which values are left after the passes."""
        now = self.program.now
        self.outputs: list[Any] = list(self.program.outputs)  # a number, where one is constant
        self.loss, *gradients = self.outputs
        self.parameters: dict[str, Any] = dict(zip(self._names, gradients, strict=True))
        self.values: dict[Node, Any] = {n: now(value) for n, value in self._values.items()}
        self.gradients: dict[Node, Any] = {n: now(value) for n, value in self._gradients.items()}
        self.residuals: dict[Any, str] = {now(v): name for v, name in self._residuals.items()}


class _Program(Program):
    """A program that remembers which values were replaced, and by which."""

    replaced: dict[Value, Any]

    def substitute(self, same: dict[Value, Any]) -> None:
        """Read other Values, or numbers, in place of some, everywhere."""
        self.replaced.update(same)
        super().substitute(same)

    def now(self, value: Any) -> Any:
        """What is read in place of a value."""
        while isinstance(value, Value) and value in self.replaced:
            value = self.replaced[value]
        return value


def _arrays(replay: Replay) -> dict[str, Any]:
    """Values to trace with: the known ones, and random ones of the right shape for others."""
    rng = np.random.default_rng(0)
    found = {n: array for n, array in replay.arrays.items() if n not in replay.parameters}
    for name, node in replay.parameters.items():
        known = replay.arrays.get(name)
        random = rng.uniform(0.5, 1.5, node.shape).astype(node.dtype)
        found[name] = random if known is None else known
    return found


def _concrete(array: Any) -> Any:
    return array if type(array) is np.ndarray else array.value


def _compare(replay: Replay, made: dict[Node, Any]) -> None:
    """Raise DerivationError if an op's result is not the recorded one."""
    for node, tensor in made.items():
        before = record_of(node).output
        if before is None or node.op is None:
            continue
        now = _concrete(tensor.array)
        if now.shape != before.shape or not np.allclose(now, before, 1e-3, 1e-5, equal_nan=True):
            raise DerivationError(
                f"run again, op {node.op.name!r} gives another result: an array that it reads has "
                "changed since, or it has an argument that no gradient rule reads. Derive before "
                "the update, and let the rules name all arguments"
            )
