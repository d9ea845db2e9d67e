"""MNIST, found or fetched."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import DTypeLike

from .download import fetch
from .folder import DataSet, load_idx_folder

VARIABLE = "TINYGRAD_NP_DATA"
CHECKOUT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))

# The gzipped files as first published, not those of the repository, which are packed tighter.
SUMS = {
    "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FILES = {f"{name}-ubyte.gz": sha256 for name, sha256 in SUMS.items()}
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

    The other arguments, and what is returned, are as for ``load_idx_folder``, with 784 pixels and
    10 classes. Raises what it raises, and OSError where the files are nowhere and the download
    failed.

    >>> (x_train, t_train), (x_test, t_test) = load_mnist()
    >>> x_train.shape, x_train.dtype, t_train.shape, t_train.dtype
    ((60000, 784), dtype('float32'), (60000,), dtype('int64'))
    >>> t_test[:5]
    array([7, 2, 1, 0, 4])
    """
    folder, origin = _find(path)
    try:
        return load_idx_folder(
            folder, flatten, normalize, one_hot, dtype,
            train_shape=(60000, 28, 28), test_shape=(10000, 28, 28), classes=10,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        error.add_note(f"MNIST was read from {folder}, {origin}.")
        raise


def _find(path: str | os.PathLike[str] | None) -> tuple[str, str]:
    """The folder of the files, and how we came to look there."""
    if path is not None:
        return _within(os.fspath(path)), "the path that was given"
    if named := os.environ.get(VARIABLE):
        return _within(named), f"which the environment variable {VARIABLE} names"
    bundled = os.path.join(CHECKOUT, "data", "mnist")
    if os.path.isfile(os.path.join(CHECKOUT, "setup.cfg")) and _holds_any(bundled):
        return bundled, "the folder of the repository"
    try:
        return os.fspath(fetch("mnist", FILES, MIRRORS)), "the user's cache"
    except OSError as error:
        raise OSError(
            f"{error}\nWithout a network, put the four files of MNIST in a folder and pass it as "
            f"load_mnist(path=...), or set the environment variable {VARIABLE} to it."
        ) from error


def _within(folder: str) -> str:
    nested = os.path.join(folder, "mnist")
    return nested if os.path.isdir(nested) and not _holds_any(folder) else folder


def _holds_any(folder: str) -> bool:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return any(name.startswith(("train-", "t10k-")) for name in names)
