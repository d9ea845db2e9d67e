"""The replay of a trace: one generated function checks, prepares, runs and writes back.

It is generated as straight-line code because that makes a condition cost 30 ns, and everything
around the program of a small network 2 µs. Loops over lists of conditions would triple that.
"""

from __future__ import annotations

import builtins
import functools
from typing import Any

import numpy as np

from ..changes import memory_of, writing
from ..graph import Node
from ..random import default_generator
from ..tensor import Tensor, wrap
from .native_executor import NativeExecutor
from .numpy_executor import GENERATED, NumpyExecutor
from .places import Condition, Holder, same, same_items
from .program import Call, Value, expression, values_in
from .trace import Kept, Trace
from .tracer import Step

MISS: Any = object()
"""Returned by a plan whose conditions do not hold."""
CLASH: Any = object()
"""Returned where an argument shares memory with an array that the step updates."""


_NO_ARRAY: Any = object()


Executor = NativeExecutor | NumpyExecutor
"""Runs a program: ``run(arrays, numbers)`` makes the updates and returns the outputs."""


def replay(trace: Trace, executor: Executor) -> Any:
    """The function that replays a trace.

    ``replay(args, kwargs)`` returns the result, or MISS, or CLASH. A third argument ``True`` makes
    it only check the conditions.
    """
    return _Code(trace, executor).compiled()


class Bound:
    """The arrays that a plan found at its last call."""

    def __init__(self, trace: Trace) -> None:
        self.values = list(trace.places)
        self.last: list[Any] = [_NO_ARRAY] * len(self.values)  # of the last call
        self.updated = [i for i, value in enumerate(self.values) if value in trace.updated]
        self.owners: set[int | None] = set()  # None: memory that no ndarray owns

    def rebind(self, i: int, array: Any) -> bool:
        """Whether a new array at a place may be used in place of the old one."""
        self.last[i] = _NO_ARRAY
        if not self.values[i].fits(array):
            return False
        others = range(len(self.last)) if i in self.updated else self.updated
        known = [self.last[j] for j in others if self.last[j] is not _NO_ARRAY]
        if any(np.may_share_memory(array, other) for other in known):
            return False  # the new trace refuses it
        self.last[i] = array
        found = [self.last[j] for j in self.updated if self.last[j] is not _NO_ARRAY]
        self.owners = {None, *map(_owner, found)}
        return True

    def clashes(self, i: int, arrays: tuple[Any, ...]) -> bool:
        """Whether an argument shares memory with an array that the step updates."""
        return any(j != i and np.may_share_memory(arrays[i], arrays[j]) for j in self.updated)


def _explain(steps: dict[int, Step | Call], calls: dict[int, Call], error: Exception) -> None:
    """Add a note to an error: the call of the step that raised it, and its line."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == GENERATED:
            found = (calls if code.co_name == "run" else steps).get(trace.tb_lineno)
            if found is not None:
                name = getattr(found.function, "__name__", found.function)
                error.add_note(f"raised in a replay, by {name}\n    at {found.line}")
        trace = trace.tb_next


def _owner(view: Any) -> int:
    """The id of the array that owns a view's memory."""
    while isinstance(view.base, np.ndarray):
        view = view.base
    return id(view)


def kept(array: Any, name: str | None) -> Tensor:
    """A Tensor, with its name, that the step returns or stores."""
    tensor = wrap(array, None)
    tensor.name = name
    return tensor


def tell(leaves: list[Node]) -> None:
    """Mark the arrays of parameters as changed, as eager updates do."""
    now = writing()
    for leaf in leaves:
        leaf.written = now


def replace(tensor: Tensor, array: Any) -> None:
    """Store another array in a Tensor that the step is given."""
    tensor.array = array
    if tensor.node is not None:
        tensor.node.memory = memory_of(array)


class _Code:
    """Writes the generated function, line by line."""

    def __init__(self, trace: Trace, executor: Executor) -> None:
        self.trace, self.bound = trace, Bound(trace)
        self.places = list(trace.places.items())
        self.origin: dict[int, Step | Call] = {}  # by line of the generated code
        explain = functools.partial(_explain, self.origin, executor.origin)
        self.names: dict[str, Any] = {
            "MISS": MISS, "CLASH": CLASH, "bound": self.bound, "last": self.bound.last,
            "kept": kept, "wrap": wrap, "same": same, "same_items": same_items,
            "asarray": np.asarray, "ndarray": np.ndarray, "array_equal": np.array_equal,
            "run": executor.run, "explain": explain,
            "tell": tell, "replace": replace,
        }  # fmt: skip
        self.known: dict[int, str] = {}
        self.words = {value: f"a{i}" for i, (value, _) in enumerate(self.places)}

    def name(self, thing: Any) -> str:
        """A global name for any object."""
        if thing is None or type(thing) in (bool, int, str):
            return repr(thing)
        if id(thing) not in self.known:
            self.known[id(thing)] = f"k{len(self.names)}"
            self.names[self.known[id(thing)]] = thing
        return self.known[id(thing)]

    def compiled(self) -> Any:
        """The function."""
        places = self.places
        conditions = list(dict.fromkeys(map(self.condition, self.trace.conditions)))
        fetched = [self.condition((place.text, place.objects)) for _, place in places]
        fits = [self.fits(i) for i in range(len(places))]
        program = self.trace.program
        arrays = "".join([f"{self.word(value)}, " for value in program.inputs])
        numbers = "".join([f"{self.word(value)}, " for value in program.numbers])
        check = [
            "try:",
            *[f"    if not ({c}): return MISS" for c in conditions],
            *[f"    a{i} = {text}" for i, text in enumerate(fetched)],
            *[f"    if not ({c}): return MISS" for c in fits],
            "except (LookupError, AttributeError, TypeError, ValueError):",
            "    return MISS",
        ]
        check += [line for i in range(len(places)) for line in self.clash(i)]
        lines = [*check, "if only_check: return True", "try:"]
        for step in self.trace.before():
            lines.append(f"    {self.before(step)}")
            self.origin[len(lines) + 1] = step
        leaves = [node for place in self.trace.updated for node in self.leaf(place)]
        lines += [
            f"    out = run(({arrays}), ({numbers}))",
            "except Exception as error:",
            "    explain(error)",
            "    raise",
            *([f"tell({self.name(leaves)})"] if leaves else []),
            *[self.write(*write) for write in self.trace.writes],
            f"return {self.result(self.trace.result)}",
        ]
        text = "\n    ".join(["def call(args, kwargs, only_check=False):", *lines])
        exec(builtins.compile(text, GENERATED, "exec"), self.names)
        return self.names.pop("call")

    def leaf(self, value: Value) -> list[Node]:
        """The node of the Tensor whose array an input is; empty where there is none."""
        (owner, *_) = self.trace.places[value].objects or (None,)
        node = getattr(owner, "node", None) if isinstance(owner, Tensor) else None
        return [] if node is None else [node]

    def condition(self, condition: Condition) -> str:
        """A condition as an expression with names for its objects."""
        text, objects = condition
        return text.format(*map(self.name, objects))

    def is_argument(self, i: int) -> bool:
        """Whether an input is an argument: a different array at each call."""
        return self.places[i][1].is_argument

    def fits(self, i: int) -> str:
        """The condition that an array has the traced one's shape, strides and dtype."""
        if not self.is_argument(i):
            return f"a{i} is last[{i}] or bound.rebind({i}, a{i})"
        value = self.places[i][0]
        shape, strides, dtype = map(self.name, (value.shape, value.strides, value.dtype))
        return (
            f"type(a{i}) is ndarray and a{i}.shape == {shape} and a{i}.strides == {strides} "
            f"and (a{i}.dtype is {dtype} or a{i}.dtype == {dtype})"
        )

    def clash(self, i: int) -> list[str]:
        """Lines that return CLASH where an argument shares memory with an updated array."""
        if not self.is_argument(i) or not self.bound.updated:
            return []
        asked = f"(id(a{i}) if (b := a{i}.base) is None else "
        asked += "id(b) if type(b) is ndarray and b.base is None else None) in bound.owners"
        if any(map(self.is_argument, self.bound.updated)):
            asked = "True"
        arrays = "".join([f"a{j}, " for j in range(len(self.places))])
        return [f"if {asked} and bound.clashes({i}, ({arrays})): return CLASH"]

    def before(self, step: Step | Call) -> str:
        """A line that Python runs before the program."""
        call = self.call(step.function, step.args, getattr(step, "kwargs", {}))
        if step.args and step.args[0] is default_generator:
            call = f"{self.name(step.function)}({self.name(default_generator)}())"
        if isinstance(step, Call):
            return f"{self.word(step.out)} = {call}"
        form = {"number": "{} = float({})", "draw": "{} = asarray({})", "check": "{1}"}[step.kind]
        return form.format(self.word(step.out), call)

    def call(self, function: Any, args: Any, kwargs: Any) -> str:
        """An expression that calls a function."""
        words = [self.word(arg) for arg in args]
        words += [f"{key}={self.word(item)}" for key, item in kwargs.items()]
        return f"{self.name(function)}({', '.join(words)})"

    def word(self, tree: Any) -> str:
        """An expression for an argument: a Value, a constant, or a structure of them."""
        if isinstance(tree, Value):
            if tree.source == "constant":
                return self.name(tree.array)
            return self.words.setdefault(tree, f"v{len(self.words)}")
        if not any(True for _ in values_in(tree)):
            return self.name(tree)
        return expression(tree, self.word)

    def result(self, tree: Any) -> str:
        """An expression for what the step returns or stores."""
        if isinstance(tree, Kept):
            array = self.result_array(tree.value)
            return f"kept({array}, {tree.name!r})" if tree.name else f"wrap({array}, None)"
        if isinstance(tree, Value):
            if tree.source == "number":
                return self.word(tree)
            return self.result_array(tree) + ("" if tree.shape else "[()]")
        if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
            words = "".join([f"{self.result(item)}, " for item in tree])
            return f"[{words}]" if isinstance(tree, list) else f"({words})"
        if isinstance(tree, tuple):
            return f"{self.name(type(tree))}({', '.join(map(self.result, tree))})"
        if isinstance(tree, dict):
            items = [f"{self.name(key)}: {self.result(item)}" for key, item in tree.items()]
            made = f"{{{', '.join(items)}}}"
            return made if type(tree) is dict else f"{self.name(tree)} | {made}"
        return self.name(tree)

    def result_array(self, value: Value) -> str:
        """An expression for one output."""
        return f"out[{self.trace.outputs[value]}]"

    def write(self, holder: Holder, key: Any, tree: Any) -> str:
        """A line that stores a value where the step stored it."""
        target = self.name(holder.original)
        place = f"{target}.{key}" if holder.names else f"{target}[{self.name(key)}]"
        value = self.result_array(tree) if isinstance(tree, Value) else self.result(tree)
        if isinstance(holder.original, Tensor):
            return f"replace({target}, {value})"
        return f"{place} = {value}"
