"""A pytest plugin for gradient checks: the fixture ``gradcheck``, its seed, and whole reports.

pytest finds it once tinygrad_np is installed::

    def test_my_layer(gradcheck):
        gradcheck(my_layer, [np.ones((2, 3)), weights], order=2)

If ``assert report`` or ``assert tg.audit(...)`` fails, pytest prints the whole report below.

pytest loads this module before any conftest.py, in every project. Therefore it stands outside the
package, and imports NumPy and tinygrad_np only when a test asks for the fixture.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the reports that failed in a failed assertion, which pytest itself cuts short."""
    result = yield
    package = sys.modules.get("tinygrad_np")
    if package is None or call.excinfo is None or not call.excinfo.errisinstance(AssertionError):
        return result
    # The frame's variables include what the assertion computed, also without a name.
    values = call.excinfo.traceback[-1].frame.f_locals.values()
    kinds = package.AuditReport, package.GradcheckReport
    for found in {id(v): v for v in values if isinstance(v, kinds) and not v}.values():
        result.sections.append((f"The whole {type(found).__name__}", str(found)))
    return result
