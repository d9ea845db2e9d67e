"""One traced run of a step: the pure program, and what Python does before and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import graph, tracing
from ..tensor import Tensor
from . import CompileError
from .given import Given, Holder, Place
from .program import Call, Program, Value, map_tree, values_in
from .symbol import Symbol
from .tracer import Step, Tracer


class Kept(NamedTuple):
    """A Tensor that the step returns or leaves behind: its value, and its name."""

    value: Any
    name: str | None


class Trace:
    """One traced run of a step: its program, and what belongs before and after it."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        tracer = Tracer()
        given = Given(tracer)
        token = tracing.active.set(tracer)
        mode = graph.recording.get()
        try:
            shadow = given.shadow(function, Place("{0}", (function,), "the step"))
            inputs = given.argument(args, Place("args", (), "args"))
            keywords = given.argument(kwargs, Place("kwargs", (), "kwargs"))
            with graph.observed(tracer) if mode else graph.no_grad():
                result = shadow(*inputs, **keywords)
            tracer.finish()
            self.conditions, self.steps = given.conditions, tracer.steps
            self.places = {array.value: array.place for array in given.arrays}
            self.result = self._leaving(tracer, result)
            self.writes = [w for holder in given.holders for w in self._left(tracer, holder)]
        finally:
            tracing.active.reset(token)
        updates = [
            (array.value, array.symbol.variable)
            for array in given.arrays
            if array.symbol.variable is not array.value
        ]
        draws = [s.out for s in tracer.steps if s.kind == "draw" and s.out is not None]
        numbers = [s.out for s in tracer.steps if s.kind == "number" and s.out is not None]
        tree = self.result, [tree for *_, tree in self.writes]
        outputs = list(dict.fromkeys(v for v in values_in(tree) if v.source != "number"))
        self.outputs = {value: i for i, value in enumerate(outputs)}
        self.program = Program([*self.places, *draws], numbers, tracer.calls, outputs, updates)
        self.updated = {value for value, _ in updates}
        for value, array in tracer.fixed_arrays.items():
            if value in self.updated:
                raise CompileError(
                    f"the step reads the values of {self.places[value].label}, and writes to it: "
                    "what depends on values that change cannot be replayed"
                )
            self.conditions.append(self.places[value].condition("array_equal({0}, {1})", array))
        self.before = self._slice()
        self._check_memory({array.value: array.array for array in given.arrays})

    def _leaving(self, tracer: Tracer, tree: Any) -> Any:
        """What the step returns or leaves behind, with Values in place of traced arrays."""

        def leave(leaf: Any) -> Any:
            if id(leaf) in tracer.originals and type(leaf) is not Symbol:
                return tracer.originals[id(leaf)]
            if isinstance(leaf, Tensor):
                return Kept(tracer.place(leaf._data), leaf._name)
            return tracer.place(leaf)

        return map_tree(leave, tree)

    def _left(self, tracer: Tracer, holder: Holder) -> Iterator[tuple[Holder, Any, Any]]:
        for key, now in holder.changes():
            kept = now is None or isinstance(now, Tensor | np.ndarray | np.generic)
            if holder.original is None or not kept or key == "_node":
                tracer.refuse(
                    f"the step changes {holder.label}"
                    + (f"[{key!r}]" if holder.names else f", {key!r}")
                    + ", which is neither an array nor a Tensor that it was given: return the "
                    "value instead, or keep it in an array"
                )
            yield holder, key, self._leaving(tracer, now)

    def _slice(self) -> list[Step | Call]:
        """What Python does before the program, with the calls that it needs; draws come last."""
        made = {call.out: call for call in self.program.calls}
        order: list[Step | Call] = []
        done: set[Any] = set()

        def need(value: Value) -> None:
            if value in done or value not in made:
                return
            done.add(value)
            for read in made[value].inputs:
                need(read)
            order.append(made[value])

        drawn: set[Value] = set()
        late: list[Step] = []
        for step in self.steps:
            reads = set(values_in(step.args))
            stack = list(reads)
            while stack:  # all that it depends on
                for read in made[value].inputs if (value := stack.pop()) in made else ():
                    if read not in reads:
                        reads.add(read)
                        stack.append(read)
            if step.kind == "draw" or reads & drawn:
                late.append(step)
                drawn.add(step.out)  # type: ignore[arg-type]
                continue
            for value in values_in(step.args):
                need(value)
            order.append(step)
        for step in late:
            for value in values_in(step.args):
                need(value)
            order.append(step)
        return order

    def _check_memory(self, arrays: dict[Value, Any]) -> None:
        """Refuse to update an array of which another that the step is given is a part."""
        inside = [value for value in self.places if not self.is_argument(value)]
        for updated in self.updated.intersection(inside):
            for value in inside:
                one, other = arrays[updated], arrays[value]
                if one is not other and np.may_share_memory(one, other):
                    raise CompileError(
                        f"{self.places[updated].label} and {self.places[value].label} share "
                        "memory, and the step writes to it: give each an array of its own"
                    )

    def is_argument(self, value: Value) -> bool:
        """Whether an input is among the arguments: another array at each call."""
        return self.places[value].is_argument
