"""Gradient checks in any project's tests: a ``gradcheck`` fixture and ``--gradcheck-seed``.

pytest finds it by itself once tinygrad_np is installed::

    def test_my_layer(gradcheck):
        gradcheck(my_layer, [np.ones((2, 3)), weights], order=2)

It is a module of its own because pytest loads it before any conftest.py, in every project: NumPy
and tinygrad_np are imported when a test first asks for the fixture.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tinygrad_np import GradcheckReport


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--gradcheck-seed``."""
    parser.addoption(
        "--gradcheck-seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the directions and weights that gradcheck draws (default: 0)",
    )


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., GradcheckReport]:
    """``tinygrad_np.gradcheck`` with the run's seed; the test fails with its table."""
    from tinygrad_np import gradcheck as check

    return functools.partial(check, seed=request.config.getoption("--gradcheck-seed"))
