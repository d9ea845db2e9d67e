"""What the documentation says can be checked without building it."""

import re
from pathlib import Path

import pytest

import tinygrad_np as tg
from docs import generate
from tests.public_names import PUBLIC

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts]
NAMES = [path.relative_to(DOCS).as_posix() for path in PAGES]


def test_the_pages_are_found() -> None:
    assert {"start.md", "faq.md", "how_it_works.md", "tour/mnist.md"} <= {*NAMES}
    stored = [path for path in DOCS.rglob("*.ipynb") if "_build" not in path.parts]
    assert not stored, "notebooks are stored as text, without outputs"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_code_is_in_cells_which_are_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^`{3,}(\S+)", text, flags=re.MULTILINE)
    assert {*fences} <= {"sh", "text", "{code-cell}", "{literalinclude}", "{toctree}"}
    assert "{code-cell}" not in fences or text.startswith("---\nfile_format: mystnb\n")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_names_of_a_page_exist(page: Path) -> None:
    for name in re.findall(r"\btg((?:\.[A-Za-z_]\w*)+)", page.read_text(encoding="utf-8")):
        value: object = tg
        for part in name[1:].split("."):
            value = getattr(value, part)


def test_the_reference_has_every_public_name() -> None:
    documented = generate.documented()
    # The same function under two names is described under the first.
    missing = {name for name in PUBLIC if name.removeprefix("linalg.") not in documented}
    missing -= {name for name in missing if name.removeprefix("random.") in documented}
    assert not missing


def test_the_faq_has_the_twenty_slips() -> None:
    text = (DOCS / "faq.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^### (\d+)\. ", text, flags=re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 21)]
