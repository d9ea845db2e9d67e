"""What is drawn on a picture: the page, its background, and a digit as MNIST shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FAINT = 0.08
"""What stands out from the background by less, of the range from black to white, is no picture."""
CLEAR = 0.2
"""What is inside something else must stand out by more, or it is that thing's unevenness."""


class ImageError(ValueError):
    """A file holds no image that can be read, or one with nothing on it."""


def as_digit(grey: Array, side: int = 28) -> Array:
    """A digit as MNIST's are: bright on black, 20 pixels long, its centre of mass in the middle.

    ``grey`` (height, width) is of any size, dark on bright or bright on dark, also in a frame or on
    a square in a larger page; the result is (side, side), uint8. (LeCun, Cortes, Burges, "The MNIST
    database of handwritten digits".)

    Raises ImageError where nothing stands out from the background.
    """
    ink = _digit(grey)
    ink = ink / ink.max()
    scale = round(side * 20 / 28) / max(ink.shape)
    ink = resized(ink, *(max(1, round(n * scale)) for n in ink.shape))
    ink = ink / ink.max()
    page = np.zeros((side, side), np.float32)
    top, left = (_place(ink.sum(axis=axis), side) for axis in (1, 0))
    page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    rounded: Array = np.rint(255 * page).astype(np.uint8)
    return rounded


def background(grey: Array) -> float:
    """The grey of the background: the median of the outermost pixels."""
    return float(np.median(_border(grey)))


def unframed(grey: Array) -> Array:
    """A picture without the frame around it, if it has one.

    Raises ImageError where nothing stands out from the background.
    """
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
    clipped: Array = np.clip(
        np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)), 0, 1
    )
    return clipped


def _digit(grey: Array) -> Array:
    """The digit's ink, cut out.

    What stands out may be a page, or a frame around one: then the digit is on it, unless what is
    on it are the holes of a 0 or an 8 of straight lines.
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


def _standing_out(grey: Array, least: float = FAINT) -> tuple[slice, slice, Array]:
    """Where something stands out from the background, and there by how much, from 0 to 1."""
    ground = background(grey)
    ink = grey - ground
    if ground > (grey.min() + grey.max()) / 2:
        ink = -ink
    strongest = ink.max()
    if strongest < least:
        raise ImageError("nothing stands out from its background: is there anything on it?")
    ink = ink / strongest
    ink = np.where(ink > _noise(ink), ink, 0)
    edges = [_edges(ink, axis) for axis in (0, 1)]
    lit = ink > 0
    for axis, (start, stop) in enumerate(edges):  # lines along the edges are nobody's ink
        lit[(slice(None),) * axis + (np.r_[:start, stop : ink.shape[axis]],)] = False
    if not lit.any():
        lit = ink > 0
    rows, columns = (_span(np.asarray(lit.any(axis=axis))) for axis in (1, 0))
    return rows, columns, ink[rows, columns]


def _edges(ink: Array, axis: int) -> tuple[int, int]:
    """Where an axis begins and ends, without lines that run along the picture's edges."""
    full = (ink > 0.1).mean(axis=1 - axis) > 0.9
    most = 1 + len(full) // 20
    start = int(np.argmin(full[:most])) if not full[:most].all() else most
    stop = int(np.argmin(full[::-1][:most])) if not full[::-1][:most].all() else most
    return start, len(full) - stop


def _span(lit: Array) -> slice:
    places = np.flatnonzero(lit)
    return slice(int(places[0]), int(places[-1]) + 1)


def _page(grey: Array, place: tuple[slice, slice, Array], edge: int = 0) -> Array | None:
    """The inside of what stands out, if that is a rectangle: its whole outline is ink.

    So many pixels at its ``edge`` are left out, by default as many as may be blurred.
    """
    rows, columns, ink = place
    down, right = (_span(np.asarray((ink > 0.2).any(axis=axis))) for axis in (1, 0))
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


def _noise(ink: Array) -> float:
    """What the background's unevenness reaches; 0 where it is even, as in drawings."""
    border = _border(ink)
    return min(0.5, 6 * float(np.median(np.abs(border - np.median(border)))))


def _place(profile: Array, side: int) -> int:
    """Where a profile begins for its centre of mass to lie in the middle; it stays on the page."""
    centre = float(np.sum(profile * np.arange(len(profile))) / profile.sum())
    return min(max(0, round(side / 2 - centre)), side - len(profile))
