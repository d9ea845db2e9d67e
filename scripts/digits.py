"""What is drawn on a picture: its background, and a digit as MNIST shows it."""

import numpy as np

from tinygrad_np.tensor import Array

FAINT = 0.08
"""A picture with less contrast than this, of the range from black to white, counts as empty."""


class ImageError(ValueError):
    """A file holds no image that can be read, or one with nothing on it."""


def as_digit(grey: Array, side: int = 28) -> Array:
    """A digit laid out as MNIST's: bright on black, 20 pixels long, its centre of mass centred.

    ``grey`` (height, width) is of any size, dark on bright or bright on dark; the result is
    (side, side), uint8. (LeCun, Cortes, Burges, "The MNIST database of handwritten digits".)
    Raises ImageError where nothing stands out from the background.
    """
    ink = _ink(grey)
    scale = round(side * 20 / 28) / max(ink.shape)
    ink = resized(ink / ink.max(), *(max(1, round(n * scale)) for n in ink.shape))
    ink = ink / ink.max()
    page = np.zeros((side, side), np.float32)
    top, left = (_start(ink.sum(axis=axis), side) for axis in (1, 0))
    page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    rounded: Array = np.rint(255 * page).astype(np.uint8)
    return rounded


def is_digit(ink: Array) -> bool:
    """Whether an image (side, side), bright on black, is laid out as MNIST's are."""
    try:
        return bool(np.abs(as_digit(ink, len(ink)) - 255 * ink).mean() < 1)
    except ImageError:
        return False


def background(grey: Array) -> float:
    """The grey of the background: the median of the outermost pixels."""
    return float(np.median(_border(grey)))


def resized(grey: Array, height: int, width: int) -> Array:
    """A picture of another size, float32 from 0 to 1."""
    from PIL import Image

    if grey.shape == (height, width):
        return grey
    image = Image.fromarray(np.ascontiguousarray(grey, np.float32))
    found = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    return np.asarray(np.clip(found, 0, 1))


def _ink(grey: Array) -> Array:
    """How strongly each pixel stands out from the background, from 0 to 1; cropped to the ink."""
    ground = background(grey)
    ink = ground - grey if ground > (grey.min() + grey.max()) / 2 else grey - ground
    if ink.max() < FAINT:
        raise ImageError("nothing stands out from its background: is there anything on it?")
    ink = ink / ink.max()
    border = _border(ink)  # its unevenness is noise; a drawing has none
    noise = min(0.5, 6 * float(np.median(np.abs(border - np.median(border)))))
    ink = np.where(ink > noise, ink, 0)
    rows, columns = np.nonzero(ink)
    return ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _border(grey: Array) -> Array:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _start(profile: Array, side: int) -> int:
    """The start of a profile that puts its centre of mass in the middle of the page, if it fits."""
    centre = float(np.sum(profile * np.arange(len(profile))) / profile.sum())
    return min(max(0, round(side / 2 - centre)), side - len(profile))
