"""Linear algebra under NumPy's names: ``tg.linalg.inv``, ``solve``, ``det`` and ``norm``."""

from .ops.linalg import det, inv, solve
from .ops.reduction import norm

__all__ = ["det", "inv", "norm", "solve"]
