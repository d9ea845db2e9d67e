"""Where a function has a kink, such as relu at 0, several gradients are right: which one is meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import merged
from .search import Search
from .trace import Change, Edits, Gradients, Trace, Use


def best_convention(
    trace: Trace, given: Mapping[Node, Array], misshapen: Mapping[Node, Array],
    rtol: Mapping[Node, float],
) -> tuple[Search, list[str]]:  # fmt: skip
    """The search from the subgradient that agrees with most of the gradients, and notes."""
    search = Search(trace, given, misshapen, rtol, trace.run())
    return search, []
