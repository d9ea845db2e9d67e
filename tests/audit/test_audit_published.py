"""The audit of gradients that people published, right and wrong: see ``published``."""

from __future__ import annotations

import pytest

from tests.audit.published import CASES, Case, judged

UNNAMED = {
    "layer_norm_over_the_batch": "a mean and a variance over the wrong axis, both at once",
}
"""Mistakes that the audit finds, but does not name yet."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_a_published_gradient(case: Case) -> None:
    wrong, report = judged(case)
    if case.make.__name__ in UNNAMED:
        assert wrong == "x is sum|sum + sum|value, not unknown"
        pytest.xfail(UNNAMED[case.make.__name__])
    assert not wrong, f"{case.source}: {wrong}\n{report}"
