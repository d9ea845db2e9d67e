"""Every public name has a docstring with an example, and the example runs."""

import doctest
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import tinygrad_np as tg

INTERNAL = {"random.is_default", "random.masked"}
"""What other files of the package use and nobody else calls."""


def public() -> Iterator[tuple[str, Any]]:
    """The names below ``tg``, and below its modules those that are defined there or listed."""
    for module in (tg, tg.nn, tg.optim, tg.random, tg.linalg, tg.data):
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


def test_the_names_are_found() -> None:
    assert {"tanh", "nn.ReLU", "optim.SGD", "data.load_mnist", "compile", "linalg.inv"} <= {*PUBLIC}
    assert len(PUBLIC) > 300


@pytest.mark.parametrize("name", PUBLIC)
def test_a_name_has_an_example_that_runs(name: str) -> None:
    text = PUBLIC[name].__doc__ or ""
    found = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    assert found.examples, "no example"
    # What it uses besides Python's own names it imports, so that it can be pasted as it is.
    assert re.search(r"^ *>>> (import|from) .*tinygrad_np", text, re.MULTILINE), "no import"
    result = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(found)
    assert result.failed == 0
