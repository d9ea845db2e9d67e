"""scripts.compare_gpt: equal losses pass, others do not. Ours takes PyTorch's place here."""

import sys
from typing import Any

import pytest

from models import gpt, gpt_peers
from scripts import compare_gpt

ARGUMENTS = ["--steps", "3", "--batch-size", "2"]


def test_equal_losses_are_shown_side_by_side(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(gpt_peers, "torch_eager", gpt.eager)
    assert compare_gpt.main(ARGUMENTS) == 0
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["step", "ours", "compiled", "PyTorch", "difference"]
    assert [row.split()[0] for row in rows] == ["0", "2"]
    assert float(rows[0].split()[1]) == pytest.approx(4.3, abs=0.1)
    assert "differ by at most" in last


def test_another_network_is_noticed(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def other(start: Any, update: Any) -> Any:
        start[-1][0] += 1e-6  # a bias of the last block
        return gpt.eager(start, update)

    monkeypatch.setattr(gpt_peers, "torch_eager", other)
    assert compare_gpt.main(ARGUMENTS) == 1


def test_without_pytorch_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert compare_gpt.main(ARGUMENTS) == 1
    assert "torch" in capsys.readouterr().err
