"""Which tests are run, and how; the browser that some of them share."""

from collections.abc import Iterator
from shutil import which
from typing import Any

import pytest
from hypothesis import settings

# No test is judged by the clock: machines differ, and share their cores.
settings.register_profile("tinygrad_np", deadline=None)
settings.load_profile("tinygrad_np")


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
