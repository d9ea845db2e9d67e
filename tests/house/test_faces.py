"""How things look: tables in terminals, HTML in notebooks, a live chart, ``python -m``."""

import io
import re
import subprocess
import sys
import types
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np import nn
from tinygrad_np.tables import Table


class Cells(HTMLParser):
    """The texts of a page's cells, and the tags that are still open at its end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def cells(value: Any) -> list[str]:
    page = Cells(value._repr_html_())
    assert page.open == []
    return page.cells


def loss() -> tg.Tensor:
    W = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="W<1>")
    return tg.tanh(W).sum()


def test_a_table_is_its_text_and_shows_as_html() -> None:
    table = Table([("name", "size"), ("a<b", "3")], before=["first"], after=["last"])
    assert str(table) == repr(table) == "first\nname  size\na<b   3\nlast"
    assert cells(table) == ["name", "size", "a<b", "3"]
    assert "<p>first</p>" in table._repr_html_()


def test_reports_and_tables_have_faces() -> None:
    report = tg.gradcheck(lambda x: (x * x).sum(), np.ones(2))
    assert repr(report) == str(report)
    assert cells(report)[12:15] == ["ok", "x", "(2,)"]
    assert cells(tg.trace_table(loss()))[7:9] == ["0", "W<1>"]
    assert cells(nn.Linear(4, 3).summary())[-1].strip() == "15"


def test_modules_and_ops_have_faces() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    assert "<b>Sequential</b>" in model._repr_html_()
    assert cells(model) == cells(model.summary())
    assert repr(tg.OPS["tanh"]) == str(tg.OPS["tanh"])
    assert cells(tg.OPS["multiply"]) == ["gradient", "rule", "dx", "g * y", "dy", "g * x"]


def test_a_compiled_function_shows_its_plans() -> None:
    compiled = tg.compile(lambda x: np.tanh(x) * 2, backend="numpy")
    assert "no plan yet" in compiled._repr_html_()
    compiled(np.ones(3))
    assert "tanh" in compiled._repr_html_()
    assert Cells(compiled._repr_html_()).open == []


def test_a_page_without_a_path_is_embedded() -> None:
    page = tg.draw(loss()).to_html()
    assert page is not None
    assert page.startswith("<!DOCTYPE html>")
    frame = page._repr_html_()
    assert re.match(r'<iframe srcdoc="[^"]*" style="[^"]*" title="graph"></iframe>$', frame)


def test_a_live_chart_in_a_terminal_is_a_bar() -> None:
    stream = io.StringIO()
    chart = tg.LiveChart(total=3, file=stream)
    for step in range(3):
        chart(loss=tg.Tensor(1.0 / (step + 1)), accuracy=step)
    assert "3/3" in stream.getvalue()
    assert "loss=0.3333" in stream.getvalue()
    assert chart.history["accuracy"] == [(1, 0.0), (2, 1.0), (3, 2.0)]
    assert chart.status().startswith("step 3 of 3")


def test_a_live_chart_takes_numbers_only() -> None:
    chart = tg.LiveChart(file=io.StringIO())
    with pytest.raises(TypeError, match="loss must be one number"):
        chart(loss=np.ones(2))
    assert chart.step == 0


def test_a_live_chart_in_a_notebook_updates_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    handle = types.SimpleNamespace(update=lambda chart: shown.append(chart._repr_html_()))
    ipython: Any = types.ModuleType("IPython")
    ipython.version_info = (9, 0)  # matplotlib asks for it
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = lambda *args, **kwargs: handle
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    chart = tg.LiveChart(total=2)
    chart(loss=1.0)
    chart(loss=0.5)
    assert len(shown) == 2
    assert "<progress value='2' max='2'" in shown[-1]
    assert shown[-1].count("<svg") == 1
    assert "step 2 of 2" in shown[-1]


def test_python_m_says_version_configuration_and_what_to_try() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tinygrad_np"], check=True, capture_output=True, text=True
    )
    assert f"tinygrad_np {tg.__version__}" in run.stdout
    assert "NumPy" in run.stdout
    code = run.stdout.partition("To try:")[2].replace(
        'tg.draw(loss).render("graph", format="svg")', ""
    )
    lines = [line.strip() for line in code.splitlines() if line.strip()]
    scope: dict[str, Any] = {}
    exec("\n".join(lines), scope)
    assert scope["W"].grad.shape == (3, 2)
