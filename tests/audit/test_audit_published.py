"""The audit of gradients that people published, right and wrong: see ``published``."""

from __future__ import annotations

import pytest

from tests.audit.published import CASES, Case, judged


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_a_published_gradient(case: Case) -> None:
    wrong, report = judged(case)
    assert not wrong, f"{case.source}: {wrong}\n{report}"
