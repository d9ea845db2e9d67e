"""Pictures from outside, made into what a network was trained on."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_np.data import IDXError, read_idx

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]

PNG_MAGIC, GZIP_MAGIC = b"\x89PNG\r\n\x1a\n", b"\x1f\x8b"
DEFLATE_RATIO = 1032
"""No PNG or gzip holds more bytes than so many times its own."""

FAINT = 0.08
"""What stands out from the background by less, of the range from black to white, is no picture."""


class ImageError(ValueError):
    """A file holds no image that can be read, or one with nothing on it."""


def read_images(path: str | os.PathLike[str], shape: Sequence[int], dataset: str) -> Array:
    """The images of a PNG or IDX file, as the network of a data set takes them, (n, ...).

    A picture is made to look like those of the data set: a digit as MNIST's, clothes as
    Fashion-MNIST's, bright on black; for any other data set it is only made grey and resized.
    IDX files are taken as they are.

    Raises OSError, and ImageError or IDXError for a file that is damaged or no such image.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path}: is a folder; give PNG or IDX files")
    with path.open("rb") as file:
        magic = file.read(len(PNG_MAGIC))
    if magic != PNG_MAGIC:
        if magic[:2] not in (GZIP_MAGIC, b"\0\0"):
            raise ImageError(f"{path}: is neither a PNG nor an IDX file: it starts with {magic!r}")
        return _read_idx(path, tuple(shape), mmap=magic[:2] != GZIP_MAGIC)
    if len(shape) != 2:
        raise ImageError(f"{path}: the network takes images of shape {tuple(shape)}, not pictures")
    grey = read_png(path)
    height, width = shape
    try:
        if dataset == "mnist":
            return as_digit(grey, height)[np.newaxis]
        if dataset == "fashion" and _background(grey) > 0.5:
            grey = 1 - grey
        return _bytes(_resized(grey, height, width))[np.newaxis]
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def _read_idx(path: Path, shape: tuple[int, ...], mmap: bool) -> Array:
    images = read_idx(path, mmap=mmap)
    if images.shape == shape:
        images = images[np.newaxis]
    if images.shape[1:] != shape:
        raise IDXError(
            f"{path}: has shape {images.shape}; the network takes images of shape (n, "
            f"{', '.join(map(str, shape))}). Is it a file of labels?"
        )
    return np.asarray(images)


def read_png(path: str | os.PathLike[str]) -> Array:
    """A PNG file of any kind as grey values from 0 to 1, float32, (height, width).

    Nothing is decoded that the file is too small to hold. What is transparent lies on white, or on
    black where the picture would not be seen on white.

    Raises ImageError for a file that is damaged.
    """
    from PIL import Image

    path = Path(path)
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _opened(content).verify()  # every checksum
            return _grey(_opened(content))
    except (
        Image.DecompressionBombError, Image.DecompressionBombWarning, OSError, ValueError,
        SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    ) as error:  # fmt: skip  # Pillow raises any of these for damaged files
        raise ImageError(f"{path}: is no PNG that can be read: {error}") from error


def _opened(content: bytes) -> Image:
    from PIL import Image

    image = Image.open(io.BytesIO(content), formats=["PNG"])
    width, height = image.size
    if width * height * len(image.getbands()) > DEFLATE_RATIO * len(content):
        raise ValueError(
            f"it declares {width} × {height} pixels, more than {len(content):,} bytes can hold"
        )
    return image


def _grey(image: Image) -> Array:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        grey: Array = values.astype(np.float32) / 65535
        alpha: Array = (values != image.info.get("transparency", -1)).astype(np.float32)
    elif "A" not in image.mode and "transparency" not in image.info:
        return np.asarray(image.convert("L"), np.float32) / 255
    else:
        pixels = np.asarray(image.convert("RGBA").convert("LA"), np.float32) / 255
        grey, alpha = pixels[..., 0], pixels[..., 1]
    on_black = grey * alpha
    on_white = on_black + (1 - alpha)
    return on_black if np.ptp(on_black) > np.ptp(on_white) else on_white


def as_digit(grey: Array, side: int = 28) -> Array:
    """A digit as MNIST's are: bright on black, 20 pixels long, its centre of mass in the middle.

    ``grey`` (height, width) is of any size, dark on bright or bright on dark; the result is
    (side, side), uint8. (LeCun, Cortes, Burges, "The MNIST database of handwritten digits".)

    Raises ImageError where nothing stands out from the background.
    """
    background = _background(grey)
    ink = grey - background
    if background > (grey.min() + grey.max()) / 2:
        ink = -ink
    strongest = ink.max()
    if strongest < FAINT:
        raise ImageError("nothing stands out from its background: is there a digit on it?")
    ink = ink / strongest
    ink = np.where(ink > _noise(ink), ink, 0)
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    length = round(side * 20 / 28)
    scale = length / max(ink.shape)
    ink = _resized(ink, *(max(1, round(n * scale)) for n in ink.shape))
    ink = ink / ink.max()
    page = np.zeros((side, side), np.float32)
    top, left = (_place(ink.sum(axis=axis), side) for axis in (1, 0))
    page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return _bytes(page)


def _place(profile: Array, side: int) -> int:
    """Where a profile begins for its centre of mass to lie in the middle; it stays on the page."""
    centre = float(np.sum(profile * np.arange(len(profile))) / profile.sum())
    return min(max(0, round(side / 2 - centre)), side - len(profile))


def _border(grey: Array) -> Array:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _background(grey: Array) -> float:
    return float(np.median(_border(grey)))


def _noise(ink: Array) -> float:
    """What the background's unevenness reaches; 0 where it is even, as in drawings."""
    border = _border(ink)
    return min(0.5, 6 * float(np.median(np.abs(border - np.median(border)))))


def _resized(grey: Array, height: int, width: int) -> Array:
    from PIL import Image

    if grey.shape == (height, width):
        return grey
    image = Image.fromarray(np.ascontiguousarray(grey, np.float32))
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    clipped: Array = np.clip(np.asarray(resized), 0, 1)
    return clipped


def _bytes(grey: Array) -> Array:
    rounded: Array = np.rint(255 * grey).astype(np.uint8)
    return rounded
