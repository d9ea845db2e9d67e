"""Rules in their own words."""

from typing import Any

import pytest

from tinygrad_np.source import expression


def chained(g: Any, x: Any) -> Any:
    y = x + 1
    x = x * 2
    return g * y * x


def choosing(g: Any, x: Any, axis: Any) -> Any:
    """Return one of several."""
    if axis is None:
        return g
    y = g if axis else g + x
    return y * (x if axis == 1 else -x)


def looping(g: Any, x: Any) -> Any:
    for _ in range(3):
        g = g * x
    return g


@pytest.mark.parametrize(
    ("rule", "values", "words"),
    [
        (lambda g, x: g * (2 * x), None, "g * (2 * x)"),
        (chained, None, "chained(g, x)"),
        (chained, {"g": 1, "x": 2}, "g * (x + 1) * (x * 2)"),
        (choosing, {"g": 1, "x": 2, "axis": None}, "g"),
        (choosing, {"g": 1, "x": 2, "axis": 0}, "(g + x) * -x"),
        (choosing, {"g": 1, "x": 2, "axis": 1}, "g * x"),
        (choosing, {"g": 1, "x": 2}, "choosing(g, x, axis)"),  # axis is missing
        (looping, {"g": 1, "x": 2}, "looping(g, x)"),
    ],
)
def test_a_rule_is_shown_as_it_computes(rule: Any, values: Any, words: str) -> None:
    assert expression(rule, values) == words
