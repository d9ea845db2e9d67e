"""Which calls become one kernel, and in which order the kernels run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .fusion import Group, items_of
from .kernels import Single, single
from .passes.use_def import UseDef
from .program import Call, Program, Value, has_out


@dataclass(eq=False)
class Segment:
    """Calls that run in NumPy, between two functions of C."""

    calls: list[Call] = field(default_factory=list)
    raises = True


@dataclass(eq=False)
class NumpyCall:
    """A call of a program that runs in NumPy as a whole."""

    call: Call
    takes_out: bool
    """Whether it writes its result into a given array; else it makes an array of its own."""

    @property
    def calls(self) -> list[Call]:
        """The one call."""
        return [self.call]

    @property
    def raises(self) -> bool:
        """Whether it may raise once it has begun to write: no ufunc and no ``reduce`` does."""
        function = getattr(self.call.function, "__self__", self.call.function)
        return not (isinstance(function, np.ufunc) or has_out(function))


Kernel = Group | Single | Segment


def prepared(program: Program) -> Program:
    """With copies of what one updated array is to hold of another."""
    use_def, calls, updates = UseDef(program), list(program.calls), []
    for place, value in program.updates:
        if use_def.root_of(value).source == "input" and value.size:
            copied = Value(np.empty(value.shape, value.dtype))
            calls.append(Call(np.ndarray.copy, (value, "C"), {}, copied))
            value = copied  # noqa: PLW2901
        updates.append((place, value))
    return Program(program.inputs, program.numbers, calls, program.outputs, updates)


def part_of(
    program: Program, use_def: UseDef, calls: list[Call], out: list[Value], lent: list[Value]
) -> Program:
    """Some calls of a program, with the views that they read, as a program of its own.

    Its outputs are what it lends; the last inputs are arrays that it updates to ``out``.
    """
    own = {call.out for call in calls}
    needed, views, roots = (
        [v for c in calls for v in c.inputs],
        dict[Value, Call](),
        dict[Value, None](),
    )
    while needed:
        value = needed.pop()
        call = use_def.producer(value)
        if value in own or value.source in ("constant", "number"):
            continue
        if call is not None and call.view:
            views[value] = call
            needed += call.inputs
        else:
            roots[value] = None
    chosen = own | views.keys()
    numbers = [n for n in program.numbers if any(n in call.inputs for call in calls)]
    places = [Value(value, "input") for value in out]
    calls = [call for call in program.calls if call.out in chosen]
    updates = list(zip(places, out, strict=True))
    return Program([*roots, *places], numbers, calls, lent, updates)


def schedule(program: Program, use_def: UseDef) -> tuple[list[Kernel], dict[Value, int]]:
    """The kernels in order, and which one makes each value. What fits in joins the latest."""
    kernels: list[Kernel] = []
    made: dict[Value, int] = {}

    def maker(value: Value) -> Any:
        i = made.get(use_def.root_of(value))
        return None if i is None else kernels[i]

    for call in program.calls:
        if call.view:
            continue
        after = max([made.get(use_def.root_of(v), -1) for v in call.inputs], default=-1)
        items = items_of(call)
        alone = single(call) if items is None else None
        at = None
        for i in range(len(kernels) - 1, max(after, 0) - 1, -1):
            kernel = kernels[i]
            if (
                (items and isinstance(kernel, Group) and kernel.accepts(items, maker))
                or (not items and alone is None and isinstance(kernel, Segment))
            ):  # fmt: skip
                at = i
                break
        if at is None:
            at = len(kernels)
            kernels.append(Group(call.out.shape) if items else alone or Segment())
        kernel = kernels[at]
        if isinstance(kernel, Group):
            kernel.add(items or [])
        elif isinstance(kernel, Segment):
            kernel.calls.append(call)
        for value in [item.out for item in items] if items else [call.out]:
            made[value] = at
    return kernels, made
