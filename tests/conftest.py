"""Which tests are run, and how; the browser that some of them share."""

import os
from collections.abc import Iterator
from shutil import which
from typing import Any

import numpy as np  # noqa: F401  # BLAS is loaded before its threads are limited
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

# No test is judged by the clock: machines differ, and share their cores.
settings.register_profile("tinygrad_np", deadline=None)
settings.load_profile("tinygrad_np")

# The workers of pytest-xdist have a core each. BLAS's threads wait for work by spinning: with one
# thread for each core in every worker, tests that train take twice as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of processes that tests start
    threadpool_limits(1, "blas")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a browser, MPI or minutes, unless their mark asks for them."""
    unasked = [mark for mark in ("browser", "mpi", "minutes") if mark not in config.option.markexpr]
    left_out = [item for item in items if any(map(item.get_closest_marker, unasked))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium, driven by selenium."""
    from selenium import webdriver

    browser = which("chromium") or which("chromium-browser") or which("google-chrome")
    driver = which("chromedriver")
    if browser is None or driver is None:
        pytest.fail(
            "this test needs Chromium and chromedriver on the PATH: "
            "apt install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as started:
        yield started
