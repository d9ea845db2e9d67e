"""Numerical derivatives, the independent witnesses: complex step and differences.

- The complex step, imag f(x + ih) / h with h = 1e-30, subtracts nothing and is as precise as f
  itself. It needs f to be analytic. (Squire, Trapp 1998; Martins, Sturdza, Alonso 2003.)
- Central differences, (f(x + h) - f(x - h)) / 2h: seven to ten digits. Extrapolated to h = 0 with
  an error estimate, about ten for any smooth f. (Richardson 1911; Ridders 1982.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from . import graph
from .graph import Node
from .tensor import Array, Tensor, plain, wrap

Method = Literal["auto", "complex", "richardson", "central"]
COMPLEX_STEP = 1e-30
FIRST_STEP = 2.0**-6  # powers of two: x + h and the division by h are exact more often
CENTRAL_STEP = 2.0**-17  # about the cube root of float64's precision
EPS = 2.0**-52  # float64's precision
LEVELS = 16  # halvings of the first step at most, down to 5e-7


def numerical_gradient(
    f: Callable[[Any], Any], x: Tensor | ArrayLike, method: Method = "auto"
) -> Array:
    """The gradient of a scalar function at ``x``, from the function's values alone.

    ``x`` is a Tensor, an array of any shape or a number; ``f`` takes it and returns one number, as
    a Tensor, an array or a float. The result has x's shape, in float64.

    "auto" traces f once and takes the complex step where every op it meets is ``analytic`` in the
    registry, else "richardson"; "central" is the plain difference. Steps are scaled to each
    element. f may ignore its argument and read ``x`` where it stands: during the calls a Tensor's
    array is replaced, an ndarray's elements are changed; both are put back, also when f raises.
    Where f takes arrays alone, float32 ones have float32's few digits: give it float64.

    Raises ValueError where f does not return one real number, where "complex" is asked of an f
    that is not analytic, and for an unknown method; TypeError for complex x.

    >>> import tinygrad_np as tg
    >>> tg.numerical_gradient(lambda x: (x**3).sum(), [1.0, 2.0]).tolist()
    [3.0, 12.0]
    """
    return np.asarray(probe(f, x, method).gradient()[0])


def directional_derivative(
    f: Callable[[Any], Any], x: Tensor | ArrayLike, direction: ArrayLike, method: Method = "auto"
) -> float:
    """The derivative of f(x + t direction) by t at 0: ``(gradient * direction).sum()``.

    It costs a few calls of f however large x is. Otherwise like ``numerical_gradient``.

    >>> import tinygrad_np as tg
    >>> tg.directional_derivative(lambda x: (x**3).sum(), [1.0, 2.0], [1.0, 0.5])
    9.0
    """
    found = probe(f, x, method)
    array = np.asarray(plain(direction), dtype=found.origin.dtype)
    if array.shape != found.origin.shape:
        raise ValueError(f"a direction of shape {array.shape} for x of shape {found.origin.shape}")
    return found.along(array)[0]


def probe(f: Callable[[Any], Any], x: Tensor | ArrayLike, method: Method = "auto") -> Probe:
    """The Probe for a function of one argument, which may take a Tensor or only arrays."""
    if isinstance(x, Tensor):
        return Probe(lambda: f(x), x, method)
    array = np.asarray(x)
    tensor = Tensor(array)
    traced = None
    with suppress(TypeError, AttributeError):  # f for arrays: np.asarray(tensor), array += tensor
        if (traced := Probe(lambda: f(tensor), tensor, method)).connected:
            return traced
    if array.dtype.kind != "f" or not array.flags.writeable:
        array = np.array(array, dtype=np.result_type(array, np.float64))
    argument = array if traced is None else wrap(array, None)
    return Probe(lambda: f(argument), array, method)


class Probe:
    """A function's value for other values of one of its arguments, and derivatives from those.

    ``call`` reads the argument where it stands. ``connected`` tells whether the result's graph
    leads to the argument, through ``nodes``; ``method`` what "auto" came to.
    """

    def __init__(
        self, call: Callable[[], Any], argument: Tensor | Array, method: Method = "auto"
    ) -> None:
        if method not in (methods := get_args(Method)):
            raise ValueError(f"method={method!r} is none of {', '.join(map(repr, methods))}")
        array = plain(argument)
        if array.dtype.kind == "c":
            raise TypeError(f"numerical derivatives are by real numbers, but x is {array.dtype}")
        self.call, self.argument = call, argument
        self.origin: Array = np.array(array, dtype=np.result_type(array, np.float64))
        with graph.enable_grad(), replaced(argument, self.origin) as leaf:
            out = call()
        value = _number(out)
        if isinstance(value, complex | np.complexfloating):
            raise ValueError(f"f must return a real number, got {value}")
        self.value = float(value)
        root = out._node if isinstance(out, Tensor) else None
        order = graph.reachable([root] if root else [])
        self.connected = leaf in order
        between = graph._leading_to([leaf], order) if leaf else ()
        self.nodes = [node for node in order if node in between and node is not leaf]
        dtypes = [node.dtype for node in self.nodes]
        if array is argument:  # written in place, and rounded to its own dtype
            dtypes.append(array.dtype)
        self.precision = max([EPS, *(float(np.finfo(d).eps) for d in dtypes if d.kind == "f")])
        self.noise = self.precision * abs(self.value)
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
            raise ValueError(
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
        self.method = "richardson"
        other, error = self.along(direction)
        slope = abs(self.at(self.origin + FIRST_STEP * direction) - self.value) / FIRST_STEP
        return bool(abs(derivative - other) <= 1e-6 * max(abs(derivative), slope) + 10 * error)

    def _scatter(self) -> float:
        """How far rounding scatters f's values: fourth differences of all but equal arguments.

        It is more than f's value tells where large terms cancel. (Moré, Wild 2011.) What is too
        much to be rounding is not counted: f itself is rough, then.
        """
        size = np.abs(self.origin)
        spacing = 2.0**-44 * np.where(size > 1e-200, size, 1.0)
        values = [self.at(self.origin + k * spacing) for k in range(8)]
        found = math.sqrt(float(np.mean(np.diff(values, 4) ** 2)) / math.comb(8, 4))
        return found if found < 1e-9 * max(1.0, abs(self.value)) else 0.0

    def at(self, values: Array) -> Any:
        """f's value where the argument has these values."""
        # f may take gradients itself, of real numbers; observers need not see these trials.
        mode = graph.Recording(lambda _: values.dtype.kind != "c")
        with mode, replaced(self.argument, values), np.errstate(all="ignore"):
            return _number(self.call())

    def along(self, direction: Array) -> tuple[float, float]:
        """The derivative of f along a direction, and an estimate of its error."""

        def value(t: Any) -> Any:
            return self.at(self.origin + t * direction)

        if self.method == "complex":
            result = value(1j * COMPLEX_STEP)
            if not isinstance(result, complex | np.complexfloating):
                raise ValueError("f drops the imaginary part: use method='richardson'")
            return float(result.imag) / COMPLEX_STEP, 8 * self.noise
        # No element moves by more than the step times its own size (or 1, if it is smaller).
        size = np.abs(self.origin)
        unit = _unit(direction, np.maximum(size, 1.0))
        if self.method == "central":
            step = CENTRAL_STEP * unit
            return float((value(step) - value(-step)) / (2 * step)), self.noise / step
        found = _settled(value, FIRST_STEP * unit, self.noise)
        # Next to a pole, or to the edge of f's domain, only steps of the element's own size fit.
        small = _unit(direction, np.where(size > 1e-200, size, 1.0))
        if not found[1] <= 1e-7 * abs(found[0]) and small < unit:
            other = _settled(value, FIRST_STEP * small, self.noise)
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


def _settled(value: Callable[[float], Any], step: float, noise: float) -> tuple[float, float]:
    """The derivative at 0 by steps from this one down, or by far smaller ones if they differ.

    They do where f repeats itself, as sin(x) at x = 1e6, and where its domain ends nearby. Where f
    is rough, too: there the small steps do not settle.
    """
    found, fine = _extrapolated(value, step, noise), step * 2.0**-26
    slope = float((value(fine) - value(-fine)) / (2 * fine))
    if abs(slope - found[0]) <= 0.1 * abs(slope) + 8 * noise / fine:
        return found
    other = _extrapolated(value, step * 2.0**-16, noise)
    fits = other[1] < 1e-3 * abs(other[0]) and not abs(slope - other[0]) > 0.1 * abs(slope)
    return other if fits else found


def _extrapolated(value: Callable[[float], Any], step: float, noise: float) -> tuple[float, float]:
    """The derivative at 0 by Ridders' method: differences with halved steps, extrapolated to 0."""
    best, error = math.nan, math.inf
    last: list[float] = []
    for _ in range(LEVELS):
        row = [float((value(step) - value(-step)) / (2 * step))]
        if math.isfinite(row[0]):
            rounding = 8 * noise / step
            estimates = [(row[0], abs(row[0] - last[0]))] if last else []
            for order, coarse in enumerate(last[:4], 1):
                row.append(row[-1] + (row[-1] - coarse) / (4**order - 1))
                estimates.append((row[-1], max(abs(row[-1] - row[-2]), abs(row[-1] - coarse))))
            for derivative, estimate in estimates:
                if estimate + rounding < error:
                    best, error = derivative, estimate + rounding
            if error <= max(1e-12 * abs(best), 1.25 * rounding):
                break
            last = row
        else:
            last = []
        step /= 2
    return best, error


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
        kept = argument._data, argument._node
        leaf = Node(None, (), (), values.shape, values.dtype)
        argument._data, argument._node = np.array(values), leaf
        try:
            yield leaf
        finally:
            argument._data, argument._node = kept
    else:
        elements = argument.copy()
        argument[...] = values
        try:
            yield None
        finally:
            argument[...] = elements
