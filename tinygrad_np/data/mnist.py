"""MNIST, from a folder or downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from .folder import DataSet, load_idx_folder

VARIABLE = "TINYGRAD_NP_DATA"
CHECKOUT = Path(__file__).resolve().parents[2]

# The gzipped files as first published. Those of the repository are compressed better.
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

    The files are read from the first of these that is given: ``path``; the folder in the
    environment variable TINYGRAD_NP_DATA; ``data/mnist`` of the repository, if the package runs
    from a checkout; the user's cache, to which they are downloaded if necessary. The first two must
    hold the files, directly or in a subfolder ``mnist``.

    The other arguments, the result and the errors are those of ``load_idx_folder``, with 784 pixels
    and 10 classes. Raises OSError if the files are not found and the download fails.

    >>> import tinygrad_np as tg
    >>> (x_train, t_train), (x_test, t_test) = tg.data.load_mnist()
    >>> x_train.shape, x_train.dtype, t_train.shape, t_train.dtype
    ((60000, 784), dtype('float32'), (60000,), dtype('int64'))
    >>> t_test[:5]
    array([7, 2, 1, 0, 4])
    """
    folder, origin = find_mnist(path)
    try:
        return load_idx_folder(
            folder, flatten, normalize, one_hot, dtype,
            train_shape=(60000, 28, 28), test_shape=(10000, 28, 28), classes=10,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        error.add_note(f"MNIST was read from {folder}, {origin}.")
        raise


def find_mnist(path: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """The folder of the files, and the reason for choosing it."""
    origin = "the path that was given"
    if path is None:
        path = os.environ.get(VARIABLE) or None
        origin = f"which the environment variable {VARIABLE} names"
    if path is not None:
        folder = Path(path)
        nested = folder / "mnist"
        return nested if nested.is_dir() and not _holds_any(folder) else folder, origin
    bundled = CHECKOUT / "data" / "mnist"
    if (CHECKOUT / "setup.cfg").is_file() and _holds_any(bundled):
        return bundled, "the folder of the repository"
    try:
        return fetch("mnist", FILES, MIRRORS), "the user's cache"
    except OSError as error:
        raise OSError(
            f"{error}\nWithout a network, put the four files of MNIST in a folder and pass it as "
            f"load_mnist(path=...), or set the environment variable {VARIABLE} to it."
        ) from error


def _holds_any(folder: Path) -> bool:
    return any(file.name.startswith(("train-", "t10k-")) for file in folder.glob("*"))


def fetch(name: str, files: Mapping[str, str], mirrors: Sequence[str]) -> Path:
    """The folder ``name`` of the user's cache, with these files; missing ones are downloaded.

    ``files`` maps names to SHA-256 sums; ``mirrors`` are base URLs that end in a slash, tried in
    order. Raises OSError if no mirror provides a file with its checksum.
    """
    import pooch

    folder: Path = pooch.os_cache("tinygrad_np") / name
    for file, sha256 in files.items():
        failures = [f"{file} could not be downloaded to {folder}:"]
        for mirror in mirrors:
            url = mirror + file
            try:
                pooch.retrieve(url, f"sha256:{sha256}", file, folder, progressbar=True)
                break
            except (OSError, ValueError) as error:  # no connection, or another file
                failures.append(f"  {url}: {error}")
        else:
            raise OSError("\n".join(failures))
    return folder
