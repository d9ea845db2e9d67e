"""How an op is defined: a NumPy function, one gradient rule per input, and sample cases.

A rule is a plain function of the output's gradient ``g`` and of whatever else it names, and what
it names is what the graph keeps for it:

- an input of the op, by its name;
- ``out``, the op's result;
- a parameter of the op, such as ``axis``;
- ``x_shape`` for an input ``x``: its shape alone, so that the array itself is not kept.

Drawings and reports show what a rule computes: a lambda by its text, a longer rule by the first
line of its docstring, an expression such as ``g * y``.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from . import tensor as tensors
from .cases import Case, Sample
from .graph import Rule
from .hints import of_keywords
from .opcall import make_function
from .source import expression
from .tables import html_table
from .tensor import METHODS, NUMPY, Function, Tensor, TensorFunction, wrap

Value = Any
"""What forward functions and rules work on: ndarrays, or Tensors where the rules are recorded."""

F = TypeVar("F", bound=Function)


@dataclass(eq=False, repr=False)
class Op:
    """One op: what it computes, how it is differentiated, and on what it is tried.

    ``gradients`` holds the rules as they were written, by input; ``rules`` the same as the engine
    calls them, in the order of ``inputs``; ``extras`` names what they read beside inputs and
    output, in the order of the saved values. ``analytic`` says that the forward function is complex
    differentiable and runs on complex arrays (so the complex step may be used on it). ``composite``
    functions have no rules: they are written in terms of ops. ``weak`` ops leave Python numbers as
    they are, so that these do not widen the dtype. ``constant`` ops have no rules either: their
    results are constants.

    >>> import tinygrad_np as tg
    >>> tanh = tg.OPS["tanh"]
    >>> print(tanh)
    tanh(x)
      dx = g * (1 - out * out)
    >>> tanh.differentiable, tanh.analytic
    (True, True)
    """

    name: str
    forward: Function
    cases: Sequence[Case]
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
    constant: bool = False
    function: TensorFunction = field(default=wrap, repr=False)  # set when it is registered

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow through this op."""
        return self.composite or bool(self.gradients)

    @property
    def positional(self) -> int:
        """How many parameters can be given by place."""
        return getattr(getattr(self.forward, "__code__", None), "co_argcount", len(self.parameters))

    @property
    def defaults(self) -> dict[str, Any]:
        """What the parameters are that can be left out."""
        by_place = getattr(self.forward, "__defaults__", None) or ()
        names = self.parameters[self.positional - len(by_place) : self.positional]
        by_name = getattr(self.forward, "__kwdefaults__", None) or {}
        return dict(zip(names, by_place, strict=True)) | by_name

    def formula(self, name: str) -> str:
        """The gradient rule of one input in its own words, read from its definition.

        >>> import tinygrad_np as tg
        >>> tg.OPS["multiply"].formula("x")
        'g * y'
        """
        return expression(self.gradients[name])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """For rules: the op on Tensors, its plain forward function on ndarrays."""
        if Tensor in map(type, args):
            return self.function(*args, **kwargs)
        result = self.forward(*args, **kwargs)
        return result[0] if self.residual else result

    def __str__(self) -> str:
        head = f"{self.name}({', '.join(self.parameters)})"
        return "\n".join([head, *(f"  d{name} = {self.formula(name)}" for name in self.gradients)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        doc = (self.function.__doc__ or "").strip().partition("\n")[0]
        rules = [(f"d{name}", self.formula(name)) for name in self.gradients]
        return html_table(
            [("gradient", "rule"), *rules],
            before=[f"{self.name}({', '.join(self.parameters)}): {doc}"],
            after=[f"{len(self.cases)} sample calls, from which its checks are made"],
        )


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
    constant: bool = False,
    **gradients: Function,
) -> Callable[[Function], TensorFunction]:
    """Decorator that makes an op of a forward function written in plain NumPy.

    ``gradients`` maps the differentiable inputs to their rules (see the head of this module). An op
    without rules is differentiated with a TypeError, unless it is ``constant``: then its results
    are constants, as those of comparisons are. An input ``*xs`` has one rule for all,
    ``lambda g, i, xs, ...``. ``numpy`` names the NumPy functions that shall call this op when they
    meet a Tensor. ``cases`` are sample calls, from which the op's checks are generated;
    ``analytic=False`` says that the forward function is not complex differentiable.

    ``residual=(name, f)`` is for a value that the forward pass has at hand and the rules want: the
    forward function returns it second, rules read it by name, and where the rules are recorded
    ``f(*inputs, ...)`` computes it again, as a Tensor with its own past; it may name parameters
    after the inputs.

    Raises TypeError where there are no cases or a case does not fit the function, a rule names
    something the op does not have, or the name is taken.

    >>> import tinygrad_np as tg
    >>> from tinygrad_np.cases import case, normal
    >>> @tg.op(cases=[case(normal(3))], x=lambda g, x: g * 3 * x**2)
    ... def cubed(x):
    ...     return x**3
    >>> x = tg.Tensor(2.0, requires_grad=True)
    >>> cubed(x).backward()
    >>> x.grad.item()
    12.0
    >>> del tg.OPS["cubed"]
    """

    def define(forward: Function) -> TensorFunction:
        if not hasattr(forward, "__code__"):
            raise TypeError(
                f"{forward!r} is not a Python function, whose parameters could be read: write one "
                "around it, or use tg.ufunc for a ufunc"
            )
        code = forward.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        variadic = code.co_varnames[count] if code.co_flags & 4 else None  # 4: it takes *args
        record = Op(
            name or forward.__name__, forward, cases, tuple(gradients),
            code.co_varnames[:count], variadic, gradients, analytic=analytic, weak=weak,
            residual=residual, constant=constant,
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
    constant: bool = False,
    **gradients: Function,
) -> TensorFunction:
    """An elementwise op: a NumPy ufunc and the rules of its operands, which broadcast.

    ``np.<function>(tensor)`` calls it too. Other arguments as for ``op``.

    >>> import numpy as np, tinygrad_np as tg
    >>> from tinygrad_np.cases import REAL
    >>> fabs = tg.ufunc(np.fabs, "|x|.", cases=REAL, analytic=False, x=lambda g, x: g * np.sign(x))
    >>> np.fabs(tg.Tensor([-1.0, 2.0])).tolist()
    [1.0, 2.0]
    >>> del tg.OPS["fabs"]
    """
    names = tuple(gradients) or ("x", "y")[: function.nin]
    record = Op(
        name or function.__name__, function, cases, tuple(gradients), names, None,
        gradients, analytic=analytic, weak=True, constant=constant,
    )  # fmt: skip
    return _register(record, None, function, doc)


def composite(
    *, cases: Sequence[Case], numpy: Function | Sequence[Function] = (), analytic: bool = True
) -> Callable[[F], F]:
    """Decorator for a function written in terms of ops: no rules of its own, but cases.

    >>> import tinygrad_np as tg
    >>> from tinygrad_np.cases import case, normal
    >>> @tg.composite(cases=[case(normal(3))])
    ... def logistic(x):
    ...     return 1 / (1 + tg.exp(-x))
    >>> logistic(tg.Tensor(0.0)).item()
    0.5
    >>> del tg.OPS["logistic"]
    """

    def define(forward: F) -> F:
        code = forward.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        function = _hinting(forward, names) if "axis" in names else forward
        record = Op(
            forward.__name__, forward, cases, parameters=names,
            analytic=analytic, composite=True, function=function,
        )  # fmt: skip
        _enter(record, numpy)
        return function

    return define


def _hinting(forward: F, names: Sequence[str]) -> F:
    """The function, with a message for PyTorch's words among its arguments."""

    @functools.wraps(forward)
    def call(*args: Any, **kwargs: Any) -> Any:
        if unknown := {name: value for name, value in kwargs.items() if name not in names}:
            raise TypeError(of_keywords(forward.__name__, unknown, names))
        return forward(*args, **kwargs)

    return call  # type: ignore[return-value]


def _register(
    record: Op, forward: Function | None, numpy: Function | Sequence[Function], doc: str = ""
) -> TensorFunction:
    _connect(record)
    readers = {
        value: [name for name, rule in record.gradients.items() if value in _reads(record, rule)]
        for value in (*record.inputs, "out")
    }
    record.function = make_function(record, readers)
    record.function.__doc__ = doc or (forward and forward.__doc__)
    record.function.__module__ = getattr(forward, "__module__", __name__)
    if forward is not None:  # help() looks there: the function's own code waits for its first call
        record.function.__wrapped__ = forward  # type: ignore[attr-defined]
    _enter(record, numpy)
    return record.function


def _enter(record: Op, numpy: Function | Sequence[Function]) -> None:
    """Put an op into the registry and on NumPy's protocols."""
    old = OPS.get(record.name)
    if old is not None and _origin(old) != _origin(record):
        raise TypeError(
            f"an op called {record.name!r} is defined in {_origin(old)} already: choose another "
            "name, or remove the old one with `del tg.OPS[name]`"
        )
    _check_cases(record)
    OPS[record.name] = record
    setattr(tensors.ops, record.name, record.function)
    if record.name in METHODS:
        setattr(Tensor, record.name, record.function)
    for function in (numpy,) if callable(numpy) else numpy:
        NUMPY[function] = record.function


def _check_cases(record: Op) -> None:
    single = isinstance(record.cases, Case | Sample)
    record.cases = () if single or record.cases is None else tuple(record.cases)
    if not record.cases:
        raise TypeError(
            f"op {record.name!r} has no cases: give a list of at least one sample call, "
            "cases=[case(normal(3))], so that its gradient can be checked"
        )
    names, positional, optional = record.parameters, record.positional, set(record.defaults)
    for i, sample in enumerate(record.cases):
        if not isinstance(sample, Case):
            raise TypeError(
                f"op {record.name!r}: cases[{i}] is a {type(sample).__name__} and no case: "
                "write case(...) around the arguments of the call, cases=[case(normal(3))]"
            )
        given = {*names[: min(len(sample.args), positional)], *sample.params}
        extra = len(sample.args) > positional and not record.variadic
        if extra or not given.issubset(names) or not optional.issuperset(set(names) - given):
            raise TypeError(
                f"op {record.name!r}: cases[{i}], case({sample}), does not fit its parameters "
                f"({', '.join(names)})"
            )


def _origin(record: Op) -> str:
    return str(getattr(record.forward, "__module__", "numpy"))


def _reads(record: Op, rule: Function) -> tuple[str, ...]:
    """What a rule reads beside the gradient, and beside the index in a variadic op."""
    code = rule.__code__
    return code.co_varnames[2 if record.variadic else 1 : code.co_argcount]


# Saved values and rules. A node saves one entry per input, then the output, then what the rules
# read of the rest, in this order; what no rule in use reads is None.


def _connect(record: Op) -> None:
    """Name the extras, and tie the rules to their places among the saved values."""
    shapes = [f"{name}_shape" for name in record.inputs]
    constants = [name for name in record.parameters if name not in record.inputs]
    residual = [record.residual[0]] if record.residual else []
    names = [*record.inputs, "out", *shapes, *constants, *residual]
    if record.constant and record.gradients:
        raise TypeError(f"op {record.name!r} is constant=True and has gradient rules: which is it?")
    for name, rule in record.gradients.items():
        if name not in (*record.parameters, record.variadic):
            raise TypeError(f"op {record.name!r} has a rule for {name!r}, but no such input")
        _check_rule(record, name, rule)
    reads = {name: _reads(record, rule) for name, rule in record.gradients.items()}
    for name, read in reads.items():
        if unclear := [x for x in read if names.count(x) != 1]:
            raise TypeError(
                f"op {record.name!r}: the rule for {name!r} reads {unclear[0]!r}, which is none, "
                f"or more than one, of {', '.join(sorted(names))}"
            )
    again = record.residual[1].__code__.co_varnames if record.residual else ()
    extras = [
        x for x in dict.fromkeys(itertools.chain(*reads.values(), again[len(record.inputs) :]))
        if x in {*shapes, *constants}
    ]  # fmt: skip
    record.extras = (*extras, *residual)  # this last, where ``lift`` looks for it
    if record.variadic:
        if set(reads) != {record.variadic}:
            raise TypeError(
                f"op {record.name!r} takes *{record.variadic}: it needs one rule, for these"
            )
        record.rules = _Repeated(record)
        return
    places = {name: i for i, name in enumerate((*record.inputs, "out", *record.extras))}
    record.rules = tuple(
        [_at(rule, [places[x] for x in reads[name]]) for name, rule in record.gradients.items()]
    )


def _check_rule(record: Op, name: str, rule: Any) -> None:
    """A rule is a Python function whose first argument is the gradient."""
    code = getattr(rule, "__code__", None)
    first = code.co_varnames[: code.co_argcount][:1] if code else ()
    if not first or first[0] in {*record.parameters, "out"} - {"g"}:
        found = f"a function of {first[0]!r}" if first else f"{rule!r}"
        raise TypeError(
            f"op {record.name!r}: the rule for {name!r} must be a Python function whose first "
            f"argument is the output's gradient, {name}=lambda g, ...: ..., got {found}"
        )


def _at(rule: Function, places: list[int]) -> Rule:
    """The rule as the engine calls it, told where its arguments stand among the saved values."""
    match places:  # the common cases written out: 0.3 µs less a call than the general one
        case []:
            return _reading(places, lambda g, saved: rule(g))
        case [a]:
            return _reading(places, lambda g, saved: rule(g, saved[a]))
        case [a, b]:
            return _reading(places, lambda g, saved: rule(g, saved[a], saved[b]))
        case _:
            return _reading(places, lambda g, saved: rule(g, *[saved[i] for i in places]))


def _reading(places: list[int], rule: Any) -> Rule:
    """The rule, with the places of the saved values that it reads, for checks before it runs."""
    rule.reads = places
    return rule  # type: ignore[no-any-return]


class _Repeated:
    """The one rule of a variadic input, once per operand."""

    def __init__(self, record: Op) -> None:
        self.op = record
        [(self.variadic, self.rule)] = record.gradients.items()
        self.reads = _reads(record, self.rule)

    def __iter__(self) -> Iterator[Rule]:
        return (functools.partial(self.apply, i) for i in itertools.count())

    def apply(self, i: int, g: Any, saved: tuple[Any, ...]) -> Any:
        count = len(saved) - 1 - len(self.op.extras)
        values = {self.variadic: saved[:count], "out": saved[count]}
        values.update(zip(self.op.extras, saved[count + 1 :], strict=True))
        return self.rule(g, i, *[values[read] for read in self.reads])
