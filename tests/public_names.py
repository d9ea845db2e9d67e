"""The names that people call, below ``tinygrad_np``."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import tinygrad_np as tg

INTERNAL = {
    "distributed.abort", "distributed.batch_norm", "random.is_default", "random.masked",
    "random.rows", "random.share_rows",
}  # fmt: skip
"""What other files of the package use and nobody else calls."""


def public() -> Iterator[tuple[str, Any]]:
    """The names below ``tg``, and below its modules those that are defined there or listed."""
    for module in (tg, tg.nn, tg.optim, tg.random, tg.linalg, tg.data, tg.distributed):
        prefix = module.__name__.removeprefix("tinygrad_np").removeprefix(".")
        gathers = module in (tg, tg.nn) or hasattr(module, "__all__")
        for name in getattr(module, "__all__", dir(module)):
            value = getattr(module, name)
            ours = str(getattr(value, "__module__", "")).startswith("tinygrad_np")
            if name.startswith("_") or isinstance(value, ModuleType) or not callable(value):
                continue
            path = f"{prefix}.{name}".lstrip(".")
            if path not in INTERNAL and ours and (gathers or value.__module__ == module.__name__):
                yield path, value


PUBLIC = dict(public())
