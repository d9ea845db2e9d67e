"""What the pixels of a data set mean: their range, their scale, their background."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scripts.digits import ImageError, as_digit, background, unframed

Array = NDArray[Any]

SCALES = (16, 255, 1023, 4095, 16383, 65535)
"""The largest pixel is about 1, or one of these: 4 bits, 8 bits, ..., 16 bits."""
SMALL = 4
"""Pixels up to here are not scaled."""
SAMPLE = 300
"""The number of images that are examined one by one."""
MANY = 1 << 26
"""The number of pixels of a data set that are examined."""


@dataclass(frozen=True)
class Pixels:
    """The form of a data set's images; pictures from outside are converted to it.

    ``low`` and ``high`` are the smallest and the largest pixel; ``black`` and ``white`` are the
    values of black and white, None where they cannot be known. A network sees the pixels divided
    by ``scale``. ``background`` is dark, bright, or None where it varies. ``digits``: the images
    are laid out as MNIST's are. ``framed``: most of them have a frame.
    """

    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    scale: float = 255
    black: float | None = 0.0
    white: float | None = 255.0
    background: str | None = None
    digits: bool = False
    framed: bool = False

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

    @property
    def span(self) -> str:
        """The range, for messages."""
        return f"({self.dtype}) from {self.low:g} to {self.high:g}"

    @property
    def ground(self) -> float:
        """The background as a network sees it, 0 where it is not known."""
        value = {"dark": self.black, "bright": self.white, None: None}[self.background]
        return (value or 0.0) / self.scale

    @property
    def note(self) -> str:
        """What to know before training on these images; empty where there is nothing to say."""
        span = f"The pixels ({self.dtype}) go from {self.low:g} to {self.high:g}"
        if self.low == self.high:
            return f"All pixels ({self.dtype}) are {self.low:g}: there is nothing to learn from."
        if max(-self.low, self.high / self.scale) > 5 * SMALL:
            return (
                f"{span} and are taken as they are: networks learn best from pixels of 0 to 1, or "
                "of mean 0 and variance 1. Scale them unless this is intended."
            )
        if self.scale != 1 and (self.dtype, self.scale) != ("uint8", 255):
            return f"{span}: they are divided by {self.scale:g}."
        return ""


def known(dataset: str) -> Pixels | None:
    """The pixels of MNIST and Fashion-MNIST, None for other data sets."""
    bright_on_black = dataset in ("mnist", "fashion")
    return Pixels(background="dark", digits=dataset == "mnist") if bright_on_black else None


def scale_of(images: Array) -> float:
    """The divisor of the pixels: 255 for bytes, otherwise chosen by their range."""
    return 255 if images.dtype == np.uint8 else _scale(*_range(images))


def measure(images: Array) -> Pixels:
    """The pixels of images (n, ...)."""
    low, high = _range(images)
    scale, dtype = _scale(low, high), images.dtype.name
    black: float | None = None
    white: float | None = None
    if low >= 0 and high <= max(scale, SMALL):
        black, white = 0.0, float(max(scale, high if high > 1.5 else 1))
    elif low < 0 and abs(low + high) < 0.02 * (high - low):
        black, white = low, high
    sides = picture_shape(images.shape[1:])
    if sides is None or low == high:
        return Pixels(dtype, low, high, scale, black, white)
    step = -(-len(images) // SAMPLE)
    looks = []
    for image in images[::step]:  # one by one: they may be large
        grey = np.nan_to_num((image.reshape(sides).astype(np.float32) - low) / (high - low))
        corners = grey[:: sides[0] - 1, :: sides[1] - 1]
        ground = background(grey)
        is_square = sides[0] == sides[1] >= 16
        digit = is_square and is_digit(1 - grey if ground > 0.5 else grey)
        looks.append((ground, np.median(corners), digit, _is_framed(grey)))
    grounds, corner, digits, framed = np.array(looks, float).T
    side = None
    if np.mean((grounds < 0.5) & (corner < 0.5)) >= 0.9:
        side = "dark"
    elif np.mean((grounds > 0.5) & (corner > 0.5)) >= 0.9:
        side = "bright"
    # Only one scale for all images and all pixels can be applied to a picture.
    if low < 0 and side and np.mean(abs(grounds - (side == "bright")) < 1e-3) >= 0.9:
        black, white = low, high
    common = bool(side and np.mean(digits) >= 0.8), bool(np.mean(framed) > 0.5)
    return Pixels(dtype, low, high, scale, black, white, side, *common)


def picture_shape(shape: Sequence[int]) -> tuple[int, int] | None:
    """Height and width, where an image of this shape is a grey picture; flat ones are square."""
    sides = [n for n in shape if n > 1]
    if len(sides) == 1 and math.isqrt(sides[0]) ** 2 == sides[0]:
        sides = [math.isqrt(sides[0])] * 2
    return (sides[0], sides[1]) if len(sides) == 2 else None


def some_of(images: Array) -> Iterator[Array]:
    """Images, chunk by chunk: all of them, or an even selection of about MANY pixels."""
    pixels = math.prod(images.shape[1:])
    step = max(1, -(-len(images) * pixels // MANY))
    rows = step * max(1, (1 << 20) // max(1, pixels))
    for start in range(0, len(images), rows):
        yield images[start : start + rows : step]


def _range(images: Array) -> tuple[float, float]:
    """The smallest and the largest pixel, without nan and inf."""
    low, high = math.inf, -math.inf
    for part in some_of(images):
        finite = part[np.isfinite(part)] if part.dtype.kind == "f" else part
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _scale(low: float, high: float) -> float:
    if low < 0 or high <= SMALL:
        return 1
    return next((scale for scale in SCALES if high <= scale), 1)


def is_digit(ink: Array) -> bool:
    """Whether an image (side, side), bright on black, is laid out as MNIST's are."""
    try:
        return bool(np.abs(as_digit(ink, len(ink)) - 255 * ink).mean() < 1)
    except ImageError:
        return False


def _is_framed(grey: Array) -> bool:
    try:
        return unframed(grey) is not grey
    except ImageError:
        return False
