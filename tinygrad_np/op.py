"""How an op is defined: a NumPy function, one gradient rule per input, and sample cases.

A rule is a plain function of the output's gradient ``g`` and of whatever else it names, and what
it names is what the graph keeps for it:

- an input of the op, by its name;
- ``out``, the op's result;
- a parameter of the op, such as ``axis``;
- ``x_shape`` for an input ``x``: its shape alone, so that the array itself is not kept.

It returns d loss / d input in the shape of the output or of the input: sums over broadcast axes
are the engine's. Rules are pure NumPy, on the surface that ndarrays and Tensors share: the same
rule runs on ndarrays for speed and on Tensors for higher order.

>>> import numpy as np, tinygrad_np as tg
>>> from tinygrad_np.cases import case, uniform
>>> @tg.op(cases=[case(uniform(0.5, 2.0, 3))], x=lambda g, x: g * 3 * x**2)
... def cube(x):
...     '''The third power, elementwise.'''
...     return x**3
>>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
>>> cube(x).sum().backward()
>>> x.grad
array([ 3., 12.])
>>> del tg.OPS["cube"]
"""

from __future__ import annotations

import functools
import itertools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import numpy as np

from . import tensor as tensors
from .cases import Case
from .graph import Node, Rule, recording
from .source import expression
from .tensor import NUMPY, Function, Tensor, TensorFunction, wrap
from .tracing import Traced, as_array

Value = Any
"""What forward functions and rules work on: ndarrays, or Tensors where the rules are recorded."""

F = TypeVar("F", bound=Function)


@dataclass(eq=False)
class Op:
    """One op: what it computes, how it is differentiated, and on what it is tried.

    ``gradients`` holds the rules as they were written, by input; ``rules`` the same as the engine
    calls them, in the order of ``inputs``; ``extras`` names what they read beside inputs and
    output, in the order of the saved values. ``analytic`` says that the forward function is complex
    differentiable and runs on complex arrays (so the complex step may be used on it). ``composite``
    functions have no rules: they are written in terms of ops. ``weak`` ops leave Python numbers as
    they are, so that these do not widen the dtype.
    """

    name: str
    forward: Function
    cases: tuple[Case, ...]
    inputs: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    variadic: str | None = None
    gradients: dict[str, Function] = field(default_factory=dict)
    rules: Iterable[Rule] = ()
    analytic: bool = True
    composite: bool = False
    weak: bool = False
    extras: tuple[str, ...] = ()
    residual: tuple[str, Function] | None = None
    function: TensorFunction = field(default=wrap, repr=False)  # set when it is registered

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow through this op."""
        return self.composite or bool(self.gradients)

    def formula(self, name: str, values: Mapping[str, Any] | None = None) -> str:
        """The gradient rule of one input in its own words, read from its definition; of a rule with
        several cases that one which ``values`` (of what it reads) lead to.

        >>> import tinygrad_np as tg
        >>> tg.OPS["multiply"].formula("x")
        'g * y'
        """
        return expression(self.gradients[name], values)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """For rules: the op on Tensors, its plain forward function on ndarrays."""
        if any(isinstance(arg, Tensor) for arg in args):
            return self.function(*args, **kwargs)
        result = self.forward(*args, **kwargs)
        return result[0] if self.residual else result

    def __str__(self) -> str:
        head = f"{self.name}({', '.join(self.parameters)})"
        return "\n".join([head, *(f"  d{name} = {self.formula(name)}" for name in self.gradients)])


OPS: dict[str, Op] = {}
"""Every op by its name. The generated checks run over this table."""


def op(
    *,
    cases: Sequence[Case],
    numpy: Function | Sequence[Function] = (),
    analytic: bool = True,
    weak: bool = False,
    residual: tuple[str, Function] | None = None,
    name: str | None = None,
    **gradients: Function,
) -> Callable[[Function], TensorFunction]:
    """Decorator that makes an op of a forward function written in plain NumPy.

    ``gradients`` maps the differentiable inputs to their rules (see the head of this module); with
    none the op is not differentiable and its results are constants. An input ``*xs`` has one rule
    for all, ``lambda g, i, xs, ...``. ``numpy`` names the NumPy functions that shall call this op
    when they meet a Tensor. ``cases`` are sample calls, from which the op's checks are generated;
    ``analytic=False`` says that the forward function is not complex differentiable.

    ``residual=(name, f)`` is for a value that the forward pass has at hand and the rules want: the
    forward function returns it second, rules read it by name, and where the rules are recorded
    ``f(*inputs)`` computes it again, as a Tensor with its own past.

    Raises TypeError where there are no cases, a rule names something the op does not have, or
    the name is taken.
    """

    def define(forward: Function) -> TensorFunction:
        code = forward.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        variadic = code.co_varnames[count] if code.co_flags & 4 else None  # 4: it takes *args
        record = Op(
            name or forward.__name__, forward, tuple(cases), tuple(gradients),
            code.co_varnames[:count], variadic, gradients, analytic=analytic, weak=weak,
            residual=residual,
        )  # fmt: skip
        return _register(record, forward, numpy)

    return define


def ufunc(
    function: Any,
    doc: str,
    *,
    cases: Sequence[Case],
    name: str | None = None,
    analytic: bool = True,
    **gradients: Function,
) -> TensorFunction:
    """An elementwise op: a NumPy ufunc and the rules of its operands, which broadcast.

    ``np.<function>(tensor)`` calls it too. Other arguments as for ``op``.
    """
    names = tuple(gradients) or ("x", "y")[: function.nin]
    record = Op(
        name or function.__name__, function, tuple(cases), tuple(gradients), names, None,
        gradients, analytic=analytic, weak=True,
    )  # fmt: skip
    return _register(record, None, function, doc)


def composite(
    *, cases: Sequence[Case], numpy: Function | Sequence[Function] = (), analytic: bool = True
) -> Callable[[F], F]:
    """Decorator for a function written in terms of ops: no rules of its own, but cases."""

    def define(forward: F) -> F:
        code = forward.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        record = Op(
            forward.__name__, forward, tuple(cases), parameters=names,
            analytic=analytic, composite=True, function=forward,
        )  # fmt: skip
        _enter(record, numpy)
        return forward

    return define


def _register(
    record: Op, forward: Function | None, numpy: Function | Sequence[Function], doc: str = ""
) -> TensorFunction:
    record.extras = extras = _connect(record)
    reads = {
        value: sum(
            1 << i for i, rule in enumerate(record.gradients.values()) if value in _reads(rule)
        )
        for value in (*record.inputs, "out")
    }
    record.function = _function(record, extras, reads)
    record.function.__doc__ = doc or (forward and forward.__doc__)
    record.function.__module__ = getattr(forward, "__module__", __name__)
    _enter(record, numpy)
    return record.function


def _enter(record: Op, numpy: Function | Sequence[Function]) -> None:
    """Put an op into the registry and on NumPy's protocols."""
    if not record.cases:
        raise TypeError(
            f"op {record.name!r} has no cases: give at least one sample call, cases=[case(...)], "
            "so that its gradient can be checked"
        )
    old = OPS.get(record.name)
    if old is not None and _origin(old) != _origin(record):
        raise TypeError(
            f"an op called {record.name!r} is defined in {_origin(old)} already: choose another "
            "name, or remove the old one with `del tg.OPS[name]`"
        )
    OPS[record.name] = record
    setattr(tensors.ops, record.name, record.function)
    for function in (numpy,) if callable(numpy) else numpy:
        NUMPY[function] = record.function


def _origin(record: Op) -> str:
    return str(getattr(record.forward, "__module__", "numpy"))


def _reads(rule: Function) -> tuple[str, ...]:
    """What a rule reads beside the gradient, and beside the index in a variadic op."""
    code = rule.__code__
    return code.co_varnames[1 : code.co_argcount]


# Saved values and rules. A node saves one entry per input, then the output, then what the rules
# read of the rest, in this order; what no rule in use reads is None.


def _connect(record: Op) -> tuple[str, ...]:
    """Tie the rules to their places among the saved values; return the names of the extras."""
    shapes = [f"{name}_shape" for name in record.inputs]
    constants = [name for name in record.parameters if name not in record.inputs]
    residual = [record.residual[0]] if record.residual else []
    known = {*record.inputs, "out", *shapes, *constants, *residual}
    extras: list[str] = []
    for name, rule in record.gradients.items():
        for read in _reads(rule)[1 if record.variadic else 0 :]:
            if read not in known:
                raise TypeError(
                    f"op {record.name!r}: the rule for {name!r} reads {read!r}, which is none of "
                    f"{', '.join(sorted(known))}"
                )
            if read in (*shapes, *constants) and read not in extras:
                extras.append(read)
        if name not in (*record.parameters, record.variadic):
            raise TypeError(f"op {record.name!r} has a rule for {name!r}, but no such input")
    extras += residual  # last, where ``lift`` looks for it
    if record.variadic:
        record.rules = _Repeated(record.gradients[record.variadic], record.variadic, extras)
    else:
        places = {name: i for i, name in enumerate((*record.inputs, "out", *extras))}
        record.rules = tuple(
            [
                _at(rule, [places[read] for read in _reads(rule)])
                for rule in record.gradients.values()
            ]
        )
    return tuple(extras)


def _at(rule: Function, places: list[int]) -> Rule:
    """The rule as the engine calls it, told where its arguments stand among the saved values."""
    match places:  # the common cases written out: 0.3 µs less a call than the general one
        case []:
            return lambda g, saved: rule(g)
        case [a]:
            return lambda g, saved: rule(g, saved[a])
        case [a, b]:
            return lambda g, saved: rule(g, saved[a], saved[b])
        case _:
            return lambda g, saved: rule(g, *[saved[i] for i in places])


class _Repeated:
    """The one rule of a variadic input, once per operand."""

    def __init__(self, rule: Function, variadic: str, extras: list[str]) -> None:
        self.rule, self.reads = rule, _reads(rule)[1:]
        self.variadic, self.extras = variadic, extras

    def __iter__(self) -> Iterator[Rule]:
        return (functools.partial(self.apply, i) for i in itertools.count())

    def apply(self, i: int, g: Any, saved: tuple[Any, ...]) -> Any:
        count = len(saved) - 1 - len(self.extras)
        values = {self.variadic: saved[:count], "out": saved[count]}
        values.update(zip(self.extras, saved[count + 1 :], strict=True))
        return self.rule(g, i, *[values[read] for read in self.reads])


# The functions people call. They are generated, as dataclasses generate __init__: one op call has
# to cost less than a microsecond over NumPy's own, and a function with the op's true signature,
# no *args and no loops over them, is what that takes (half the time of a general one). To compile
# one takes 0.3 ms, so that this waits for the first call: 100 ops would double the import time.


def _function(record: Op, extras: tuple[str, ...], reads: dict[str, int]) -> TensorFunction:
    """The op's function, whose code is compiled when it is first called."""
    namespace = {**_TOOLS, "_op": record, "_forward": record.forward}
    namespace.update({f"_reads_{name}": bits for name, bits in reads.items()})

    def compile_code() -> None:
        exec(_source(record, extras), namespace)
        code = namespace["call"].__code__
        function.__code__ = code.replace(co_name=record.name, co_qualname=record.name)

    namespace["_compile"] = compile_code
    function = types.FunctionType(_first_call.__code__, namespace, record.name)
    function.__defaults__ = getattr(record.forward, "__defaults__", None)
    function.__kwdefaults__ = getattr(record.forward, "__kwdefaults__", None)
    return function


def _first_call(*args: Any, **kwargs: Any) -> Any:
    _compile()  # type: ignore[name-defined]  # noqa: F821  # both names are in the op's namespace
    return _op.function(*args, **kwargs)  # type: ignore[name-defined]  # noqa: F821


def _source(record: Op, extras: tuple[str, ...]) -> str:
    """The Python text of an op's function. Names of its own begin with an underscore."""
    parameters, variadic = record.parameters, record.variadic
    inputs = () if variadic else record.inputs
    positional = getattr(getattr(record.forward, "__code__", None), "co_argcount", len(parameters))
    star = [f"*{variadic}"] if variadic else ["*"] if positional < len(parameters) else []
    signature = [*parameters[:positional], *star, *parameters[positional:]]
    call = [
        *parameters[:positional],
        *star,
        *(f"{name}={name}" for name in parameters[positional:]),
    ]
    lines = []
    for name in parameters:
        if name in inputs:
            lines += [
                f"if type({name}) is _Tensor: _node_{name} = {name}._node; {name} = {name}._data",
                f"else: _node_{name} = None; {name} = _operand(_op, {name!r}, {name})",
            ]
        else:
            lines.append(f"if type({name}) is _Tensor: {name} = _constant(_op, {name!r}, {name})")
    if variadic:
        lines += [
            f"_nodes = tuple([x._node if type(x) is _Tensor else None for x in {variadic}])",
            f"{variadic} = tuple([x._data if type(x) is _Tensor else "
            f"_operand(_op, {variadic!r}, x) for x in {variadic}])",
        ]
        recorded, nodes, operands = "any(_nodes)", "_nodes", variadic
        kept = [f"*({variadic} if _reads_{variadic} else [None] * len(_nodes))"]
    else:
        # A bit for each input whose rule will run: kept is only what one of these rules reads.
        bits = [f"(_node_{name} is not None) << {i}" for i, name in enumerate(inputs)]
        lines.append(f"_needs = {' | '.join(bits) or 0}")
        recorded = "_needs"
        nodes, operands = (
            f"({''.join(f'{prefix}{name}, ' for name in inputs)})" for prefix in ("_node_", "")
        )
        kept = [f"{name} if _needs & _reads_{name} else None" for name in inputs]
    kept.append("_out if _reads_out else None")
    for extra in extras:
        base = extra.removesuffix("_shape")
        if record.residual and extra == record.residual[0]:
            kept.append("_residual")
        elif base == variadic:
            kept.append(f"tuple([x.shape for x in {variadic}])")
        else:
            kept.append(f"{base}.shape" if base in inputs and base != extra else extra)
    body = "\n    ".join(lines)
    return f"""
def call({", ".join(signature)}):
    {body}
    try:
        {"_out, _residual" if record.residual else "_out"} = _forward({", ".join(call)})
    except Exception as error:
        _failed(_op, error, dict({", ".join(f"{name}={name}" for name in parameters)}))
    if type(_out) is not _ndarray: _out = _asarray(_out)
    if {recorded}:
        _mode = _recording()
        _dtype = _out.dtype
        if _mode and (_dtype is _float32 or _dtype is _float64 or _is_real(_op, _dtype)):
            _node = _Node(_op, {nodes}, ({", ".join(kept)},), _out.shape, _dtype)
            if _mode is not True: _mode.observe(_node, {operands}, _out)
            return _wrap(_out, _node)
    return _wrap(_out, None)
"""


def _operand(record: Op, name: str, value: Any) -> Any:
    """An input that is no Tensor, as the forward function gets it; TypeError if it is no number."""
    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.generic | np.memmap | np.matrix):
        if value.dtype.kind in "fiubc":
            return value if isinstance(value, np.generic) else np.asarray(value)
    elif kind in _NUMBERS:
        return value if record.weak else np.asarray(value)
    elif value is None and _is_optional(record, name):
        return value
    elif isinstance(value, list | tuple):
        return np.asarray(value)
    elif isinstance(value, Traced):
        return value
    found = f"an array of dtype {value.dtype}" if hasattr(value, "dtype") else repr(value)
    raise TypeError(f"{record.name}: {name} must be a Tensor, an array or a number, got {found}")


_NUMBERS = frozenset([int, float, bool, complex])


def _is_optional(record: Op, name: str) -> bool:
    defaults = record.function.__defaults__ or ()
    place = record.parameters.index(name) - len(record.parameters)
    return len(defaults) + place >= 0 and defaults[place] is None


def _constant(record: Op, name: str, value: Tensor) -> Any:
    """A Tensor given for something that has no gradient: its array."""
    if value.requires_grad and record.differentiable:
        raise TypeError(
            f"{record.name} has no gradient with respect to {name!r}, but the Tensor given for it "
            f"requires grad: pass {name}.detach() if it is meant as a constant"
        )
    return value.data


def _is_real(record: Op, dtype: np.dtype[Any]) -> bool:
    """Whether a result has a gradient: integers and booleans are constants, complex an error."""
    kind = dtype.kind
    if kind == "c":
        raise TypeError(
            f"{record.name} gives complex numbers: gradients are for real ones only. "
            "Use tensor.detach() where no gradient is needed"
        )
    return bool(kind == "f")


def _failed(record: Op, error: Exception, arguments: dict[str, Any]) -> NoReturn:
    """Say which op failed, and on what."""
    lines = [f"{record.name}: {error}"]
    for name, value in arguments.items():
        shape = getattr(value, "shape", None)
        told = repr(value) if shape is None else f"{value.dtype} of shape {shape}"
        lines.append(f"    {name}: {told if len(told) < 200 else told[:200] + ' …'}")
    kind = type(error)
    if kind in (ValueError, TypeError, IndexError, np.linalg.LinAlgError, np.exceptions.AxisError):
        raise kind("\n".join(lines)) from error
    if isinstance(error, TypeError):  # NumPy's own subclasses take other arguments
        raise TypeError("\n".join(lines)) from error
    error.add_note("\n".join(lines))
    raise error


_TOOLS: dict[str, Any] = {
    "_Tensor": Tensor, "_Node": Node, "_ndarray": np.ndarray, "_asarray": as_array,
    "_wrap": wrap, "_recording": recording.get, "_operand": _operand, "_constant": _constant,
    "_is_real": _is_real, "_failed": _failed,
    "_float32": np.dtype(np.float32), "_float64": np.dtype(np.float64),
}  # fmt: skip
