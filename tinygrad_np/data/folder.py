"""A data set kept as four IDX files in a folder, as MNIST and its relatives are."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .idx import IDXError, read_idx

__all__ = ["DataSet", "find_idx_file", "load_idx_folder"]

Split = tuple[NDArray[Any], NDArray[Any]]
DataSet = tuple[Split, Split]
Shape = tuple[int | None, ...]


def load_idx_folder(
    path: str | os.PathLike[str],
    flatten: bool = True,
    normalize: bool = True,
    one_hot: bool = False,
    dtype: DTypeLike = np.float32,
    *,
    train_shape: Shape | None = None,
    test_shape: Shape | None = None,
    classes: int | None = None,
) -> DataSet:
    """Load ``train-`` and ``t10k-``, ``-images-idx3-ubyte`` and ``-labels-idx1-ubyte``.

    Each of the four files may be plain or gzipped (``.gz``); the plain one is taken when both
    are there. ``train-images.idx3-ubyte`` and so on, with a dot, will do as well.

    Args:
        path: the folder.
        flatten: make a row of every image.
        normalize: divide the pixels by 255, in ``dtype``, which must then be a float.
        one_hot: give the labels as rows of 0 and 1.
        dtype: of the images, and of one-hot labels: a float, or an integer that the pixels
            fit in (``np.uint8`` keeps them as they are in the file).
        train_shape: the shape the training images must have, None for any length of an axis.
        test_shape: the same for the test images.
        classes: the labels must be less than this; by default one more than the largest label.

    Returns:
        ``(x_train, t_train), (x_test, t_test)``. Images have shape (n, pixels) when flattened
        and that of the file when not, such as (n, 28, 28). Labels have shape (n,) and dtype
        int64, or (n, classes) and ``dtype`` when one-hot.

    Raises:
        FileNotFoundError: the folder or one of the files is missing.
        IDXError: a file is damaged, or is not what its name and the arguments say.
        TypeError, ValueError: ``dtype`` does not suit the images or ``normalize``.
    """
    folder = Path(path)
    dtype = _check_dtype(dtype, normalize)
    train_images = find_idx_file(folder, "train-images-idx3-ubyte")
    train_labels = find_idx_file(folder, "train-labels-idx1-ubyte")
    test_images = find_idx_file(folder, "t10k-images-idx3-ubyte")
    test_labels = find_idx_file(folder, "t10k-labels-idx1-ubyte")
    x_train, t_train = _read_split(train_images, train_labels, train_shape)
    x_test, t_test = _read_split(test_images, test_labels, test_shape)
    if x_train.shape[1:] != x_test.shape[1:]:
        raise IDXError(
            f"{test_images}: holds images of shape {x_test.shape[1:]}, expected "
            f"{x_train.shape[1:]} as in {train_images}"
        )
    if classes is None:
        classes = 1 + max(_largest(t_train), _largest(t_test))
    _check_labels(t_train, train_labels, classes)
    _check_labels(t_test, test_labels, classes)

    def convert(images: NDArray[Any], labels: NDArray[Any], file: Path) -> Split:
        x = _convert_images(images, file, flatten, normalize, dtype)
        return x, _one_hot(labels, classes, dtype) if one_hot else labels.astype(np.int64)

    return convert(x_train, t_train, train_images), convert(x_test, t_test, test_images)


def find_idx_file(folder: Path, stem: str) -> Path:
    """Return the file of that stem in the folder: plain or gzipped, with a dash or a dot.

    Raises:
        FileNotFoundError: there is no such file, or no such folder.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise FileNotFoundError(f"{folder}: {what}; give the folder that holds {stem}.gz")
    for name in (stem, stem.replace("-idx", ".idx")):
        for file in (folder / name, folder / f"{name}.gz"):
            if file.exists():
                return file
    held = sorted(entry.name for entry in folder.iterdir())
    listed = ", ".join(held[:8]) + (", ..." if len(held) > 8 else "")
    raise FileNotFoundError(
        f"{folder / stem}: no such file, plain or with .gz; the folder holds {listed or 'nothing'}"
    )


def _check_dtype(dtype: DTypeLike, normalize: bool) -> np.dtype[Any]:
    dtype = np.dtype(dtype)
    if dtype.kind not in "fiu":
        raise TypeError(f"dtype must be a float or an integer type, got {dtype.name}")
    if normalize and dtype.kind != "f":
        raise ValueError(
            f"normalize=True gives fractions, which {dtype.name} cannot hold: ask for a float "
            "dtype, or pass normalize=False to keep the pixels whole"
        )
    return dtype


def _read_split(images_file: Path, labels_file: Path, shape: Shape | None) -> Split:
    images = read_idx(images_file, expect=shape)
    labels = read_idx(labels_file)
    if images.ndim == 1:
        raise IDXError(
            f"{images_file}: has one dimension, {images.shape}, as labels have; expected images, "
            "(n, height, width). Is it a labels file under another name?"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise IDXError(
            f"{labels_file}: has shape {labels.shape} of {labels.dtype.name}, expected labels, "
            "(n,) of integers. Is it an images file under another name?"
        )
    if len(images) != len(labels):
        raise IDXError(
            f"{labels_file}: has {len(labels)} labels, expected {len(images)}, one for each image "
            f"of {images_file}. Do the two belong together?"
        )
    return images, labels


def _largest(labels: NDArray[Any]) -> int:
    return int(labels.max(initial=0))


def _check_labels(labels: NDArray[Any], file: Path, classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        first = int(wrong[0])
        raise IDXError(
            f"{file}: label {labels[first]} at index {first}, expected 0 to {classes - 1} "
            f"({wrong.size} of {len(labels)} labels are out of range)"
        )


def _convert_images(
    images: NDArray[Any], file: Path, flatten: bool, normalize: bool, dtype: np.dtype[Any]
) -> NDArray[Any]:
    if flatten:
        images = images.reshape(len(images), math.prod(images.shape[1:]))
    if not normalize:
        if dtype.kind != "f" and not np.can_cast(images.dtype, dtype):
            raise ValueError(
                f"{file}: holds {images.dtype.name}, which does not fit in {dtype.name}; "
                f"ask for dtype={images.dtype.name}"
            )
        return images.astype(dtype, copy=False)
    if images.dtype != np.uint8:
        raise ValueError(
            f"{file}: holds {images.dtype.name}, but normalize=True divides by 255, which is for "
            "uint8 pixels; pass normalize=False and scale the images yourself"
        )
    pixels = images.astype(dtype)
    pixels /= 255
    return pixels


def _one_hot(labels: NDArray[Any], classes: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    rows = np.zeros((len(labels), classes), dtype=dtype)
    rows[np.arange(len(labels)), labels] = 1
    return rows
