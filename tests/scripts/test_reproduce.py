"""The second seed document's tables, digit for digit, and the plain loops beside them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import two_layer_loops as seed_loops
from models.experiments import EXPERIMENTS, batch_trainer, train_epoch
from scripts import reproduce
from scripts.reproduce import (
    HEADER,
    TABLES,
    Images,
    Row,
    figures_of,
    load_images,
    run,
)

PNG = b"\x89PNG\r\n\x1a\n"
NAMES = list(EXPERIMENTS)


@pytest.fixture(scope="module")
def images() -> Images:
    return load_images()


# The tables


MARKS = {
    "relu_sgd": pytest.mark.slow, "dropout_sgd": pytest.mark.slow,
    "dropout_minibatch": pytest.mark.minutes,  # CI runs it compiled: scripts.reproduce
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS.get(n, ())) for n in NAMES])
def test_the_first_rows_are_the_printed_ones(name: str, images: Images) -> None:
    rows = [str(row) for row in run(EXPERIMENTS[name], images, 31) if row]
    assert rows == reproduce.read_table(TABLES / f"{name}.csv")[:4]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_a_row_every_tenth_epoch_and_at_the_last(name: str) -> None:
    epochs = EXPERIMENTS[name].epochs
    for label in (name, f"{name}_true"):
        text = (TABLES / f"{label}.csv").read_text()
        assert text.startswith(HEADER + "\n")
        table = [int(row.split(",")[0]) for row in reproduce.read_table(TABLES / f"{label}.csv")]
        assert table == [*range(0, epochs, 10), epochs - 1]


def test_there_are_159_printed_rows() -> None:
    assert sum(len(reproduce.read_table(TABLES / f"{name}.csv")) for name in NAMES) == 159


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("relu_sgd", 0.82), ("dropout_sgd", 0.87), ("dropout_minibatch", 0.87),
        ("tanh_softmax_minibatch", 0.86),
    ],
)  # fmt: skip
def test_the_true_gradient_ends_higher_than_the_printed_one(name: str, least: float) -> None:
    last, printed = (
        float(reproduce.read_table(TABLES / f"{label}.csv")[-1].split(",")[-1])
        for label in (f"{name}_true", name)
    )
    assert last >= least > printed


@pytest.mark.parametrize("name", ["relu_sgd", "tanh_softmax_minibatch"])
def test_the_first_rows_with_the_true_gradient(name: str, images: Images) -> None:
    rows = [str(row) for row in run(EXPERIMENTS[name], images, 11, printed=False) if row]
    assert rows == reproduce.read_table(TABLES / f"{name}_true.csv")[:2]


def test_rows_come_once_in_ten_epochs(images: Images) -> None:
    rows = list(run(EXPERIMENTS["tanh_softmax_minibatch"], images, 12))
    assert [row.epoch if row else None for row in rows] == [0, *[None] * 9, 10, None]


def test_errors_are_cut_and_accuracies_are_not() -> None:
    assert str(Row(7, 0.72199999, 0.537, 0.6009999, 0.6488)) == "7,0.721,0.537,0.600,0.6488"
    assert str(Row(340, 0.1, 1.0, 12.3456, 0.71)) == "340,0.1,1.0,12.34,0.71"


def test_figures_are_the_mean_squared_error_of_an_image_and_the_share_of_hits() -> None:
    outputs = np.array([[1.0, 0.0], [0.25, 0.5], [3.0, 1.0]])
    assert figures_of(outputs, np.eye(2)[[0, 1, 1]]) == ((0 + 0.3125 + 9) / 3, 2 / 3)


# The command


def test_the_command_writes_its_table_and_picture(tmp_path: Path, capsys: Any) -> None:
    arguments = ["tanh_softmax_minibatch", "--epochs", "15", "--out", str(tmp_path / "deep" / "x")]
    assert reproduce.main(arguments) == 0
    written = (tmp_path / "deep" / "x" / "tanh_softmax_minibatch.csv").read_text()
    assert (TABLES / "tanh_softmax_minibatch.csv").read_text().startswith(written)
    assert written.count("\n") == 3
    picture = tmp_path / "deep" / "x" / "tanh_softmax_minibatch.png"
    assert picture.read_bytes().startswith(PNG)
    out, err = capsys.readouterr()
    assert "tanh_softmax_minibatch: 2/2 rows identical" in out
    assert not err  # no progress bar where there is no terminal


def test_the_twin_has_a_table_of_its_own(tmp_path: Path, capsys: Any) -> None:
    arguments = ["tanh_softmax_minibatch", "--epochs", "1", "--true-gradient"]
    assert reproduce.main([*arguments, "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"tanh_softmax_minibatch_true.csv", "tanh_softmax_minibatch.png"}
    assert "tanh_softmax_minibatch_true: 1/1 rows identical" in capsys.readouterr().out


def test_a_digit_that_differs_is_told(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = tmp_path / "tables"
    shutil.copytree(TABLES, tables)
    table = tables / "tanh_softmax_minibatch.csv"
    table.write_text(table.read_text().replace("0.6833", "0.6834"))
    monkeypatch.setattr(reproduce, "TABLES", tables)
    arguments = ["tanh_softmax_minibatch", "--epochs", "11", "--out", str(tmp_path / "out")]
    assert reproduce.main(arguments) == 1
    out = capsys.readouterr().out
    assert "1/2 rows identical" in out
    assert "recorded 10,0.803,0.723,0.856,0.6834" in out
    assert "now      10,0.803,0.723,0.856,0.6833" in out


def test_data_that_is_not_there_is_told(tmp_path: Path, capsys: Any) -> None:
    assert reproduce.main(["relu_sgd", "--data", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("arguments", [["gelu"], [], ["all", "--epochs", "0"]])
def test_options_that_make_no_sense_are_refused(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        reproduce.main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


# The plain loops


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_loops_take_the_same_way(name: str, images: Images) -> None:
    few = Images(images.x_train[:200], images.t_train[:200], images.x_test[:50], images.t_test[:50])
    experiment = EXPERIMENTS[name]
    rng, weights = seed_loops.start(experiment)
    error, right = seed_loops.train_epoch(name, experiment, weights, few.x_train, few.t_train, rng)

    rng = np.random.RandomState(1)
    network = experiment.network(rng, printed=True)
    trainer = batch_trainer(experiment, network)
    scores = train_epoch(experiment, network, trainer, few.x_train, few.t_train, rng)

    np.testing.assert_allclose(network.W1.data, weights[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(network.W2.data, weights[1], rtol=0, atol=1e-13)
    figures = figures_of(network.outputs(scores), few.t_train)
    assert figures == pytest.approx((error / 200, right / 200), abs=1e-12)
    tested = network.outputs(network(few.x_test).data)
    error, right = seed_loops.evaluate(name, weights, few.x_test, few.t_test)
    assert figures_of(tested, few.t_test) == pytest.approx((error / 50, right / 50), abs=1e-12)
