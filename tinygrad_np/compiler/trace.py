"""One traced run of a step: the pure program, and what Python does before and after it."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import graph, tracing
from ..modes import no_grad, observed
from ..tensor import Tensor
from . import CompileError
from .arguments import argument
from .given import Given
from .places import Holder, Place, itself
from .program import Call, Program, Value, map_tree, values_in
from .symbol import Symbol
from .tracer import Step, Tracer


class Kept(NamedTuple):
    """The value and the name of a Tensor that the step returns or stores."""

    value: Any
    name: str | None


class Trace:
    """One traced run of a step: its program, and what Python does before and after it."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        tracer = Tracer()
        given = Given(tracer, function)
        token = tracing.active.set(tracer)
        mode = graph.recording.get()
        try:
            shadow = given.shadow(function, itself(function, "the step"))
            inputs = argument(given, args, Place("args", (), "args"))
            keywords = argument(given, kwargs, Place("kwargs", (), "kwargs"))
            with observed(tracer) if mode else no_grad():
                result = shadow(*inputs, **keywords)
            tracer.finish()
            self.conditions, self.steps = given.conditions, tracer.steps
            self.places = {array.value: array.place for array in given.arrays}
            self.result = self._leaving(tracer, result)
            self.writes = [w for holder in given.holders for w in self._left(given, holder)]
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
        self.calls = [dataclasses.replace(call) for call in tracer.calls]  # before any pass
        self.updated = {value for value, _ in updates}
        for value, array in tracer.fixed_arrays.items():
            if value in self.updated:
                raise CompileError(
                    f"a shape depends on the values of {self.places[value].label}, and the step "
                    "writes to it: a replay has one shape. Use tg.where, or multiply by the mask"
                )
            self.conditions.append(self.places[value].condition("array_equal({0}, {1})", array))
        self._check_memory({array.value: array.array for array in given.arrays})
        given.close()

    def _leaving(self, tracer: Tracer, tree: Any) -> Any:
        """What the step returns or stores, with Values for symbols and originals for shadows."""

        def leave(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return Kept(tracer.place(leaf.array), leaf.name)
            shadow = type(leaf) is not Symbol and id(leaf) in tracer.originals
            return tracer.originals[id(leaf)] if shadow else tracer.place(leaf)

        return map_tree(leave, tree)

    def _left(self, given: Given, holder: Holder) -> Iterator[tuple[Holder, Any, Any]]:
        tracer = given.tracer
        for key, now in holder.changes():
            kept = now is None or isinstance(now, Tensor | np.ndarray | bool | str)
            if (id(holder.shadow), key) in given.methods:
                continue
            grown = isinstance(holder.original, list) and key not in holder.before
            if holder.original is None or not kept or grown or key == "node":
                tracer.refuse(
                    f"the step changes {holder.word(key)} to something that a replay cannot store: "
                    "return the value and store it outside the step, or hold it in an array"
                )
            if type(now) is Symbol and now.variable in tracer.given and now.view is None:
                tracer.refuse(
                    f"the step makes {holder.word(key)} share an array with {now.variable!r}: "
                    "store a copy"
                )
            yield holder, key, self._leaving(tracer, now)

    def before(self) -> list[Step | Call]:
        """The steps before the program, with the calls that they need; random draws come last."""
        needs: dict[Value, set[Value]] = {}  # all that each computed value depends on
        for call in self.calls:
            needs[call.out] = {call.out}.union(*[needs.get(v, {v}) for v in call.inputs])

        def reads(steps: list[Step]) -> set[Value]:
            values = [value for step in steps for value in values_in(step.args)]
            return set[Value]().union(*[needs.get(value, {value}) for value in values])

        steps = self._needed_steps(reads)
        draws: set[Value | None] = {step.out for step in steps if step.kind == "draw"}
        late = [s for s in steps if s.kind == "draw" or not draws.isdisjoint(reads([s]))]
        early = [step for step in steps if step not in late]
        first = reads(early)
        return [*self._merged(early, first), *self._merged(late, reads(late) - first)]

    def _needed_steps(self, reads: Callable[[list[Step]], set[Value]]) -> list[Step]:
        """The steps without the numbers that nothing reads."""
        read = {value for call in self.program.calls for value in call.inputs}
        read.update(self.program.results, values_in([tree for *_, tree in self.writes]))
        read.update(values_in(self.result))
        kept: list[Step] = []
        for step in reversed(self.steps):
            if step.kind != "number" or step.out in read:
                kept.append(step)
                read |= reads([step])
        return kept[::-1]

    def _merged(self, steps: list[Step], needed: set[Value]) -> list[Step | Call]:
        """The steps and the calls that they need, in the order of the trace."""
        calls = [(i + 1, c) for i, c in enumerate(self.calls) if c.out in needed]
        ordered: list[tuple[int, Step | Call]] = [*calls]
        ordered += [(step.position, step) for step in steps]
        ordered.sort(key=operator.itemgetter(0))
        return [item for _, item in ordered]

    def _check_memory(self, arrays: dict[Value, Any]) -> None:
        """Refuse to update an array that shares memory with another part of the state."""
        inside = [value for value in self.places if not self.is_argument(value)]
        for updated in self.updated.intersection(inside):
            for value in inside:
                one, other = arrays[updated], arrays[value]
                if one is not other and np.may_share_memory(one, other):
                    raise CompileError(
                        f"{self.places[updated].label} and {self.places[value].label} share "
                        "memory, and the step writes to it: give each its own array"
                    )

    def is_argument(self, value: Value) -> bool:
        """Whether an input is an argument: a different array at each call."""
        return self.places[value].is_argument
