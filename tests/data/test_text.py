"""Texts: read, turned into numbers, cut into windows."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tinygrad_np.data import encode, read_text, windows

ALICE = Path(__file__).parents[2] / "data" / "text" / "alice29.txt"


def test_lines_end_alike_and_a_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffé\r\nb\rc\n".encode())
    assert read_text(path) == "é\nb\nc\n"


def test_files_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"a\.txt: is not text in UTF-8: .*0xe9"):
        read_text(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.txt: is empty"):
        read_text(path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "b.txt")


def test_alice_is_the_file_of_the_canterbury_corpus() -> None:
    digest = "7467306ee0feed4971260f3c87421154a05be571d944e9cb021a5713700c38f0"
    assert hashlib.sha256(ALICE.read_bytes()).hexdigest() == digest
    text = read_text(ALICE)
    assert len(text) == 148_481 and len(set(text)) == 73
    assert "\r" not in text and text.count("Alice") > 300


@pytest.mark.parametrize("text", ["", "Wonderland", "\n\x00", "Ж中😀é"])
def test_encoding_can_be_undone(text: str) -> None:
    characters = "".join(sorted({*text, "x"}))
    tokens = encode(text, characters)
    assert tokens.dtype == np.uint8
    assert "".join(characters[i] for i in tokens) == text


def test_many_characters_take_two_bytes() -> None:
    characters = "".join(map(chr, range(1000, 1300)))
    assert encode(characters, characters).dtype == np.uint16
    np.testing.assert_array_equal(encode(characters, characters), np.arange(300))


@pytest.mark.parametrize("strange", ["a", "m", "z"])
def test_an_unknown_character_is_named_with_its_place(strange: str) -> None:
    with pytest.raises(ValueError, match=f"the character '{strange}' at 2 is none of 'bny'"):
        encode(f"by{strange}b", "bny")


def test_windows_are_views_each_a_character_further_on() -> None:
    tokens = np.arange(10, dtype=np.uint8)
    x, t = windows(tokens, 4)
    assert x.shape == t.shape == (6, 4)
    np.testing.assert_array_equal(x, np.arange(6)[:, None] + np.arange(4))
    np.testing.assert_array_equal(t, x + 1)
    assert np.shares_memory(x, tokens) and np.shares_memory(t, tokens)
    with pytest.raises(ValueError, match="a text of 4 characters has no 4 that another one"):
        windows(tokens[:4], 4)
