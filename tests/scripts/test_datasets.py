"""scripts.datasets: MNIST, Fashion-MNIST and folders of one's own, found and checked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import datasets
from tests import tiny
from tinygrad_np.data import IDXError, load_mnist, write_idx

BUNDLED = Path(__file__).parents[2] / "data" / "mnist"


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYGRAD_NP_DATA", raising=False)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tiny.write_images(tmp_path / "images")


def test_mnist_is_kept_as_bytes() -> None:
    data = datasets.load("mnist")
    (x, t), (x_test, t_test) = data.sets
    assert x.shape == (60000, 28, 28)
    assert x.dtype == np.uint8
    assert t.shape == (60000,)
    expected = load_mnist(flatten=False, normalize=False, dtype=np.uint8)[1]
    np.testing.assert_array_equal(x_test, expected[0])
    np.testing.assert_array_equal(t_test, expected[1])
    assert data.classes == tuple("0123456789")
    assert data.shape == (28, 28)


def test_a_folder_of_ones_own(images: Path) -> None:
    data = datasets.load(str(images))
    assert data.classes == ("0", "1", "2")
    for x, t in data.sets:
        assert x.shape == (tiny.IMAGES, tiny.SIDE, tiny.SIDE)
        assert not x.flags.owndata  # mapped
        assert not x.flags.writeable
        assert t.shape == (tiny.IMAGES,)


def test_npy_files(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((5, 3, 3))
    for split in ("train", "t10k"):
        np.save(tmp_path / f"{split}-images.npy", x)
        np.save(tmp_path / f"{split}-labels.npy", np.arange(5))
    (found, labels), _ = datasets.load(str(tmp_path)).sets
    np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(labels, np.arange(5))


def test_npy_files_hold_no_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "train-images.npy", np.array([{}, None]), allow_pickle=True)
    with pytest.raises(IDXError, match=r"train-images\.npy: is not a \.npy file of numbers"):
        datasets.load(str(tmp_path))


def test_fashion_in_the_folders_of_that_name(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.rename(tmp_path / "fashion")
    monkeypatch.setenv("TINYGRAD_NP_DATA", str(tmp_path))
    for path in (None, tmp_path, tmp_path / "fashion"):
        data = datasets.load("fashion", path)
        assert data.classes[:2] == ("T-shirt", "trouser")
        assert len(data.sets[0][0]) == tiny.IMAGES
        monkeypatch.delenv("TINYGRAD_NP_DATA", raising=False)


def test_fashion_is_not_mistaken_for_the_mnist_that_the_variable_names(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def fetch(*arguments: Any) -> Path:
        asked.append(arguments)
        return images

    monkeypatch.setenv("TINYGRAD_NP_DATA", str(BUNDLED))
    monkeypatch.setattr(datasets, "fetch", fetch)
    assert len(datasets.load("fashion").sets[0][0]) == tiny.IMAGES
    ((name, files, mirrors),) = asked
    assert name == "fashion"
    assert [len(bytes.fromhex(sha256)) for sha256 in files.values()] == [32] * 4
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in mirrors)
    assert len(datasets.load("mnist").sets[0][0]) == 60000


def test_mnist_is_looked_for_as_load_mnist_does(tmp_path: Path) -> None:
    for file in BUNDLED.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "mnist").mkdir()  # not needed: the files themselves are there
    assert load_mnist(path=tmp_path, normalize=False, dtype=np.uint8)[1][0].shape == (10000, 784)
    assert len(datasets.load("mnist", tmp_path).sets[1][0]) == 10000


def test_without_a_network_one_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any) -> Path:
        raise OSError("no network")

    monkeypatch.setattr(datasets, "fetch", fetch)
    with pytest.raises(OSError, match=r"no network\nWithout a network, put the four files"):
        datasets.load("fashion")


def test_what_is_missing_is_told(images: Path) -> None:
    (images / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte: no such file") as caught:
        datasets.load(str(images))
    assert "the folder that was given" in caught.value.__notes__[0]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        datasets.load("no/such/folder")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("train-labels-idx1-ubyte", np.zeros(89, np.uint8), "90 train images, but 89 labels"),
        ("train-labels-idx1-ubyte", np.zeros(90, np.float32), r"expected integers, \(n,\)"),
        ("train-labels-idx1-ubyte", np.full(90, -1, np.int8), "label -1 is negative"),
        ("train-images-idx3-ubyte", np.zeros(90, np.uint8), r"expected numbers, \(n, height"),
        ("train-images-idx3-ubyte", np.zeros((90, 5, 4), np.uint8), "they have to be the same"),
        ("train-images-idx3-ubyte", np.zeros((0, 4, 4), np.uint8), "at least one image"),
    ],
)
def test_what_does_not_belong_together(images: Path, name: str, array: Any, words: str) -> None:
    write_idx(images / name, array)
    with pytest.raises(IDXError, match=words):
        datasets.load(str(images))


def test_a_label_that_a_known_data_set_lacks(images: Path) -> None:
    write_idx(images / "t10k-labels-idx1-ubyte", np.full(tiny.IMAGES, 10, np.uint8))
    with pytest.raises(IDXError, match="has a label 10, but fashion has 10 classes"):
        datasets.load("fashion", images)
