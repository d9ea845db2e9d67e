"""The benchmark: equal work for all, wrong results caught, the report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from models.updates import SGD, AdamW
from scripts import benchmark
from scripts.bench import overhead, ranks, report, start
from scripts.bench.libraries import LIBRARIES, Library
from scripts.bench.rounds import BenchmarkError, Plan, Runner, Timing, Trainer, check, compare
from scripts.bench.workloads import LEARNING_RATE, WORKLOADS, Workload, make_problem, mlp

OURS = [library for library in LIBRARIES.values() if library.package == "numpy"]
TRAINED = [library for library in OURS if library.module != "gemms" and library.version()]
SMALL = {
    "sigmoid": mlp("S1", (12, 7, 5, 4), 6, "sigmoid"),
    "relu": mlp("S2", (12, 7, 4), 1, "relu"),
}


@pytest.mark.parametrize("workload", SMALL.values(), ids=SMALL)
def test_a_step_by_hand_descends_the_gradient(workload: Workload) -> None:
    problem = make_problem(workload, "float64")
    training = LIBRARIES["by_hand"].training(problem)
    x, labels = problem.batches[0]
    start = [array.copy() for array in problem.parameters]
    found = float(training.step(x, labels))

    parameters = [tg.Tensor(array, requires_grad=True) for array in start]
    activation = {"sigmoid": tg.sigmoid, "relu": tg.relu}[workload.settings["activation"]]
    z: tg.Tensor = tg.Tensor(x)
    for i in range(0, len(parameters), 2):
        z = (activation(z) if i else z) @ parameters[i] + parameters[i + 1]
    loss = tg.softmax_cross_entropy(z, labels)
    loss.backward()
    assert found == pytest.approx(loss.item(), rel=1e-12)
    assert training.parameters is not None
    for before, after, parameter in zip(start, training.parameters(), parameters, strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(
            (before - after) / LEARNING_RATE, parameter.grad, rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "workload",
    [
        *SMALL.values(),
        pytest.param(
            Workload("S3", "small", "lenet", {"batch": 3}, {"update": SGD(0.01, momentum=0.9)}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Workload("S4", "small", "lenet", {"batch": 2}, {"update": SGD(0.01)}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Workload(
                "S6", "small", "gpt", {"batch": 3, "vocabulary": 7, "width": 8, "context": 5},
                {"update": AdamW(0.001)},
            ),
            marks=pytest.mark.slow,
        ),
        replace(
            WORKLOADS["W6"], name="S5", sizes={"channels": 2, "filters": 3, "side": 5, "batch": 4}
        ),
    ],
    ids=lambda workload: workload.name,
)  # fmt: skip
def test_all_ways_to_train_agree(workload: Workload, dtype: str) -> None:
    able = [library for library in TRAINED if library.function(workload.network)]
    assert {"by_hand", "eager", "compiled"} <= {library.module for library in able}
    found: dict[str, Any] = {}
    for library in able:
        found[library.module] = results = Trainer(library, workload, dtype).check(10)
        assert results is not None
        assert results[0][-1] != results[0][0]
    for library in able:
        check(library, workload, dtype, found[library.module], found["by_hand"])


def wrong(loss: float = 1.0, add: float = 0.0, dtype: str = "float64") -> str:
    """What is said of results that differ from those by hand as told."""
    losses = np.array([2.0, 1.9])
    ends = [array - 0.01 for array in make_problem(SMALL["relu"], "float64").parameters]
    by_hand = [losses, *ends]
    ends[2] = ends[2] + add
    found = [losses * loss, *(array.astype(dtype) for array in ends)]
    with pytest.raises(BenchmarkError) as raised:
        check(LIBRARIES["eager"], SMALL["relu"], "float64", found, by_hand)
    return str(raised.value)


def test_wrong_results_are_not_timed() -> None:
    said = wrong(add=1e-10)
    assert "ours, eager, S2 (12-7-4, batch 1, relu), float64: after 2 steps parameter 2" in said
    assert "1.0e-08 of its change; allowed are 1e-09" in said
    assert "losses" in wrong(loss=1.00001)
    assert "losses" in wrong(loss=float("nan"))
    assert "parameter 2 differs" in wrong(add=float("nan"))
    assert "is float32 of shape (12, 7), not float64" in wrong(dtype="float32")


@pytest.mark.slow
def test_libraries_in_processes_of_their_own() -> None:
    absent = Library("no_such_module", "absent")
    timings, failures = compare(
        [LIBRARIES["gemms"], LIBRARIES["eager"], absent], SMALL["sigmoid"], "float32",
        Plan(rounds=2, seconds=0.001),
    )  # fmt: skip
    assert [timing.contender.module for timing in timings] == ["by_hand", "gemms", "eager"]
    assert list(failures) == ["absent"]
    assert "KeyError" in failures["absent"]
    for timing in timings:
        assert len(timing.seconds) == 2
        assert min(timing.seconds) > 0
        assert timing.usage["peak"] > timing.usage["grown"]
        assert set(timing.usage["threads"].values()) == set(timings[0].usage["threads"].values())


def test_libraries_are_asked_for_the_networks_that_they_have() -> None:
    assert all(library.function("mlp") for library in LIBRARIES.values())
    assert LIBRARIES["jax_jit"].function("lenet") and LIBRARIES["mygrad"].function("lenet") is None
    assert Library("absent", "absent").function("mlp") is None
    assert Library("eager", "eager", ours=True).function("no_such_network") is None


def test_ours_may_not_fail() -> None:
    with pytest.raises(BenchmarkError, match="absent: KeyError"):
        compare([Library("absent", "absent", ours=True)], SMALL["relu"], "float32", Plan(1, 0.001))


def test_ratios_are_taken_round_by_round() -> None:
    by_hand, ours = Timing(LIBRARIES["by_hand"], [1, 2, 4]), Timing(LIBRARIES["eager"], [2, 3, 4])
    ratio = ours.against(by_hand)
    assert (ratio.low, ratio.median, ratio.high) == (1.25, 1.5, 1.75)
    assert str(ratio) == "1.50 (1.25 to 1.75)"


@pytest.mark.parametrize("link", overhead.LINKS, ids=lambda link: link.name)
def test_chains_of_ops_are_the_same_by_hand(link: overhead.Link) -> None:
    assert overhead.overhead(link, rounds=1).keys() >= {"forward_over", "both_over"}
    false = overhead.Link(
        link.name,
        link.forward,
        lambda g, x, out: 2 * link.backward(g, x, out),
        link.bare,
        link.rows,
    )
    with pytest.raises(AssertionError):
        overhead.overhead(false, rounds=1)


def test_memory_of_a_chain_is_linear() -> None:
    short, long = overhead.chain_memory(2_000), overhead.chain_memory(8_000)
    assert 3 < long / short < 5


def test_the_step_that_ranks_share_is_timed() -> None:
    problem = make_problem(mlp("S", (12, 7, 4), 6, "relu"), "float32")
    assert ranks.step_seconds(problem, 0.001, parts=2) > 0


@pytest.mark.slow
def test_whole_trainings_end_with_the_same_loss() -> None:
    ours = [LIBRARIES["eager"], LIBRARIES["compiled"]]
    section = start.start_section(Plan(1, 0.01, steps=20, libraries=ours))
    assert list(section.data["losses"]) == ["by_hand", "eager", "compiled"]
    assert all(0 < times[0] < 60 for times in section.data["seconds"].values())
    assert section.text[-1].startswith("| ours, compiled, divided by | ")


def test_a_training_with_another_loss_is_no_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {"by_hand": 0.5, "eager": 0.52}
    monkeypatch.setattr(start, "from_start", lambda library, steps: (1.0, losses[library.module]))
    with pytest.raises(BenchmarkError, match=r"eager: test loss 0\.52, by hand 0\.5"):
        start.start_section(Plan(1, 0.01, libraries=[LIBRARIES["eager"]]))


@pytest.mark.slow
def test_a_training_that_fails_is_told() -> None:
    with pytest.raises(BenchmarkError, match="absent: KeyError"):
        start.from_start(Library("absent", "absent"), 1)


@pytest.mark.slow
def test_first_calls_are_made_with_an_empty_and_a_filled_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caches: list[bool] = []

    class Watched(Runner):
        def __init__(self, library: Library, workload: Workload, dtype: str, cache: str) -> None:
            caches.append(any(Path(cache).iterdir()))
            (Path(cache) / f"library{len(caches)}").touch()
            super().__init__(library, workload, dtype, cache)

    monkeypatch.setattr(start, "Runner", Watched)
    section = start.first_section(
        Plan(1, 0.01, libraries=[LIBRARIES["eager"], LIBRARIES["compiled"]])
    )
    assert list(section.data) == ["compiled"]
    assert caches == [False, True]
    assert min(section.data["compiled"]["runs"][0]) > 0


@pytest.fixture
def without_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "installed", lambda: [LIBRARIES["eager"]])
    monkeypatch.setitem(WORKLOADS, "W2", mlp("W2", (20, 6, 4), 2, "relu"))


@pytest.mark.usefixtures("without_peers")
def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmark -->\nold\n<!-- /benchmark -->\nafter\n")
    options = ["--only", "W2", "import", "--quick", "--rounds", "1", "--out", str(tmp_path)]
    assert benchmark.main([*options, "--write", str(readme)]) == 0
    printed = capsys.readouterr().out
    markdown = (tmp_path / "benchmark.md").read_text()
    assert markdown in printed
    assert "W2 20-6-4, batch 2, relu" in markdown
    assert "| ours, eager, divided by | by hand |" in markdown
    assert "`import tinygrad_np`" in markdown
    assert "Cost of an op" not in markdown
    data = json.loads((tmp_path / "benchmark.json").read_text())
    assert data["environment"]["numpy"] == np.__version__
    assert data["steps"]["float32"]["W2"]["eager"]["ratio"] > 0
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    text = readme.read_text()
    assert text.startswith("before\n<!-- benchmark -->\n")
    assert text.endswith("\n<!-- /benchmark -->\nafter\n")
    assert "old" not in text
    assert "| ours, eager |" in text


def test_what_the_figures_depend_on_is_told() -> None:
    found = report.environment()
    assert found["packages"]["numpy"] == np.__version__
    assert "busy" not in "".join(report.about(found | {"load": 0.1}))
    said = "".join(report.about(found | {"load": 3.0, "advice": ["Set it."]}))
    assert "busy** at the start (load average 3.0)" in said
    assert "Set it." in said


@pytest.mark.parametrize(
    "text",
    [
        "no marks",
        "<!-- benchmark --> and no end",
        "<!-- /benchmark --> before <!-- benchmark -->",
        "<!-- benchmark --><!-- /benchmark --><!-- benchmark -->",
    ],
)
def test_a_readme_without_a_place_for_the_table(tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="the table goes between one <!-- benchmark -->"):
        report.splice(readme, ["table"])
    assert readme.read_text() == text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "W9"], "invalid choice: 'W9'"),
        (["--rounds", "0"], "0 is less than 1"),
        (["--dtype", "float16"], "invalid choice: 'float16'"),
        (["--only", "import", "--write", "docs/benchmarks.md"], "leave them in"),
    ],
)
def test_options_that_cannot_be(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(options)
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("without_peers")
def test_an_error_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.bench.rounds.TOLERANCE", {"float32": -1.0})
    assert benchmark.main(["--quick", "--only", "W2", "--out", str(tmp_path)]) == 1
    assert "error: by hand, W2 (20-6-4" in capsys.readouterr().err
    assert not (tmp_path / "benchmark.md").exists()
