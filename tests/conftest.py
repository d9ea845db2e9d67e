"""Which tests are run, and how."""

import pytest
from hypothesis import settings

# No test is judged by the clock: machines differ, and share their cores.
settings.register_profile("tinygrad_np", deadline=None)
settings.load_profile("tinygrad_np")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a browser, unless they are asked for with -m browser."""
    if "browser" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
