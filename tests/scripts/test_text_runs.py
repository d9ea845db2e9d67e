"""scripts.train on a text, and scripts.sample: the same run as with images, measured in bits."""

import csv
import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from scripts import datasets, predict, sample, train, training
from scripts.measures import BITS
from tests import tiny

WORDS = ("the cat sat on the mat; " * 60)[:1400]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "cat.txt"
    path.write_text(WORDS)
    return path


def arguments(text: Path, out: Path, *more: str) -> list[str]:
    """A run without one cycle of the rate, so that it can be made longer."""
    return [
        "tests.tiny:small_gpt", "--text", str(text), "--out", str(out), "--recipe", "seed",
        "--optimizer", "adamw", "--lr", "0.02", "--batch-size", "4", "--iterations", "60",
        "--no-pictures", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not interrupted."""
    out = tmp_path_factory.mktemp("whole")
    assert train.main(arguments(text, out)) == 0
    return out


def rows(out: Path) -> list[dict[str, float]]:
    with (out / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_a_text_is_learned_and_measured_in_bits(whole: Path) -> None:
    table = rows(whole)
    assert list(table[0]) == ["epoch", "train_loss", "train_bits", "test_bits"]
    # 1,260 characters are 18.7 windows of 64 that do not overlap: 4 batches of 4 an epoch.
    assert [row["epoch"] for row in table] == list(range(1, 16))
    assert table[-1]["train_bits"] < 2.5 < table[0]["train_bits"] < math.log2(12) + 0.2
    config = json.loads((whole / "config.json").read_text())
    assert "".join(config["classes"]) == "".join(sorted(set(WORDS)))


def test_the_measure_is_that_of_the_windows_that_do_not_overlap(text: Path, whole: Path) -> None:
    data = datasets.load(str(text))
    x, t = data.sets[1]
    assert x.shape == (140 - 64, 64) and data.strides == (15 * 64, 64)
    from scripts.run_folder import load_model, read_config

    model = load_model(whole, read_config(whole))
    with tg.no_grad():
        loss = tg.softmax_cross_entropy(model(x[::64]).data, t[::64]).item()
    assert rows(whole)[-1]["test_bits"] == pytest.approx(loss / math.log(2), abs=1e-6)


def test_bits_of_a_uniform_guess() -> None:
    labels = np.array([[0, 3, 1]])
    assert BITS.total(np.zeros((1, 3, 4)), labels) == pytest.approx(6)


def test_a_run_that_is_stopped_goes_on_to_the_last_bit(
    text: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    update = training.Training.update

    def stopping(self: training.Training) -> float:
        if self.done == 29:
            signal.raise_signal(signal.SIGINT)
        return update(self)

    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "update", stopping)
        assert train.main(arguments(text, tmp_path)) == 130
    assert "Stopped after update 30 of 60" in capsys.readouterr().out
    assert train.main(arguments(text, tmp_path, "--resume")) == 0
    for name in ("model.safetensors", "metrics.csv"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_compiled_run_is_an_eager_run(text: Path, whole: Path, tmp_path: Path) -> None:
    assert train.main(arguments(text, tmp_path, "--no-compiled")) == 0
    model = "model.safetensors"
    assert (tmp_path / model).read_bytes() == (whole / model).read_bytes()


def test_another_text_is_not_taken_for_the_same(whole: Path, tmp_path: Path, capsys: Any) -> None:
    other = tmp_path / "other.txt"
    other.write_text(WORDS[:-1] + "x")
    assert train.main(arguments(other, whole, "--resume")) == 1
    assert "is of a run on other data" in capsys.readouterr().err


def test_curves_of_a_text_are_drawn(text: Path, tmp_path: Path) -> None:
    more = ("--pictures", "--iterations", "8")
    assert train.main(arguments(text, tmp_path, *more)) == 0
    found = {path.name for path in tmp_path.iterdir()}
    assert {"curves.png", "graph.svg"} <= found
    assert not {"confusion.png", "predictions.png"} & found


@pytest.mark.parametrize(
    ("content", "words"),
    [("short", "too short"), ("a" * 600, "too short"), ("", "is empty")],
)
def test_texts_that_cannot_be_trained_on(
    content: str, words: str, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(content)
    assert train.main(arguments(path, tmp_path / "out")) == 1
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_alice_is_what_a_gpt_is_trained_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train.main(["gpt", "--iterations", "2", "--out", str(out), "--no-pictures"]) == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["dataset"], config["recipe"], len(config["classes"])) == ("alice", "gpt", 73)


# Sampling


def written(capsys: Any, run: Path, *more: str) -> str:
    assert sample.main([str(run), *more]) == 0
    out: str = capsys.readouterr().out
    return out


def test_a_sample_continues_the_prompt_and_can_be_repeated(whole: Path, capsys: Any) -> None:
    one = written(capsys, whole, "--prompt", "the cat", "--length", "100")
    assert one.startswith("the cat") and len(one) == 7 + 100 + 1
    assert set(one[:-1]) <= set(WORDS)
    assert written(capsys, whole, "--prompt", "the cat", "--length", "100") == one
    assert written(capsys, whole, "--prompt", "the cat", "--length", "100", "--seed", "1") != one


def test_at_temperature_0_the_likeliest_character_is_taken(whole: Path, capsys: Any) -> None:
    from scripts.run_folder import load_model, read_config

    settings = read_config(whole)
    characters = "".join(settings["classes"])
    model = load_model(whole, settings)
    text = "the cat sat on the "
    for _ in range(60):  # beyond the 64 characters that it sees
        logits = model([[characters.index(c) for c in text[-64:]]]).data[0, -1]
        text += characters[int(logits.argmax())]
    asked = ("--prompt", "the cat sat on the ", "--temperature", "0", "--length", "60")
    assert written(capsys, whole, *asked) == text + "\n"
    assert written(capsys, whole, *asked, "--seed", "5") == text + "\n"


def test_characters_are_drawn_by_their_probabilities() -> None:
    class Fixed(tg.nn.Module):
        def forward(self, tokens: Any) -> tg.Tensor:
            return tg.Tensor(np.log([[[0.5, 0.3, 0.2]]] * len(tokens)))

    for temperature, expected in ((1.0, [0.5, 0.3, 0.2]), (0.5, [25 / 38, 9 / 38, 4 / 38])):
        drawn = sample.continued(Fixed(), [0], 8, temperature, np.random.default_rng(0))
        counts = np.bincount([token for token, _ in zip(drawn, range(4000), strict=False)])
        np.testing.assert_allclose(counts / 4000, expected, atol=0.03)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--prompt", "Ω"], "the character 'Ω' at 0 is none of"),
        (["--temperature", "-1"], "must be finite and not negative"),
        (["--temperature", "nan"], "must be finite and not negative"),
        (["--prompt", ""], "at least one character"),
    ],
)
def test_what_cannot_be_sampled(more: list[str], words: str, whole: Path, capsys: Any) -> None:
    try:
        assert sample.main([str(whole), *more]) == 1
    except SystemExit as error:
        assert error.code == 2
    assert words in capsys.readouterr().err


def test_runs_of_images_and_of_texts_are_told_apart(
    whole: Path, tmp_path: Path, capsys: Any
) -> None:
    assert predict.main([str(whole), "seven.png"]) == 1
    assert "is of a text: python -m scripts.sample" in capsys.readouterr().err
    images = tiny.write_images(tmp_path / "images")
    assert tiny.run(images, tmp_path / "run", "--iterations", "5") == 0
    assert sample.main([str(tmp_path / "run")]) == 1
    assert "is of images: python -m scripts.predict" in capsys.readouterr().err
