"""Gradient checks: autograd against numerical derivatives, in a report that says what differs.

``gradcheck`` checks any function; ``check_op`` an op of the registry on one of its sample calls.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import graph
from .autodiff import connected, grad, leaf
from .cases import Case, Sample
from .definition import Op
from .graph import Node
from .kinks import find_kink
from .numerical import Method, Probe, replaced
from .tables import aligned
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
    """A gradient check failed; the message is the report's table, ``report`` the report."""

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(f"\n{report}")
        self.report = report


class GradcheckReport(NamedTuple):
    """What a gradient check found: true if all derivatives agree, and printed as a table.

    ``notes`` name the kinks that were met, inputs without influence, and differences that could
    not be measured.
    """

    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return all(c.passed for c in self.comparisons)

    @property
    def worst(self) -> Comparison:
        """The comparison that comes nearest to, or goes farthest over, what is allowed."""
        return max(self.comparisons, key=lambda c: c.relative / c.allowed)

    def __str__(self) -> str:
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
        return "\n".join([f"gradcheck: {verdict}", *aligned(rows), *notes])


@graph.enable_grad()
def gradcheck(
    f: Callable[..., Any],
    inputs: Tensor | ArrayLike | Sequence[Tensor | ArrayLike],
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

    ``inputs`` is one array or a tuple or list of them. Arrays and Tensors that require grad are
    checked, other Tensors are passed on as they are. f returns a scalar Tensor, or one (or
    several) of any shape with ``weights`` for its elements: an array, or "random". Labels,
    masks and seeds belong into a closure: ``lambda x: loss(x, labels)``.

    The numerical derivatives are computed in float64, by the complex step where f is analytic and
    by extrapolated differences elsewhere (see ``numerical_gradient``). Inputs of more than 1,000
    elements (100 at second order) are compared along random ``directions``; give a number to do so
    for all. The allowed error is 1e-12 for the complex step, 1e-7 for differences, 1e-6 at second
    order, and 1e-4 (1e-3) where float32 takes part; ``rtol`` overrides it. Elements below 1% of an
    array's largest are measured by that.

    At a kink (relu at 0, maximum at a tie) every value between the derivatives on both sides is
    right; the report's notes name the op. Returns the report; raises GradcheckError where it is
    false, unless ``raises=False``.

    Raises ValueError where f returns no scalar and there are no weights, is nan, or differs from
    call to call, where a rule writes to an array that it is given, and for inputs of length 0;
    TypeError for integers and where f returns no Tensor.

    >>> import tinygrad_np as tg
    >>> bool(tg.gradcheck(lambda x, y: (tg.tanh(x) @ y).sum(), [np.ones((2, 3)), np.ones(3)]))
    True
    """
    if order not in (1, 2):
        raise ValueError(f"order={order}: gradcheck compares derivatives of order 1 and 2")
    for name, number in (("directions", directions), ("rtol", rtol)):
        if number is not None and not number > 0:
            raise ValueError(f"{name}={number}: give a number above 0")
    rng = np.random.default_rng(seed)
    arguments, checked = _arguments(f, inputs)
    scalar = _scalar(lambda: f(*arguments), weights, rng)
    tensors = list(checked.values())
    along = [rng.normal(size=t.shape).astype(t.dtype) for t in tensors]

    def first() -> Tensor:
        """The first derivatives along random directions: a scalar whose gradient is checked."""
        gradients = grad(connected(scalar()), tensors, create_graph=True, allow_unused=True)
        return _total([(g * v).sum() for g, v in zip(gradients, along, strict=True)])

    comparisons: list[Comparison] = []
    notes: list[str] = []
    for k, function in enumerate([scalar, first][:order], 1):
        out = connected(function())
        with graph.observed(_Watch()) if graph.recording.get() is True else nullcontext():
            gradients = grad(out, tensors, allow_unused=True)
        with ExitStack() as widened:
            for tensor in tensors:  # all in float64, so that none brings its rounding into f
                wide = tensor.data.astype(np.result_type(tensor, np.float64))
                widened.enter_context(replaced(tensor, wide))
            wider = grad(connected(function()), tensors, allow_unused=True)
            for (name, tensor), g, exact in zip(checked.items(), gradients, wider, strict=True):
                probe = Probe(function, tensor, method if k == 1 else "richardson")
                allowed = rtol or _allowed(probe, k, g.dtype)
                count = directions or (DIRECTIONS if tensor.size > FULL_SIZE[k] else 0)
                ways = [_direction(probe.origin, rng) for _ in range(count)]
                comparisons.append(
                    _compare(probe, name, g.data, exact.data, k, allowed, ways, notes)
                )
    report = GradcheckReport(tuple(comparisons), tuple(dict.fromkeys(notes)))
    if raises and not report:
        raise GradcheckError(report)
    return report


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


def _arguments(f: Callable[..., Any], inputs: Any) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The arguments to call f with, and those among them that are checked, by name."""
    given = _listed(inputs)
    names = _names(f, len(given))
    arguments: list[Tensor] = []
    checked: dict[str, Tensor] = {}
    for name, value in zip(names, given, strict=True):
        tensor = value if isinstance(value, Tensor) else leaf(value)
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
    return arguments, checked


def _listed(inputs: Any) -> list[Any]:
    """The inputs one by one; a list of numbers is a single input."""
    several = isinstance(inputs, tuple) or (
        isinstance(inputs, list)
        and any(np.ndim(plain(item)) or isinstance(item, Tensor) for item in inputs)
    )
    return list(inputs) if several else [inputs]


def _names(f: Callable[..., Any], count: int) -> list[str]:
    try:
        kinds = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        kinds = {}.values()
    names = [p.name for p in kinds if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names[:count] if len(names) >= count else [f"input {i}" for i in range(count)]


def _scalar(
    call: Callable[[], Any], weights: ArrayLike | str | None, rng: np.random.Generator
) -> Callable[[], Tensor]:
    """The function under check as one scalar, after two trial calls."""
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
                f"f returns no scalar but shape {shapes}: reduce it, or give weights for its "
                "elements (an array of that shape, or weights='random')"
            )
        drawn = [np.ones(outs[0].shape, outs[0].dtype)]
    elif isinstance(weights, str):
        if weights != "random":
            raise ValueError(f"weights={weights!r}: give an array, or 'random'")
        drawn = [rng.normal(size=out.shape).astype(out.dtype) for out in outs]
    else:
        drawn = [np.asarray(plain(weights))]
        if len(outs) != 1 or drawn[0].shape != outs[0].shape:
            raise ValueError(
                f"weights of shape {drawn[0].shape} for outputs of shape {outs[0].shape}"
            )

    return lambda: _total([(o * w).sum() for o, w in zip(_outputs(call()), drawn, strict=True)])


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
        """The forward pass is no matter here."""

    def before_rules(self, node: Node, gradient: Any) -> None:
        """Compare what the rules before were given, and keep a copy for these."""
        for name, array, copy in self.given:
            if not np.array_equal(array, copy, equal_nan=True):
                raise ValueError(f"a gradient rule of {name} writes to an array that it is given")
        arrays = [a for a in (plain(gradient), *(node.saved or ())) if isinstance(a, np.ndarray)]
        self.given = tuple([(node.op.name, a, a.copy()) for a in arrays if node.op])


def _compare(
    probe: Probe, name: str, gradient: Array, exact: Array, order: int, allowed: float,
    ways: list[Array], notes: list[str],
) -> Comparison:  # fmt: skip
    """One input: projections on random directions or, without any, the elements, side by side."""
    if ways:
        places = [f" along direction {i}" for i in range(len(ways))]
        ours, exact = (np.array([float((g * w).sum()) for w in ways]) for g in (gradient, exact))
    else:
        ways = list(probe.units())
        places = [str(list(i)) if i else "" for i in np.ndindex(gradient.shape)]
        ours, exact = gradient.astype(np.float64).ravel(), exact.ravel()
    theirs, errors = probe.derivatives(ways)
    largest = np.max(np.abs(theirs), where=np.isfinite(theirs), initial=0.0)
    size = np.maximum(np.maximum(np.abs(ours), np.abs(theirs)), SMALL * largest)
    absolute = np.abs(ours - theirs)
    vague = (errors > 10 * allowed * size) & (errors > 2.0**26 * probe.noise)
    # Nothing smaller than the numerical derivative's own error can be told apart, nor than what
    # float32's rounding leaves of a gradient that cancels to nothing: float64 shows how much it is.
    least = 8 * float(np.finfo(gradient.dtype).eps) * max(largest, abs(probe.value))
    with np.errstate(invalid="ignore"):
        errors = np.maximum(errors, np.fmin(2 * np.abs(ours - exact), least))
    errors = np.maximum(errors, NOTHING[gradient.dtype.itemsize > 4])
    size = np.maximum(size, np.where(vague, NOTHING[1], errors / allowed))
    bad = ~(absolute <= allowed * size) | vague
    excused = np.zeros_like(bad)
    for i in np.flatnonzero(bad):
        where = name + places[i]
        kink = find_kink(probe, ways[i], float(ours[i]), order)
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
        name, gradient.shape, str(gradient.dtype), order, probe.method, float(absolute[worst]),
        float(relative[worst]), allowed, place, float(ours[worst]), float(theirs[worst]),
        not bad.any(),
    )  # fmt: skip


def _direction(origin: Array, rng: np.random.Generator) -> Array:
    """A random direction, longer for large elements."""
    way: Array = rng.normal(size=origin.shape) * np.maximum(np.abs(origin), 1.0)
    return way / math.sqrt(origin.size)


def _allowed(probe: Probe, order: int, dtype: np.dtype[Any]) -> float:
    """The relative error allowed, by the least precise array that takes part."""
    dtypes = {str(dtype), *(str(node.dtype) for node in probe.nodes)}
    fewer = [allowed[order - 1] for name, allowed in FEWER_DIGITS.items() if name in dtypes]
    return fewer[0] if fewer else TOLERANCES[probe.method, order]
