"""scripts.train and scripts.show_digits: what they write, that a run can be repeated, errors."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from models.three_layer import ThreeLayer
from scripts import draw_graph, gradcheck, show_digits, train, training
from scripts.datasets import Data
from scripts.measures import ACCURACY
from scripts.pixels import Pixels
from scripts.recipes import RECIPES, Recipe, shifted
from tests import tiny
from tinygrad_np import nn
from tinygrad_np.data import load_mnist, read_idx, write_idx
from tinygrad_np.data.folder import DataSet

FILES = {
    "checkpoints", "config.json", "confusion.png", "curves.png", "graph.svg", "metrics.csv",
    "model.safetensors", "predictions.png",
}  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def digits() -> DataSet:
    """A small part of MNIST, float32."""
    (x, t), (x_test, t_test) = load_mnist()
    return (x[:3000], t[:3000]), (x_test[:1000], t_test[:1000])


class Narrow(nn.Module):
    """It tells fewer classes apart than there are."""

    def __init__(self) -> None:
        self.layer = nn.Linear(784, 9)

    def forward(self, x: Any) -> tg.Tensor:
        scores: tg.Tensor = self.layer(x)
        return scores


class Small(nn.Module):
    """A linear network for tests; it takes neither ``rng`` nor ``dtype``, and has no loss."""

    def __init__(self) -> None:
        self.layer = nn.Linear(784, 10)

    def forward(self, x: Any) -> tg.Tensor:
        return self.layer.forward(x)


def no_module() -> int:
    return 7


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


# The whole command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a run of 400 updates: one epoch."""
    out = tmp_path_factory.mktemp("run") / "deep" / "three_layer"
    arguments = ["three_layer", "--iterations", "400", "--optimizer", "adam", "--lr", "0.003"]
    assert train.main([*arguments, "--out", str(out)]) == 0
    yield out
    shutil.rmtree(out)


def test_a_run_writes_its_files(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == FILES
    for name in ("confusion.png", "curves.png", "predictions.png"):
        assert (run / name).read_bytes().startswith(PNG)


def test_a_run_learns(run: Path) -> None:
    (row,) = rows(run / "metrics.csv")
    assert list(row) == ["epoch", "train_loss", "train_accuracy", "test_accuracy"]
    assert row["epoch"] == 1
    assert row["train_accuracy"] > 0.85
    assert row["test_accuracy"] > 0.85


def test_a_run_says_how_to_repeat_it(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    expected = {
        "model": "three_layer", "optimizer": "adam", "lr": 0.003, "batch_size": 150,
        "iterations": 400, "seed": 0, "dtype": "float32", "replacement": True,
    }  # fmt: skip
    assert {name: config[name] for name in expected} == expected
    assert config["versions"]["numpy"] == np.__version__
    assert config["versions"]["tinygrad_np"] == tg.__version__


def test_a_run_of_ones_own_model(tmp_path: Path, capsys: Any) -> None:
    arguments = [f"{__name__}:Small", "--iterations", "3", "--out", str(tmp_path)]
    assert train.main(arguments) == 0
    assert rows(tmp_path / "metrics.csv")[0]["epoch"] == pytest.approx(3 / 400, rel=1e-4)
    out, err = capsys.readouterr()
    assert "layer  Linear  weight" in out
    assert "3 updates took" in out
    assert not err  # no progress bar where there is no terminal


@pytest.mark.slow
def test_pictures_of_other_images(tmp_path: Path) -> None:
    images = tiny.write_images(tmp_path / "images")
    assert tiny.run(images, tmp_path / "out", "--pictures", model="Noisy") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


class Wide(tiny.Net):
    """More classes than the images have."""

    def __init__(self, rng: Any = None) -> None:
        super().__init__(rng)
        self.out = nn.Linear(8, 12, rng=rng)


@pytest.mark.slow
def test_pictures_of_a_network_that_tells_more_classes_apart(tmp_path: Path) -> None:
    images = tiny.write_images(tmp_path / "images")
    arguments = tiny.command(images, tmp_path / "out", "--iterations", "1", "--pictures")
    assert train.main([f"{__name__}:Wide", *arguments[1:]]) == 0
    assert (tmp_path / "out" / "confusion.png").exists()


def test_a_drawing_that_fails_does_not_fail_the_run(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr("scripts.run_folder.write_graph", fail)
    images = tiny.write_images(tmp_path / "images")
    assert tiny.run(images, tmp_path / "out", "--pictures") == 0
    assert "graph.svg was not drawn: no ink" in capsys.readouterr().out


# The loop


def trained(
    data: DataSet, seed: int, updates: int, replacement: bool = False, compiled: bool = False,
    augment: Any = None,
) -> Any:  # fmt: skip
    rng = tg.manual_seed(seed)
    net = ThreeLayer(rng)
    form = Pixels(scale=255 if data[0][0].dtype == np.uint8 else 1)
    recipe = Recipe("adam", 0.003, 100, updates, replacement=replacement)
    run = training.Training(net, Data("digits", data, (), form, ""), recipe, rng, compiled)
    run.augment = augment
    losses = []
    while not run.finished:
        losses.append(run.update())
        if run.row_due:
            run.evaluate()
    return net.state_dict(), [(r.epoch, r.train_loss, r.test) for r in run.rows], losses


def test_the_same_seed_gives_the_same_run_bit_for_bit(digits: DataSet) -> None:
    weights, table, _ = trained(digits, 5, 40)
    again, table_again, _ = trained(digits, 5, 40)
    other, table_other, _ = trained(digits, 6, 40)
    assert table == table_again
    assert table != table_other
    for name, value in weights.items():
        np.testing.assert_array_equal(value, again[name])
        assert not np.array_equal(value, other[name])


def test_a_row_comes_after_every_epoch_and_at_the_end(digits: DataSet) -> None:
    _, table, _ = trained(digits, 0, 75, replacement=True)
    assert [epoch for epoch, _, _ in table] == [1, 2, 2.5]
    losses = [loss for _, loss, _ in table]
    assert losses == sorted(losses, reverse=True)


def test_a_row_holds_the_mean_loss_of_its_epoch(digits: DataSet) -> None:
    _, table, losses = trained(digits, 0, 35)
    assert len(losses) == 35
    assert [loss for _, loss, _ in table] == [np.mean(losses[:30]), np.mean(losses[30:])]


def test_replay_is_eager_to_the_last_bit(digits: DataSet) -> None:
    weights, table, losses = trained(digits, 0, 35)
    replayed, *rest = trained(digits, 0, 35, compiled=True)
    assert rest == [table, losses]
    for name, value in weights.items():
        np.testing.assert_array_equal(value, replayed[name])


def test_bytes_are_divided_by_255_batch_by_batch(digits: DataSet) -> None:
    train, test = (
        (np.rint(x * 255).astype(np.uint8).reshape(-1, 28, 28), t.astype(np.uint8))
        for x, t in digits
    )
    weights, table, losses = trained(digits, 0, 35)
    same, *rest = trained((train, test), 0, 35)
    assert rest == [table, losses]
    for name, value in weights.items():
        np.testing.assert_array_equal(value, same[name])


def test_batches_are_augmented(digits: DataSet) -> None:
    seen: list[Any] = []

    def blank(x: Any, rng: np.random.Generator) -> Any:
        seen.append(x)
        return x * 0

    weights, _, _ = trained(digits, 0, 2, augment=blank)
    assert [x.shape for x in seen] == [(100, 784)] * 2
    start = ThreeLayer(tg.manual_seed(0)).state_dict()
    np.testing.assert_array_equal(weights["W1"], start["W1"])  # no gradient where no pixel is lit
    assert not np.array_equal(weights["b3"], start["b3"])


@pytest.mark.parametrize(("n", "by"), [(100, 1), (9, 1), (4, 1), (60, 2)])
def test_shifted_images_are_moved_and_nothing_else(n: int, by: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((n, 36), dtype=np.float32)
    moved = shifted(x, rng, by).reshape(n, 6, 6)
    framed = np.pad(x.reshape(n, 6, 6), ((0, 0), (by, by), (by, by)))
    size = 2 * by + 1
    moves = [
        [
            (down, right)
            for down in range(size)
            for right in range(size)
            if np.array_equal(image, frame[down : down + 6, right : right + 6])
        ]
        for image, frame in zip(moved, framed, strict=True)
    ]
    assert all(len(found) == 1 for found in moves)
    counts = [moves.count([(i // size, i % size)]) for i in range(size**2)]
    assert max(counts) - min(counts) <= 1  # every move as often as any other
    assert moved.dtype == np.float32


@pytest.mark.slow
def test_the_best_recipe_learns_faster_than_the_seeds(tmp_path: Path) -> None:
    arguments = ["three_layer", "--recipe", "best", "--iterations", "900", "--out", str(tmp_path)]
    assert train.main(arguments) == 0
    table = rows(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in table] == [1, 1.5]
    assert table[-1]["test_accuracy"] > 0.95
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == "three_layer_relu"
    assert config["recipe"] == "best"
    assert config["one_cycle"] is config["shifts"] is True
    assert config["iterations"] == 900
    assert config["epochs"] is None


@pytest.mark.slow
def test_lenet_has_a_recipe_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main(["lenet", "--iterations", "300", "--no-pictures"]) == 0
    out = tmp_path / "runs" / "lenet"
    assert rows(out / "metrics.csv")[-1]["test_accuracy"] > 0.95
    config = json.loads((out / "config.json").read_text())
    assert config["recipe"] == "lenet"
    assert config["one_cycle"] is config["shifts"] is True
    assert config["batch_size"] == RECIPES["lenet"].batch_size


@pytest.mark.minutes
def test_lenet_reaches_99_percent_in_ten_epochs(tmp_path: Path) -> None:
    assert train.main(["lenet", "--out", str(tmp_path), "--no-pictures"]) == 0
    last = rows(tmp_path / "metrics.csv")[-1]
    assert last["epoch"] <= 10
    assert last["test_accuracy"] >= 0.99


def test_a_loss_that_is_no_number_stops_the_run(digits: DataSet) -> None:
    def poison(x: Any, rng: np.random.Generator) -> Any:
        return x * np.float32(np.nan)

    with pytest.raises(FloatingPointError, match="became nan at update 1"):
        trained(digits, 0, 5, augment=poison)


def test_accuracy_is_the_share_of_hits_and_leaves_the_model_training(digits: DataSet) -> None:
    net = Small()
    x, labels = digits[1]
    hits = np.argmax(x @ net.layer.weight.data.T, axis=1) == labels
    assert training.total(ACCURACY, net, x, labels, Pixels(scale=1)) == hits.sum()
    assert training.total(ACCURACY, net, x[:1], labels[:1], Pixels(scale=1)) == hits[0]
    assert net.training


def test_accuracy_leaves_parts_in_the_mode_they_were_in(digits: DataSet) -> None:
    net = Small()
    net.layer.eval()  # frozen, as dropout or running means may be
    training.total(ACCURACY, net, *digits[1], Pixels(scale=1))
    assert net.training
    assert not net.layer.training


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((4, 4), True), ((16,), True), ((4, 4, 1), True), ((2, 8), False), ((2, 2, 4), False)],
)
def test_only_square_images_are_shifted(
    shape: tuple[int, ...], fits: bool, tmp_path: Path, capsys: Any
) -> None:
    tiny.write_images(tmp_path)
    for split in ("train", "t10k"):
        images = read_idx(tmp_path / f"{split}-images-idx3-ubyte")
        np.save(tmp_path / f"{split}-images.npy", images.reshape(-1, *shape))
        labels = read_idx(tmp_path / f"{split}-labels-idx1-ubyte")
        np.save(tmp_path / f"{split}-labels.npy", labels)
    more = ["--recipe", "best", "--iterations", "9"]
    assert tiny.run(tmp_path, tmp_path / "run", *more) == (0 if fits else 1)
    assert fits or "have to be square, not (2, " in capsys.readouterr().err


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["four_layer"], "there is no model called 'four_layer'"),
        ([f"{__name__}:no_module"], "made a int, not a tinygrad_np.nn.Module"),
        (
            [f"{__name__}:Small", "--dtype", "float64"],
            "parameters of float32; asked for was float64",
        ),
        (["three_layer", "--data", "no/such/folder"], "no such folder"),
        (["three_layer", "--dataset", "no/such/folder"], "no such folder"),
        (["three_layer", "--batch-size", "60001"], "more than the 60000 training images"),
        ([f"{__name__}:Narrow"], "labels must lie in 0..8"),
        (["relu_sgd", "--lr", "1e30"], "the loss became"),
    ],
)
def test_errors_are_told_in_a_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: Any
) -> None:
    assert train.main([*arguments, "--out", str(tmp_path)]) == 1
    out, error = capsys.readouterr()
    assert "tg.compile" not in out
    assert error.startswith("error: ")
    assert message in error


def test_a_folder_that_cannot_be_written_to_is_told_before_training(
    tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").write_text("")
    assert train.main(["three_layer", "--out", str(tmp_path / "file" / "run")]) == 1
    out, err = capsys.readouterr()
    assert "file" in err
    assert "epoch" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["three_layer", "--iterations", "0"], ["three_layer", "--epochs", "x"],
        ["three_layer", "--iterations", "5", "--epochs", "1"], ["three_layer", "--lr", "-1"],
        ["three_layer", "--lr", "nan"], ["three_layer", "--batch-size", "0"],
        ["three_layer", "--resume", "--overwrite"], ["three_layer", "--keep", "0"],
        ["three_layer", "--seed", "-1"], ["three_layer", "--optimizer", "lbfgs"],
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_help_has_examples(capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(["--help"])
    assert stopped.value.code == 0
    assert "python -m scripts.train three_layer --iterations 400" in capsys.readouterr().out


@pytest.mark.parametrize("main", [train.main, draw_graph.main, gradcheck.main])
def test_seeds_are_not_negative(main: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["three_layer", "--seed", "-1"])
    assert "argument --seed: -1 is negative" in capsys.readouterr().err


# Showing digits


def test_show_digits(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "sheets" / "digits.png"
    assert show_digits.main(["--out", str(out), "--count", "25"]) == 0
    assert out.read_bytes().startswith(PNG)
    assert "25 digits drawn" in capsys.readouterr().out


def test_show_digits_of_one_kind(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "fives.png"
    arguments = ["--out", str(out), "--digit", "5", "--count", "30", "--split", "test"]
    assert show_digits.main(arguments) == 0
    assert "30 digits drawn" in capsys.readouterr().out


@pytest.mark.parametrize("count", ["0", "1001"])
def test_show_digits_refuses_a_sheet_of_no_size(count: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        show_digits.main(["--out", str(tmp_path / "digits.png"), "--count", count])
    assert "a sheet holds 1 to 1000 digits" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["digits", "digits.jpg"])
def test_show_digits_writes_where_it_says(name: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        show_digits.main(["--out", str(tmp_path / name)])
    assert "the suffix must be .png" in capsys.readouterr().err


def test_show_digits_without_its_files(tmp_path: Path, capsys: Any) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((2, 28, 28), np.uint8))
    arguments = ["--out", str(tmp_path / "digits.png"), "--data", str(tmp_path)]
    assert show_digits.main(arguments) == 1
    assert "error: " in capsys.readouterr().err
