"""Which tests are run, and how."""

import pytest
from hypothesis import settings

# No test is judged by the clock: machines differ, and share their cores.
settings.register_profile("tinygrad_np", deadline=None)
settings.load_profile("tinygrad_np")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a browser or MPI, unless they are asked for by their mark."""
    unasked = [mark for mark in ("browser", "mpi") if mark not in config.option.markexpr]
    left_out = [item for item in items if any(map(item.get_closest_marker, unasked))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
