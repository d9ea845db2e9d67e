"""Pictures from outside, converted to the form of the images that a network was trained on."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scripts.digits import ImageError, as_digit, background, resized, unframed
from scripts.pixels import Pixels, is_digit, known, measure, picture_shape, scale_of
from tinygrad_np.data import IDXError, read_idx

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageError", "as_digit", "read_images", "read_npy", "read_png"]

Array = NDArray[Any]

PNG_MAGIC, GZIP_MAGIC, NPY_MAGIC = b"\x89PNG\r\n\x1a\n", b"\x1f\x8b", b"\x93NUMPY"
FEW = 10
"""The number of images from which their background tells whether they are negatives."""
DEFLATE_RATIO = 1032
"""The highest compression that PNG and gzip can reach."""


def read_images(
    path: str | os.PathLike[str], shape: Sequence[int], dataset: str, pixels: Pixels | None = None
) -> Array:
    """The images of a PNG, IDX or .npy file, as the network of a data set takes them, (n, ...).

    They are converted to the range and the background of the data set's ``pixels``. Without
    ``pixels``, MNIST and Fashion-MNIST are bright on black, and others are bytes. A picture is
    made grey and resized; a digit is laid out as MNIST's are, if those of the data set are.

    Raises OSError, and ImageError or IDXError for a file that is damaged, or holds no such images,
    or images that cannot be converted.
    """
    path, shape, pixels = Path(path), tuple(shape), pixels or known(dataset)
    if path.is_dir():
        raise ImageError(f"{path}: is a folder; give PNG, IDX or .npy files")
    with path.open("rb") as file:
        magic = file.read(len(PNG_MAGIC))
    if magic == PNG_MAGIC:
        try:
            return _as_trained_on(read_png(path), shape, pixels or Pixels())
        except ImageError as error:
            raise ImageError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error.__cause__
    if magic[:2] in (GZIP_MAGIC, b"\0\0"):
        images = np.asarray(read_idx(path, mmap=magic[:2] != GZIP_MAGIC))
    elif magic[:6] == NPY_MAGIC:
        images = read_npy(path)
    else:
        raise ImageError(
            f"{path}: is neither a PNG nor an IDX file, nor .npy: it starts with {magic!r}"
        )
    if images.shape == shape:
        images = images[np.newaxis]
    if images.shape[1:] != shape:
        raise IDXError(
            f"{path}: has shape {images.shape}; the network takes images of shape (n, "
            f"{', '.join(map(str, shape))}). Is it a file of labels?"
        )
    return _rescaled(images, pixels, path) if pixels else images


def read_npy(path: Path) -> Array:
    """An array of numbers, mapped from a .npy file; IDXError where it is no such file."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise IDXError(f"{path}: is no .npy file of numbers, or is damaged: {error}") from error


def _as_trained_on(grey: Array, shape: tuple[int, ...], pixels: Pixels) -> Array:
    """A picture as one of the images that the network was trained on, (1, ...)."""
    sides = picture_shape(shape)
    if sides is None:
        raise ImageError(f"the network takes images of shape {shape}, not pictures")
    if pixels.black is None or pixels.white is None:
        raise ImageError(
            f"the network was trained on pixels {pixels.span}, and it is not known what is black "
            "and white: give images that are scaled in the same way, as a .npy file"
        )
    bright = pixels.background == "bright"
    if pixels.digits:
        ink = 1 - grey if bright else grey
        if grey.shape != sides or not is_digit(ink):
            ink = as_digit(grey, sides[0]).astype(np.float32) / 255
        grey = 1 - ink if bright else ink
    else:
        page = unframed(grey)  # raises where there is nothing on the picture
        grey = grey if pixels.framed else page
        if pixels.background is not None and (background(grey) > 0.5) != bright:
            grey = 1 - grey
        grey = resized(grey, *sides)
    values = pixels.black + grey * (pixels.white - pixels.black)
    if pixels.dtype == "uint8":
        values = np.rint(values).astype(np.uint8)
    return np.asarray(values).reshape(1, *shape)


def _rescaled(images: Array, pixels: Pixels, path: Path) -> Array:
    """Images of a file, with the range and the background of the training images."""
    own = measure(images)
    sure = pixels.black is not None and pixels.white is not None
    black, white = pixels.black or 0.0, pixels.white or 0.0
    beyond = (pixels.high - pixels.low) / 2
    fits = pixels.low - beyond <= own.low and own.high <= max(pixels.high, pixels.scale) + beyond
    alike = own.dtype == pixels.dtype and (images.dtype.kind in "iu" or own.scale > 1)
    if not (fits and (own.low < 0) == (pixels.low < 0) and (alike or own.scale == pixels.scale)):
        if own.low < 0 or own.black is None or not sure:
            raise ImageError(
                f"{path}: has pixels {own.span}; the network was trained on pixels {pixels.span}: "
                "scale them alike"
            )
        images = black + images * np.float32((white - black) / max(own.scale, scale_of(images)))
    several = pixels.digits or len(images) >= FEW
    if several and {own.background, pixels.background} == {"dark", "bright"}:
        if not sure:
            raise ImageError(
                f"{path}: the background is {own.background}; that of the images the network was "
                f"trained on is {pixels.background}: give images like those"
            )
        images = black + white - images.astype(np.float32)
    return images


def read_png(path: str | os.PathLike[str]) -> Array:
    """A PNG file of any kind as grey values from 0 to 1, float32, (height, width), upright.

    Transparent pixels are shown on white, or on black where the picture could not be seen on
    white. Raises ImageError for a damaged file, before decoding more than it can hold.
    """
    from PIL import Image, ImageOps

    path = Path(path)
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _opened(content).verify()  # every checksum
            return _grey(ImageOps.exif_transpose(_opened(content)))
    except (
        Image.DecompressionBombError, Image.DecompressionBombWarning, OSError, ValueError,
        SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error,
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
    if image.mode.startswith("I"):  # 16 bits, which Pillow's conversions would cut off
        values = np.asarray(image)
        grey: Array = values.astype(np.float32) / 65535
        alpha: Array = (values != image.info.get("transparency", -1)).astype(np.float32)
    else:
        pixels = np.asarray(image.convert("RGBA").convert("LA"), np.float32) / 255
        grey, alpha = pixels[..., 0], pixels[..., 1]
    on_black = grey * alpha
    on_white = on_black + (1 - alpha)
    return on_black if np.ptp(on_black) > np.ptp(on_white) else on_white
