"""A data set in four IDX files in a folder, like MNIST and its relatives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .idx import IDXError, Shape, read_idx

Split = tuple[NDArray[Any], NDArray[Any]]
DataSet = tuple[Split, Split]


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

    Each of the four files may be plain or gzipped (``.gz``). If both exist, the plain one is read.

    Args:
        path: the folder.
        flatten: make every image a row.
        normalize: divide the pixels by 255, in ``dtype``, which must then be a float.
        one_hot: return the labels as rows of 0 and 1.
        dtype: of the images, and of one-hot labels: a float, or an integer that the pixels
            fit in (``np.uint8`` keeps them as they are in the file).
        train_shape: the training images must have this shape; None allows any length of an axis.
        test_shape: the same for the test images; by default any number of images of the same size.
        classes: the labels must be less than this; by default one more than the largest label.

    Returns:
        ``(x_train, t_train), (x_test, t_test)``. Images have shape (n, pixels), or that of the
        file, such as (n, 28, 28). Labels have shape (n,) and dtype int64, or (n, classes) and
        ``dtype`` when one-hot.

    Raises:
        FileNotFoundError: the folder or one of the files is missing.
        IDXError: a file is damaged, or does not hold what its name and the arguments say.
        TypeError, ValueError: ``dtype`` does not suit the images or ``normalize``.

    >>> import numpy as np, tinygrad_np as tg
    >>> import tempfile
    >>> images, labels = np.zeros((2, 4, 4), np.uint8), np.array([0, 1], np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("train", "t10k"):
    ...         tg.data.write_idx(f"{folder}/{part}-images-idx3-ubyte", images)
    ...         tg.data.write_idx(f"{folder}/{part}-labels-idx1-ubyte", labels)
    ...     (x, t), _ = tg.data.load_idx_folder(folder)
    >>> x.shape, t.tolist()
    ((2, 16), [0, 1])
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "fiu":
        raise TypeError(f"dtype must be a float or an integer type, got {dtype.name}")
    if normalize and dtype.kind != "f":
        raise ValueError(
            f"normalize=True gives fractions, which {dtype.name} cannot hold: ask for a float "
            "dtype, or pass normalize=False to keep the pixels whole"
        )
    x_train, t_train = _read_split(Path(path), "train", train_shape, classes)
    test_shape = test_shape or (None, *x_train.shape[1:])
    x_test, t_test = _read_split(Path(path), "t10k", test_shape, classes)
    columns = classes or 1 + max(int(labels.max(initial=0)) for labels in (t_train, t_test))

    def convert(images: NDArray[Any], labels: NDArray[Any]) -> Split:
        if normalize and images.dtype != np.uint8:
            raise ValueError(
                f"the images are {images.dtype.name}, but normalize=True divides by 255, which is "
                "for uint8 pixels; pass normalize=False and scale the images yourself"
            )
        if dtype.kind != "f" and not np.can_cast(images.dtype, dtype):
            raise ValueError(
                f"the images are {images.dtype.name}, which does not fit in {dtype.name}; "
                f"ask for dtype={images.dtype.name}"
            )
        x = images.astype(dtype, copy=False)
        if normalize:
            x /= 255
        x = x.reshape(len(x), int(np.prod(x.shape[1:]))) if flatten else x
        return x, np.eye(columns, dtype=dtype)[labels] if one_hot else labels.astype(np.int64)

    return convert(x_train, t_train), convert(x_test, t_test)


def find_file(folder: Path, stem: str) -> Path:
    """The file of that stem in the folder, plain or gzipped; FileNotFoundError without it.

    Some programs unpack each file into a folder of its name: there it is found as well.
    """
    for file in (folder / stem, folder / f"{stem}.gz"):
        for place in (file, file / stem):
            if place.is_file():
                return place
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise FileNotFoundError(f"{folder}: {what}; give the folder that holds {stem}.gz")
    held = sorted(os.listdir(folder))
    listed = ", ".join(held[:8]) + (", ..." if len(held) > 8 else "")
    raise FileNotFoundError(
        f"{folder / stem}: no such file, plain or with .gz; the folder holds {listed or 'nothing'}"
        + f" ({stem} is a folder, without a file of that name)" * (folder / stem).is_dir()
    )


def _read_split(folder: Path, split: str, shape: Shape | None, classes: int | None) -> Split:
    images_file = find_file(folder, f"{split}-images-idx3-ubyte")
    labels_file = find_file(folder, f"{split}-labels-idx1-ubyte")
    images, labels = read_idx(images_file, expect=shape), read_idx(labels_file)
    if images.ndim == 1:
        raise IDXError(
            f"{images_file}: has one dimension, {images.shape}, as labels have; expected images, "
            "(n, height, width): is it a labels file under another name?"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise IDXError(
            f"{labels_file}: has shape {labels.shape} of {labels.dtype.name}, expected labels, "
            "(n,) of integers: is it an images file under another name?"
        )
    if len(images) != len(labels):
        raise IDXError(
            f"{labels_file}: has {len(labels)} labels, expected {len(images)}, one for each image "
            f"of {images_file}"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= (classes or np.inf)))
    if wrong.size:
        raise IDXError(
            f"{labels_file}: label {labels[wrong[0]]} at index {wrong[0]}, expected 0 to "
            f"{classes - 1 if classes else 'any'} ({wrong.size} of {len(labels)} are out of range)"
        )
    return images, labels
