"""How an op is defined: a NumPy function, one gradient rule per input, and sample cases.

A rule is a plain function. Its first argument is the output's gradient ``g``; the names of the
others say what it reads, and the graph saves exactly that:

- an input of the op, by its name;
- ``out``, the op's result;
- a parameter of the op, such as ``axis``;
- ``x_shape`` for an input ``x``: only its shape, so that the array itself is not saved.

A rule returns d loss / d input, in the shape of the input or of the output: the backward pass sums
over broadcast axes. Rules use only what ndarrays and Tensors have in common. The same rule runs on
ndarrays for speed, and on Tensors for higher orders.

Drawings and reports show what a rule computes: for a lambda or a single ``return`` its text, for a
longer rule the first line of its docstring, an expression such as ``g * y``.

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
from typing import Any

import numpy as np

from . import messages
from .graph import Rule
from .numpy_calls import NUMPY
from .opcall import make_function
from .source import expression
from .tensor import METHODS, Function, Tensor, TensorFunction, functions, wrap

Value = Any
"""What forward functions and rules compute with: ndarrays, or Tensors if rules are recorded."""


@dataclass(frozen=True)
class Sample:
    """A random array: its shape, and how to draw it. ``smooth`` samples are differentiated."""

    shape: tuple[int, ...]
    kind: str
    draw: Callable[[np.random.Generator], Any] = field(repr=False, compare=False)
    smooth: bool = True

    def __repr__(self) -> str:
        return f"{self.kind}{self.shape}".replace(" ", "").replace(",)", ")")


@dataclass(frozen=True)
class Case:
    """One sample call of an op; ``cases.filled`` draws its arrays."""

    args: tuple[Any, ...]
    params: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return ", ".join([*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.params.items())])


@dataclass(eq=False, repr=False)
class Op:
    """One op: what it computes, how it is differentiated, and the sample calls it is tested on.

    ``gradients`` holds the rules as they were written, by input; ``rules`` the same rules as the
    backward pass calls them, in the order of ``inputs``. ``extras`` names what they read besides
    inputs and output, in the order of the saved values. ``analytic``: the forward function is
    complex differentiable and runs on complex arrays, so that the complex step can check it.
    ``composite``: a function written in terms of ops, without rules. ``weak``: Python numbers stay
    as they are, so that they do not widen the dtype. ``constant``: the results are constants, and
    there are no rules.

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
        """How many parameters can be given by position."""
        return getattr(getattr(self.forward, "__code__", None), "co_argcount", len(self.parameters))

    @property
    def defaults(self) -> dict[str, Any]:
        """The default values of the parameters that have one."""
        by_place = getattr(self.forward, "__defaults__", None) or ()
        names = self.parameters[self.positional - len(by_place) : self.positional]
        by_name = getattr(self.forward, "__kwdefaults__", None) or {}
        return dict(zip(names, by_place, strict=True)) | by_name

    def formula(self, name: str) -> str:
        """The gradient rule of one input as a formula, read from its definition.

        >>> import tinygrad_np as tg
        >>> tg.OPS["multiply"].formula("x")
        'g * y'
        """
        return expression(self.gradients[name]) or f'rule of op "{self.name}"'

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """For use inside rules: the op on Tensors, its forward function on ndarrays."""
        if Tensor in map(type, args):
            return self.function(*args, **kwargs)
        result = self.forward(*args, **kwargs)
        return result[0] if self.residual else result

    def __str__(self) -> str:
        head = f"{self.name}({', '.join(self.parameters)})"
        return "\n".join([head, *(f"  d{name} = {self.formula(name)}" for name in self.gradients)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return messages.definition_table(self)


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

    ``gradients`` maps the differentiable inputs to their rules (see the head of this module). A
    backward pass through an op without rules raises TypeError, unless the op is ``constant``: its
    results are constants, like those of comparisons. An input ``*xs`` has one rule for all of them,
    ``lambda g, i, xs, ...``. ``numpy``: the NumPy functions that call this op when one of their
    arguments is a Tensor. ``cases``: sample calls, from which the op's checks are generated.
    ``analytic=False``: the forward function is not complex differentiable.

    ``residual=(name, f)`` is a value that the forward function computes anyway and that rules need:
    it returns the value as a second result, and rules read it by name. If the rules are recorded,
    ``f(*inputs, ...)`` computes it again from Tensors; ``f`` may name parameters after the inputs.

    Raises TypeError if there are no cases, a case does not fit the function, a rule names something
    that the op does not have, or the name is taken.

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
            raise TypeError(messages.NO_FUNCTION.format(forward=forward))
        code = forward.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        variadic = code.co_varnames[count] if code.co_flags & 4 else None  # 4: it takes *args
        made = Op(
            name or forward.__name__, forward, cases, tuple(gradients),
            code.co_varnames[:count], variadic, gradients, analytic=analytic, weak=weak,
            residual=residual, constant=constant,
        )  # fmt: skip
        return _register(made, forward, numpy)

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
    """An elementwise op made of a NumPy ufunc, with one rule per operand. Operands broadcast.

    ``np.<function>(tensor)`` calls the op as well. The other arguments are those of ``op``.

    >>> import numpy as np, tinygrad_np as tg
    >>> from tinygrad_np.cases import REAL
    >>> fabs = tg.ufunc(np.fabs, "|x|.", cases=REAL, analytic=False, x=lambda g, x: g * np.sign(x))
    >>> np.fabs(tg.Tensor([-1.0, 2.0])).tolist()
    [1.0, 2.0]
    >>> del tg.OPS["fabs"]
    """
    names = tuple(gradients) or ("x", "y")[: function.nin]
    made = Op(
        name or function.__name__, function, cases, tuple(gradients), names, None,
        gradients, analytic=analytic, weak=True, constant=constant,
    )  # fmt: skip
    return _register(made, None, function, doc)


def _register(
    op: Op, forward: Function | None, numpy: Function | Sequence[Function], doc: str = ""
) -> TensorFunction:
    _connect(op)
    readers = {
        value: [name for name, rule in op.gradients.items() if value in _reads(op, rule)]
        for value in (*op.inputs, "out")
    }
    op.function = make_function(op, readers)
    op.function.__doc__ = doc or (forward and forward.__doc__)
    op.function.__module__ = getattr(forward, "__module__", __name__)
    if forward is not None:  # for help(): the function's own code waits for its first call
        op.function.__wrapped__ = forward  # type: ignore[attr-defined]
    enter(op, numpy)
    return op.function


def enter(op: Op, numpy: Function | Sequence[Function]) -> None:
    """Add an op to the registry, to Tensor's methods, and to NumPy's functions on Tensors."""
    old = OPS.get(op.name)
    if old is not None and _origin(old) != _origin(op):
        raise TypeError(messages.NAME_TAKEN.format(op=op, origin=_origin(old)))
    _check_cases(op)
    OPS[op.name] = op
    functions[op.name] = op.function
    for method in METHODS.get(op.name, "").split():
        setattr(Tensor, method, op.function)
    for function in (numpy,) if callable(numpy) else numpy:
        NUMPY[function] = op.function


def _check_cases(op: Op) -> None:
    single = isinstance(op.cases, Case | Sample)
    op.cases = () if single or op.cases is None else tuple(op.cases)
    if not op.cases:
        raise TypeError(messages.NO_CASES.format(op=op))
    names, positional, optional = op.parameters, op.positional, set(op.defaults)
    for i, sample in enumerate(op.cases):
        if not isinstance(sample, Case):
            raise TypeError(messages.NO_CASE.format(op=op, i=i, kind=type(sample).__name__))
        given = {*names[: min(len(sample.args), positional)], *sample.params}
        extra = len(sample.args) > positional and not op.variadic
        if extra or not given.issubset(names) or not optional.issuperset(set(names) - given):
            listed = ", ".join(names)
            raise TypeError(messages.MISFIT_CASE.format(op=op, i=i, sample=sample, names=listed))


def _origin(op: Op) -> str:
    return str(getattr(op.forward, "__module__", "numpy"))


def _reads(op: Op, rule: Function) -> tuple[str, ...]:
    """The arguments of a rule after the gradient (and after the index, in a variadic op)."""
    code = rule.__code__
    return code.co_varnames[2 if op.variadic else 1 : code.co_argcount]


# Saved values and rules. A node saves one entry per input, then the output, then the extras. An
# entry that no rule in use reads is None.


def _connect(op: Op) -> None:
    """Name the extras, and connect the rules' arguments with the places of the saved values."""
    shapes = [f"{name}_shape" for name in op.inputs]
    constants = [name for name in op.parameters if name not in op.inputs]
    residual = [op.residual[0]] if op.residual else []
    names = sorted([*op.inputs, "out", *shapes, *constants, *residual])
    if op.constant and op.gradients:
        raise TypeError(f"op {op.name!r} is constant=True and has gradient rules: which is it?")
    for name, rule in op.gradients.items():
        if name not in (*op.parameters, op.variadic):
            raise TypeError(f"op {op.name!r} has a rule for {name!r}, but no such input")
        _check_rule(op, name, rule)
    reads = {name: _reads(op, rule) for name, rule in op.gradients.items()}
    for name, x in [(name, x) for name, read in reads.items() for x in read]:
        if names.count(x) != 1:
            raise TypeError(messages.unclear(op, name, x, names))
    again = op.residual[1].__code__.co_varnames if op.residual else ()
    extras = [
        x for x in dict.fromkeys(itertools.chain(*reads.values(), again[len(op.inputs) :]))
        if x in {*shapes, *constants}
    ]  # fmt: skip
    op.extras = (*extras, *residual)  # ``lift`` expects the residual last
    if op.variadic:
        if set(reads) != {op.variadic}:
            raise TypeError(messages.ONE_RULE.format(op=op))
        op.rules = _Repeated(op)
        return
    places = {name: i for i, name in enumerate((*op.inputs, "out", *op.extras))}
    op.rules = tuple(
        [_at(rule, [places[x] for x in reads[name]]) for name, rule in op.gradients.items()]
    )


def _check_rule(op: Op, name: str, rule: Any) -> None:
    """A rule is a Python function whose first argument is the gradient."""
    code = getattr(rule, "__code__", None)
    first = code.co_varnames[: code.co_argcount][:1] if code else ()
    if not first or first[0] in {*op.parameters, "out"} - {"g"}:
        found = f"a function of {first[0]!r}" if first else f"{rule!r}"
        raise TypeError(messages.NO_RULE.format(op=op, name=name, found=found))


def _at(rule: Function, places: list[int]) -> Rule:
    """The rule as the backward pass calls it: its arguments are the saved values at ``places``."""
    match places:  # the common cases are written out, which saves 0.3 µs a call
        case []:
            return _reading(places, lambda g, saved: rule(g))
        case [a]:
            return _reading(places, lambda g, saved: rule(g, saved[a]))
        case [a, b]:
            return _reading(places, lambda g, saved: rule(g, saved[a], saved[b]))
        case _:
            return _reading(places, lambda g, saved: rule(g, *[saved[i] for i in places]))


def _reading(places: list[int], rule: Any) -> Rule:
    """The rule, with the places that it reads: ``graph.py`` checks these before it runs."""
    rule.reads = places
    return rule  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Repeated:
    """The rule of a variadic input, once per operand."""

    op: Op

    def __iter__(self) -> Iterator[Rule]:
        return (functools.partial(self.apply, i) for i in itertools.count())

    def apply(self, i: int, g: Any, saved: tuple[Any, ...]) -> Any:
        [(variadic, rule)] = self.op.gradients.items()
        count = len(saved) - 1 - len(self.op.extras)
        values = {variadic: saved[:count], "out": saved[count]}
        values.update(zip(self.op.extras, saved[count + 1 :], strict=True))
        return rule(g, i, *[values[read] for read in _reads(self.op, rule)])
