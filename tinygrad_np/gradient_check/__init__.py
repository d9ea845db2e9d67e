"""Gradient checks: autograd against numerical derivatives, in a report that says what differs.

``gradcheck`` checks any function; ``check_op`` an op of the registry on one of its sample calls.
``function`` names the inputs and makes a scalar of the outputs, ``comparison`` compares one
input's gradients with ``numerical``'s derivatives, ``report`` prints what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from operator import methodcaller
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import graph
from ..autodiff import connected, grad
from ..cases import filled
from ..definition import Case, Op, Sample
from ..graph import Node
from ..modes import enable_grad, observed
from ..numerical import Method, Probe, replaced
from ..rounding import value_noise
from ..tensor import Array, Tensor, plain
from .comparison import Gradients, allowed_error, compare, random_direction
from .function import Scalar, arguments, total
from .report import Comparison as Comparison
from .report import GradcheckError as GradcheckError
from .report import GradcheckReport as GradcheckReport

FULL_SIZE = {1: 1000, 2: 100}
"""Inputs with more elements are checked along random directions; by order."""
DIRECTIONS = 5

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

    ``inputs`` is one array or Tensor, or several: a tuple or list, a mapping from names to them, or
    ``model.named_parameters()``. A mapping's items are keyword arguments if f has parameters of
    these names. Arrays, and Tensors that require grad, are checked; other Tensors are constants.
    f returns a scalar Tensor. With ``weights`` it returns one or several Tensors of any shape:
    ``weights`` is an array that multiplies the elements, or "random". Put labels, masks and seeds
    into a closure: ``lambda x: loss(x, labels)``.

    The numerical derivatives are computed in float64: by the complex step where f is analytic, and
    by extrapolated differences elsewhere (see ``numerical_gradient``, also for ``method``). Inputs
    of more than 1,000 elements (100 at second order) are compared along 5 random directions, and
    all inputs along ``directions`` ones if this is given.

    The allowed relative error is 1e-12 for the complex step, 1e-7 for differences, 1e-6 at second
    order, and 1e-4 (second order: 1e-3) with float32; ``rtol`` replaces it. The error of an element
    below 1% of the array's largest is relative to this 1%. Where large terms cancel, as in
    softmax's p - 1, an error that rounding explains is no mistake (see ``rounding``); a note says
    so.

    Each gradient is computed for two random incoming gradients g, one of them negative, and divided
    by g: so a rule that forgets g is found. At second order g is an input as well: its rows check
    the derivatives of the rules by g.

    At a kink (relu at 0, maximum at a tie) every value between the derivatives on both sides is
    right; a note names the op. Returns the report. Raises GradcheckError if a derivative is wrong,
    unless ``raises=False``.

    Raises ValueError if f returns no scalar and there are no weights, is nan, or differs from call
    to call, if a rule writes to an array that it is given, and for inputs of length 0; TypeError
    for integers and if f returns no Tensor.

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
    call, checked = arguments(f, inputs)
    value = Scalar(call, weights, rng)
    tensors = list(checked.values())
    along = [rng.normal(size=t.shape).astype(t.dtype) for t in tensors]
    factors = rng.uniform(0.5, 2.0, 2) * (1, -1)

    def first() -> Tensor:
        """The first derivatives along random directions: a scalar whose gradient is checked."""
        out = connected(value())
        g = np.full(out.shape, factors[0], out.dtype)
        gradients = grad(out, tensors, g, create_graph=True, allow_unused=True)
        parts = [(d * v).sum() for d, v in zip(gradients, along, strict=True)]
        return total(parts) / float(factors[0])

    comparisons: list[Comparison] = []
    notes: list[str] = []
    functions: list[Callable[[], Tensor]] = [value, first]
    for k, function in enumerate(functions[:order], 1):
        variables = checked if k == 1 else checked | _incoming(value, "g" in checked)
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
                allowed = rtol or allowed_error(probe.method, k, used)
                eps = max(float(np.finfo(d).eps) for d in (np.dtype(float), *used) if d.kind == "f")
                limit = FULL_SIZE[k] if name in checked else DIRECTIONS  # it is linear in g
                count = directions or (DIRECTIONS if tensor.size > limit else 0)
                chosen = [random_direction(probe.origin, rng) for _ in range(count)]
                given = Gradients(name, dtype, k, g, exact, allowed, eps)
                found = compare(probe, given, chosen, notes)
                comparisons.append(found)
                if not probe.connected and k == 1:
                    notes.append(f"{name}: f does not depend on it")
                alike = np.allclose(g[0] * factors[0], g[1] * factors[1], 1e-6, 0) and g.any()
                if alike and not found.passed:
                    notes.append(
                        f"{name}: the gradient does not depend on the incoming gradient g: does a "
                        "rule forget g?"
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


def _incoming(value: Scalar, taken: bool) -> dict[str, Tensor]:
    """The weights as inputs of the first derivatives: f's incoming gradients, by name."""
    value.weights = [Tensor(w.data, requires_grad=True) for w in value.weights]
    name = "incoming g" if taken else "g"
    many = len(value.weights) > 1
    return {f"{name}[{i}]" if many else name: w for i, w in enumerate(value.weights) if w.size}


class _Watch:
    """Raises ValueError where a rule writes to an array that it is given, which others read too."""

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


def check_op(
    op: Op, case: Case, order: int = 1, *, seed: int = 0, dtype: Any = np.float64
) -> GradcheckReport | None:
    """Check an op's rules on one of its sample calls; None if that call has nothing to check.

    The differentiable inputs of the call are checked together, with random weights for the output.
    Integer, boolean and empty inputs are left out.

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
    """A sample call of an op, as a function without arguments, and the Tensors that it reads.

    Tensors are the inputs that have a rule (all inputs of a composite) and that the case draws as
    smooth; they carry the names of the inputs.
    """
    args, params = filled(case, seed, dtype)
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
