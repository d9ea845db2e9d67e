"""Settings for all tests."""

from hypothesis import settings

# No test is judged by the clock: machines differ, and share their cores.
settings.register_profile("tinygrad_np", deadline=None)
settings.load_profile("tinygrad_np")
