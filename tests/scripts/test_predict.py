"""scripts.predict: what is on pictures of any kind, said by any trained run."""

import json
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import tinygrad_np as tg
from scripts import predict, run_folder, train
from scripts.images import read_images, read_png
from scripts.pixels import ImageError, Pixels, as_digit
from scripts.training import probabilities, scores
from tests import tiny
from tinygrad_np.data import load_mnist, read_idx, write_idx

Array = NDArray[Any]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """The first test images of MNIST as bytes, and their labels."""
    _, (x, t) = load_mnist(flatten=False, normalize=False, dtype=np.uint8)
    return x[:300], t[:300]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that knows digits well enough."""
    out = tmp_path_factory.mktemp("run")
    arguments = ["three_layer_relu", "--iterations", "800", "--optimizer", "adam", "--no-pictures"]
    assert train.main([*arguments, "--out", str(out)]) == 0
    return out


def save(path: Path, pixels: Array, mode: str | None = None) -> str:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return str(path)


def told(run: Path, capsys: Any, *images: str) -> list[tuple[str, int, float, list[float]]]:
    """What the command says of images: name, digit, how sure, and all probabilities."""
    capsys.readouterr()
    assert predict.main([str(run), *images]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "predicted", "sure", *"0123456789", "(%)"]
    rows = [line.split() for line in lines]
    return [
        (name, int(digit), float(sure.rstrip("%")), [float(p) for p in rest])
        for name, digit, sure, *rest in rows
    ]


# The command


def test_digits_from_an_idx_file(run: Path, digits: Any, tmp_path: Path, capsys: Any) -> None:
    x, t = digits
    for name in ("a", "a.gz"):
        write_idx(tmp_path / name, x)
        rows = told(run, capsys, str(tmp_path / name))
        for i, (told_of, *_) in enumerate(rows):
            assert told_of.endswith(f"/{name}[{i}]")
        assert np.mean([digit for _, digit, *_ in rows] == t) > 0.9
        for _, digit, sure, shares in rows:
            assert sum(shares) == pytest.approx(100, abs=0.6)
            assert int(np.argmax(shares)) == digit
            assert max(shares) == sure


def test_the_probabilities_are_the_networks(
    run: Path, digits: Any, tmp_path: Path, capsys: Any
) -> None:
    x, _ = digits
    net = run_folder.load_model(run, json.loads((run / "config.json").read_text()))
    expected = tg.softmax(net.forward(x[:5].reshape(5, -1) / np.float32(255))).data
    write_idx(tmp_path / "a", x[:5])
    rows = told(run, capsys, str(tmp_path / "a"))
    np.testing.assert_allclose([p for *_, p in rows], 100 * expected, atol=0.051)


def test_digits_from_png_files(run: Path, digits: Any, tmp_path: Path, capsys: Any) -> None:
    x, t = digits
    names = []
    for i in range(60):
        big = np.kron(255 - x[i], np.ones((5, 5), np.uint8))
        names.append(save(tmp_path / f"{i}.png", big, "RGB"))
    rows = told(run, capsys, *names)
    assert np.mean([digit for _, digit, *_ in rows] == t[:60]) > 0.9


def test_a_damaged_image_does_not_hide_the_others(
    run: Path, digits: Any, tmp_path: Path, capsys: Any
) -> None:
    good = save(tmp_path / "good.png", digits[0][0])
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:-40])
    files = [good, str(tmp_path / "torn.png"), str(tmp_path / "none.png"), str(tmp_path), good]
    assert predict.main([str(run), *files]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert len(err.splitlines()) == 3
    assert "torn.png: is not a PNG that can be read" in err
    assert "No such file" in err
    assert "is a folder" in err


def test_labels_are_no_images(run: Path, digits: Any, tmp_path: Path, capsys: Any) -> None:
    write_idx(tmp_path / "labels", digits[1].astype(np.uint8))
    assert predict.main([str(run), str(tmp_path / "labels")]) == 1
    assert "takes images of shape (n, 28, 28). Is it a file of labels?" in capsys.readouterr().err


def test_a_run_that_is_not_finished(digits: Any, run: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    (out / "model.safetensors").unlink()
    write_idx(tmp_path / "a", digits[0][:2])
    assert predict.main([str(out), str(tmp_path / "a")]) == 0
    unfinished = capsys.readouterr().out.splitlines()
    assert unfinished.pop(0).endswith("its weights after 800 updates.")
    assert predict.main([str(run), str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out.splitlines() == unfinished


@pytest.mark.parametrize("missing", ["config.json", "model"])
def test_a_folder_without_a_run(run: Path, tmp_path: Path, capsys: Any, missing: str) -> None:
    if missing == "model":
        shutil.copy(run / "config.json", tmp_path)
    assert predict.main([str(tmp_path), "a.png"]) == 1
    words = {"config.json": "config.json", "model": "holds neither model.safetensors nor"}
    assert words[missing] in capsys.readouterr().err


def test_settings_that_are_not_a_runs(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert predict.main([str(tmp_path), "a.png"]) == 1
    assert "config.json: is not of a run: it lacks some of model" in capsys.readouterr().err


def test_weights_of_another_network(run: Path, tmp_path: Path, capsys: Any) -> None:
    shutil.copy(run / "config.json", tmp_path)
    tg.save(tg.nn.Linear(3, 2), tmp_path / "model.safetensors")
    assert predict.main([str(tmp_path), "a.png"]) == 1
    message = capsys.readouterr().err
    assert "missing: 0.weight" in message
    assert "unexpected: weight" in message


def test_a_run_of_ones_own_images_and_classes(tmp_path: Path, capsys: Any) -> None:
    images = tiny.write_images(tmp_path / "images")
    assert tiny.run(images, tmp_path / "out", "--iterations", "600") == 0
    capsys.readouterr()
    file = str(images / "t10k-images-idx3-ubyte")
    assert predict.main([str(tmp_path / "out"), file]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "predicted", "sure", "0", "1", "2", "(%)"]
    found = [int(line.split()[1]) for line in lines]
    np.testing.assert_array_equal(found, read_idx(images / "t10k-labels-idx1-ubyte"))


def test_lines_that_nobody_reads_are_no_error(run: Path) -> None:
    file = ROOT / "data" / "mnist" / "t10k-images-idx3-ubyte.gz"
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.predict", str(run), str(file)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_many_classes_are_told_by_the_first_three() -> None:
    classes = [f"class {i}" for i in range(30)]
    line = predict._line("a.png", np.arange(30) / np.arange(30).sum(), classes)
    assert " ".join(line.split()[1:]) == "class 29 6.7% then class 28 6.4%, class 27 6.2%"
    assert "(%)" not in predict._header(classes)


def test_help_has_examples(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        predict.main(["--help"])
    assert "python -m scripts.predict runs/three_layer seven.png" in capsys.readouterr().out


# Probabilities


def test_a_networks_outputs_that_are_no_scores() -> None:
    class Squares(tg.nn.Module):
        def outputs(self, found: Array) -> Array:
            return found

    found = probabilities(Squares(), np.array([[0.5, -1, 1.5], [-1, -2, -3]], np.float32))
    np.testing.assert_allclose(found, [[0.25, 0, 0.75], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("name", ["relu_sgd", "tanh_softmax_minibatch"])
def test_the_second_seeds_networks_give_probabilities(name: str) -> None:
    import models

    net = models.make(name, np.random.default_rng(0))
    found = probabilities(net, scores(net, np.ones((3, 28, 28), np.uint8), Pixels()))
    assert np.all(found >= 0)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


# Pictures of all kinds


def test_a_digit_of_mnist_is_one_already(digits: Any) -> None:
    x, _ = digits
    made = np.stack([as_digit(image.astype(np.float32) / 255) for image in x])
    same = (made == x).all(axis=(1, 2))
    assert same.mean() > 0.8  # those not of exactly 20 pixels are resized
    assert np.abs(made.astype(int) - x).mean() < 3


def test_dark_on_bright_is_inverted(digits: Any) -> None:
    for image in digits[0][:50].astype(np.float32) / 255:
        np.testing.assert_array_equal(as_digit(1 - image), as_digit(image))


def page(image: Array, height: int, width: int, top: int, left: int, scale: int) -> Array:
    big = np.kron(image, np.ones((scale, scale), image.dtype))
    grey = np.zeros((height, width), np.float32)
    grey[top : top + len(big), left : left + len(big)] = big / 255
    return grey


def test_size_and_place_do_not_matter(digits: Any) -> None:
    for image in digits[0][:50]:
        small = as_digit(page(image, 60, 40, 3, 7, 1))
        np.testing.assert_array_equal(small, as_digit(image.astype(np.float32) / 255))
        large = as_digit(page(image, 400, 300, 190, 20, 7))
        assert np.abs(large.astype(int) - small).mean() < 12


def test_a_digit_lies_with_its_mass_in_the_middle(digits: Any) -> None:
    rows, columns = np.mgrid[:28, :28]
    for image in digits[0][:50]:
        made = as_digit(page(image, 300, 300, 40, 90, 4)).astype(float)
        assert abs((rows * made).sum() / made.sum() - 14) < 1
        assert abs((columns * made).sum() / made.sum() - 14) < 1
        lit = np.argwhere(made > 0)
        assert max(np.ptp(lit, axis=0)) <= 20
        assert made.max() == 255


def test_a_photograph_is_freed_of_its_background(digits: Any) -> None:
    rng = np.random.default_rng(0)
    far = []
    for image in digits[0][:50]:
        grey = 0.85 - 0.7 * page(image, 300, 300, 60, 40, 7)
        grey += 0.1 * np.linspace(-1, 1, 300) + 0.02 * rng.standard_normal(grey.shape)
        clean = as_digit(image.astype(np.float32) / 255).astype(int)
        far.append(np.abs(as_digit(np.clip(grey, 0, 1).astype(np.float32)) - clean).mean())
    assert np.mean(far) < 20


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_an_empty_page_is_told(grey: float) -> None:
    with pytest.raises(ImageError, match="nothing stands out"):
        as_digit(np.full((40, 40), grey, np.float32))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "I;16", "glass"])
def test_every_kind_of_png(digits: Any, tmp_path: Path, mode: str) -> None:
    pixels = np.where(digits[0][0] > 127, np.uint8(255), np.uint8(0))
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16) * 257)
    elif mode == "glass":
        image = Image.fromarray(np.full((1, 1, 3), 7, np.uint8)).resize((28, 28))
        image.putalpha(Image.fromarray(pixels))
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a.png")
    found = read_png(tmp_path / "a.png")
    assert found.dtype == np.float32
    if mode == "glass":  # nearly black ink on glass: seen on white
        np.testing.assert_allclose(found, np.where(pixels, 7 / 255, 1), atol=1e-6)
    else:
        np.testing.assert_array_equal(found, pixels / 255)


def test_white_ink_on_glass_is_seen_on_black(digits: Any, tmp_path: Path) -> None:
    image = Image.new("RGBA", (28, 28), (255, 255, 255, 0))
    image.putalpha(Image.fromarray(digits[0][0]))
    image.save(tmp_path / "a.png")
    np.testing.assert_allclose(read_png(tmp_path / "a.png"), digits[0][0] / 255, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_one_transparent_grey_lies_on_white(tmp_path: Path, dtype: Any) -> None:
    pixels = np.full((9, 9), 100, dtype)
    pixels[3:6, 3:6] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png", transparency=100)
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), pixels > 0)


def test_clothes_are_not_centred_but_bright_on_black(tmp_path: Path) -> None:
    pixels = np.full((56, 56), 255, np.uint8)
    pixels[:20, :10] = 30
    save(tmp_path / "a.png", pixels)
    (found,) = read_images(tmp_path / "a.png", (28, 28), Pixels())
    assert found[:9, :4].min() > 200
    assert found[14:, 10:].max() == 0


def test_what_is_neither(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(ImageError, match="is neither a PNG nor an IDX file"):
        read_images(tmp_path / "a.jpg", (28, 28), Pixels(digits=True))


def test_a_picture_without_a_pixel(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 0, 0, 0, 0))
    content = header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(ImageError):
        read_images(tmp_path / "a.png", (28, 28), Pixels(digits=True))
