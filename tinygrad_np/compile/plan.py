"""A program made ready to run: one flat list of calls with their arrays already in place."""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import wrap
from . import blas
from .memory import Layout, lay_out
from .program import REDUCES, Call, Program, Value, map_tree
from .trace import GradientHolder, Returned

Step = tuple[Callable[..., Any], list[Any]]


class Plan:
    """Runs a program again and again in the same memory; safe to call from several threads.

    External arrays (parameters, optimiser state) are looked up at each run: where one has been
    replaced since, the plan is laid out anew. Arguments are bound, not copied.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lock = threading.Lock()
        values = {v for call in program.calls for v in call.inputs} | set(program.outputs)
        self.externals = [
            v for v in values if v.source == "external" and not isinstance(v.where, GradientHolder)
        ]
        self.gradients = [v for v in values if isinstance(v.where, GradientHolder)]
        self.constants = [v for v in values if v.source == "constant"]
        self.getters = [value.where.get for value in self.externals]
        self.bound: list[Any] = []
        self.steps: list[Step] = []
        self.layout: Layout | None = None

    def run(self, arguments: list[Any]) -> Any:
        """Run once with these arrays for inputs; the result is the caller's to keep."""
        with self.lock:
            current = [get() for get in self.getters]
            if not self.steps or any(map(operator.is_not, current, self.bound)):
                self._bind(current, arguments)
            arrays = self.arrays
            for value, argument in zip(self.program.inputs, arguments, strict=True):
                arrays[value] = argument
            for value in self.gradients:
                arrays[value] = value.where.get()
            for refresh in self.refreshers:
                refresh()
            if self.program.ignored:
                with np.errstate(**self.program.ignored):
                    self.replay()
            else:
                self.replay()
            return self._returned(self.program.result)

    def _returned(self, tree: Any) -> Any:
        """The result with copies of the arrays in it."""
        if isinstance(tree, Value):
            return np.array(self.arrays[tree])
        if isinstance(tree, Returned):
            tensor = wrap(np.array(self.arrays[tree.value]), None)
            tensor.name = tree.name
            return tensor
        if isinstance(tree, tuple | list):
            items = [self._returned(item) for item in tree]
            return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
        if isinstance(tree, dict):
            return {key: self._returned(item) for key, item in tree.items()}
        return tree

    # Laying out

    def _bind(self, current: list[Any], arguments: list[Any]) -> None:
        for value, array in zip(self.externals, current, strict=True):
            if array.shape != value.shape or array.dtype != value.dtype:
                raise ValueError(
                    f"{value.where!r} has been replaced by an array of {array.dtype}{array.shape}; "
                    f"the compiled function was traced with {value.dtype}{value.shape}"
                )
        known = dict(zip(self.externals, current, strict=True))
        known.update({value: value.where for value in self.constants})
        known.update(zip(self.program.inputs, arguments, strict=True))
        known.update({value: value.where.get() for value in self.gradients})
        self.layout = lay_out(self.program, known)
        self.arrays = self.layout.arrays
        self.refreshers: list[Callable[[], None]] = []
        self.steps = []
        self.moved: list[list[Any]] = []
        self.numbers: dict[Value, dict[Any, Any]] = {}
        moving = {*self.program.inputs, *self.gradients}
        for call in self.program.calls:
            self._add(call, moving)
        self.bound = current
        self.replay = _straight_line(self.steps, moved={id(a) for a in self.moved})

    def _add(self, call: Call, moving: set[Value]) -> None:
        """The step of one call; what depends on this run's arguments is put in before each run."""
        out = call.out
        if call.kind == "view" and out is not None:
            if call.inputs[0] in moving:
                moving.add(out)
                self._view(call)
                source, *rest = call.args
                if isinstance(source, Value) and len(call.inputs) == 1 and not call.kwargs:
                    self.refreshers.append(
                        functools.partial(self._review, out, call.function, source, rest)
                    )
                else:
                    self.refreshers.append(functools.partial(self._view, call))
            elif self._view(call):
                return
            else:  # it is no view of our buffer: copy at each run
                moving.discard(out)
                self.arrays[out] = np.empty(out.shape, out.dtype)
                self._step(_copying(call.function), call, moving, self.arrays[out])
            return
        if call.kind in ("effect",):
            self.steps.append((call.function, []))
        elif call.kind == "check":
            self._step(call.function, call, moving)
        elif call.kind in ("host", "draw"):
            assert out is not None
            targets = self.numbers.setdefault(out, {out.dtype: self.arrays[out]})
            self.steps.append((_filling(call.function, targets), []))
        elif call.kind == "store":
            self._store(call, moving)
        else:
            self._array(call, moving)

    def _view(self, call: Call) -> bool:
        """Make a view; whether it is one, and not a copy."""
        assert call.out is not None
        args, kwargs = map_tree(self._array_of, call.args), map_tree(self._array_of, call.kwargs)
        result = call.function(*args, **kwargs)
        self.arrays[call.out] = result
        return bool(np.may_share_memory(result, args[0]))

    def _review(
        self, out: Value, function: Callable[..., Any], source: Value, rest: list[Any]
    ) -> None:
        self.arrays[out] = function(self.arrays[source], *rest)

    def _array_of(self, leaf: Any) -> Any:
        return self.arrays[leaf] if isinstance(leaf, Value) else leaf

    def _step(
        self, function: Callable[..., Any], call: Call, moving: set[Value], *front: Any
    ) -> None:
        """A step with ``front`` and the call's own arguments."""
        args = [*front, *map_tree(self._array_of, call.args)]
        kwargs = map_tree(self._array_of, call.kwargs)
        moved = [value for value in call.inputs if value in moving]
        simple = [i for i, arg in enumerate(call.args, len(front)) if arg in moved]
        if len(simple) == len(moved):
            self.moved += [args] * bool(simple)
            for i in simple:
                value = call.args[i - len(front)]
                self.refreshers.append(functools.partial(self._renew, args, i, value))
        else:
            self.moved.append(args)
            self.refreshers.append(functools.partial(self._renew_all, args, kwargs, call, front))
        self.steps.append((_keyworded(function, kwargs) if kwargs else function, args))

    def _renew(self, args: list[Any], i: int, value: Value) -> None:
        args[i] = self.arrays[value]

    def _renew_all(
        self, args: list[Any], kwargs: dict[str, Any], call: Call, front: tuple[Any, ...]
    ) -> None:
        args[:] = [*front, *map_tree(self._array_of, call.args)]
        kwargs.update(map_tree(self._array_of, call.kwargs))

    def _store(self, call: Call, moving: set[Value]) -> None:
        external, value = call.args
        if isinstance(external.where, GradientHolder):
            node = external.where.node

            def put(array: Any) -> None:
                node.grad = np.array(array)

            args: list[Any] = [None]
            self.steps.append((put, args))
            if value in moving:
                self.moved.append(args)
                self.refreshers.append(functools.partial(self._renew, args, 0, value))
            else:
                args[0] = self.arrays[value]
        elif self.layout is None or self.layout.homes.get(value) is not external:
            self._step(np.copyto, Call("array", np.copyto, (external, value)), moving)

    def _array(self, call: Call, moving: set[Value]) -> None:
        out = call.out
        assert out is not None and self.layout is not None
        target = self.arrays[out]
        if call.function is blas.gemm:
            self._gemm(call, moving, target)
        elif call.function in REDUCES:
            x, axis = call.args
            whole = Call("array", call.function, (x, axis, None, target, call.kwargs["keepdims"]))
            self._step(call.function, whole, moving)
        elif isinstance(call.function, np.ufunc) and not call.kwargs:
            args = [self._weak(arg, call) for arg in call.args]
            if call.function.nin == 2:  # maximum and minimum want ``out`` as a keyword
                run = functools.partial(call.function, out=target)
                self._step(run, Call("array", run, tuple(args)), moving)
            else:
                self._step(call.function, Call("array", call.function, (*args, target)), moving)
        elif isinstance(call.function, np.ufunc):
            whole = Call("array", call.function, call.args, {**call.kwargs, "out": target})
            self._step(call.function, whole, moving)
        elif call.function is np.ndarray.astype:
            self._step(_cast, Call("array", _cast, (target, call.args[0])), moving)
        else:
            self._step(_copying(call.function), call, moving, target)

    def _weak(self, arg: Any, call: Call) -> Any:
        """A number from the host in the dtype of the arrays it meets, as Python's numbers are."""
        if not (isinstance(arg, Value) and arg.source == "host"):
            return arg
        others = [v.dtype for v in call.inputs if v.source != "host"]
        dtype = np.result_type(*others) if others else arg.dtype
        targets = self.numbers[arg]
        return targets.setdefault(dtype, np.empty((), dtype))

    def _gemm(self, call: Call, moving: set[Value], target: Any) -> None:
        addend, left, right = call.args
        if addend in moving or not _same_memory(self.arrays[addend], target):
            self._step(np.copyto, Call("array", np.copyto, (target, addend)), moving)
        alpha = _factor(call.kwargs["alpha"], call.kwargs["of_product"], self.arrays)
        beta = _factor(call.kwargs["beta"], call.kwargs["of_addend"], self.arrays)
        a, b = (self._sample(value) for value in (left, right))
        pointers = [blas.pointer(a), blas.pointer(b)]
        kernel = None
        if not (np.may_share_memory(a, target) or np.may_share_memory(b, target)):
            kernel = blas.bind(target, a, b, alpha, beta, *pointers)
        if kernel is None:
            call = Call("array", _without_blas, (target, left, right, alpha, beta))
            self._step(_without_blas, call, moving)
            return
        for value, place in ((left, pointers[0]), (right, pointers[1])):
            if value in moving:
                self.refreshers.append(functools.partial(self._point, place, value))
        self.steps.append((kernel, []))

    def _sample(self, value: Value) -> Any:
        """An array of a value's layout, the one itself where it is known already."""
        return self.arrays[value]

    def _point(self, place: Any, value: Value) -> None:
        place.value = self.arrays[value].__array_interface__["data"][0]

    # For people

    def __str__(self) -> str:
        if self.layout is None:
            return f"{len(self.program.calls)} calls, to be laid out at the next run"
        lines = [
            f"{len(self.program.calls)} calls, {len(self.layout.buffers)} buffers of "
            f"{self.layout.nbytes:,} bytes, {self.layout.in_place} results in place, "
            f"{len(self.layout.homes)} updates in their own array"
        ]
        for call in self.program.calls:
            where = ""
            if call.out in self.layout.homes:
                where = f" -> {self.layout.homes[call.out].where!r}"
            shape = f"  {call.out.dtype}{list(call.out.shape)}" if call.out is not None else ""
            lines.append(f"  {call.kind:6s} {call!r}{shape}{where}")
        return "\n".join(lines)


def _straight_line(steps: list[Step], moved: set[int]) -> Callable[[], None]:
    """One function that makes all the calls: 40 ns a call less than a loop over them."""
    namespace: dict[str, Any] = {}
    lines = ["def replay():"]
    for i, (function, args) in enumerate(steps):
        namespace[f"f{i}"] = function
        if id(args) in moved:  # its arguments change from run to run
            namespace[f"a{i}"] = args
            lines.append(f"    f{i}(*a{i})")
            continue
        names = [f"a{i}_{k}" for k in range(len(args))]
        namespace.update(zip(names, args, strict=True))
        lines.append(f"    f{i}({', '.join(names)})")
    exec("\n".join([*lines, "    return"]), namespace)
    replay: Callable[[], None] = namespace["replay"]
    return replay


def _keyworded(function: Callable[..., Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    return lambda *args: function(*args, **kwargs)


def _copying(function: Callable[..., Any]) -> Callable[..., None]:
    """For functions that cannot write into a given array."""

    def run(target: Any, *args: Any, **kwargs: Any) -> None:
        np.copyto(target, function(*args, **kwargs))

    return run


def _cast(target: Any, source: Any) -> None:
    np.copyto(target, source, casting="unsafe")


def _filling(function: Callable[[], Any], targets: dict[Any, Any]) -> Callable[[], None]:
    def fill() -> None:
        result = function()
        for target in targets.values():
            target[...] = result

    return fill


def _same_memory(a: Any, b: Any) -> bool:
    return bool(
        a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
        and a.strides == b.strides
    )


def _factor(value: Any, sign: float, arrays: dict[Value, Any]) -> Callable[[], float] | float:
    if isinstance(value, Value):
        if value.source == "constant":
            return float(value.where) * sign
        array = arrays[value]
        return lambda: float(array) * sign
    return float(value) * sign


def _without_blas(target: Any, left: Any, right: Any, alpha: Any, beta: Any) -> None:
    a, b = (number() if callable(number) else number for number in (alpha, beta))
    product = np.matmul(left, right)
    np.multiply(product, a, product)
    if b != 1.0:
        np.multiply(target, b, target)
    np.add(target, product, target)
