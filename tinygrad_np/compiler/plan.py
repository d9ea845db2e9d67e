"""A program made ready to run: straight-line Python code with its arrays already in place.

One line a call, generated and compiled once: that is 40 ns a call less than a loop over them.
Arrays that are the same at each run are global names of that code. What differs from run to run
(large arguments, gradients) is a local variable, and so are its views and the host's numbers.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..tensor import wrap
from . import CompileError, blas
from .guard import guard
from .memory import lay_out
from .program import REDUCTIONS, TAKE_OUT, Call, Program, Value, is_ufunc, map_tree, values_in
from .trace import Returned

_SMALL = 16384
"""Arguments of at most so many bytes are copied in: cheaper than to find out where they are."""
_REDUCES = frozenset(REDUCTIONS.values())


class Plan:
    """Runs a program again and again in the same memory.

    Arrays from outside are looked up at each run: where one has been replaced since, the plan is
    laid out anew. Arguments are bound or copied, results are copies.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        calls = program.calls
        reads = [value for call in calls for value in call.inputs]
        self.stored = [call.args[0] for call in calls if call.kind == "store"]
        known = dict.fromkeys([*reads, *self.stored, *program.outputs])
        put = [call.args[0].where for call in calls if call.kind == "put"]
        outside = [value for value in known if value.source == "external"]
        self.moving = [v for v in outside if v.where.path == ".grad" or any(map(v.where.same, put))]
        self.externals = [value for value in outside if value not in self.moving]
        self.constants = [value for value in known if value.source == "constant"]
        self.replay: Any = None
        self.bound: Any = None

    # Before a run

    def ready(self, arguments: list[Any]) -> bool:
        """Lay out if need be; False where an array from outside has another shape by now."""
        if self.bound is not None and self.bound():
            return True
        arrays = {value: value.where.get() for value in (*self.externals, *self.moving)}
        if not all(value.fits(array) for value, array in arrays.items()):
            return False
        arrays.update(zip(self.program.inputs, arguments, strict=True))
        arrays.update({value: value.where for value in self.constants})
        self.layout = lay_out(self.program, arrays, set(self.externals))
        code = _Code(self, self.layout.arrays)
        self.replay, self.origin = code.compiled(), code.origin
        named = [(v.where, arrays[v]) for v in self.externals if v.where.path]
        same = [(f"{{0}}{where.path} is {{1}}", (where.owner, array)) for where, array in named]
        # Gradients are looked at by the trace's own conditions.
        like = [value.fitting() for value in self.moving if value.where.path != ".grad"]
        self.bound = guard(same + like)
        self.owners = {_owner(arrays[value]) for value in self.stored}
        return True

    def clashes(self, arguments: list[Any]) -> bool:
        """Whether an argument shares memory with an array that the program writes to."""
        for argument in arguments:
            if (id(argument) if argument.base is None else _owner(argument)) in self.owners:
                return True
        return False

    def run(self, arguments: list[Any]) -> Any:
        """Run once with these arrays for inputs; the result is the caller's to keep."""
        try:
            return self.replay(*arguments)
        except Exception as error:
            frame = error.__traceback__.tb_next if error.__traceback__ else None
            if frame is not None and frame.tb_lineno in self.origin:
                call = self.origin[frame.tb_lineno]
                error.add_note(f"raised in a replay, by {call}\n    at {call.line}")
            raise

    # For people

    def __str__(self) -> str:
        lines = [f"{len(self.program.calls)} calls"]
        homes = {}
        if self.replay is not None:
            layout, homes = self.layout, self.layout.homes
            lines[0] += (
                f", {len(layout.buffers)} buffers of {layout.nbytes:,} bytes, {layout.in_place} "
                f"results in place, {len(homes)} updates in their own array"
            )
        for call in self.program.calls:
            where = f" -> {homes[call.out].where!r}" if call.out in homes else ""
            shape = f"  {call.out.dtype}{list(call.out.shape)}" if call.out is not None else ""
            lines.append(f"  {call.kind:6s} {call!r}{shape}{where}")
        return "\n".join(lines)


def _owner(view: Any) -> int:
    """The id of the array, or of the buffer under a memoryview, that a view looks into."""
    while (base := getattr(view, "base", getattr(view, "obj", None))) is not None:
        view = base
    return id(view)


class _Text(str):
    """A piece of the code, among arguments that may be strings themselves."""


class _Code:
    """The generated function, line by line. ``origin`` tells which call made which line."""

    def __init__(self, plan: Plan, arrays: dict[Value, Any]) -> None:
        self.plan, self.arrays = plan, arrays
        self.homes = plan.layout.homes
        self.names: dict[str, Any] = {"copy": np.array, "wrap": wrap, "address": blas.address}
        self.names.update(named=_named, errstate=np.errstate, inf=np.inf, nan=np.nan)
        self.words: dict[Value, str] = {}
        self.local: set[Value] = set()
        self.base: dict[Value, Value] = {}  # of views of what is local
        self.lines: list[tuple[str, Call | None]] = []
        for value in plan.program.inputs:
            copied = np.empty_like(arrays[value])
            if copied.nbytes <= _SMALL and value.fits(copied):
                arrays[value] = copied
                self.lines.append((f"{self.word(value)}[...] = in{value.number}", None))
            else:
                self._local(value, f"in{value.number}")
        for value in plan.moving:
            self._local(value, f"v{value.number}")
            word = f"{self.name(value.where.owner)}{value.where.path}"
            self.lines.append((f"v{value.number} = {word}", None))
        for call in plan.program.calls:
            getattr(self, f"_{call.kind}")(call)
        for value in self.local:
            arrays.pop(value, None)  # samples, for their layout

    def _local(self, value: Value, word: str) -> None:
        self.local.add(value)
        self.words[value] = word

    def compiled(self) -> Any:
        """The function; it takes the program's inputs."""
        parameters = ", ".join(f"in{value.number}" for value in self.plan.program.inputs)
        text = [f"def replay({parameters}):"]
        self.origin: dict[int, Call] = {}
        by_errors = itertools.groupby(self.lines, lambda line: line[1].errors if line[1] else {})
        for errors, lines in by_errors:
            if errors:
                text.append(f"    with errstate(**{self.name(errors)}):")
            for line, call in lines:
                text.append("    " * (2 if errors else 1) + line)
                if call is not None:
                    self.origin[len(text)] = call
        text.append(f"    return {self.result(self.plan.program.result)}")
        exec("\n".join(text), self.names)
        return self.names.pop("replay")

    # Words

    def name(self, thing: Any) -> _Text:
        """A global name for any object."""
        name = f"k{len(self.names)}"
        self.names[name] = thing
        return _Text(name)

    def word(self, tree: Any) -> str:
        """An expression for an argument: a Value, a constant, or a structure of them."""
        if isinstance(tree, _Text):
            return tree
        if isinstance(tree, Value):
            if tree not in self.words:
                self.words[tree] = self.name(self.arrays[tree])
            return self.words[tree]
        if tree is None or type(tree) in (bool, int):
            return repr(tree)
        if not any(True for _ in values_in(tree)):
            return self.name(tree)
        words = ", ".join([self.word(item) for item in tree])
        return f"[{words}]" if isinstance(tree, list) else f"({words},)"

    def result(self, tree: Any) -> str:
        """An expression that copies the results."""
        if isinstance(tree, Returned):
            copied = f"copy({self.word(tree.value)})"
            return f"named({copied}, {tree.name!r})" if tree.name else f"wrap({copied}, None)"
        if isinstance(tree, Value):
            end = "" if tree.shape or tree.source == "host" else "[()]"
            return self.word(tree) if tree.source == "host" else f"copy({self.word(tree)}){end}"
        if isinstance(tree, tuple) and hasattr(tree, "_fields"):
            return f"{self.name(type(tree))}({', '.join([self.result(item) for item in tree])})"
        if isinstance(tree, list | tuple):  # made anew: the caller may append to it
            words = "".join([f"{self.result(item)}, " for item in tree])
            return f"[{words}]" if isinstance(tree, list) else f"({words})"
        if isinstance(tree, dict):
            items = [f"{self.name(key)}: {self.result(item)}" for key, item in tree.items()]
            like = "" if type(tree) is dict else f"{self.name(tree)} | "
            return f"{like}{{{', '.join(items)}}}"
        return self.name(tree)

    def call(self, function: Any, *args: Any, **kwargs: Any) -> _Text:
        """An expression that calls a function."""
        words = [self.word(arg) for arg in args] + [
            f"{k}={self.word(v)}" for k, v in kwargs.items()
        ]
        return _Text(f"{self.word(function)}({', '.join(words)})")

    def add(self, call: Call, function: Any, *args: Any, **kwargs: Any) -> None:
        """A line that calls a function."""
        self.lines.append((self.call(function, *args, **kwargs), call))

    # Calls, by kind

    def _view(self, call: Call) -> None:
        assert call.out is not None
        array = self._evaluated(call)
        self.arrays[call.out] = array
        first = call.inputs[0]
        if first in self.local or not np.may_share_memory(array, self.arrays[first]):
            self._local(call.out, f"v{call.out.number}")
            if np.may_share_memory(array, self.arrays[first]):
                self.base[call.out] = self.base.get(first, first)
            line = self.call(call.function, *call.args, **call.kwargs)
            self.lines.append((f"{self.words[call.out]} = {line}", call))

    def _host(self, call: Call) -> None:
        assert call.out is not None
        self._local(call.out, f"h{call.out.number}")
        self.lines.append((f"h{call.out.number} = {self.call(call.function)}", call))

    def _draw(self, call: Call) -> None:
        self.add(call, np.copyto, call.out, self.call(call.function))

    def _check(self, call: Call) -> None:
        self.add(call, call.function, *call.args)

    _effect = _check

    def _put(self, call: Call) -> None:
        place, value = call.args[0].where, call.args[1]
        new = "None" if value is None else f"copy({self.word(value)})"
        self.lines.append((f"{self.name(place.owner)}{place.path} = {new}", call))

    def _store(self, call: Call) -> None:
        external, value = call.args
        if self.homes.get(value) is not external:
            self.add(call, np.copyto, external, value)

    def _array(self, call: Call) -> None:
        function, args = call.function, call.args
        target: Any = call.out
        if function in (blas.gemm, blas.axpy):
            self._blas(call)
        elif function in _REDUCES and set(call.kwargs) == {"keepdims"} and len(args) == 2:
            self.add(call, function, *args, None, target, call.kwargs["keepdims"])
        elif is_ufunc(call) and call.kwargs.keys() <= {"order"}:  # which the target has
            words = [self._operand(arg, call) for arg in args]
            if function in (np.maximum, np.minimum):  # which want ``out`` as a keyword
                self.add(call, function, *words, out=target)
            else:
                self.add(call, function, *words, target)
        elif isinstance(function, np.ufunc) or (function in TAKE_OUT and target.dtype.char != "e"):
            self.add(call, function, *args, **call.kwargs, out=target)
        elif function is np.ndarray.__getitem__:
            array, index = (self.word(arg) for arg in args)
            self.lines.append((f"{self.word(target)}[...] = {array}[{index}]", call))
        elif function is np.ndarray.astype:
            self.add(call, np.copyto, target, args[0], casting="unsafe")
        else:
            self.add(call, _fill, target, self.call(function, *args, **call.kwargs))

    def _evaluated(self, call: Call) -> Any:
        """The result of a call with the arrays at hand."""

        def array(leaf: Any) -> Any:
            return self.arrays[leaf] if isinstance(leaf, Value) else leaf

        return call.function(*map_tree(array, call.args), **map_tree(array, call.kwargs))

    def _operand(self, arg: Any, call: Call) -> Any:
        """An operand of an elementwise ufunc, in the form that is fastest.

        A Python number costs 0.3 µs more than the 0-d array of the dtype it would get anyway, and
        broadcasting 0.5 µs more than equal shapes.
        """
        dtypes = {v.dtype for v in call.inputs if v.source != "host"}
        if not isinstance(arg, Value):
            if type(arg) in (int, float) and len(dtypes) == 1 and call.function is not np.ldexp:
                (dtype,) = dtypes
                if dtype.kind == "f":
                    return np.asarray(arg, dtype)
            return arg
        if arg in self.local or call.out is None:
            return arg
        array = self.arrays[arg]
        shape = () if arg.size == 1 < call.out.size else call.out.shape
        if array.shape != shape and array.size in (1, call.out.size) and array.flags.c_contiguous:
            return array.reshape(shape)
        return arg

    # Fused calls

    def _blas(self, call: Call) -> None:
        addend, *operands = call.args
        assert call.out is not None
        target = self.arrays[call.out]
        factors = [self._factor(call.kwargs[name]) for name in ("alpha", "beta")]
        plainly = self.call(_without_blas, call.function, call.out, addend, *operands, *factors)
        arrays = tuple([self.arrays[value] for value in operands])
        kernel = blas.bind(target, arrays, factors[1] == "1.0")
        if kernel is None:
            self.lines.append((plainly, call))
            return
        if addend in self.local or not _same(self.arrays[addend], target):
            plainly = self.call(_without_blas, call.function, *[call.out] * 2, *operands, *factors)
            self.add(call, np.copyto, call.out, addend)
        for value, pointer in zip(operands, kernel.pointers, strict=True):
            if value in self.local:
                base = self.base.get(value, value)
                offset = blas.address(self.arrays[value]) - blas.address(self.arrays[base])
                start = f"address({self.word(base)}) + {offset}"
                self.lines.append((f"{self.name(pointer)}.value = {start}", call))
        numbers = iter(factors)
        line = self.call(
            kernel.function,
            *[self._real(next(numbers), kernel.real) if a is None else a for a in kernel.arguments],
        )
        risky = [f"0.0 < abs({factor}) < inf" for factor in factors if not _is_plain(factor)]
        if risky:  # BLAS skips what is multiplied by 0, be it nan or infinite
            line = _Text(f"{line} if {' and '.join(risky)} else {plainly}")
        self.lines.append((line, call))

    def _factor(self, numbers: tuple[Any, ...]) -> _Text:
        """A product of numbers as an expression, what is known of it worked out."""
        hosts = [n for n in numbers if isinstance(n, Value) and n.source == "host"]
        others = [n.where if isinstance(n, Value) else n for n in numbers if n not in hosts]
        known = float(np.prod([float(number) for number in others]))
        words = [repr(known)] if known != 1.0 or not hosts else []
        return _Text(" * ".join([*words, *map(self.word, hosts)]))

    def _real(self, factor: _Text, real: Any) -> Any:
        return real(float(factor)) if _is_plain(factor) else self.call(real, factor)


def _same(a: Any, b: Any) -> bool:
    return blas.address(a) == blas.address(b) and a.strides == b.strides


def _is_plain(factor: str) -> bool:
    """Whether a factor is a finite number other than 0, known beforehand."""
    try:
        return np.isfinite(float(factor)) and float(factor) != 0.0
    except ValueError:
        return False


def _without_blas(function: Any, target: Any, addend: Any, *rest: Any) -> None:
    *operands, alpha, beta = rest
    np.copyto(target, function(addend, *operands, alpha=(alpha,), beta=(beta,)))


def _fill(target: Any, result: Any) -> None:
    """For functions that cannot write into a given array."""
    if (now := np.shape(result)) != target.shape:
        raise CompileError(f"the shape of a result depends on values: {now} after {target.shape}")
    np.copyto(target, result, casting="unsafe")


def _named(array: Any, name: str) -> Any:
    tensor = wrap(array, None)
    tensor.name = name
    return tensor
