"""Files of images: arrays as they are, and pictures converted to the images of a data set."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scripts.pixels import ImageError, Pixels
from tinygrad_np.data import IDXError, read_idx
from tinygrad_np.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image

PNG, NPY, IDX, GZIP = b"\x89PNG\r\n", b"\x93NUMPY", b"\0\0", b"\x1f\x8b"
"""What files of these kinds start with."""
DEFLATE_RATIO = 1032
"""The highest compression that PNG and gzip can reach."""


def read_images(path: Path, shape: Sequence[int], pixels: Pixels) -> Array:
    """The images of a PNG, IDX or .npy file, as the network of a data set takes them, (n, ...).

    Arrays have to have the range of the data set's ``pixels``. A picture is made grey, resized, and
    inverted where its background is not the data set's; a digit is laid out as MNIST's are, if
    those of the data set are.

    Raises OSError, and ImageError or IDXError for a file that is damaged, or holds no such images.
    """
    shape = tuple(shape)
    if path.is_dir():
        raise ImageError(f"{path}: is a folder; give PNG, IDX or .npy files")
    magic = first_bytes(path)
    if magic == PNG:
        grey = read_png(path)
        try:
            return pixels.converted(grey, shape)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from error
    if magic != NPY and not magic.startswith((IDX, GZIP)):
        raise ImageError(
            f"{path}: is neither a PNG nor an IDX file, nor .npy: it starts with {magic!r}"
        )
    images = read_array(path)
    images = images[np.newaxis] if images.shape == shape else images
    if images.shape[1:] != shape:
        raise IDXError(
            f"{path}: has shape {images.shape}; the network takes images of shape (n, "
            f"{', '.join(map(str, shape))}). Is it a file of labels?"
        )
    pixels.check(images, str(path))
    return images


def first_bytes(path: Path) -> bytes:
    """The first six bytes of a file, which tell its kind."""
    with path.open("rb") as file:
        return file.read(6)


def read_array(path: Path) -> Array:
    """An array from a .npy or IDX file, mapped into memory, or read where the file is gzipped."""
    if path.suffix != ".npy" and (magic := first_bytes(path)) != NPY:
        return np.asarray(read_idx(path, mmap=not magic.startswith(GZIP)))
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise IDXError(f"{path}: is not a .npy file of numbers, or is damaged: {error}") from error


def read_png(path: Path) -> Array:
    """A PNG file of any kind as grey values from 0 to 1, float32, (height, width), upright.

    Transparent pixels are shown on white, or on black where the picture could not be seen on
    white. Raises ImageError for a damaged file, before decoding more than it can hold.
    """
    from PIL import Image, ImageOps

    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _opened(content).verify()  # every checksum
            return _grey(ImageOps.exif_transpose(_opened(content)))
    except Exception as error:  # Pillow raises almost any for damaged files
        raise ImageError(f"{path}: is not a PNG that can be read: {error}") from error


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
