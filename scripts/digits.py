"""What is drawn on a picture: the page, its background, and a digit as MNIST shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Found = tuple[slice, slice, Array]
"""The rows and columns of what stands out from the background, and how strongly, from 0 to 1."""

FAINT = 0.08
"""Less contrast than this, of the range from black to white, is no picture."""
CLEAR = 0.2
"""The least contrast of something on a page; less is the page's unevenness."""


class ImageError(ValueError):
    """A file holds no image that can be read, or one with nothing on it."""


def as_digit(grey: Array, side: int = 28) -> Array:
    """A digit laid out as MNIST's: bright on black, 20 pixels long, its centre of mass centred.

    ``grey`` (height, width) is of any size, dark on bright or bright on dark, also in a frame or on
    a square in a larger page; the result is (side, side), uint8. (LeCun, Cortes, Burges, "The MNIST
    database of handwritten digits".) Raises ImageError where nothing stands out from the
    background.
    """
    ink = _digit(grey)
    scale = round(side * 20 / 28) / max(ink.shape)
    ink = resized(ink / ink.max(), *(max(1, round(n * scale)) for n in ink.shape))
    ink = ink / ink.max()
    page = np.zeros((side, side), np.float32)
    top, left = (_start(ink.sum(axis=axis), side) for axis in (1, 0))
    page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    rounded: Array = np.rint(255 * page).astype(np.uint8)
    return rounded


def background(grey: Array) -> float:
    """The grey of the background: the median of the outermost pixels."""
    return float(np.median(_border(grey)))


def unframed(grey: Array) -> Array:
    """A picture without its frame, if it has one; ImageError where there is nothing on it."""
    while True:
        page = _page(grey, _standing_out(grey), edge=1)
        if page is None or min(np.divide(page.shape, grey.shape)) < 0.7 or np.ptp(page) < CLEAR:
            return grey
        grey = page


def resized(grey: Array, height: int, width: int) -> Array:
    """A picture of another size, float32 from 0 to 1."""
    from PIL import Image

    if grey.shape == (height, width):
        return grey
    image = Image.fromarray(np.ascontiguousarray(grey, np.float32))
    found = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    return np.asarray(np.clip(found, 0, 1))


def _digit(grey: Array) -> Array:
    """The digit's ink, cut out.

    If a page or a frame stands out, the digit is what stands out inside it. But a 0 or an 8 of
    straight lines also looks like a frame: the blocks inside are its holes.
    """
    found: list[Array] = []
    page: Array | None = grey
    while page is not None:
        try:
            place = _standing_out(page, CLEAR if found else FAINT)
        except ImageError:
            if not found:
                raise
            break
        found.append(place[2])
        page = _page(page, place)
    *around, ink = found
    if around and _is_block(ink, 0.75) and not _is_block(around[-1], 0.75):
        return around[-1]
    if _is_block(ink, 0.9):
        raise ImageError("a block stands out, with nothing on it: is there a digit on it?")
    return ink


def _standing_out(grey: Array, least: float = FAINT) -> Found:
    ground = background(grey)
    ink = ground - grey if ground > (grey.min() + grey.max()) / 2 else grey - ground
    if ink.max() < least:
        raise ImageError("nothing stands out from its background: is there anything on it?")
    ink = ink / ink.max()
    border = _border(ink)  # its unevenness is noise; a drawing has none
    noise = min(0.5, 6 * float(np.median(np.abs(border - np.median(border)))))
    ink = np.where(ink > noise, ink, 0)
    edges = [_edges(ink, axis) for axis in (0, 1)]
    inner = np.zeros(ink.shape, bool)
    inner[edges[0], edges[1]] = True
    lit = ink > 0
    if (lit & inner).any():
        lit &= inner
    rows, columns = (_span(lit.any(axis=axis)) for axis in (1, 0))
    return rows, columns, ink[rows, columns]


def _edges(ink: Array, axis: int) -> slice:
    """An axis without lines that run along the picture's edges: they are no ink."""
    full = (ink > 0.1).mean(axis=1 - axis) > 0.9
    most = 1 + len(full) // 20
    start, stop = (most if part.all() else int(np.argmin(part))
                   for part in (full[:most], full[::-1][:most]))  # fmt: skip
    return slice(start, len(full) - stop)


def _span(lit: Any) -> slice:
    places = np.flatnonzero(lit)
    return slice(int(places[0]), int(places[-1]) + 1)


def _page(grey: Array, place: Found, edge: int = 0) -> Array | None:
    """The inside of what stands out, if that is a rectangle with ink along its whole outline.

    ``edge`` pixels are cut off on each side; by default as many as a blur can reach.
    """
    rows, columns, ink = place
    down, right = (_span((ink > 0.2).any(axis=axis)) for axis in (1, 0))
    outline = _border(ink[down, right])
    inside = grey[rows, columns][down, right]
    edge = edge or max(1, min(inside.shape) // 25)
    inside = inside[edge:-edge, edge:-edge]
    return inside if min(inside.shape, default=0) > 4 and (outline > 0.05).mean() > 0.98 else None


def _is_block(ink: Array, share: float) -> bool:
    """Whether it is filled, and thicker than a 1."""
    return bool((ink > 0.1).mean() > share) and min(ink.shape) > 0.4 * max(ink.shape)


def _border(grey: Array) -> Array:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _start(profile: Array, side: int) -> int:
    """Where a profile starts, so that its centre of mass is in the middle and it fits the page."""
    centre = float(np.sum(profile * np.arange(len(profile))) / profile.sum())
    return min(max(0, round(side / 2 - centre)), side - len(profile))
