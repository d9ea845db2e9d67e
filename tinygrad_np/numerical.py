"""Numerical derivatives, an independent reference: complex step and differences.

The complex step, imag f(x + ih) / h with h = 1e-30, subtracts nothing and is as precise as f
itself. It needs f to be analytic. (Squire, Trapp 1998; Martins, Sturdza, Alonso 2003.) For other
functions there are ``differences``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from . import graph
from .differences import FIRST_STEP, Estimate, Restriction
from .graph import Node
from .modes import Recording, enable_grad
from .tensor import Array, Tensor, plain, wrap

Method = Literal["auto", "complex", "richardson", "central"]
COMPLEX_STEP = 1e-30
EPS = 2.0**-52  # float64's precision


class NotAnalyticError(ValueError):
    """The complex step cannot be used: the function is not analytic."""


def numerical_gradient(
    f: Callable[[Any], Any], x: Tensor | ArrayLike, method: Method = "auto"
) -> Array:
    """The gradient of a scalar function at ``x``, from the function's values alone.

    ``x`` is a Tensor, an array of any shape or a number; ``f`` takes it and returns one number, as
    a Tensor, an array or a float. The result has x's shape, in float64.

    "auto" takes the complex step if all ops of f are ``analytic`` in the registry, and otherwise
    "richardson", extrapolated differences; "central" is the plain difference. Steps are scaled to
    each element. An element is nan where its differences do not converge: at a jump, or where f
    changes faster than x has digits (``sin`` at 1e15).

    f need not use its argument; it may read the variable ``x`` instead. During the calls a Tensor
    holds another array, and an array of floats has other elements; both are restored, also when f
    raises. Lists, numbers, integers, read-only arrays and views whose elements overlap cannot be
    changed in place: then f must use its argument. If f takes arrays only, give it float64: float32
    leaves few digits.

    Raises ValueError if f does not return one real number, if it ignores its argument and ``x``
    cannot be changed in place, if the method is "complex" and f is not analytic, and for an unknown
    method; TypeError if ``x`` is not one array of real numbers.

    >>> import tinygrad_np as tg
    >>> tg.numerical_gradient(lambda x: (x**3).sum(), [1.0, 2.0]).tolist()
    [3.0, 12.0]
    """
    return np.asarray(_or_nan(*probe(f, x, method).gradient()))


def directional_derivative(
    f: Callable[[Any], Any], x: Tensor | ArrayLike, direction: ArrayLike, method: Method = "auto"
) -> float:
    """The derivative of f(x + t direction) by t at 0: ``(gradient * direction).sum()``.

    It takes a few calls of f, however large x is. Otherwise it is like ``numerical_gradient``.

    >>> import tinygrad_np as tg
    >>> tg.directional_derivative(lambda x: (x**3).sum(), [1.0, 2.0], [1.0, 0.5])
    9.0
    """
    found = probe(f, x, method)
    array = np.asarray(plain(direction), dtype=found.origin.dtype)
    if array.shape != found.origin.shape:
        raise ValueError(f"a direction of shape {array.shape} for x of shape {found.origin.shape}")
    return float(_or_nan(*found.along(array)))


def _or_nan(derivatives: Any, errors: Any) -> Array:
    """The derivatives, with nan for those that did not converge."""
    return np.where(np.isposinf(errors), np.nan, derivatives)


def probe(f: Callable[[Any], Any], x: Tensor | ArrayLike, method: Method = "auto") -> Probe:
    """The Probe for a function of one argument, which may take a Tensor or only arrays."""
    if isinstance(x, Tensor):
        return Probe(lambda: f(x), x, method)
    try:
        array = np.asarray(x)
    except ValueError:  # a ragged list
        array = np.empty(0, object)
    if array.dtype.kind not in "fiubc":
        raise TypeError(
            f"x must be one array of numbers, but it is a {type(x).__name__} (of dtype "
            f"{array.dtype}): take the derivative by one array at a time"
        )
    tensor = Tensor(array)
    traced = refusal = None
    try:
        traced = Probe(lambda: f(tensor), tensor, method)
        if traced.connected:
            return traced
    except NotAnalyticError:
        raise
    except Exception as error:  # f may be for arrays alone, and refuse a Tensor in its own way
        refusal = error
    fixed = _why_fixed(x, array)
    if fixed:
        array = np.array(array, dtype=np.result_type(array, np.float64))
    argument = array if traced is None else wrap(array, None)
    try:
        found = Probe(lambda: f(argument), array, method)
    except Exception as error:
        if refusal is not None and str(refusal) != str(error):
            error.add_note(f"(Given a Tensor, f raised {type(refusal).__name__}: {refusal})")
        raise
    if fixed and found.ignores_argument():
        raise ValueError(
            f"f gives {found.value:g} whatever its argument is. If f reads the variable x: x is "
            f"{fixed}, which cannot be changed in place. Let f use its argument, or make x a "
            "writable array of floats, x = np.array(x, float), before f refers to it"
        )
    return found


def _why_fixed(x: Any, array: Array) -> str:
    """Why the elements of x cannot be changed in place, in words; "" if they can."""
    if not isinstance(x, np.ndarray):
        return f"a {type(x).__name__}"
    if array.dtype.kind != "f":
        return f"an array of {array.dtype}"
    if not array.flags.writeable:
        return "a read-only array"
    return "a view whose elements overlap" if _overlaps(array) else ""


def _overlaps(array: Array) -> bool:
    """Whether elements of an array share memory, as those of a sliding window do."""
    if array.flags.forc or array.size < 2:
        return False
    places = np.zeros(array.shape, np.intp)
    for axis, (length, stride) in enumerate(zip(array.shape, array.strides, strict=True)):
        places += (np.arange(length) * stride).reshape(-1, *[1] * (array.ndim - axis - 1))
    return bool(np.diff(np.sort(places, axis=None)).min() < array.itemsize)


class Probe:
    """A function's value for other values of one of its arguments, and derivatives from these.

    ``call`` takes nothing and reads the argument. ``connected`` says whether the result's graph
    leads to the argument, through ``nodes``; ``method`` is the one that "auto" chose. ``noise`` is
    how far rounding scatters f, and how far rounding inside of ops may do so.
    """

    def __init__(
        self,
        call: Callable[[], Any],
        argument: Tensor | Array,
        method: Method = "auto",
        noise: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        if method not in (methods := get_args(Method)):
            raise ValueError(f"method={method!r} is none of {', '.join(map(repr, methods))}")
        array = plain(argument)
        if array.dtype.kind == "c":
            raise TypeError(f"numerical derivatives are by real numbers, but x is {array.dtype}")
        self.call, self.argument = call, argument
        self.origin: Array = np.array(array, dtype=np.result_type(array, np.float64))
        with enable_grad(), replaced(argument, self.origin) as leaf:
            out = call()
        value = _number(out)
        if isinstance(value, complex | np.complexfloating):
            raise ValueError(f"f must return a real number, got {value}")
        self.value = float(value)
        root = out.node if isinstance(out, Tensor) else None
        order = graph.reachable([root] if root else [])
        self.connected = leaf in order
        between = graph.leading_to([leaf], order) if leaf else ()
        self.nodes = [node for node in order if node in between and node is not leaf]
        dtypes = [node.dtype for node in self.nodes]
        if array is argument:  # written in place, and rounded to its own dtype
            dtypes.append(array.dtype)
        self.precision = max([EPS, *(float(np.finfo(d).eps) for d in dtypes if d.kind == "f")])
        self.noise, self.hidden = max(self.precision * abs(self.value), noise[0]), noise[1]
        self.method: Method = self._choose(method)
        if self.method != "complex":
            self.noise = max(self.noise, self._scatter())

    def _choose(self, method: Method) -> Method:
        opaque = {n.op.name for n in self.nodes if n.op and not getattr(n.op, "analytic", False)}
        analytic = self.connected and not opaque
        if method == "auto":
            return "complex" if analytic and self._confirms_complex() else "richardson"
        if method == "complex" and not analytic:
            what = ", ".join(sorted(opaque)) or "what f does outside the graph"
            raise NotAnalyticError(
                f"the complex step is for analytic functions only, and not for {what}: "
                "use method='richardson'"
            )
        return method

    def _confirms_complex(self) -> bool:
        """Whether a difference agrees: f may compute something that its graph does not show."""
        direction = np.cos(np.arange(self.origin.size) + 1.0).reshape(self.origin.shape)
        try:
            derivative = self._complex_step(direction)[0]
        except Exception:  # complex numbers were refused, or their imaginary parts dropped
            return False
        # Differences may be all rounding, also of what is hidden inside the ops.
        other, error = self._extrapolated(direction, max(self.noise, self.hidden))
        slope = abs(self.at(self.origin + FIRST_STEP * direction) - self.value) / FIRST_STEP
        return bool(abs(derivative - other) <= 1e-6 * max(abs(derivative), slope) + 10 * error)

    def _scatter(self) -> float:
        """How far rounding scatters f's values: fourth differences at nearly equal arguments.

        It exceeds the last place of f's value where large terms cancel. (Moré, Wild 2011.) 0 if it
        is too large for rounding: then f itself is rough.
        """
        size = np.abs(self.origin)
        spacing = 2**8 * self.precision * np.where(size > 1e-200, size, 1.0)
        values = [self.at(self.origin + k * spacing) for k in range(8)]
        found = math.sqrt(float(np.mean(np.diff(values, 4) ** 2)) / math.comb(8, 4))
        rough = min(2.0**22 * self.precision, 1e-3) * max(1.0, abs(self.value))
        return found if found < rough else 0.0

    def ignores_argument(self) -> bool:
        """Whether f gives the same value for any other argument, nan included."""
        for offset in (1.0, -1.0, 1e6, -1e6, np.nan):
            try:
                if self.at(self.origin + offset) != self.value:
                    return False
            except Exception:  # it refuses the values, so it reads its argument
                return False
        return self.origin.size > 0

    def at(self, values: Array) -> Any:
        """f's value where the argument has these values."""
        # f may take gradients itself, of real numbers; observers need not see these trials.
        mode = Recording(lambda _: values.dtype.kind != "c")
        with mode, replaced(self.argument, values), np.errstate(all="ignore"):
            return _number(self.call())

    def along(self, direction: Array) -> Estimate:
        """The derivative of f along a direction, and an estimate of its error."""
        if self.method == "complex":
            return self._complex_step(direction)
        if self.method == "central":
            return self._restriction(direction, 1.0, self.noise).central()
        return self._extrapolated(direction, self.noise)

    def _complex_step(self, direction: Array) -> Estimate:
        result = self.at(self.origin + 1j * COMPLEX_STEP * direction)
        if not isinstance(result, complex | np.complexfloating):
            raise ValueError("f drops the imaginary part: use method='richardson'")
        return float(result.imag) / COMPLEX_STEP, 8 * self.precision * abs(self.value)

    def _extrapolated(self, direction: Array, noise: float) -> Estimate:
        line = self._restriction(direction, 1.0, noise)
        found = line.extrapolated()
        # Next to a pole, or to the edge of f's domain, only steps of the element's own size fit.
        small = self._restriction(direction, 1e-200, noise)
        if not found[1] <= 1e-7 * abs(found[0]) and small.unit < line.unit:
            other = small.extrapolated()
            larger = float(np.fmax(abs(found[0]), abs(other[0]))) or 1.0
            found = min(found, other, key=lambda estimate: _uncertainty(estimate, larger))
        return found

    def _restriction(self, direction: Array, smallest: float, noise: float) -> Restriction:
        """f along a direction, by steps that move no element by more than its own size.

        Elements of less than the ``smallest`` size move by up to 1.
        """
        size = np.abs(self.origin)
        reach = float(np.max(np.abs(direction) / np.where(size > smallest, size, 1.0), initial=0.0))
        unit = 2.0 ** -math.ceil(math.log2(reach)) if reach > 0 else 1.0
        return Restriction(
            lambda t: self.at(self.origin + t * direction), unit, noise, self.precision
        )

    def derivatives(self, ways: Iterable[Array]) -> Array:
        """A row of derivatives along each of these directions, and one of their errors."""
        return np.array([self.along(way) for way in ways]).reshape(-1, 2).T

    def gradient(self) -> Array:
        """The derivatives by every element, and estimates of their errors."""
        return self.derivatives(self.units()).reshape(2, *self.origin.shape)

    def units(self) -> Iterator[Array]:
        """The direction of each element."""
        for i in range(self.origin.size):
            way = np.zeros_like(self.origin)
            way.flat[i] = 1
            yield way


def _uncertainty(estimate: Estimate, size: float) -> float:
    """The relative error of a derivative; of one that is 0, against the size it might have."""
    derivative, error = estimate
    return error / (abs(derivative) or size) if math.isfinite(derivative) else math.inf


def _number(out: Any) -> Any:
    """What f returned, as one number of Python's (whose differences do not wrap around)."""
    array = np.asarray(plain(out))
    if array.size != 1 or array.dtype.kind not in "fiubc":
        raise ValueError(
            f"f must return one number, got {type(out).__name__} of shape {array.shape}, "
            f"{array.dtype}: reduce it first, for example by (weights * out).sum()"
        )
    return array.item()


@contextmanager
def replaced(argument: Tensor | Array, values: Array) -> Iterator[Node | None]:
    """Inside, the argument holds a copy of these values; a Tensor is a new leaf, and yielded."""
    if isinstance(argument, Tensor):
        kept = argument.array, argument.node
        leaf = Node(None, (), (), values.shape, values.dtype)
        argument.array, argument.node = np.array(values), leaf
        try:
            yield leaf
        finally:
            argument.array, argument.node = kept
    else:
        elements = argument.copy()
        argument[...] = values
        try:
            yield None
        finally:
            argument[...] = elements
