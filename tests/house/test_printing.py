"""Text that can be printed: on terminals of any encoding, and where there are no streams."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

import tinygrad_np as tg
from scripts import command
from tinygrad_np.tables import ERRORS, PLAIN, columns, printable

ROOT = Path(tg.__file__).parent.parent
ENCODINGS = ["ascii", "cp1252", "cp1251", "cp932", "cp437", "latin-1"]


def on(monkeypatch: pytest.MonkeyPatch, encoding: str | None) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding) if encoding else None
    monkeypatch.setattr(sys, "stdout", stream)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_signs_are_plain_where_there_is_no_unicode(monkeypatch: Any, encoding: str) -> None:
    on(monkeypatch, encoding)
    assert printable("½ × 3 − Xᵀ µs") == "1/2 x 3 - X.T us"
    assert printable("\N{SNOWMAN}") == "\\u2603"
    assert columns([("×", "a"), ("½", "b")]) == ["x    a", "1/2  b"]
    assert all(plain.isascii() for plain in PLAIN.values())


def test_names_stay_where_the_encoding_has_them(monkeypatch: Any) -> None:
    on(monkeypatch, "cp1252")
    assert printable("réseau") == "réseau"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", None, "UTF8"])
def test_unicode_is_printed_as_it_is(monkeypatch: Any, encoding: str | None) -> None:
    on(monkeypatch, encoding)
    assert printable("½ × \N{SNOWMAN}") == "½ × \N{SNOWMAN}"


def test_the_error_handler_serves_streams() -> None:
    assert "3 × \N{SNOWMAN}".encode("cp1251", ERRORS) == b"3 x \\u2603"
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", ERRORS)


PROGRAM = """
import numpy as np, tinygrad_np as tg
W = tg.Tensor(np.ones((3, 2)), True, name="W½ᵀ−")
with tg.record():
    y = (W * W).sum()
print(tg.trace_table(y))
x = np.arange(6.0).reshape(3, 2)
for factor in (-2, 1, 2):
    print(tg.audit(lambda W: (W * W).sum(), {"W": x}, {"W": factor * x}))
print(tg.gradcheck(lambda *_: (W * W).sum() + tg.relu(W - 1).sum(), W, 2))
print(tg.nn.Sequential(tg.nn.Linear(2, 3)).summary())
tg.show_config()
"""


@pytest.mark.parametrize(
    "encoding", ["ascii", *(pytest.param(e, marks=pytest.mark.slow) for e in ("cp1252", "cp932"))]
)
def test_reports_are_printed_in_any_encoding(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr.decode("ascii", "replace")
    assert result.stdout.isascii()


# Commands


def test_commands_print_whatever_their_streams_are(monkeypatch: Any) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), "cp1251") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    command.parser_of("any", "Doc.")
    print("3 × 4")
    assert command.failed(ValueError("½")) == 1
    for stream, text in zip(streams, (b"3 x 4", b"error: 1/2"), strict=True):
        stream.flush()
        assert stream.buffer.getvalue().strip() == text


def closed() -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed()])
def test_commands_do_without_streams(monkeypatch: Any, stream: Any) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    command.parser_of("any", "Doc.")
    print("nothing")
    assert command.failed(ValueError("nobody reads this")) == 1
    with tqdm(total=10, disable=None) as bar:
        assert bar.disable
        bar.write("a line")
    with pytest.raises(SystemExit):
        command.parser_of("any", "Doc.").error("wrong")


def test_a_command_without_standard_error() -> None:
    program = f"exec {sys.executable} -m scripts.mutate nonsense 2>&-"
    result = subprocess.run(
        ["sh", "-c", program], cwd=ROOT, stdout=subprocess.PIPE, check=False, text=True
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stdout
