"""MNIST, found or fetched."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from .download import fetch
from .folder import DataSet, load_idx_folder

__all__ = ["load_mnist"]

VARIABLE = "TINYGRAD_NP_DATA"
CHECKOUT = Path(__file__).resolve().parents[2]

# The gzipped files as first published, not those of the repository, which are packed tighter.
FILES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def load_mnist(
    flatten: bool = True,
    normalize: bool = True,
    one_hot: bool = False,
    dtype: DTypeLike = np.float32,
    *,
    path: str | os.PathLike[str] | None = None,
) -> DataSet:
    """Load MNIST: 60,000 training and 10,000 test images of handwritten digits.

    The files are looked for in ``path``; else in the folder that the environment variable
    TINYGRAD_NP_DATA names; else in ``data/mnist`` of the repository, when the package is run
    from a checkout; else in the user's cache, where they are downloaded to if need be. Under
    ``path`` and TINYGRAD_NP_DATA they may also be in a subfolder ``mnist``. A folder that is
    named must hold the files: there is no falling through to the next place.

    Args:
        flatten: make a row of 784 pixels of every image.
        normalize: divide the pixels by 255, in ``dtype``, which must then be a float.
        one_hot: give the labels as rows of 0 and 1.
        dtype: of the images, and of one-hot labels: a float, or an integer that the pixels
            fit in (``np.uint8`` keeps them as they are in the file).
        path: the folder that holds the files.

    Returns:
        ``(x_train, t_train), (x_test, t_test)``. Images have shape (n, 784), or (n, 28, 28)
        when not flattened. Labels have shape (n,) and dtype int64, or (n, 10) and ``dtype``
        when one-hot.

    Raises:
        FileNotFoundError: the folder that was named lacks a file.
        IDXError: a file is damaged or is not the one its name says.
        OSError: the files are nowhere, and the download failed.
        TypeError, ValueError: ``dtype`` does not suit the images or ``normalize``.

    >>> (x_train, t_train), (x_test, t_test) = load_mnist()
    >>> x_train.shape, x_train.dtype, t_train.shape, t_train.dtype
    ((60000, 784), dtype('float32'), (60000,), dtype('int64'))
    >>> t_test[:5]
    array([7, 2, 1, 0, 4])
    """
    folder, origin = _find(path)
    try:
        return load_idx_folder(
            folder,
            flatten,
            normalize,
            one_hot,
            dtype,
            train_shape=(60000, 28, 28),
            test_shape=(10000, 28, 28),
            classes=10,
        )
    except (OSError, ValueError) as error:
        error.add_note(f"MNIST was read from {folder}, {origin}.")
        raise


def _find(path: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """Return the folder of the files, and how we came to look there."""
    if path is not None:
        return _within(Path(path)), "the path that was given"
    if named := os.environ.get(VARIABLE):
        return _within(Path(named)), f"which the environment variable {VARIABLE} names"
    bundled = CHECKOUT / "data" / "mnist"
    if (CHECKOUT / "setup.cfg").is_file() and _holds_any(bundled):
        return bundled, "the folder of the repository"
    return _download(), "the user's cache"


def _within(folder: Path) -> Path:
    nested = folder / "mnist"
    return nested if nested.is_dir() and not _holds_any(folder) else folder


def _holds_any(folder: Path) -> bool:
    return any(folder.glob("train-*")) or any(folder.glob("t10k-*"))


def _download() -> Path:
    try:
        return fetch("mnist", FILES, MIRRORS)
    except OSError as error:
        raise OSError(
            f"{error}\nWithout a network, put the four files of MNIST in a folder and pass it as "
            f"load_mnist(path=...), or set the environment variable {VARIABLE} to it."
        ) from error
