"""tinygrad_np, its training step traced once and replayed."""

from __future__ import annotations

from typing import Any

import tinygrad_np as tg

from .eager import prepare
from .libraries import Training
from .workloads import Problem


def training(problem: Problem) -> Training:
    library: Any = tg
    return prepare(problem, library.compile)
