"""Pixels of all ranges: what they are taken for, and how pictures join them."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import tinygrad_np as tg
from scripts import datasets, predict, run_folder, train
from scripts.images import read_images, read_png
from scripts.pixels import ImageError, Pixels, measure
from scripts.recipes import shifted
from scripts.training import probabilities, scores
from tests import tiny
from tinygrad_np.data import IDXError, load_mnist, write_idx
from tinygrad_np.serialization import read

Array = NDArray[Any]
COUNT = 3000


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array, Array, Array]:
    """Some images of MNIST as bytes, and their labels, for training and for testing."""
    (x, t), (x_test, t_test) = load_mnist(flatten=False, normalize=False, dtype=np.uint8)
    return x[:COUNT], t[:COUNT], x_test[:300], t_test[:300]


def standardised(a: Array) -> Array:
    return np.asarray((a / 255 - 0.1307) / 0.3081, np.float32)


def each_standardised(a: Array) -> Array:
    """Every pixel by its own mean and deviation, as StandardScaler does."""
    return np.asarray((a - a.mean(axis=0)) / np.maximum(a.std(axis=0), 1))


FORMS: dict[str, tuple[Callable[[Array], Array], float, str]] = {
    # how bytes become these, what they are divided by, their background
    "uint8": (lambda a: a, 255, "dark"),
    "int64": (lambda a: a.astype(int), 255, "dark"),
    "float 0 to 255": (lambda a: a.astype(np.float32), 255, "dark"),
    "float 0 to 1": (lambda a: a / 255, 1, "dark"),
    "float16": (lambda a: (a / 255).astype(np.float16), 1, "dark"),
    "big-endian": (lambda a: (a / 255).astype(">f4"), 1, "dark"),
    "uint16": (lambda a: a.astype(np.uint16) * 257, 65535, "dark"),
    "12 bits": (lambda a: a.astype(np.int32) * 4095 // 255, 4095, "dark"),
    "4 bits": (lambda a: a // 16, 15, "dark"),
    "bool": (lambda a: a > 127, 1, "dark"),
    "bytes 0 and 1": (lambda a: (a > 127).astype(np.uint8), 1, "dark"),
    "-1 to 1": (lambda a: (a / 127.5 - 1).astype(np.float32), 1, "dark"),
    "standardised": (standardised, 1, "dark"),
    "negatives": (lambda a: 255 - a, 255, "bright"),
    "negatives, float": (lambda a: 1 - a / 255, 1, "bright"),
    "negatives, standardised": (lambda a: -standardised(a), 1, "bright"),
    "rows": (lambda a: a.reshape(len(a), -1), 255, "dark"),
    "one channel": (lambda a: a[:, np.newaxis], 255, "dark"),
}
forms = pytest.mark.parametrize("form", FORMS)


@forms
def test_what_pixels_are_taken_for(digits: Any, form: str) -> None:
    made, scale, side = FORMS[form]
    found = measure(made(digits[0]))
    assert (found.scale, found.bright) == (scale, side == "bright")
    assert found.digits == (form not in ("bool", "bytes 0 and 1"))
    spoken = "divided by" in found.note
    assert spoken == (scale not in (1, 255) or form in ("int64", "float 0 to 255"))
    assert Pixels(**json.loads(json.dumps(dataclasses.asdict(found)))) == found


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda a: a.astype(np.float32) - 128, "from -128 to 127 are taken as they are"),
        (lambda a: a.view(np.int8), r"\(int8\) from -128 to 127 are taken as they are"),
        (lambda a: a.astype(int) * 1000, r"\(int64\) from 0 to 255000 are divided by 255000"),
        (lambda a: np.full_like(a, 7), "All pixels .* are 7: there is nothing to learn from"),
        (lambda a: np.full(a.shape, np.nan), "nothing to learn from"),
    ],
)
def test_pixels_that_nobody_can_learn_from_are_told(digits: Any, made: Any, words: str) -> None:
    assert re.search(words, measure(made(digits[0][:50])).note)


def test_pixels_are_divided_by_the_largest() -> None:
    whole = np.arange(256).reshape(1, -1)
    for dtype in ("u1", "i2", "i8", ">i4", "f4", "f8"):
        images = whole.astype(dtype)
        found = measure(images).inputs(images, np.float32)
        np.testing.assert_array_equal(found, np.float32(whole) / np.float32(255))
        assert found.dtype == np.float32


def test_the_background_as_networks_see_it(digits: Any) -> None:
    expected = {"uint8": 0, "negatives": 1, "negatives, float": 1, "standardised": -0.4242}
    for form, ground in expected.items():
        pixels = measure(FORMS[form][0](digits[0]))
        assert pixels.ground is not None
        assert pixels.ground / pixels.scale == pytest.approx(ground, abs=1e-4)
    halves = np.concatenate([digits[0][:50], 255 - digits[0][:50]])
    assert measure(halves).ground is None


def test_pixels_moved_in_are_of_the_background() -> None:
    x = np.full((9, 16), 7, np.float32)
    x[:, 5] = 3
    moved = shifted(x, np.random.default_rng(0), ground=7)
    assert (moved == 3).sum() == 9
    assert (moved == 7).sum() == 9 * 15


# Training on them, and predicting


def write(folder: Path, x: Array, t: Array, x_test: Array, t_test: Array) -> Path:
    folder.mkdir()
    for name, array in zip(
        ("train-images", "train-labels", "t10k-images", "t10k-labels"),
        (x, t, x_test, t_test),
        strict=True,
    ):
        np.save(folder / f"{name}.npy", array)
    return folder


def fit(folder: Path, out: Path, *more: str) -> None:
    arguments = ["three_layer_relu", "--dataset", str(folder), "--out", str(out), "--no-pictures"]
    arguments += ["--epochs", "4", "--batch-size", "50", "--optimizer", "adam", *more]
    assert train.main(arguments) == 0


def told(out: Path, capsys: Any, *files: Path) -> Array:
    capsys.readouterr()
    assert predict.main([str(out), *map(str, files)]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    return np.array([int(line[34:].split()[0]) for line in lines])


@pytest.fixture(scope="module")
def pictures(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Large pictures of the test images, dark on white."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(digits[2][:40]):
        large = Image.fromarray(255 - image).resize((280, 280), Image.Resampling.BICUBIC)
        large.save(folder / f"{i}.png")
    return [folder / f"{i}.png" for i in range(40)]


SLOW = [pytest.param(form, marks=pytest.mark.slow) for form in ("int64", "uint16", "rows")]


@pytest.mark.parametrize("form", ["float 0 to 1", "negatives", "bool", *SLOW])
def test_pictures_are_brought_to_the_images_trained_on(
    digits: Any, pictures: list[Path], form: str, tmp_path: Path, capsys: Any
) -> None:
    made, _, _ = FORMS[form]
    x, t, x_test, t_test = digits
    fit(write(tmp_path / "data", made(x), t, made(x_test), t_test), tmp_path / "run")
    config = run_folder.read_config(tmp_path / "run")
    model = run_folder.load_model(tmp_path / "run", config)
    pixels = Pixels(**config["pixels"])
    own = scores(model, made(x_test), pixels).argmax(axis=1)
    right = np.mean(own == t_test)
    assert right > 0.7
    assert np.mean(told(tmp_path / "run", capsys, *pictures) == t_test[:40]) > right - 0.15
    np.save(tmp_path / "own.npy", made(x_test))
    np.testing.assert_array_equal(told(tmp_path / "run", capsys, tmp_path / "own.npy"), own)
    Image.fromarray(x_test[0]).save(tmp_path / "first.png")
    found = read_images(tmp_path / "first.png", config["image_shape"], pixels)
    if form != "bool":  # the very image: the probabilities are the same
        np.testing.assert_allclose(
            probabilities(model, scores(model, found, pixels)),
            probabilities(model, scores(model, made(x_test[:1]), pixels)),
            atol=1e-3,
        )


def test_what_cannot_be_brought_to_them_is_refused(
    digits: Any, pictures: list[Path], tmp_path: Path, capsys: Any
) -> None:
    x, t, x_test, t_test = digits
    both = each_standardised(np.concatenate([x, x_test]))
    fit(write(tmp_path / "data", both[:COUNT], t, both[COUNT:], t_test), tmp_path / "run")
    assert predict.main([str(tmp_path / "run"), str(pictures[0])]) == 1
    assert "give images that are scaled in the same way, as a .npy file" in capsys.readouterr().err
    np.save(tmp_path / "bytes.npy", x_test)
    assert predict.main([str(tmp_path / "run"), str(tmp_path / "bytes.npy")]) == 1
    assert "scale them alike" in capsys.readouterr().err
    np.save(tmp_path / "own.npy", both[COUNT:])
    assert np.mean(told(tmp_path / "run", capsys, tmp_path / "own.npy") == t_test) > 0.7


@pytest.mark.parametrize("trained", ["uint8", "float 0 to 1", "standardised", "uint16"])
def test_arrays_of_another_range_are_refused(digits: Any, trained: str, tmp_path: Path) -> None:
    pixels = measure(FORMS[trained][0](digits[0]))
    for form in ("uint8", "float 0 to 1", "standardised", "uint16"):
        np.save(tmp_path / "a.npy", FORMS[form][0](digits[2]))
        if form == trained:
            read_images(tmp_path / "a.npy", (28, 28), pixels)
        else:
            with pytest.raises(IDXError, match=r"a\.npy: pixels .*: scale them alike"):
                read_images(tmp_path / "a.npy", (28, 28), pixels)


def test_settings_whose_pixels_are_damaged(tmp_path: Path, capsys: Any) -> None:
    folder, out = tiny.write_images(tmp_path / "images"), tmp_path / "run"
    assert tiny.run(folder, out, "--iterations", "2") == 0
    config = json.loads((out / "config.json").read_text())
    damaged: list[Any] = [{**config["pixels"], "more": 1}, 3, []]
    for pixels in damaged:
        (out / "config.json").write_text(json.dumps({**config, "pixels": pixels}))
        assert predict.main([str(out), str(folder / "t10k-images-idx3-ubyte")]) == 1
        assert "its pixels are not those of a run" in capsys.readouterr().err


def test_a_run_of_before_is_not_scaled_otherwise_from_now_on(tmp_path: Path, capsys: Any) -> None:
    rng = np.random.default_rng(0)
    x, t = rng.integers(256, size=(30, 4, 4)), rng.integers(3, size=30)
    folder, out = write(tmp_path / "images", x, t, x, t), tmp_path / "run"
    assert tiny.run(folder, out, "--iterations", "20") == 0
    for path in (out / "checkpoints").iterdir():
        arrays, metadata = read(path)
        tg.save(arrays, path, {**metadata, "version": "1"})
    assert tiny.run(folder, out, "--iterations", "30", "--resume") == 1
    assert "version 1; this program reads version 4" in capsys.readouterr().err


def test_own_images_are_turned_to_their_background_but_not_moved(tmp_path: Path) -> None:
    drawn = np.zeros((56, 56), np.uint8)
    drawn[4:20, 6:16] = 200
    Image.fromarray(255 - drawn).save(tmp_path / "a.png")
    for ground in (0, 255):
        (found,) = read_images(tmp_path / "a.png", (28, 28), Pixels(ground=ground))
        found = 255 - found if ground else found
        assert found[3:9, 4:7].min() > 180
        assert found[14:].max() < 10
        assert found[0].max() < 10
    (found,) = read_images(tmp_path / "a.png", (28, 28), Pixels(ground=None))
    assert found[0].min() > 245
    Image.fromarray(np.full((9, 9), 70, np.uint8)).save(tmp_path / "blank.png")
    with pytest.raises(ImageError, match=r"blank\.png: nothing stands out"):
        read_images(tmp_path / "blank.png", (28, 28), Pixels())


def test_colour_images_take_no_grey_pictures(tmp_path: Path) -> None:
    Image.fromarray(np.eye(9, dtype=np.uint8) * 255).save(tmp_path / "a.png")
    for shape in [(32, 32, 3), (10,)]:
        with pytest.raises(ImageError, match="takes images of shape .*, not pictures"):
            read_images(tmp_path / "a.png", shape, Pixels())


# Data sets


@pytest.mark.parametrize(
    ("train_form", "test_form"),
    [
        ("uint8", "float 0 to 1"), ("float 0 to 1", "uint8"), ("float 0 to 255", "float 0 to 1"),
        ("int64", "uint16"), ("uint16", "uint8"), ("standardised", "uint8"),
        ("bytes 0 and 1", "uint8"),
    ],
)  # fmt: skip
def test_training_and_test_images_of_other_ranges(
    digits: Any, tmp_path: Path, train_form: str, test_form: str
) -> None:
    x, t, x_test, t_test = digits
    folder = write(tmp_path / "a", FORMS[train_form][0](x), t, FORMS[test_form][0](x_test), t_test)
    with pytest.raises(
        IDXError, match="the test images: pixels .* the training images .*: scale them alike"
    ):
        datasets.load(str(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: np.eye(10, dtype=int)[t], r"of rows of 0 and 1 labels\.argmax"),
        (lambda t: t.astype(float), r"save labels\.astype\(int\)"),
        (lambda t: t.reshape(-1, 1), r"save labels\.astype\(int\)\.ravel\(\)"),
        (lambda t: t.astype(str), r"expected integers, \(n,\)"),
    ],
)
def test_labels_of_other_forms(digits: Any, tmp_path: Path, change: Any, words: str) -> None:
    x, t, x_test, t_test = digits
    folder = write(tmp_path / "a", x, change(t), x_test, t_test)
    with pytest.raises(IDXError, match=words):
        datasets.load(str(folder))


def test_a_digest_is_of_what_the_files_hold(tmp_path: Path) -> None:
    folder = tiny.write_images(tmp_path / "a")
    data = datasets.load(str(folder))
    (x, t), (x_test, t_test) = data.sets
    assert datasets.load(str(write(tmp_path / "b", x, t, x_test, t_test))).digest == data.digest
    for change in range(4):
        arrays = [np.array(array) for array in (x, t, x_test, t_test)]
        arrays[change].flat[5] ^= 1
        other = write(tmp_path / f"changed {change}", *arrays)
        assert datasets.load(str(other)).digest != data.digest


# Pictures


def test_a_picture_that_lies_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    upright = np.zeros((8, 6), np.uint8)
    upright[1, 2:5] = 255
    for orientation, turned in {
        2: upright[:, ::-1], 3: upright[::-1, ::-1], 6: np.rot90(upright), 8: np.rot90(upright, -1)
    }.items():  # fmt: skip
        for deep in (False, True):
            pixels = turned.astype(np.uint16) * 257 if deep else turned
            exif = Image.Exif()
            exif[0x0112] = orientation
            Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "a.png", exif=exif)
            np.testing.assert_array_equal(read_png(tmp_path / "a.png"), upright / 255)


# Where they are


def test_a_run_goes_on_wherever_its_images_are(tmp_path: Path, capsys: Any) -> None:
    folder, out = tiny.write_images(tmp_path / "images"), tmp_path / "run"
    assert tiny.run(folder, out, "--iterations", "20") == 0
    assert tiny.run(Path(f"{folder}/"), out, "--iterations", "30", "--resume") == 0
    moved = folder.rename(tmp_path / "moved")
    assert tiny.run(folder, out, "--iterations", "40", "--resume") == 1
    assert (
        "If the images are elsewhere now, name the folder by --dataset" in capsys.readouterr().err
    )
    assert tiny.run(moved, out, "--iterations", "40", "--resume") == 0
    assert run_folder.read_config(out)["dataset"] == str(moved)


@pytest.mark.parametrize("spelling", ["images/", "./images", "../{}/images", "link"])
def test_a_folder_may_be_named_in_any_way(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tiny.write_images(tmp_path / "images"), tmp_path / "run"
    (tmp_path / "link").symlink_to(folder)
    assert tiny.run(folder, out, "--iterations", "20") == 0
    monkeypatch.chdir(tmp_path)
    arguments = tiny.command(folder, out, "--iterations", "30", "--resume")
    arguments[arguments.index(str(folder))] = spelling.format(tmp_path.name)
    assert train.main(arguments) == 0


def test_other_images_of_the_same_number_are_refused(tmp_path: Path, capsys: Any) -> None:
    folder, out = tiny.write_images(tmp_path / "images"), tmp_path / "run"
    assert tiny.run(folder, out, "--iterations", "20") == 0
    other = shutil.copytree(folder, tmp_path / "other")
    labels = np.roll(np.arange(tiny.IMAGES) % 3, 1).astype(np.uint8)
    write_idx(other / "train-labels-idx1-ubyte", labels)
    assert tiny.run(other, out, "--iterations", "30", "--resume") == 1
    message = capsys.readouterr().err
    assert "is of a run on other data" in message
    assert str(folder) in message
    assert str(other) in message
