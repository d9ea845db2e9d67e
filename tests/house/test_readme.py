"""The README's snippets run as they stand and print what is written beneath them."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, flags=re.DOTALL)


def test_every_snippet_has_its_output() -> None:
    assert len(SNIPPETS) == README.count("```python") >= 5


@pytest.mark.parametrize(("code", "output"), SNIPPETS, ids=range(len(SNIPPETS)))
def test_a_snippet_prints_its_output(
    code: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tinygrad_np as tg

    monkeypatch.setitem(tg.OPS, "cube", None)  # gone again afterwards
    del tg.OPS["cube"]
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert printed.getvalue() == output


def test_there_are_at_most_900_words_before_the_first_table() -> None:
    assert len(README[: README.index("\n| ")].split()) <= 900
