"""The error function and the normal distribution's, of SciPy where it is installed.

Without SciPy: W. J. Cody, "Rational Chebyshev approximations for the error function" (1969), whose
coefficients are exact to 17 digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..arrays import Traced
from ..cases import REAL, case, uniform
from ..definition import Value, op
from ..source import said
from ..tracing import pure
from .elementwise import bounded, floats, for_people, like, wide

__all__ = ["erf", "normal_cdf"]

_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
     3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
     6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
     1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
     3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip


@cache
def scipy_special() -> Any:
    """SciPy's special functions, None where it is not installed."""
    try:
        import scipy.special
    except ImportError:
        return None
    return scipy.special


def _ratio(x: Any, coefficients: tuple[Sequence[float], Sequence[float]]) -> Any:
    """A quotient of two polynomials, by Horner's scheme."""
    above, below = coefficients
    p, q = np.full_like(x, above[0]), np.full_like(x, below[0])
    for a, b in zip(above[1:], below[1:], strict=True):
        p, q = p * x + a, q * x + b
    return p / q


def _scaled_tail(y: Any) -> Any:
    """(1 - erf(y)) exp(y²) for y > 0.46875."""
    out = np.empty_like(y)
    far = y > 4
    out[~far] = _ratio(y[~far], _MIDDLE)
    z = y[far]
    out[far] = (1 / math.sqrt(math.pi) - _ratio(z**-2, _LARGE) / z**2) / z
    return out


def _exp_of_square(y: Any, factor: float) -> Any:
    """exp(-factor y²), to its last digits: the square of ``head`` has no rounding error."""
    head = np.trunc(y * 16) / 16
    return np.exp(-factor * head * head) * np.exp(-factor * (y - head) * (y + head))


@pure
def error_function(x: Any) -> Any:
    """erf of an array of real numbers."""
    x = np.asarray(wide(floats(x)))
    if scipy_special() is not None and x.dtype.char in "fd":
        return scipy_special().erf(x)
    out = np.array(x)
    size = np.abs(x)
    near = size <= 0.46875
    out[near] = x[near] * _ratio(x[near] ** 2, _SMALL)
    rest = ~near & (x == x)
    y = np.minimum(size[rest], 30)
    out[rest] = np.copysign(1 - _scaled_tail(y) * _exp_of_square(y, 1), x[rest])
    return out


_FITTED = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418,
    0.37409196, 1.00002368, -1.26551223,
)  # fmt: skip


_BLOCK = 1 << 15  # what fits the cache


def _distribution_32(x: Any) -> Any:
    """Φ to the seven digits of float32: one formula for all x, in a tenth of the time.

    1 - erf(z) = t exp(-z² + p(t)) with t = 1 / (1 + z / 2), whose relative error is below 1.2e-7
    (Press et al., "Numerical recipes", 1992, erfcc).
    """
    z = np.abs(x)
    np.minimum(z, 20, out=z)
    z *= np.float32(math.sqrt(0.5))
    t = 1 / (1 + z / 2)
    p = t * _FITTED[0]
    for coefficient in _FITTED[1:-1]:
        p += coefficient
        p *= t
    p += _FITTED[-1]
    p -= z * z
    np.exp(p, out=p)
    t *= p
    t *= 0.5  # the tail beyond |x|, to which at positive x the rest to 1 is added
    return t + (x > 0) * (1 - 2 * t)


def normal_distribution(x: Any) -> Any:
    """The normal distribution function of an array of real numbers, accurate in its lower tail."""
    traced = isinstance(x, Traced) and x.dtype == np.float32  # type: ignore[attr-defined]
    return _distribution_32(x) if traced and not for_people() else _normal_distribution(x)


@pure
def _normal_distribution(x: Any) -> Any:
    x = np.asarray(wide(floats(x)))
    if x.dtype == np.float32:
        out, flat = np.empty(x.size, np.float32), x.reshape(-1)
        for start in range(0, x.size, _BLOCK):
            out[start : start + _BLOCK] = _distribution_32(flat[start : start + _BLOCK])
        return out.reshape(x.shape)
    if scipy_special() is not None and x.dtype.char in "fd":
        return scipy_special().ndtr(x)
    z = x * math.sqrt(0.5)
    out = np.array(z)
    near = np.abs(z) <= 0.46875
    out[near] = 0.5 + 0.5 * z[near] * _ratio(z[near] ** 2, _SMALL)
    rest = ~near & (z == z)
    y = np.minimum(np.abs(x[rest]), 40)
    half = 0.5 * _scaled_tail(y * math.sqrt(0.5)) * _exp_of_square(y, 0.5)
    out[rest] = np.where(x[rest] > 0, 1 - half, half)
    return out


_REAL = [*REAL, case(uniform(-6.0, 6.0, 7))]


def density(x: Any) -> Any:
    """The standard normal density, exp(-x² / 2) / √(2π)."""
    near = bounded(x, 40.0)  # beyond it is 0
    return np.exp(-0.5 * near * near) * (1 / math.sqrt(2 * math.pi))


def _erf_x(g: Any, x: Any) -> Any:
    """g * 2 / sqrt(pi) * exp(-x ** 2)"""
    near = bounded(x, 30.0)
    return g * (np.exp(-near * near) * (2 / math.sqrt(math.pi)))


@op(cases=_REAL, analytic=False, x=_erf_x)
def erf(x: Value) -> Value:
    """The error function, 2/√π times the integral of exp(-t²) from 0 to x.

    Gradient: g 2/√π exp(-x²).

    >>> import tinygrad_np as tg
    >>> round(tg.erf(tg.Tensor(0.5)).item(), 12)
    0.520499877813
    """
    return like(error_function(x), x)


@op(
    cases=_REAL,
    analytic=False,
    x=said("g * exp(-x ** 2 / 2) / sqrt(2 * pi)", lambda g, x: g * density(x)),
)
def normal_cdf(x: Value) -> Value:
    """The standard normal distribution function Φ(x). Gradient: g exp(-x² / 2) / √(2π).

    >>> import tinygrad_np as tg
    >>> tg.normal_cdf(tg.Tensor(0.0)).item()
    0.5
    """
    return like(normal_distribution(x), x)
