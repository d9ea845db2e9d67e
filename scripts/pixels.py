"""What the pixels of images mean: their range and scale, their background, the digit on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_np.data import IDXError
from tinygrad_np.tensor import Array

SMALL = 4
"""Pixels up to here are not scaled."""
SAMPLE = 300
"""The number of images that are examined one by one."""
MANY = 1 << 26
"""The number of pixels of a data set that are examined."""
FAINT = 0.08
"""A picture with less contrast than this, of the range from black to white, counts as empty."""


class ImageError(ValueError):
    """A file holds no image that can be read, or one with nothing on it."""


@dataclass(frozen=True)
class Pixels:
    """The form of a data set's images; pictures from outside are converted to it.

    ``low`` and ``high`` are the smallest and the largest pixel; a network sees the pixels divided
    by ``scale``. ``ground`` is the pixel of the background, None where that varies. ``digits``: the
    images are laid out as MNIST's are.
    """

    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    scale: float = 255
    ground: float | None = 0.0
    digits: bool = False

    most: ClassVar[int] = 2000
    """The number of images that a network is evaluated on at a time."""

    @classmethod
    def of_run(cls, config: Mapping[str, Any]) -> Pixels:
        """The pixels that a run was trained on; ValueError where its settings are damaged."""
        try:
            return cls(**config["pixels"])
        except TypeError as error:
            raise ValueError(f"config.json: its pixels are not those of a run: {error}") from error

    def inputs(self, x: Array, dtype: DTypeLike) -> Array:
        """Images (n, ...) as a network takes them: rows (n, pixels), divided by ``scale``."""
        rows = x.reshape(len(x), -1)
        return rows.astype(dtype) if self.scale == 1 else np.divide(rows, self.scale, dtype=dtype)

    def check(self, images: Array, name: str) -> None:
        """Raise IDXError where images have another range than those of the data set."""
        other = Pixels(images.dtype.name, *_range(images))
        margin = 5 * (self.high - self.low)
        beyond = other.low < self.low - margin or other.high > self.high + margin
        alike = images.dtype.kind in "iu" and other.dtype == self.dtype  # they may be dark
        fractions = not alike and 0 < other.high < self.high / 50
        if beyond or fractions or (other.low < 0) != (self.low < 0):
            raise IDXError(
                f"{name}: pixels {other.span}; the training images have pixels {self.span}: "
                "scale them alike"
            )

    def converted(self, grey: Array, shape: tuple[int, ...]) -> Array:
        """A picture as one of the data set's images, (1, ...); ImageError where that cannot be."""
        sides = picture_shape(shape)
        if sides is None:
            raise ImageError(f"the network takes images of shape {shape}, not pictures")
        if self.low < 0:
            raise ImageError(
                f"the network was trained on pixels {self.span}: give images that are scaled in "
                "the same way, as a .npy file"
            )
        if np.ptp(grey) < FAINT:
            raise ImageError("nothing stands out from its background: is there anything on it?")
        if self.ground is not None and (background(grey) > 0.5) != self.bright:
            grey = 1 - grey
        if self.digits:
            ink = 1 - grey if self.bright else grey
            if grey.shape != sides or not is_digit(ink):
                ink = as_digit(grey, sides[0]).astype(np.float32) / 255
            grey = 1 - ink if self.bright else ink
        values = resized(grey, *sides) * max(self.scale, self.high)
        if self.dtype == "uint8":
            values = np.rint(values).astype(np.uint8)
        return np.asarray(values).reshape(1, *shape)

    @property
    def span(self) -> str:
        """The range, for messages."""
        return f"({self.dtype}) from {self.low:g} to {self.high:g}"

    @property
    def bright(self) -> bool:
        """Whether the background is bright."""
        return self.ground is not None and self.ground > (self.low + self.high) / 2

    @property
    def note(self) -> str:
        """What to know before training on these images; empty where there is nothing to say."""
        if self.low == self.high:
            return f"All pixels ({self.dtype}) are {self.low:g}: there is nothing to learn from."
        if self.scale == 1 and max(-self.low, self.high) > 5 * SMALL:
            return (
                f"The pixels {self.span} are taken as they are: networks learn best from pixels of "
                "0 to 1, or of mean 0 and variance 1. Scale them unless this is intended."
            )
        if self.scale != 1 and (self.dtype, self.scale) != ("uint8", 255):
            return f"The pixels {self.span} are divided by {self.scale:g}."
        return ""


def measure(images: Array) -> Pixels:
    """The pixels of images (n, ...): divided by the largest one, where that is above 4."""
    low, high = _range(images)
    scale = 1 if low < 0 or high <= SMALL else high
    sides = picture_shape(images.shape[1:])
    if sides is None or low == high:
        return Pixels(images.dtype.name, low, high, scale, None)
    grounds, digits = [], []
    for image in images[:: -(-len(images) // SAMPLE)]:  # one by one: they may be large
        grey = np.nan_to_num((image.reshape(sides).astype(np.float32) - low) / (high - low))
        grounds.append(background(grey))
        square = sides[0] == sides[1] >= 16
        digits.append(square and is_digit(1 - grey if grounds[-1] > 0.5 else grey))
    share = np.mean(np.array(grounds) > 0.5)
    ground = None if 0.1 < share < 0.9 else low + float(np.median(grounds)) * (high - low)
    laid_out = ground is not None and bool(np.mean(digits) >= 0.8)
    return Pixels(images.dtype.name, low, high, scale, ground, laid_out)


def picture_shape(shape: Sequence[int]) -> tuple[int, int] | None:
    """Height and width, where an image of this shape is a grey picture; flat ones are square."""
    sides = [n for n in shape if n > 1]
    if len(sides) == 1 and math.isqrt(sides[0]) ** 2 == sides[0]:
        sides = [math.isqrt(sides[0])] * 2
    return (sides[0], sides[1]) if len(sides) == 2 else None


def some_of(images: Array) -> list[Array]:
    """All images, or an even selection of about MANY pixels, in chunks of a million pixels."""
    some = images[:: max(1, -(-images.size // MANY))]
    return np.array_split(some, max(1, some.size >> 20))


def _range(images: Array) -> tuple[float, float]:
    """The smallest and the largest pixel, without nan and inf."""
    low, high = math.inf, -math.inf
    for part in some_of(images):
        finite = part[np.isfinite(part)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


# What is drawn on a picture


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
