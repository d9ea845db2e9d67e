"""The data sets that networks are trained on: MNIST, Fashion-MNIST, Alice, and your own.

Images keep the dtype of their files; plain IDX and .npy files are mapped into memory, not read.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from scripts.images import read_array
from scripts.measures import ACCURACY, BITS, Measure
from scripts.pixels import Pixels, measure, some_of
from tinygrad_np.data import IDXError, encode, read_text, windows
from tinygrad_np.data.folder import Split, find_file
from tinygrad_np.data.mnist import CHECKOUT, FILES, VARIABLE, fetch, find_mnist
from tinygrad_np.tensor import Array

FASHION_SUMS = (  # of files with the names of MNIST's, and in their order
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)
FASHION_MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
)
FASHION_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip

CONTEXT = 64
"""The number of characters that a language model sees at once."""


class Characters:
    """The form of the windows of a text."""

    most, note = 32, ""

    def inputs(self, x: Array, dtype: DTypeLike) -> Array:
        """The numbers of the characters, (n, length)."""
        return x.astype(np.int64)


Form = Pixels | Characters
"""What the numbers of a data set mean. ``most`` is the number of inputs that a network is evaluated
on at a time; ``inputs`` converts data (n, ...) to what a network takes."""


@dataclass(frozen=True)
class Data:
    """A data set: inputs (n, ...) and labels, for training and for testing.

    ``form`` converts data to inputs. ``digest`` depends on what the files hold, not on where they
    are or of what kind. ``strides`` are for data that overlap, such as the windows of a text: the
    measure is computed on every n-th of the training set and every m-th of the test set, (n, m);
    an epoch has as many samples as every m-th of the training set.
    """

    name: str
    sets: tuple[Split, Split]
    classes: tuple[str, ...]
    form: Form
    digest: str
    measure: Measure = ACCURACY
    strides: tuple[int, int] = (1, 1)
    unit: str = "images"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an input."""
        return self.sets[0][0].shape[1:]

    @property
    def samples(self) -> int:
        """The number of inputs of an epoch."""
        return len(self.sets[0][0]) // self.strides[1]

    def batch(self, count: int, dtype: DTypeLike) -> Split:
        """The first inputs and labels of the training set, as a network takes them."""
        x, labels = self.sets[0]
        return self.form.inputs(x[:count], dtype), labels[:count].astype(np.int64)


def load(name: str, path: str | os.PathLike[str] | None = None) -> Data:
    """The data set ``mnist``, ``fashion`` or ``alice``, or the one in the folder or file ``name``.

    MNIST is looked for as ``load_mnist`` does, Fashion-MNIST likewise in subfolders ``fashion``;
    ``path`` is a folder to look in first. A folder of your own holds ``train-`` and ``t10k-``,
    ``-images-idx3-ubyte`` and ``-labels-idx1-ubyte``, plain or gzipped, or ``train-images.npy``
    and so on. A file is a text, of which the last tenth is held out for testing.

    Raises FileNotFoundError, or IDXError for files that are damaged or do not belong together;
    OSError where nothing is found and the download fails.
    """
    if name == "alice":
        return _text(name, Path(path or CHECKOUT / "data" / "text", "alice29.txt"))
    if Path(name).is_file():
        return _text(name, Path(name))
    classes: Sequence[str] = ()
    if name == "mnist":
        (folder, origin), classes = find_mnist(path), "0123456789"
    elif name == "fashion":
        (folder, origin), classes = _find_fashion(path), FASHION_CLASSES
    else:
        folder, origin = Path(name), "the folder that was given"
    try:
        train, test = (_split(folder, split) for split in ("train", "t10k"))
        if train[0].shape[1:] != test[0].shape[1:]:
            raise IDXError(
                f"training images have shape {train[0].shape[1:]}, "
                f"test images {test[0].shape[1:]}: they have to be the same"
            )
        pixels = measure(train[0])
        pixels.check(test[0], "the test images")
    except (OSError, ValueError) as error:
        error.add_note(f"The data set {name} was read from {folder}, {origin}.")
        raise
    largest = max(int(labels.max()) for _, labels in (train, test))
    if classes and largest >= len(classes):
        raise IDXError(f"{folder}: has a label {largest}, but {name} has {len(classes)} classes")
    if classes:
        pixels = dataclasses.replace(pixels, ground=0.0)  # some clothes fill their image
    names = tuple(classes or map(str, range(largest + 1)))
    return Data(name, (train, test), names, pixels, _digest(train, test))


def _text(name: str, path: Path) -> Data:
    """All windows over a text; its classes are its characters."""
    text = read_text(path)
    characters = "".join(sorted(set(text)))
    tokens, cut = encode(text, characters), len(text) - len(text) // 10
    try:
        sets = windows(tokens[:cut], CONTEXT), windows(tokens[cut:], CONTEXT)
    except ValueError as error:
        error.add_note(f"{path}: the last tenth, held out for testing, is too short.")
        raise
    digest = hashlib.sha256(text.encode()).hexdigest()
    strides = CONTEXT * max(1, len(sets[0][0]) // len(sets[1][0])), CONTEXT  # as many of both
    return Data(name, sets, tuple(characters), Characters(), digest, BITS, strides, "windows")


def _digest(*splits: Split) -> str:
    """A digest of all labels and of ``some_of`` the images."""
    found = hashlib.sha256()
    for images, labels in splits:
        found.update(f"{images.shape}{images.dtype.name}".encode())
        for part in some_of(images):
            found.update(part.astype(part.dtype.newbyteorder("<")).tobytes())
        found.update(labels.astype("<i8").tobytes())
    return found.hexdigest()


def _find_fashion(path: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """The folder of Fashion-MNIST, downloaded if need be, and why this folder."""
    for place in (path, os.environ.get(VARIABLE), CHECKOUT / "data"):
        if place and Path(place, "fashion").is_dir():
            return Path(place, "fashion"), f"a folder in {place}"
        if place and place is path:
            return Path(place), "the folder that --data names"
    try:
        files = dict(zip(FILES, FASHION_SUMS, strict=True))
        return fetch("fashion", files, FASHION_MIRRORS), "the user's cache"
    except OSError as error:
        raise OSError(
            f"{error}\nWithout a network, put the four files into a folder and name it with "
            f"--data, or put them into a subfolder fashion of the one that {VARIABLE} names."
        ) from error


def _split(folder: Path, split: str) -> Split:
    images = _open(folder, split, "images-idx3-ubyte")
    labels = _open(folder, split, "labels-idx1-ubyte")
    if images.ndim < 2 or images.dtype.kind not in "fiub" or not images.size:
        raise IDXError(
            f"the {split} images have shape {images.shape} of {images.dtype}; expected numbers, "
            "(n, height, width), at least one image"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise IDXError(
            f"the {split} labels have shape {labels.shape} of {labels.dtype}; expected integers, "
            "(n,): save labels.astype(int).ravel(), or of rows of 0 and 1 labels.argmax(axis=1)"
        )
    if len(images) != len(labels):
        raise IDXError(f"there are {len(images)} {split} images, but {len(labels)} labels")
    if labels.min() < 0:
        raise IDXError(f"label {labels.min()} is negative")
    return images, labels


def _open(folder: Path, split: str, rest: str) -> Array:
    """An array in a folder, from a .npy file where there is one."""
    npy = folder / f"{split}-{rest.partition('-')[0]}.npy"
    return read_array(npy if npy.is_file() else find_file(folder, f"{split}-{rest}"))
