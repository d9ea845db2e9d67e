"""The parts of ``python -m scripts.benchmark``: workloads, libraries, measuring, reporting."""
