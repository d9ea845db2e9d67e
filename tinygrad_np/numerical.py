"""Numerical derivatives, an independent reference: complex step and differences.

- The complex step, imag f(x + ih) / h with h = 1e-30, subtracts nothing and is as precise as f
  itself. It needs f to be analytic. (Squire, Trapp 1998; Martins, Sturdza, Alonso 2003.)
- Central differences, (f(x + h) - f(x - h)) / 2h: seven to ten digits. Extrapolated to h = 0 with
  an error estimate, about ten for any smooth f. (Richardson 1911; Ridders 1982.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from . import graph
from .graph import Node
from .modes import Recording, enable_grad
from .tensor import Array, Tensor, plain, wrap

Method = Literal["auto", "complex", "richardson", "central"]
COMPLEX_STEP = 1e-30
FIRST_STEP = 2.0**-6  # powers of two: x + h and the division by h are exact more often
CENTRAL_STEP = 2.0**-17  # about the cube root of float64's precision
EPS = 2.0**-52  # float64's precision
LEVELS = 16  # halvings of the first step at most, down to 5e-7


class NotAnalyticError(ValueError):
    """The complex step was asked for, but it does not apply to this function."""


def numerical_gradient(
    f: Callable[[Any], Any], x: Tensor | ArrayLike, method: Method = "auto"
) -> Array:
    """The gradient of a scalar function at ``x``, from the function's values alone.

    ``x`` is a Tensor, an array of any shape or a number; ``f`` takes it and returns one number, as
    a Tensor, an array or a float. The result has x's shape, in float64.

    "auto" traces f once and takes the complex step where every op it meets is ``analytic`` in the
    registry, else "richardson"; "central" is the plain difference. Steps are scaled to each
    element. An element is nan where its differences do not settle: at a jump, or where f
    changes faster than x has digits (``sin`` at 1e15).

    f may ignore its argument and read ``x`` where it stands: during the calls a Tensor's array is
    replaced, the elements of a writable array of floats are changed; both are put back, also when f
    raises. Other values (lists, numbers, integers, read-only arrays, views whose elements overlap)
    cannot be changed in place: f must use its argument. Where f takes arrays alone, float32 ones
    have float32's few digits: give it float64.

    Raises ValueError where f does not return one real number, where it ignores its argument and
    ``x`` cannot be changed in place, where "complex" is asked of an f that is not analytic, and for
    an unknown method; TypeError for an ``x`` that is not one array of real numbers.

    >>> import tinygrad_np as tg
    >>> tg.numerical_gradient(lambda x: (x**3).sum(), [1.0, 2.0]).tolist()
    [3.0, 12.0]
    """
    return np.asarray(_or_nan(*probe(f, x, method).gradient()))


def directional_derivative(
    f: Callable[[Any], Any], x: Tensor | ArrayLike, direction: ArrayLike, method: Method = "auto"
) -> float:
    """The derivative of f(x + t direction) by t at 0: ``(gradient * direction).sum()``.

    It costs a few calls of f however large x is. Otherwise like ``numerical_gradient``; nan, too,
    where the differences do not settle.

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
    """The derivatives, nan for those that did not settle."""
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
            f"f gives {found.value:g} whatever its argument is. If f reads x where it stands: x is "
            f"{fixed}, which cannot be changed there. Let f use its argument, or make x a writable "
            "array of floats, x = np.array(x, float), before f refers to it"
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
    """A function's value for other values of one of its arguments, and derivatives from those.

    ``call`` reads the argument where it stands. ``connected`` tells whether the result's graph
    leads to the argument, through ``nodes``; ``method`` what "auto" came to. ``noise`` is what is
    known of f's rounding: how far it scatters f, and how far it may do so inside of ops.
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
        """Whether one difference agrees: f may do things that its graph does not show."""
        self.method = "complex"
        direction = np.cos(np.arange(self.origin.size) + 1.0).reshape(self.origin.shape)
        try:
            derivative = self.along(direction)[0]
        except Exception:  # complex numbers were refused, or their imaginary parts dropped
            return False
        noise, self.method = self.noise, "richardson"
        self.noise = max(noise, self.hidden)  # differences may be all rounding
        other, error = self.along(direction)
        self.noise = noise
        slope = abs(self.at(self.origin + FIRST_STEP * direction) - self.value) / FIRST_STEP
        return bool(abs(derivative - other) <= 1e-6 * max(abs(derivative), slope) + 10 * error)

    def _scatter(self) -> float:
        """How far rounding scatters f's values: fourth differences of all but equal arguments.

        It is more than f's value tells where large terms cancel. (Moré, Wild 2011.) What is too
        much to be rounding is not counted: f itself is rough, then.
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
            except Exception:  # it does not like the values, so that it has seen them
                return False
        return self.origin.size > 0

    def at(self, values: Array) -> Any:
        """f's value where the argument has these values."""
        # f may take gradients itself, of real numbers; observers need not see these trials.
        mode = Recording(lambda _: values.dtype.kind != "c")
        with mode, replaced(self.argument, values), np.errstate(all="ignore"):
            return _number(self.call())

    def along(self, direction: Array) -> tuple[float, float]:
        """The derivative of f along a direction, and an estimate of its error.

        The error is infinite where the differences do not settle.
        """

        def value(t: Any) -> Any:
            return self.at(self.origin + t * direction)

        if self.method == "complex":
            result = value(1j * COMPLEX_STEP)
            if not isinstance(result, complex | np.complexfloating):
                raise ValueError("f drops the imaginary part: use method='richardson'")
            return float(result.imag) / COMPLEX_STEP, 8 * self.precision * abs(self.value)
        # No element moves by more than the step times its own size (or 1, if it is smaller).
        size = np.abs(self.origin)
        unit = _unit(direction, np.maximum(size, 1.0))
        differences = _central if self.method == "central" else _settled
        found = differences(value, unit, self.noise, self.precision)
        if self.method == "central":
            return found
        # Next to a pole, or to the edge of f's domain, only steps of the element's own size fit.
        small = _unit(direction, np.where(size > 1e-200, size, 1.0))
        if not found[1] <= 1e-7 * abs(found[0]) and small < unit:
            other = _settled(value, small, self.noise, self.precision)
            larger = float(np.fmax(abs(found[0]), abs(other[0]))) or 1.0
            found = min(found, other, key=lambda estimate: _uncertainty(estimate, larger))
        return found

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


def _unit(direction: Array, size: Array) -> float:
    """The power of two by which a direction moves no element by more than its size."""
    reach = float(np.max(np.abs(direction) / size, initial=0.0))
    return 2.0 ** -math.ceil(math.log2(reach)) if reach > 0 else 1.0


def _central(
    value: Callable[[float], Any], unit: float, noise: float, precision: float
) -> tuple[float, float]:
    """The derivative at 0 by one difference, if another and those of far smaller steps agree."""
    step, fine = CENTRAL_STEP * unit, _fine(unit, precision)
    found, second = _slope(value, step), _slope(value, step / 2)
    error = noise / step
    if abs(found - second) > 0.1 * abs(found) + 16 * error:  # a jump
        return found, math.inf
    small = _slope(value, fine)
    if abs(small - found) > 0.01 * abs(small) + 16 * noise / fine:
        error = max(error, _doubt(value, found, step, fine, noise))
    return found, error


def _settled(
    value: Callable[[float], Any], unit: float, noise: float, precision: float
) -> tuple[float, float]:
    """The derivative at 0 by steps from a part of this one down, or by far smaller ones.

    By the smaller ones if they settle to something else. They do where f repeats itself, as sin(x)
    at x = 1e6, and where its domain ends nearby; not where f is rough.
    """
    fine = _fine(unit, precision)
    slope = _slope(value, fine)
    if math.isfinite(slope):  # t is rounded, too: 1 + t has no more digits than 1
        noise = max(noise, precision / 2 * unit * abs(slope))
    found = _extrapolated(value, FIRST_STEP * unit, noise)
    slack = 0.1 * abs(slope) + 8 * noise / fine
    if math.isfinite(found[1]) and abs(slope - found[0]) <= slack:
        return found
    for small in dict.fromkeys((2.0**-32 * unit, fine, 2**6 * precision * unit)):
        other, near = _extrapolated(value, small * 2**10, noise), _slope(value, small)
        fits = other[1] < 1e-3 * abs(other[0]) and not abs(near - other[0]) > 0.1 * abs(near)
        if fits and (small <= fine or not abs(slope - other[0]) > slack):
            return other
    return found[0], max(found[1], _doubt(value, found[0], FIRST_STEP * unit, fine, noise))


def _doubt(
    value: Callable[[float], Any], found: float, step: float, fine: float, noise: float
) -> float:
    """The error of a derivative that far smaller steps contradict: infinite, or 0 if they jitter.

    Jitter is small against what f changes by in a step: f is rounded. Otherwise f does on the way
    what the larger steps do not see.
    """
    slope, other = _slope(value, fine), _slope(value, fine / 2)
    smooth = abs(slope - other) <= 0.1 * abs(slope) + 16 * noise / fine < abs(slope)
    return math.inf if smooth or abs(slope) * fine > 0.01 * abs(found) * step else 0.0


def _fine(unit: float, precision: float) -> float:
    """A step so small that few functions change their slope on the way."""
    return max(min(2.0**-32 * unit, 2.0**-20), 2**6 * precision * unit)


def _slope(value: Callable[[float], Any], step: float) -> float:
    """The central difference."""
    return float((value(step) - value(-step)) / (2 * step))


def _extrapolated(value: Callable[[float], Any], step: float, noise: float) -> tuple[float, float]:
    """The derivative at 0 by Ridders' method: differences with halved steps, extrapolated to 0.

    The error is infinite where they do not settle: it is as large as the derivative itself, and not
    for rounding's sake.
    """
    best, error, settled = math.nan, math.inf, False
    last: list[float] = []
    steepest = 0.0
    for _ in range(LEVELS):
        row = [_slope(value, step)]
        if math.isfinite(row[0]):
            steepest = max(steepest, abs(row[0]))
            rounding = 8 * noise / step
            estimates = [(row[0], abs(row[0] - last[0]))] if last else []
            for order, coarse in enumerate(last[:4], 1):
                row.append(row[-1] + (row[-1] - coarse) / (4**order - 1))
                estimates.append((row[-1], max(abs(row[-1] - row[-2]), abs(row[-1] - coarse))))
            for derivative, estimate in estimates:
                if estimate + rounding < error:
                    best, error = derivative, estimate + rounding
                    settled = estimate <= max(0.1 * abs(best), 1e-3 * steepest, 2 * rounding)
            if error <= max(1e-12 * abs(best), 1.25 * rounding):
                break
            last = row
        else:
            last = []
        step /= 2
    return best, error if settled else math.inf


def _uncertainty(estimate: tuple[float, float], size: float) -> float:
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
    """Inside, the argument holds a copy of these values: a Tensor as a new leaf, which is given."""
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
