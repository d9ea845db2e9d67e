"""Gradient checks: autograd against numerical derivatives, in a report that says what differs.

``gradcheck`` checks any function; ``check_op`` an op of the registry on one of its sample calls.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import graph
from .autodiff import connected, grad, leaf
from .definition import Case, Op, Sample
from .graph import Node
from .kinks import find_kink
from .modes import enable_grad, observed
from .numerical import EPS, Method, Probe, replaced
from .rounding import rounding, value_noise
from .tables import Table
from .tensor import Array, Tensor, plain

TOLERANCES = {
    ("complex", 1): 1e-12, ("central", 1): 1e-6, ("richardson", 1): 1e-7, ("richardson", 2): 1e-6,
}  # fmt: skip
"""Relative errors allowed in float64, by method and order."""
FEWER_DIGITS = {"float16": (3e-2, 1e-1), "float32": (1e-4, 1e-3)}
"""The same where an array of the graph is of this dtype, the least precise one, by order."""
FULL_SIZE = {1: 1000, 2: 100}
"""Inputs with more elements are checked along random directions; by order."""
DIRECTIONS = 5
SHOWN = 10  # notes in a printed report; all are in its ``notes``
NOTHING = (1e-30, 1e-100)  # float32's and float64's derivatives below this count as 0
SMALL = 1e-2  # relative errors of elements smaller than this part of the largest are in its terms


class Comparison(NamedTuple):
    """One input's derivatives of one order: the largest difference, where it is, what is there."""

    input: str
    shape: tuple[int, ...]
    dtype: str
    order: int
    method: str
    absolute: float
    relative: float
    allowed: float
    where: str
    autograd: float
    numerical: float
    passed: bool


class GradcheckError(AssertionError):
    """A gradient check failed; the message is the report's table, ``report`` the report.

    >>> import tinygrad_np as tg
    >>> from tinygrad_np.cases import case, normal
    >>> @tg.op(cases=[case(normal(3))], x=lambda g, x: g * 2 * x**2)
    ... def cubed(x):
    ...     return x**3
    >>> try:
    ...     tg.gradcheck(cubed, 2.0)
    ... except tg.GradcheckError as error:
    ...     worst = error.report.worst
    ...     print(worst.input, worst.relative > 0.1)
    x True
    >>> del tg.OPS["cubed"]
    """

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report


class GradcheckReport(NamedTuple):
    """What a gradient check found: true if all derivatives agree, and printed as a table.

    ``notes`` name the kinks that were met, inputs without influence, and differences that could
    not be measured.

    >>> import tinygrad_np as tg
    >>> report = tg.gradcheck(lambda x: tg.sin(x), 0.5)
    >>> bool(report), report.worst.input, report.worst.method
    (True, 'x', 'complex')
    """

    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return all(c.passed for c in self.comparisons)

    @property
    def worst(self) -> Comparison:
        """The comparison that comes nearest to, or goes farthest over, what is allowed."""
        return max(self.comparisons, key=lambda c: c.relative / c.allowed)

    def _table(self) -> Table:
        count, failed = len(self.comparisons), sum(not c.passed for c in self.comparisons)
        verdict = f"{failed} of {count} derivatives differ"
        if not failed:
            verdict = f"all {count} derivatives agree"
        rows = [
            ("", "input", "shape", "dtype", "order", "method", "abs error", "rel error", "allowed",
             "where", "autograd", "numerical")
        ]  # fmt: skip
        rows += [
            ("ok" if c.passed else "WRONG", c.input, str(c.shape), c.dtype, str(c.order), c.method,
             f"{c.absolute:.1e}", f"{c.relative:.1e}", f"{c.allowed:.0e}", c.where,
             f"{c.autograd:.10g}", f"{c.numerical:.10g}")
            for c in self.comparisons
        ]  # fmt: skip
        notes = [f"note: {note}" for note in self.notes[:SHOWN]]
        if len(self.notes) > SHOWN:
            notes.append(f"note: and {len(self.notes) - SHOWN} more like these")
        return Table(rows, [f"gradcheck: {verdict}"], notes)

    def __str__(self) -> str:
        return str(self._table())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


Inputs = (
    Tensor | ArrayLike | Sequence[Tensor | ArrayLike] | Mapping[str, Tensor | ArrayLike]
    | Iterator[Any]
)  # fmt: skip


def gradcheck(
    f: Callable[..., Any],
    inputs: Inputs,
    order: int = 1,
    *,
    weights: ArrayLike | str | None = None,
    method: Method = "auto",
    directions: int | None = None,
    rtol: float | None = None,
    seed: int = 0,
    raises: bool = True,
) -> GradcheckReport:
    """Compare the gradients of ``f(*inputs)`` with numerical ones; ``order=2`` the second, too.

    ``inputs`` is one array or Tensor, or several: a tuple or list, a mapping of names to them
    (given to f by keyword if these are names of its parameters), or ``model.named_parameters()``.
    Arrays and Tensors that require grad are checked, other Tensors are passed on as they are. f
    returns a scalar Tensor, or one (or several) of any shape with ``weights`` for its elements: an
    array, or "random". Labels, masks and seeds belong into a closure:
    ``lambda x: loss(x, labels)``.

    The gradients are taken for two random incoming gradients g, of both signs, and divided by
    these, so that a rule that forgets g is found. At second order g is an input like the others:
    its rows in the report, called ``g``, check the derivatives of the rules by their g.

    The numerical derivatives are computed in float64, by the complex step where f is analytic and
    by extrapolated differences elsewhere (see ``numerical_gradient``). Inputs of more than 1,000
    elements (100 at second order) are compared along random ``directions``; give a number to do so
    for all. The allowed error is 1e-12 for the complex step, 1e-7 for differences, 1e-6 at second
    order, and 1e-4 (1e-3) where float32 takes part; ``rtol`` overrides it. Elements below 1% of an
    array's largest are measured by that. Where large terms cancel, as in softmax's p - 1, what
    rounding may leave of them is not a mistake (see ``rounding``); the report's notes say so.

    At a kink (relu at 0, maximum at a tie) every value between the derivatives on both sides is
    right; the report's notes name the op. Returns the report; raises GradcheckError where it is
    false, unless ``raises=False``.

    Raises ValueError where f returns no scalar and there are no weights, is nan, or differs from
    call to call, where a rule writes to an array that it is given, and for inputs of length 0;
    TypeError for integers and where f returns no Tensor.

    >>> import numpy as np, tinygrad_np as tg
    >>> bool(tg.gradcheck(lambda x, y: (tg.tanh(x) @ y).sum(), [np.ones((2, 3)), np.ones(3)]))
    True
    """
    if order not in (1, 2):
        raise ValueError(f"order={order}: gradcheck compares derivatives of order 1 and 2")
    for name, number in (("directions", directions), ("rtol", rtol)):
        if number is not None and not number > 0:
            raise ValueError(f"{name}={number}: give a number above 0")
    rng = np.random.default_rng(seed)
    with enable_grad():
        report = _report(f, inputs, order, weights, method, directions, rtol, rng)
    if raises and not report:
        __tracebackhide__ = methodcaller("errisinstance", GradcheckError)  # pytest: the table alone
        raise GradcheckError(report)
    return report


def _report(
    f: Callable[..., Any], inputs: Any, order: int, weights: ArrayLike | str | None,
    method: Method, directions: int | None, rtol: float | None, rng: np.random.Generator,
) -> GradcheckReport:  # fmt: skip
    call, checked = _arguments(f, inputs)
    value = scalar(call, weights, rng)
    tensors = list(checked.values())
    along = [rng.normal(size=t.shape).astype(t.dtype) for t in tensors]
    factors = rng.uniform(0.5, 2.0, 2) * (1, -1)

    def first() -> Tensor:
        """The first derivatives along random directions: a scalar whose gradient is checked."""
        out = connected(value())
        g = np.full(out.shape, factors[0], out.dtype)
        gradients = grad(out, tensors, g, create_graph=True, allow_unused=True)
        parts = [(d * v).sum() for d, v in zip(gradients, along, strict=True)]
        return _total(parts) / float(factors[0])

    comparisons: list[Comparison] = []
    notes: list[str] = []
    functions: list[Callable[[], Tensor]] = [value, first]
    for k, function in enumerate(functions[:order], 1):
        variables = checked
        if k == 2:
            value.weights = [Tensor(w.data, requires_grad=True) for w in value.weights]
            variables = checked | _incoming(value.weights, checked)
        inputs = list(variables.values())
        dtypes = [tensor.dtype for tensor in inputs]
        with observed(_Watch()) if graph.recording.get() is True else nullcontext():
            gradients = _gradients(function, inputs, factors)
        with ExitStack() as widened:
            for tensor in inputs:  # all in float64, so that none brings its rounding into f
                wide = tensor.data.astype(np.result_type(tensor, np.float64))
                widened.enter_context(replaced(tensor, wide))
            wider = _gradients(function, inputs, factors)
            noise = value_noise(function)
            for name, tensor, dtype, g, exact in zip(
                variables, inputs, dtypes, gradients, wider, strict=True
            ):
                probe = Probe(function, tensor, method if k == 1 else "richardson", noise)
                used = [*(dtypes if k == 2 else [dtype]), *(node.dtype for node in probe.nodes)]
                allowed = rtol or _allowed(probe.method, k, used)
                eps = max(float(np.finfo(d).eps) for d in (np.dtype(float), *used) if d.kind == "f")
                limit = FULL_SIZE[k] if name in checked else DIRECTIONS  # by g it is linear
                count = directions or (DIRECTIONS if tensor.size > limit else 0)
                ways = [_direction(probe.origin, rng) for _ in range(count)]
                found = _compare(probe, name, dtype, eps, g, exact, k, allowed, ways, notes)
                comparisons.append(found)
                alike = np.allclose(g[0] * factors[0], g[1] * factors[1], 1e-6, 0) and g.any()
                if alike and not found.passed:
                    notes.append(
                        f"{name}: the gradient is the same for two incoming gradients g: "
                        "does a rule forget g?"
                    )
    return GradcheckReport(tuple(comparisons), tuple(dict.fromkeys(notes)))


def _gradients(function: Callable[[], Tensor], inputs: list[Tensor], factors: Array) -> list[Array]:
    """For each input its gradients for these incoming gradients, divided by them."""
    found: list[list[Array]] = []
    for factor in factors:
        out = connected(function())
        g = np.full(out.shape, factor, out.dtype)
        found.append([t.data / factor for t in grad(out, inputs, g, allow_unused=True)])
    return [np.stack(pair) for pair in zip(*found, strict=True)]


def _incoming(weights: list[Tensor], taken: Iterable[str]) -> dict[str, Tensor]:
    """The weights as inputs of the first derivatives: f's incoming gradients, by name."""
    name = "incoming g" if "g" in taken else "g"
    many = len(weights) > 1
    return {f"{name}[{i}]" if many else name: w for i, w in enumerate(weights) if w.size}


def check_op(
    op: Op, case: Case, order: int = 1, *, seed: int = 0, dtype: Any = np.float64
) -> GradcheckReport | None:
    """Check an op's rules on one of its sample calls; None where that call has nothing to check.

    The differentiable inputs of the call are checked together, weighed at random. Integer, boolean
    and empty ones are not; nor is an op without rules.

    >>> import tinygrad_np as tg
    >>> from tinygrad_np.gradient_check import check_op
    >>> bool(check_op(tg.OPS["tanh"], tg.OPS["tanh"].cases[0], order=2))
    True
    """
    call, inputs = sample_call(op, case, seed=seed, dtype=dtype)
    inputs = [tensor for tensor in inputs if tensor.size]
    if not inputs:
        return None
    return gradcheck(lambda *_: call(), inputs, order, weights="random", seed=seed, raises=False)


def sample_call(
    op: Op, case: Case, *, seed: int = 0, dtype: Any = np.float64
) -> tuple[Callable[[], Any], list[Tensor]]:
    """A sample call of an op, ready to be made, and the Tensors among its arguments.

    Those inputs are Tensors for which the op has a rule (all, for a composite), and which the case
    draws as smooth; they carry the inputs' names.
    """
    args, params = case.draw(seed, dtype)
    tensors: list[Tensor] = []

    def made(drawn: Any, given: Any, name: str) -> Any:
        if isinstance(given, list) and any(isinstance(item, Sample) for item in given):
            pairs = enumerate(zip(drawn, given, strict=True))
            return [made(d, g, f"{name}[{i}]") for i, (d, g) in pairs]
        known = op.composite or name.split("[", maxsplit=1)[0] in op.gradients
        if not (known and isinstance(given, Sample) and given.smooth):
            return drawn
        tensors.append(Tensor(drawn, requires_grad=True, name=name))
        return tensors[-1]

    names = [*op.parameters]
    if op.variadic:
        names = names[: op.forward.__code__.co_argcount]
        names += [f"{op.variadic}[{i}]" for i in range(len(args) - len(names))]
    arguments = [made(d, g, n) for d, g, n in zip(args, case.args, names, strict=False)]
    keywords = {k: made(v, case.params[k], k) for k, v in params.items()}
    return lambda: op.function(*arguments, **keywords), tensors


# The function under check


def _arguments(f: Callable[..., Any], inputs: Any) -> tuple[Callable[[], Any], dict[str, Tensor]]:
    """f called with its arguments, and those among them that are checked, by name."""
    labels, values, call = _named(f, inputs)
    arguments: list[Tensor] = []
    checked: dict[str, Tensor] = {}
    for name, value in zip(labels, values, strict=True):
        tensor = value if isinstance(value, Tensor) else leaf(_array(name, value))
        arguments.append(tensor)
        if not tensor.requires_grad:
            continue
        label = tensor.name or name
        if not tensor.size:
            raise ValueError(
                f"{label} has length 0 (shape {tensor.shape}): there is no derivative to check"
            )
        checked[label if label not in checked else f"{label} ({name})"] = tensor
    if not checked:
        raise ValueError(
            "nothing to check: none of the inputs requires grad. Pass arrays, or Tensors made with "
            "requires_grad=True"
        )
    return lambda: call(*arguments), checked


def _named(f: Callable[..., Any], inputs: Any) -> tuple[list[str], list[Any], Callable[..., Any]]:
    """The inputs' names, the inputs, and the function of them."""
    if hasattr(inputs, "named_parameters"):
        raise TypeError(
            f"inputs is a {type(inputs).__name__}: pass its parameters, "
            "gradcheck(f, model.named_parameters())"
        )
    items = [] if isinstance(inputs, Mapping) else listed(inputs)
    if items and all(isinstance(i, tuple) and len(i) == 2 and isinstance(i[0], str) for i in items):
        inputs = dict(items)
    if not isinstance(inputs, Mapping):
        return names(f, len(items)), items, f
    labels = [str(name) for name in inputs]
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return labels, list(inputs.values()), f
    known = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not known.issuperset(labels) and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        if known.intersection(labels):
            raise TypeError(
                f"f takes {', '.join(sorted(known))}, but the inputs are called "
                f"{', '.join(labels)}: name all of them as f does, or none"
            )
        return labels, list(inputs.values()), f
    return labels, list(inputs.values()), lambda *given: f(**dict(zip(labels, given, strict=True)))


def _array(name: str, value: Any) -> Array:
    """An input that is not a Tensor, as an array of numbers."""
    try:
        array = np.asarray(plain(value))
        if array.dtype.kind in "fiubc":
            return array
    except ValueError:  # a ragged list
        pass
    raise TypeError(
        f"{name} is a {type(value).__name__} that is not an array of numbers: give gradcheck "
        "arrays or Tensors, one, or several in a flat tuple, list or mapping of names"
    )


def listed(inputs: Any) -> list[Any]:
    """The inputs one by one; a list of numbers is a single input."""
    several = isinstance(inputs, tuple | Iterator) or (
        isinstance(inputs, list)
        and any(isinstance(item, Tensor | tuple) or np.ndim(item) for item in inputs)
    )
    return list(inputs) if several else [inputs]


def names(f: Callable[..., Any], count: int) -> list[str]:
    """What f calls its first ``count`` parameters."""
    try:
        kinds = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        kinds = {}.values()
    found = [p.name for p in kinds if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return found[:count] if len(found) >= count else [f"input {i}" for i in range(count)]


@dataclass
class Scalar:
    """A function's outputs as one scalar: the sum of all elements, each times its weight."""

    call: Callable[[], Any]
    weights: list[Tensor]

    def __call__(self) -> Tensor:
        pairs = zip(_outputs(self.call()), self.weights, strict=True)
        return _total([(out * weight).sum() for out, weight in pairs])


def scalar(
    call: Callable[[], Any], weights: ArrayLike | str | None, rng: np.random.Generator
) -> Scalar:
    """The function under check as one scalar, after two trial calls.

    ``weights`` are as for ``gradcheck``: None for a scalar, whose weight is 1.
    """
    outs = _outputs(call())
    for out, again in zip(outs, _outputs(call()), strict=True):
        if out.dtype.kind != "f":
            raise TypeError(f"f returns {out.dtype}: only real floating results have gradients")
        if out.size and not np.isfinite(out.data).all():
            what = "nan" if np.isnan(out.data).any() else "infinite"
            raise ValueError(f"f is {what} at these inputs: it has no derivative to check there")
        if not np.array_equal(out.data, again.data):
            raise ValueError(
                "f gave two different results for the same inputs: draw random numbers (dropout's "
                "mask, say) before the check, or pass a seed instead of a generator"
            )
    if weights is None:
        if len(outs) != 1 or outs[0].size != 1:
            shapes = ", ".join(str(out.shape) for out in outs)
            raise ValueError(
                f"f returns no scalar but shape {shapes}: reduce it, as in (f(x) * w).sum() with "
                "an array w; gradcheck does so when given weights=w, or weights='random'"
            )
        drawn = [np.ones(outs[0].shape)]
    elif isinstance(weights, str):
        if weights != "random":
            raise ValueError(f"weights={weights!r}: give an array, or 'random'")
        drawn = [rng.normal(size=out.shape) for out in outs]
    else:
        drawn = [np.asarray(plain(weights))]
        if len(outs) != 1 or drawn[0].shape != outs[0].shape:
            raise ValueError(
                f"weights of shape {drawn[0].shape} for outputs of shape {outs[0].shape}"
            )
    return Scalar(call, [Tensor(w, dtype=o.dtype) for w, o in zip(drawn, outs, strict=True)])


def _total(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0])


def _outputs(out: Any) -> list[Tensor]:
    outs = list(out) if isinstance(out, tuple | list) else [out]
    for tensor in outs:
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"f must return a Tensor (or several), got {type(tensor).__name__}: for gradients "
                "derived by hand see tg.audit"
            )
    return outs


# The comparison


class _Watch:
    """Sees to it that no rule writes to what it is given, which other rules read as well."""

    given: tuple[tuple[str, Array, Array], ...] = ()

    def observe(self, *_: Any) -> None:
        """Nothing to do in the forward pass."""

    def before_rules(self, node: Node, gradient: Any) -> None:
        """Compare what the rules before were given, and keep a copy for these."""
        for name, array, copy in self.given:
            if not np.array_equal(array, copy, equal_nan=True):
                raise ValueError(f"a gradient rule of {name} writes to an array that it is given")
        arrays = [a for a in (plain(gradient), *(node.saved or ())) if isinstance(a, np.ndarray)]
        self.given = tuple([(node.op.name, a, a.copy()) for a in arrays if node.op])


def _compare(
    probe: Probe, name: str, dtype: np.dtype[Any], eps: float, gradients: Array, wider: Array,
    order: int, allowed: float, ways: list[Array], notes: list[str],
) -> Comparison:  # fmt: skip
    """One input: projections on random directions or, without any, the elements, side by side.

    ``gradients`` holds the same gradient several times, as computed from different incoming ones;
    the one that is farthest off counts. ``wider`` is the same in float64; ``eps`` the precision of
    the least precise array that takes part.
    """
    if ways:
        places = [f" along direction {i}" for i in range(len(ways))]
        both = np.array(
            [[[float((g * w).sum()) for w in ways] for g in a] for a in (gradients, wider)]
        )
    else:
        ways = list(probe.units())
        places = [str(list(i)) if i else "" for i in np.ndindex(gradients.shape[1:])]
        both = np.array([a.reshape(len(a), -1) for a in (gradients, wider)], np.float64)
    theirs, errors = probe.derivatives(ways)
    with np.errstate(invalid="ignore"):  # inf - inf
        farthest = np.argmax(np.abs(both[0] - theirs), axis=0)
    ours, exact = both[:, farthest, np.arange(len(ways))]
    largest = np.max(np.abs(theirs), where=np.isfinite(theirs), initial=0.0)
    size = np.maximum(np.maximum(np.abs(ours), np.abs(theirs)), SMALL * largest)
    vague = (errors > 10 * allowed * size) & (errors > 2.0**26 * probe.noise)
    # Nothing smaller than the numerical derivative's own error can be told apart, nor than what
    # float32's rounding leaves of a gradient that cancels to nothing: float64 shows how much it is.
    with np.errstate(invalid="ignore"):
        absolute, rounded = np.abs(ours - theirs), 2 * np.abs(ours - exact)
    errors = np.maximum(errors, np.fmin(rounded, 8 * eps * max(largest, abs(probe.value))))
    errors = np.maximum(errors, NOTHING[dtype.itemsize > 4])
    size = np.maximum(size, np.where(vague, NOTHING[1], errors / allowed))
    bad = ~(absolute <= allowed * size) | vague
    excused = np.zeros_like(bad)
    hopeless = False
    for i in np.flatnonzero(bad):
        where = name + places[i]
        if not hopeless:  # once something is wrong, there is no need to know of the others
            bound = rounding(probe.call, probe.argument, ways[i], eps)
            if eps > EPS:
                bound = min(bound, float(rounded[i]) + bound * EPS / eps)
            if absolute[i] <= bound:
                bad[i], size[i] = False, max(size[i], bound / allowed)
                notes.append(
                    f"{where}: larger terms cancel; rounding may leave an error of {bound:.0e}"
                )
                continue
        kink = find_kink(probe, ways[i], float(ours[i]), order)
        hopeless = hopeless or not (kink and kink[0])
        if kink is not None:
            excused[i] = kink[0]
            notes.append(f"{where}: {kink[1]}")
        elif vague[i]:
            notes.append(
                f"{where}: the differences do not settle (error {errors[i]:.1e}); f is noisy or "
                "not continuous here, or changes faster than the steps can follow"
            )
    if not probe.connected and order == 1:
        notes.append(f"{name}: f does not depend on it")
    bad &= ~excused
    relative = np.where(excused, 0.0, np.nan_to_num(absolute / size, nan=np.inf))
    worst = int(np.lexsort((relative, bad))[-1])
    place = "kink" if excused[worst] else places[worst].removeprefix(" along ")
    return Comparison(
        name, gradients.shape[1:], str(dtype), order, probe.method, float(absolute[worst]),
        float(relative[worst]), allowed, place, float(ours[worst]), float(theirs[worst]),
        not bad.any(),
    )  # fmt: skip


def _direction(origin: Array, rng: np.random.Generator) -> Array:
    """A random direction, longer for large elements."""
    way: Array = rng.normal(size=origin.shape) * np.maximum(np.abs(origin), 1.0)
    return way / math.sqrt(origin.size)


def _allowed(method: Method, order: int, dtypes: Iterable[np.dtype[Any]]) -> float:
    """The relative error allowed, by the least precise array that takes part."""
    used = set(map(str, dtypes))
    fewer = [allowed[order - 1] for name, allowed in FEWER_DIGITS.items() if name in used]
    return fewer[0] if fewer else TOLERANCES[method, order]
