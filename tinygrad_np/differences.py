"""The derivative of a function of one number by central differences, with an estimate of its error.

(f(t) - f(-t)) / 2t has seven to ten digits; extrapolated to t = 0, about ten for any smooth f.
(Richardson 1911; Ridders 1982.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FIRST_STEP = 2.0**-6  # powers of two: x + t and the division by t are exact more often
CENTRAL_STEP = 2.0**-17  # about the cube root of float64's precision
LEVELS = 16  # halvings of the first step at most, down to 5e-7

Estimate = tuple[float, float]
"""A derivative and its error; the error is infinite where the differences do not converge."""


@dataclass
class Restriction:
    """The restriction of f to a line: a function of a number t near 0.

    ``unit`` is the t that moves no element by more than its own size, ``noise`` how far rounding
    scatters the function's values, and ``precision`` the relative precision of the numbers.
    """

    value: Callable[[float], Any]
    unit: float
    noise: float
    precision: float

    @property
    def fine(self) -> float:
        """A step so small that few functions change their slope within it."""
        return max(min(2.0**-32 * self.unit, 2.0**-20), 2**6 * self.precision * self.unit)

    def slope(self, step: float) -> float:
        """The central difference."""
        return float((self.value(step) - self.value(-step)) / (2 * step))

    def central(self) -> Estimate:
        """The derivative at 0 by one difference, if half the step and a far smaller one agree."""
        step, fine = CENTRAL_STEP * self.unit, self.fine
        found, second = self.slope(step), self.slope(step / 2)
        error = self.noise / step
        if abs(found - second) > 0.1 * abs(found) + 16 * error:  # a jump
            return found, math.inf
        small = self.slope(fine)
        if abs(small - found) > 0.01 * abs(small) + 16 * self.noise / fine:
            error = max(error, self._doubt(found, step))
        return found, error

    def extrapolated(self) -> Estimate:
        """The derivative at 0 by extrapolation from the first step, or from far smaller ones.

        The smaller steps count if they converge to another value. They do where f is periodic, as
        sin(x) at x = 1e6, and near the end of its domain; they do not where f is rough.
        """
        unit, fine, slope = self.unit, self.fine, self.slope(self.fine)
        if math.isfinite(slope):  # t is rounded, too: 1 + t has no more digits than 1
            self.noise = max(self.noise, self.precision / 2 * unit * abs(slope))
        found = self._ridders(FIRST_STEP * unit)
        slack = 0.1 * abs(slope) + 8 * self.noise / fine
        if math.isfinite(found[1]) and abs(slope - found[0]) <= slack:
            return found
        for small in dict.fromkeys((2.0**-32 * unit, fine, 2**6 * self.precision * unit)):
            other, near = self._ridders(small * 2**10), self.slope(small)
            fits = other[1] < 1e-3 * abs(other[0]) and not abs(near - other[0]) > 0.1 * abs(near)
            if fits and (small <= fine or not abs(slope - other[0]) > slack):
                return other
        return found[0], max(found[1], self._doubt(found[0], FIRST_STEP * unit))

    def _doubt(self, found: float, step: float) -> float:
        """The error of a derivative that far smaller steps contradict: infinite, or 0 for jitter.

        Jitter is small compared with the change of f within a step: f is rounded. Otherwise f does
        something within the step that larger steps do not see.
        """
        fine, slope, other = self.fine, self.slope(self.fine), self.slope(self.fine / 2)
        smooth = abs(slope - other) <= 0.1 * abs(slope) + 16 * self.noise / fine < abs(slope)
        return math.inf if smooth or abs(slope) * fine > 0.01 * abs(found) * step else 0.0

    def _ridders(self, step: float) -> Estimate:
        """Ridders' method: differences with halved steps, extrapolated to 0.

        The error is infinite if the estimates do not converge: if it is as large as the derivative
        itself, and rounding does not explain that.
        """
        best, error, converged = math.nan, math.inf, False
        last: list[float] = []
        steepest = 0.0
        for _ in range(LEVELS):
            row = [self.slope(step)]
            if math.isfinite(row[0]):
                steepest = max(steepest, abs(row[0]))
                rounding = 8 * self.noise / step
                estimates = [(row[0], abs(row[0] - last[0]))] if last else []
                for order, coarse in enumerate(last[:4], 1):
                    row.append(row[-1] + (row[-1] - coarse) / (4**order - 1))
                    estimates.append((row[-1], max(abs(row[-1] - row[-2]), abs(row[-1] - coarse))))
                for derivative, estimate in estimates:
                    if estimate + rounding < error:
                        best, error = derivative, estimate + rounding
                        converged = estimate <= max(0.1 * abs(best), 1e-3 * steepest, 2 * rounding)
                if error <= max(1e-12 * abs(best), 1.25 * rounding):
                    break
                last = row
            else:
                last = []
            step /= 2
        return best, error if converged else math.inf
