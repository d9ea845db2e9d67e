"""Ranks that mpiexec starts: any number of them trains the same weights, and none ever hangs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.bench.ranks import launch
from scripts.checkpoints import Checkpoints, open_checkpoint
from tests import tiny
from tinygrad_np.serialization import PARTIAL, read

pytestmark = pytest.mark.mpi

ROOT = Path(__file__).parents[2]
HANGS = 120
"""Seconds after which a program counts as hanging."""
_, ENVIRONMENT = launch(1)
ENVIRONMENT["PYTHONPATH"] = str(ROOT)


def start(ranks: int, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        launch(ranks, "-m", *command)[0], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=ROOT, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and the output. The test fails if the program hangs."""
    with process:
        try:
            text, _ = process.communicate(timeout=HANGS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"{process.args!r} hangs")
    return process.returncode, text


def run(ranks: int, *command: str) -> tuple[int, str]:
    return ended(start(ranks, *command))


def program(ranks: int, *arguments: str) -> tuple[int, str]:
    return run(ranks, "tests.distributed.ranks", *arguments)


def assert_close(one: Any, other: Any) -> None:
    """Assert that arrays are equal to 1e-12, relative to the largest number of each."""
    assert {*one} == {*other}
    for name in one:
        scale = np.abs(other[name]).max()
        assert np.abs(one[name] - other[name]).max() <= 1e-12 * scale, name


# The same weights


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The weights that one process without mpiexec trains."""
    out = tmp_path_factory.mktemp("alone") / "weights.npz"
    command = [sys.executable, "-m", "tests.distributed.ranks", "train", str(out)]
    subprocess.run(command, check=True, cwd=ROOT, env=ENVIRONMENT)
    return dict(np.load(out))


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_any_number_of_ranks_ends_with_the_same_weights(
    alone: Any, tmp_path: Path, ranks: int
) -> None:
    """Dropout, batch normalization, batches that cannot be divided, both executors."""
    code, text = program(ranks, "train", str(tmp_path / "weights.npz"))
    assert code == 0, text
    assert_close(dict(np.load(tmp_path / "weights.npz")), alone)


def test_arrays_of_every_dtype_are_exchanged() -> None:
    code, text = program(3, "exchanges")
    assert code == 0, text


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_gradients_of_every_origin_are_averaged_and_stay_right(ranks: int) -> None:
    code, text = program(ranks, "lends")
    assert code == 0, text


def test_machines_exchange_what_their_ranks_have_added_up() -> None:
    code, text = program(4, "machines")
    assert code == 0, text


def test_a_step_that_runs_again_for_a_warning_exchanges_once() -> None:
    code, text = program(2, "warns")
    assert code == 0, text


def test_the_program_of_the_documentation_prints_the_same_losses(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "many_machines.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```{code-cell}\n(.*?)```", text, re.DOTALL)
    (tmp_path / "own.py").write_text(source)
    found = []
    for ranks in (1, 3):
        command, environment = launch(ranks, str(tmp_path / "own.py"))
        environment["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        found.append([float(line) for line in done.stdout.split()])
    assert len(found[0]) == 10
    np.testing.assert_allclose(found[1], found[0], atol=2e-4)


def test_the_benchmark_measures_every_rank() -> None:
    code, text = run(2, "scripts.bench.ranks", "0.01")
    assert code == 0, text
    found = json.loads(text.splitlines()[-1])
    assert {"step", "bytes", "short", "long", "part 1", "part 64"} <= {*found}
    assert all(value > 0 for value in found.values())


# Ends


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", "ValueError: rank 1 has a problem of its own"),
        ("leaves", "others are at 'end'"),
        ("parts", "others have 16 to 32 bytes"),
    ],
)
def test_what_goes_wrong_in_one_rank_ends_all(name: str, message: str) -> None:
    code, text = program(3, name)
    assert code != 0
    assert message in text


# scripts.train


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_images(tmp_path_factory.mktemp("images"))


def command(images: Path, out: Path, *more: str) -> list[str]:
    options = ["--dtype", "float64", "--optimizer", "nesterov", *more]
    return ["tests.distributed.ranks:Double", *tiny.command(images, out, *options)[1:]]


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of one process."""
    out = tmp_path_factory.mktemp("whole")
    script = [sys.executable, "-m", "scripts.train", *command(images, out)]
    subprocess.run(script, check=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    return out


def assert_same_run(out: Path, whole: Path) -> None:
    names = [sorted(p.relative_to(d).as_posix() for p in d.rglob("*")) for d in (out, whole)]
    assert names[0] == names[1]
    one, other = ((f / "metrics.csv").read_text().split()[1:] for f in (out, whole))
    rows = [np.array([r.split(",") for r in text], float) for text in (one, other)]
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-5)
    weights = [read(folder / "model.safetensors")[0] for folder in (out, whole)]
    assert_close(*weights)


def test_the_ranks_write_what_one_process_writes(images: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, text = run(2, "scripts.train", *command(images, out))
    assert code == 0, text
    assert text.count("Test accuracy") == 1
    assert_same_run(out, whole)
    for path in (out / "checkpoints").iterdir():
        one, other = (open_checkpoint(p) for p in (path, whole / "checkpoints" / path.name))
        assert_close(one.arrays, other.arrays)
        assert one.state["generators"] == other.state["generators"]


def test_moved_images_are_shared_as_well(images: Path, tmp_path: Path) -> None:
    def best(out: Path) -> list[str]:
        full = command(images, out, "--recipe", "best", "--epochs", "4")
        at = full.index("--iterations")
        return [*full[:at], *full[at + 2 :]]

    script = [sys.executable, "-m", "scripts.train", *best(tmp_path / "one")]
    subprocess.run(script, check=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    code, text = run(3, "scripts.train", *best(tmp_path / "many"))
    assert code == 0, text
    assert_same_run(tmp_path / "many", tmp_path / "one")


def test_an_error_of_all_is_said_once(tmp_path: Path, images: Path) -> None:
    wrong = command(images, tmp_path, "--batch-size", "1000")
    code, text = run(2, "scripts.train", *wrong)
    assert code != 0
    assert text.count("error: a batch of 1000 is more than the 90 training images") == 1


def stopped_and_resumed(
    images: Path, out: Path, rank: int, update: int, number: int, ranks: int
) -> tuple[int, str]:
    """Send one of 2 ranks a signal, then resume with ``ranks``; return how the first run ended."""
    full = command(images, out)
    code, text = program(2, "run_and_signal", str(rank), str(update), str(int(number)), *full)
    files = Checkpoints(out).files()
    assert [open_checkpoint(path).path for path in files] == files  # all undamaged
    again, words = run(ranks, "scripts.train", *full, "--resume")
    assert again == 0, words
    return code, text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_stops_all_with_a_checkpoint(
    images: Path, whole: Path, tmp_path: Path, rank: int, number: int
) -> None:
    _, text = stopped_and_resumed(images, tmp_path, rank, 33, number, ranks=3)
    assert "Stopped after update 34 of 150" in text
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_all(images: Path, whole: Path, tmp_path: Path, rank: int) -> None:
    code, text = stopped_and_resumed(images, tmp_path, rank, 50, signal.SIGKILL, ranks=1)
    assert code != 0
    assert "kill" in text.lower()
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_mpiexec_leaves_a_good_checkpoint(
    images: Path, tmp_path: Path, number: int
) -> None:
    full = [*command(images, tmp_path), "--iterations", "1000000"]
    process = start(2, "scripts.train", *full)
    first = tmp_path / "checkpoints" / "update-000000000.safetensors"
    limit = time.monotonic() + HANGS
    while not (first.exists() and (tmp_path / "metrics.csv").read_text().count("\n") > 1):
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(number)
    code, text = ended(process)
    assert code != 0
    newest = open_checkpoint(Checkpoints(tmp_path).files()[0])
    assert newest.updates > 0, text
    if Path(sys.executable).with_name("mpichversion").exists():  # Open MPI soon kills its ranks
        assert f"Stopped after update {newest.updates:,}" in text
    assert [*tmp_path.rglob(f"*{PARTIAL}")] == []


@pytest.mark.slow
def test_ranks_killed_at_random_moments(images: Path, tmp_path: Path) -> None:
    """Ten times; each time the run is resumed by another number of ranks."""
    rng = np.random.default_rng()
    full, one = (command(images, tmp_path / n, "--iterations", "4000") for n in ("many", "one"))
    script = [sys.executable, "-m", "scripts.train", *one]
    subprocess.run(script, check=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    full.append("--resume")
    for trial in range(10):
        process = start(1 + trial % 4, "scripts.train", *full)
        goal, limit = newest(tmp_path / "many") + rng.integers(1, 100), time.monotonic() + HANGS
        while process.poll() is None and newest(tmp_path / "many") < goal:
            assert time.monotonic() < limit
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        ranks = [p for p in descendants(process.pid) if "scripts.train" in words_of(p)]
        victims = [p for p in ranks if "mpiexec" not in words_of(p)]
        os.kill(victims[rng.integers(len(victims))], signal.SIGKILL)
        code, text = ended(process)
        assert code != 0, text
        print(f"one of {len(victims)} ranks was killed after update {newest(tmp_path / 'many')}")
    code, text = run(2, "scripts.train", *full)
    assert code == 0, text
    assert_same_run(tmp_path / "many", tmp_path / "one")


def newest(out: Path) -> int:
    """The number of updates in the newest checkpoint, or -1 if there is none."""
    return max([int(path.stem[7:]) for path in Checkpoints(out).files()], default=-1)


def descendants(pid: int) -> list[int]:
    try:
        tasks = [*Path(f"/proc/{pid}/task").iterdir()]
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return []
    return children + [deeper for child in children for deeper in descendants(child)]


def words_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
