"""Sample inputs, from which an op's checks are generated.

A ``Case`` is one call: its arguments, with a ``Sample`` in place of each array. Arrays are drawn
when a check runs. The samples keep away from kinks and poles (0, ties), so that finite differences
are meaningful; kinks have tests of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .definition import Case, Sample

if TYPE_CHECKING:
    from numpy.random import Generator


def case(*args: Any, **params: Any) -> Case:
    """A sample call: positional and keyword arguments, Samples for arrays.

    >>> from tinygrad_np.cases import case, normal
    >>> case(normal(2, 3), axis=0)
    normal(2,3), axis=0
    """
    return Case(args, params)


def filled(
    case: Case, seed: int = 0, dtype: Any = np.float64
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A case's arguments with every Sample drawn, the smooth ones in ``dtype``.

    >>> args, params = filled(case(normal(2, 3), axis=0))
    >>> args[0].shape, params
    ((2, 3), {'axis': 0})
    """
    rng = np.random.default_rng(seed)

    def fill(value: Any) -> Any:
        if isinstance(value, Sample):
            array = np.asarray(value.draw(rng))
            return array.astype(dtype) if value.smooth else array
        return [fill(item) for item in value] if isinstance(value, list) else value

    return tuple(map(fill, case.args)), {k: fill(v) for k, v in case.params.items()}


def normal(*shape: int) -> Sample:
    """Numbers of both signs, normally distributed, at least 0.1 away from 0."""

    def draw(rng: Generator) -> Any:
        values = rng.normal(size=shape)
        return np.where(values < 0, values - 0.1, values + 0.1)

    return Sample(shape, "normal", draw)


def uniform(low: float, high: float, *shape: int) -> Sample:
    """Numbers between ``low`` and ``high``."""
    return Sample(shape, f"uniform[{low},{high}]", lambda rng: rng.uniform(low, high, shape))


def distinct(*shape: int) -> Sample:
    """Numbers of both signs that differ from each other, and from 0, by at least 0.05."""

    def draw(rng: Generator) -> Any:
        count = math.prod(shape)
        return rng.permutation((np.arange(count) - count / 2 + 0.75) * 0.1).reshape(shape)

    return Sample(shape, "distinct", draw)


def regular(*shape: int) -> Sample:
    """Well-conditioned square matrices: a random one plus a multiple of the identity."""
    return Sample(shape, "regular", lambda rng: rng.normal(size=shape) + 3 * np.eye(shape[-1]))


def integers(high: int, *shape: int) -> Sample:
    """Integers from 0 to ``high - 1``: labels and indices."""
    return Sample(shape, f"integers<{high}", lambda rng: rng.integers(high, size=shape), False)


def booleans(*shape: int) -> Sample:
    """A random mask."""
    return Sample(shape, "booleans", lambda rng: rng.random(shape) < 0.5, False)


def probabilities(*shape: int) -> Sample:
    """Rows of non-negative numbers that add up to 1; constants, as labels are."""
    return Sample(
        shape,
        "probabilities",
        lambda rng: rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]),
        False,
    )


SHAPES: tuple[tuple[int, ...], ...] = ((3, 4), (), (0, 3), (2, 1, 3))

REAL = [case(normal(*shape)) for shape in SHAPES]
POSITIVE = [case(uniform(0.2, 3.0, *shape)) for shape in SHAPES]
UNIT = [case(uniform(-0.9, 0.9, *shape)) for shape in SHAPES]
ABOVE_ONE = [case(uniform(1.2, 4.0, *shape)) for shape in SHAPES]


def pairs(first: Callable[..., Sample], second: Callable[..., Sample] | None = None) -> list[Case]:
    """Two operands: of one shape, broadcast either way, 0-d, empty, and a Python number."""
    second = second or first
    return [
        case(first(3, 4), second(3, 4)),
        case(first(3, 4), second(4)),
        case(first(4), second(2, 3, 4)),
        case(first(3, 1), second(1, 4)),
        case(first(), second(2, 3)),
        case(first(), second()),
        case(first(0, 3), second(3)),
        case(first(3, 4), 1.5),
        case(0.5, second(3, 4)),
    ]


def above_zero(*shape: int) -> Sample:
    """Numbers between 0.2 and 3."""
    return uniform(0.2, 3.0, *shape)


PAIRS = pairs(normal)
POSITIVE_PAIRS = pairs(above_zero)
DISTINCT_PAIRS = pairs(distinct, normal)

AXES: tuple[dict[str, Any], ...] = (
    {}, {"axis": 0}, {"axis": -1}, {"axis": (0, 2)}, {"axis": 1, "keepdims": True},
    {"keepdims": True},
)  # fmt: skip


def reductions(sample: Callable[..., Sample], **params: Any) -> list[Case]:
    """One operand reduced along nothing, one axis, several; 0-d too."""
    along = [case(sample(2, 3, 4), **axes, **params) for axes in AXES]
    return [*along, case(sample(), **params), case(sample(5), axis=0, **params)]
