"""Pictures from outside, converted to the form of the images that a network was trained on."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scripts.digits import FAINT, ImageError, as_digit, background, is_digit, resized
from scripts.pixels import Pixels, picture_shape
from tinygrad_np.data import IDXError, read_idx

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageError", "as_digit", "read_images", "read_npy", "read_png"]

Array = NDArray[Any]

PNG_MAGIC, GZIP_MAGIC, NPY_MAGIC = b"\x89PNG\r\n\x1a\n", b"\x1f\x8b", b"\x93NUMPY"
DEFLATE_RATIO = 1032
"""The highest compression that PNG and gzip can reach."""


def read_images(path: str | os.PathLike[str], shape: Sequence[int], pixels: Pixels) -> Array:
    """The images of a PNG, IDX or .npy file, as the network of a data set takes them, (n, ...).

    Arrays have to have the range of the data set's ``pixels``. A picture is made grey, resized, and
    inverted where its background is not the data set's; a digit is laid out as MNIST's are, if
    those of the data set are.

    Raises OSError, and ImageError or IDXError for a file that is damaged, or holds no such images.
    """
    path, shape = Path(path), tuple(shape)
    if path.is_dir():
        raise ImageError(f"{path}: is a folder; give PNG, IDX or .npy files")
    with path.open("rb") as file:
        magic = file.read(len(PNG_MAGIC))
    if magic == PNG_MAGIC:
        try:
            return _as_trained_on(read_png(path), shape, pixels)
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
    pixels.check(images, str(path))
    return images


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
    if pixels.low < 0:
        raise ImageError(
            f"the network was trained on pixels {pixels.span}: give images that are scaled in the "
            "same way, as a .npy file"
        )
    if np.ptp(grey) < FAINT:
        raise ImageError("nothing stands out from its background: is there anything on it?")
    if pixels.ground is not None and (background(grey) > 0.5) != pixels.bright:
        grey = 1 - grey
    if pixels.digits:
        ink = 1 - grey if pixels.bright else grey
        if grey.shape != sides or not is_digit(ink):
            ink = as_digit(grey, sides[0]).astype(np.float32) / 255
        grey = 1 - ink if pixels.bright else ink
    values = resized(grey, *sides) * max(pixels.scale, pixels.high)
    if pixels.dtype == "uint8":
        values = np.rint(values).astype(np.uint8)
    return np.asarray(values).reshape(1, *shape)


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
    except Exception as error:  # Pillow raises almost any for damaged files
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
