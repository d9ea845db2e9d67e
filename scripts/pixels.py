"""What the pixels of a data set mean: their range, their scale, their background."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.digits import ImageError, as_digit, background, unframed

Array = NDArray[Any]

SCALES = (16, 255, 1023, 4095, 16383, 65535)
"""The largest pixel is one of these, where it is not about 1: 4 bits, 8 bits, ..., 16 bits."""
SMALL = 4
"""Pixels up to here are taken as they are."""
SAMPLE = 300
"""So many images tell what all of them look like."""
MANY = 1 << 26
"""Of a data set, so many pixels are looked at."""


@dataclass(frozen=True)
class Pixels:
    """How the images of a data set are, for pictures to be made like them.

    ``low`` and ``high`` are the smallest and the largest pixel; ``black`` and ``white`` stand for
    black and white, or are None where that cannot be known. A network is given the pixels divided
    by ``scale``. ``background`` is dark, bright, or None where it is now this, now that.
    ``digits``: they are laid out as MNIST's are. ``framed``: most of them have a frame.
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

    @classmethod
    def of_run(cls, config: Mapping[str, Any]) -> Pixels:
        """The pixels that a run was trained on; ValueError where its settings are damaged."""
        try:
            return cls(**config["pixels"])
        except TypeError as error:
            raise ValueError(f"config.json: its pixels are not those of a run: {error}") from error

    @property
    def ground(self) -> float:
        """The background as a network is given it, 0 where that is not known."""
        value = {"dark": self.black, "bright": self.white, None: None}[self.background]
        return (value or 0.0) / self.scale

    @property
    def note(self) -> str:
        """What one should know before training on them, or nothing."""
        span = f"The pixels ({self.dtype}) go from {self.low:g} to {self.high:g}"
        if self.low == self.high:
            return f"All pixels ({self.dtype}) are {self.low:g}: there is nothing to learn from."
        if max(-self.low, self.high / self.scale) > 5 * SMALL:
            return (
                f"{span} and are taken as they are: networks learn best from pixels of 0 to 1, or "
                "of mean 0 and variance 1; scale them, if they are not meant to be so."
            )
        if self.scale != 1 and (self.dtype, self.scale) != ("uint8", 255):
            return f"{span}: they are divided by {self.scale:g}."
        return ""


def known(dataset: str) -> Pixels | None:
    """The pixels of MNIST and Fashion-MNIST, None for other data sets."""
    bright_on_black = dataset in ("mnist", "fashion")
    return Pixels(background="dark", digits=dataset == "mnist") if bright_on_black else None


def scale_of(images: Array) -> float:
    """What images are to be divided by, by themselves: bytes by 255, others by their range."""
    return 255 if images.dtype == np.uint8 else _scale(*_range(images))


def measure(images: Array) -> Pixels:
    """The pixels of images (n, ...)."""
    low, high = _range(images)
    scale = _scale(low, high)
    dtype = images.dtype.name
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

    def greys() -> Iterator[Array]:  # one by one: they may be large
        for image in images[::step]:
            grey = (image.reshape(sides).astype(np.float32) - low) / (high - low)
            yield np.nan_to_num(grey)

    grounds = np.array([background(grey) for grey in greys()])
    corners = np.array([np.median(grey[:: sides[0] - 1, :: sides[1] - 1]) for grey in greys()])
    side = None
    if np.mean((grounds < 0.5) & (corners < 0.5)) >= 0.9:
        side = "dark"
    elif np.mean((grounds > 0.5) & (corners > 0.5)) >= 0.9:
        side = "bright"
    # One scale for all images, and all their pixels: else a picture cannot be brought to it.
    if low < 0 and side and np.mean(abs(grounds - (side == "bright")) < 1e-3) >= 0.9:
        black, white = low, high
    digits = [0.0]
    if side is not None and sides[0] == sides[1] >= 16:
        digits = [is_digit(1 - grey if side == "bright" else grey) for grey in greys()]
    framed = [_is_framed(grey) for grey in greys()]
    shares = float(np.mean(digits)), float(np.mean(framed))
    return Pixels(dtype, low, high, scale, black, white, side, shares[0] >= 0.8, shares[1] > 0.5)


def picture_shape(shape: Sequence[int]) -> tuple[int, int] | None:
    """Height and width, where an image of this shape is a grey picture; flat ones are square."""
    sides = [n for n in shape if n > 1]
    if len(sides) == 1 and math.isqrt(sides[0]) ** 2 == sides[0]:
        sides = [math.isqrt(sides[0])] * 2
    return (sides[0], sides[1]) if len(sides) == 2 else None


def some_of(images: Array) -> Iterator[Array]:
    """Images, chunk by chunk: all of them, or of very many as many, evenly spread, as are MANY."""
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
