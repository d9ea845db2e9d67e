"""Every public name has a docstring with an example, and the example runs."""

import doctest
import re

import pytest

from tests.public_names import PUBLIC


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
