"""Texts as arrays of character numbers, and sliding windows over them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def read_text(path: str | os.PathLike[str]) -> str:
    r"""The text of a UTF-8 file. All line ends become ``\n``.

    Raises OSError if it cannot be read, ValueError if it is not UTF-8 or is empty.

    >>> import pathlib, tempfile, tinygrad_np as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "text").write_bytes(b"one\r\ntwo")
    ...     tg.data.read_text(f"{folder}/text")
    'one\ntwo'
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text in UTF-8: {error}") from error
    if not text:
        raise ValueError(f"{path}: is empty")
    return text


def encode(text: str, characters: str) -> Array:
    """The position of each character in ``characters``, which must be sorted: integers (length,).

    Raises ValueError for a character that is not one of them.

    >>> from tinygrad_np.data import encode
    >>> encode("abba", "abc")
    array([0, 1, 1, 0], dtype=uint8)
    """
    given, known = (np.array([*t], dtype="<U1").view(np.uint32) for t in (text, characters))
    places = np.searchsorted(known, given)
    strange = known[np.minimum(places, len(known) - 1)] != given
    if strange.any():
        at = int(strange.argmax())
        raise ValueError(f"the character {text[at]!r} at {at} is none of {characters!r}")
    return places.astype(np.min_scalar_type(len(known) - 1))


def windows(tokens: Array, length: int) -> tuple[Array, Array]:
    """All windows of a text, and for each character of a window the one that follows it, as views.

    ``tokens`` (n,) give two arrays (n - length, length). Raises ValueError if the text is too short
    for one window.

    >>> import numpy as np
    >>> from tinygrad_np.data import windows
    >>> x, t = windows(np.array([3, 1, 4, 1, 5]), 3)
    >>> x.tolist(), t.tolist()
    ([[3, 1, 4], [1, 4, 1]], [[1, 4, 1], [4, 1, 5]])
    """
    if len(tokens) <= length:
        raise ValueError(
            f"a text of {len(tokens)} characters has no {length} that another one follows"
        )
    move = np.lib.stride_tricks.sliding_window_view
    return move(tokens[:-1], length), move(tokens[1:], length)
