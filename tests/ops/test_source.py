"""Rules in their own words."""

from typing import Any

import pytest

from tinygrad_np.source import expression, said


def told(g: Any, x: Any) -> Any:
    """g * x ** 2.

    Spelled out, since the square is kept.
    """
    square = x * x
    return g * square


def bare(g: Any, x: Any) -> Any:
    return g * x


def several(g: Any, x: Any) -> Any:
    square = x * x
    return g * square


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda g, x: g * (2 * x), "g * (2 * x)"),
        (told, "g * x ** 2"),
        (bare, "g * x"),
        (several, ""),
        (said("g at x", lambda g, x: g[x]), "g at x"),
        (eval("lambda g, x: g + x"), ""),  # whose text is nowhere
    ],
)
def test_a_rule_says_what_it_computes(rule: Any, words: str) -> None:
    assert expression(rule) == words
