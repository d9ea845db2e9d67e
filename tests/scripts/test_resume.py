"""Training that is stopped, in whatever way, goes on as if nothing had happened."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from scripts import run_folder, training
from scripts.checkpoints import Checkpoints, open_checkpoint
from tests import tiny
from tinygrad_np.serialization import PARTIAL, read

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has stopped."""
    out = tmp_path_factory.mktemp("whole")
    assert tiny.run(images, out) == 0
    return out


def last(out: Path) -> Path:
    return Checkpoints(out).files()[0]


def assert_same_run(out: Path, whole: Path) -> None:
    """Weights, metrics, optimiser state, generators and position, to the last bit."""
    for name in ("model.safetensors", "metrics.csv", "config.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    one, other = open_checkpoint(last(out)), open_checkpoint(last(whole))
    assert one.arrays.keys() == other.arrays.keys()
    if one.settings["optimizer"] != "sgd":
        assert any(name.startswith("optimizer.") for name in one.arrays)
    for name, array in one.arrays.items():
        assert array.tobytes() == other.arrays[name].tobytes(), name
    for state in (one.state, other.state):
        state.pop("seconds")
        for row in state["rows"]:
            row.pop("seconds")
    assert one.state == other.state
    assert one.settings == other.settings
    assert [*out.rglob(f"*{PARTIAL}")] == []


class Stop(BaseException):
    """Ends a run where no code expects it."""


def stop_at(update: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the run break off at the start of an update."""
    proper = training.Training.update

    def broken(self: training.Training) -> float:
        if self.done == update:
            raise Stop
        return proper(self)

    monkeypatch.setattr(training.Training, "update", broken)


def broken_off(images: Path, out: Path, update: int, *more: str, model: str = "Net") -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(update, patch)
        with pytest.raises(Stop):
            tiny.run(images, out, *more, model=model)


# To the last bit


@pytest.mark.parametrize(
    "update",
    [0, 20, 96, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 19, 21, 100, 149))],
)
def test_a_run_that_broke_off_ends_the_same(
    images: Path, whole: Path, tmp_path: Path, update: int
) -> None:
    broken_off(images, tmp_path, update)
    random.seed()
    np.random.seed()
    tg.manual_seed(5)
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize(
    "settings",
    [
        ["--recipe", "best", "--epochs", "12"],  # a schedule, shifted images, epochs in order
        pytest.param(["--optimizer", "nesterov"], marks=pytest.mark.slow),
        pytest.param(["--optimizer", "sgd", "--lr", "0.5"], marks=pytest.mark.slow),
        ["--optimizer", "adamw", "--seed", "3"],
        ["--no-compiled"],
    ],
    ids=" ".join,
)
def test_every_setting_goes_on_the_same(images: Path, tmp_path: Path, settings: list[str]) -> None:
    full = tiny.command(images, tmp_path / "whole", *settings)
    if "--epochs" in settings:
        at = full.index("--iterations")
        del full[at : at + 2]
    from scripts import train

    assert train.main(full) == 0
    part = [str(tmp_path / "part") if a == str(tmp_path / "whole") else a for a in full]
    with pytest.MonkeyPatch.context() as patch:
        stop_at(77, patch)
        with pytest.raises(Stop):
            train.main(part)
    assert train.main([*part, "--resume"]) == 0
    assert_same_run(tmp_path / "part", tmp_path / "whole")


def test_every_generator_and_array_of_a_model_goes_on(images: Path, tmp_path: Path) -> None:
    assert tiny.run(images, tmp_path / "whole", "--no-compiled", model="Noisy") == 0
    broken_off(images, tmp_path / "part", 77, "--no-compiled", model="Noisy")
    assert tiny.run(images, tmp_path / "part", "--no-compiled", "--resume", model="Noisy") == 0
    assert_same_run(tmp_path / "part", tmp_path / "whole")
    kept = open_checkpoint(last(tmp_path / "part"))
    assert {"python", "numpy", "tinygrad_np", "order", "model.own", "model.old"} == set(
        kept.state["generators"]
    )
    assert np.any(kept.arrays["model.mean"])


@pytest.mark.parametrize(
    ("how", "model"),
    [
        ("--compiled", "Nested"),
        ("--no-compiled", "Constant"),
        pytest.param("--no-compiled", "Nested", marks=pytest.mark.slow),
        pytest.param("--compiled", "Constant", marks=pytest.mark.slow),
    ],
)
def test_what_is_in_lists_and_of_another_dtype_by_now_goes_on(
    images: Path, tmp_path: Path, how: str, model: str
) -> None:
    assert tiny.run(images, tmp_path / "whole", how, model=model) == 0
    broken_off(images, tmp_path / "part", 77, how, model=model)
    assert tiny.run(images, tmp_path / "part", how, "--resume", model=model) == 0
    assert_same_run(tmp_path / "part", tmp_path / "whole")


def test_a_run_broken_off_again_and_again(images: Path, whole: Path, tmp_path: Path) -> None:
    broken_off(images, tmp_path, 30)
    for update in (31, 45, 61, 99, 130):
        broken_off(images, tmp_path, update, "--resume")
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert_same_run(tmp_path, whole)


def test_compiled_and_eager_are_the_same_to_the_last_bit(
    images: Path, whole: Path, tmp_path: Path
) -> None:
    assert tiny.run(images, tmp_path, "--no-compiled") == 0
    assert_same_run(tmp_path, whole)


def test_a_model_that_cannot_be_compiled_is_trained_all_the_same(
    images: Path, tmp_path: Path, capsys: Any
) -> None:
    assert tiny.run(images, tmp_path / "a", model="Noisy") == 0
    assert "Continuing without tg.compile" in capsys.readouterr().out
    assert tiny.run(images, tmp_path / "b", "--no-compiled", model="Noisy") == 0
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("how", [["--overwrite", "--seed", "1"], ["--resume"]])
def test_weights_of_before_are_not_taken_for_a_new_runs(
    images: Path, tmp_path: Path, how: list[str]
) -> None:
    assert tiny.run(images, tmp_path, "--iterations", "40") == 0
    broken_off(images, tmp_path, 70, *how)
    model = run_folder.load_model(tmp_path, run_folder.read_config(tmp_path))
    kept = open_checkpoint(last(tmp_path))
    assert kept.updates == 60
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, kept.arrays[f"model.{name}"])


@pytest.mark.parametrize("finished", [True, False])
def test_predictions_are_made_with_all_arrays_of_a_model(
    images: Path, tmp_path: Path, finished: bool
) -> None:
    assert tiny.run(images, tmp_path, "--no-compiled", model="Noisy") == 0
    if not finished:
        (tmp_path / run_folder.MODEL).unlink()
    model = run_folder.load_model(tmp_path, run_folder.read_config(tmp_path))
    kept = open_checkpoint(last(tmp_path)).arrays
    np.testing.assert_array_equal(vars(model)["mean"], kept["model.mean"])
    np.testing.assert_array_equal(model.state_dict()["out.bias"], kept["model.out.bias"])


def test_rows_are_kept_when_compiling_fails_late(images: Path, tmp_path: Path, capsys: Any) -> None:
    more = ["--recipe", "best", "--iterations", "40", "--checkpoint-every", "1000"]
    assert tiny.run(images, tmp_path / "a", *more, model="Late") == 0
    assert "Continuing without tg.compile" in capsys.readouterr().out
    assert tiny.run(images, tmp_path / "b", "--no-compiled", *more, model="Late") == 0
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_the_row_of_a_checkpoint_at_the_end_of_an_epoch_is_kept(
    images: Path, whole: Path, tmp_path: Path, capsys: Any
) -> None:
    assert tiny.run(images, tmp_path, "--checkpoint-every", "11", model="Later") == 0
    assert "Continuing without tg.compile" in capsys.readouterr().out
    assert (tmp_path / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_a_finished_run_is_finished(images: Path, whole: Path, tmp_path: Path) -> None:
    assert tiny.run(images, tmp_path) == 0
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert_same_run(tmp_path, whole)


def test_a_run_can_be_made_longer(images: Path, whole: Path, tmp_path: Path) -> None:
    assert tiny.run(images, tmp_path, "--iterations", "75") == 0  # in the middle of an epoch
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert_same_run(tmp_path, whole)


def test_a_run_cannot_be_made_shorter(images: Path, tmp_path: Path, capsys: Any) -> None:
    assert tiny.run(images, tmp_path, "--iterations", "75") == 0
    message = refused(images, tmp_path, capsys, "--resume", "--iterations", "74")
    assert "holds update 75, and only 74 updates are asked for" in message
    assert (tmp_path / "model.safetensors").exists()


# Killed


KILLED_IN_A_WRITE = """
import os, signal, stat, sys
from scripts import train
call, at = sys.argv[1], int(sys.argv[2])
proper, calls = getattr(os, call), 0
def killed(*arguments, **named):
    global calls
    calls += 1
    if calls == at:
        if call == "fsync" and stat.S_ISREG(os.fstat(arguments[0]).st_mode):
            os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)  # half written
        os.kill(os.getpid(), signal.SIGKILL)
    return proper(*arguments, **named)
setattr(os, call, killed)
sys.exit(train.main(sys.argv[3:]))
"""


def killed_in_a_write(arguments: list[str], call: str, at: int) -> int:
    program = [sys.executable, "-c", KILLED_IN_A_WRITE, call, str(at), *arguments]
    return subprocess.run(program, cwd=ROOT, check=False, capture_output=True).returncode


def killed_after(arguments: list[str], seconds: float) -> int:
    """Kill a run so long after its table has begun."""
    program = [sys.executable, "-u", "-m", "scripts.train", *arguments]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"epoch" in line:
                break
        time.sleep(seconds)
        process.kill()
    return process.returncode


@pytest.mark.slow
def test_25_kills_change_nothing(tmp_path: Path) -> None:
    images = tiny.write_images(tmp_path / "images", 600)
    more = ["--iterations", "1000", "--checkpoint-every", "50"]
    assert tiny.run(images, tmp_path / "whole", *more) == 0
    rng = np.random.default_rng()
    for kill in range(25):
        code, later = 0, 1.0
        while code == 0:  # again where the run was over sooner
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            arguments = tiny.command(images, tmp_path / "out", *more)
            if kill % 5 < 2:
                call = ["fsync", "replace"][kill % 5]
                code = killed_in_a_write(arguments, call, int(later * rng.integers(1, 60)))
            else:
                code = killed_after(arguments, later * float(rng.uniform(0, 0.5)))
            later *= 0.7
        assert code == -signal.SIGKILL
        assert tiny.run(images, tmp_path / "out", *more, "--resume") == 0
        assert_same_run(tmp_path / "out", tmp_path / "whole")


def test_a_kill_in_a_write_leaves_a_partial_file_that_is_removed(
    images: Path, whole: Path, tmp_path: Path
) -> None:
    arguments = tiny.command(images, tmp_path)
    assert killed_in_a_write(arguments, "fsync", 31) == -signal.SIGKILL
    assert len([*tmp_path.rglob(f"*{PARTIAL}")]) == 1
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert_same_run(tmp_path, whole)


# Ctrl-C


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handlers of signals, whatever the test's end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) is handler


def signalled_at(
    update: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT, times: int = 1
) -> None:
    proper = training.Training.update

    def interrupted(self: training.Training) -> float:
        if self.done == update:
            for _ in range(times):
                os.kill(os.getpid(), number)
        return proper(self)

    monkeypatch.setattr(training.Training, "update", interrupted)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_ctrl_c_stops_after_the_step(
    images: Path, whole: Path, tmp_path: Path, capfd: Any, number: int, code: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        signalled_at(33, patch, number)
        assert tiny.run(images, tmp_path) == code
    out, err = capfd.readouterr()
    assert "Press Ctrl-C again to stop at once" in err
    assert "Stopped after update 34 of 150. The same command with --resume" in out
    assert open_checkpoint(last(tmp_path)).updates == 34
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert_same_run(tmp_path, whole)


@pytest.mark.usefixtures("interruptible")
def test_the_second_ctrl_c_stops_at_once(
    images: Path, whole: Path, tmp_path: Path, capfd: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        signalled_at(33, patch, times=2)
        assert tiny.run(images, tmp_path) == 130
    assert "--resume continues" in capfd.readouterr().err
    assert open_checkpoint(last(tmp_path)).updates == 20
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert_same_run(tmp_path, whole)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("model", ["Net", "Unsure"])
def test_ctrl_c_while_the_figures_are_found(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "part"
    assert tiny.run(images, whole, model=model) == 0
    proper = training.Training.evaluate

    def interrupted(self: training.Training, *args: Any) -> Any:
        if self.done == 44:
            os.kill(os.getpid(), signal.SIGINT)
        return proper(self, *args)

    monkeypatch.setattr(training.Training, "evaluate", interrupted)
    assert tiny.run(images, out, model=model) == 130
    kept = open_checkpoint(last(out))
    assert (kept.updates, len(kept.state["rows"])) == (44, 3)
    monkeypatch.undo()
    assert tiny.run(images, out, "--resume", model=model) == 0
    assert_same_run(out, whole)


# Checkpoints


def test_the_last_few_are_kept(whole: Path) -> None:
    assert [path.name for path in Checkpoints(whole).files()] == [
        f"update-000000{n}.safetensors" for n in (150, 140, 120)
    ]


def test_so_many_are_kept_as_asked_for(images: Path, tmp_path: Path) -> None:
    assert tiny.run(images, tmp_path, "--keep", "1") == 0
    assert len(Checkpoints(tmp_path).files()) == 1


@pytest.mark.parametrize("damage", ["cut short", "a bit", "empty"])
def test_a_damaged_one_is_told_and_the_one_before_it_taken(
    images: Path, whole: Path, tmp_path: Path, capsys: Any, damage: str
) -> None:
    broken_off(images, tmp_path, 90)
    path = last(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[-20] ^= 4  # of an array: only the digest can tell
    damaged = {"cut short": bytes(content[:-9]), "a bit": bytes(content), "empty": b""}
    path.write_bytes(damaged[damage])
    assert tiny.run(images, tmp_path, "--resume") == 0
    told = capsys.readouterr().out
    assert f"{path}: is" in told
    assert "Falling back to the checkpoint before it" in told
    assert "update-000000060.safetensors: 60 of 150 updates" in told
    assert_same_run(tmp_path, whole)


def refused(images: Path, out: Path, capsys: Any, *more: str, model: str = "Net") -> str:
    """The message of a run that must not begin; nothing on the disk may change."""
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert tiny.run(images, out, *more, model=model) == 1
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    message: str = capsys.readouterr().err
    assert message.startswith("error: ")
    return message


def test_a_damaged_one_does_not_push_out_the_good_ones(images: Path, tmp_path: Path) -> None:
    broken_off(images, tmp_path, 65)
    last(tmp_path).write_bytes(b"")
    broken_off(images, tmp_path, 57, "--resume", "--keep", "1", "--checkpoint-every", "5")
    names = [path.stem for path in Checkpoints(tmp_path).files()]
    assert names == ["update-000000060", "update-000000055"]
    assert tiny.run(images, tmp_path, "--resume") == 0


def test_all_damaged_is_an_error_and_not_a_new_beginning(
    images: Path, tmp_path: Path, capsys: Any
) -> None:
    broken_off(images, tmp_path, 90)
    for path in Checkpoints(tmp_path).files():
        path.write_bytes(b"torn")
    assert "all checkpoints are damaged" in refused(images, tmp_path, capsys, "--resume")


def test_no_checkpoint_is_the_beginning(
    images: Path, whole: Path, tmp_path: Path, capsys: Any
) -> None:
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert "no checkpoint yet" in capsys.readouterr().out
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize(
    ("model", "more", "words"),
    [
        ("Noisy", [], "model was 'tests.tiny:Net', now 'tests.tiny:Noisy'"),
        ("Net", ["--optimizer", "sgd"], "optimizer was 'adam', now 'sgd'"),
        ("Net", ["--batch-size", "9"], "batch_size was 8, now 9"),
        ("Net", ["--seed", "1"], "seed was 0, now 1"),
    ],
)
def test_other_settings_are_refused(
    images: Path, tmp_path: Path, capsys: Any, model: str, more: list[str], words: str
) -> None:
    broken_off(images, tmp_path, 50)
    assert words in refused(images, tmp_path, capsys, "--resume", *more, model=model)


def test_a_model_that_has_changed_is_refused(
    images: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(images, tmp_path, 50)

    class Wider(tiny.Net):
        def __init__(self, rng: Any = None) -> None:
            super().__init__(rng)
            self.hidden = tg.nn.Linear(16, 8, bias=False, rng=rng)

    monkeypatch.setattr(tiny, "Net", Wider)
    message = refused(images, tmp_path, capsys, "--resume")
    assert "is not a checkpoint of this model" in message
    assert "unexpected: hidden.bias" in message


def test_a_checkpoint_of_another_version_is_refused(
    images: Path, tmp_path: Path, capsys: Any
) -> None:
    broken_off(images, tmp_path, 50)
    path = last(tmp_path)
    arrays, metadata = read(path)
    tg.save(arrays, path, {**metadata, "version": "1"})
    message = refused(images, tmp_path, capsys, "--resume")
    assert "is a checkpoint of version 1; this program reads version 4" in message


def test_weights_are_no_checkpoint(images: Path, whole: Path, tmp_path: Path, capsys: Any) -> None:
    broken_off(images, tmp_path, 50)
    last(tmp_path).write_bytes((whole / "model.safetensors").read_bytes())
    assert "is not a checkpoint" in refused(images, tmp_path, capsys, "--resume")


def test_other_versions_are_told(images: Path, tmp_path: Path, capsys: Any) -> None:
    broken_off(images, tmp_path, 50)
    path = last(tmp_path)
    arrays, metadata = read(path)
    content = json.loads(metadata["run"])
    content["versions"]["numpy"] = "1.0"
    tg.save(arrays, path, {**metadata, "run": json.dumps(content)})
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert f"numpy 1.0, now {np.__version__}" in capsys.readouterr().out


def test_other_data_are_refused(images: Path, tmp_path: Path, capsys: Any) -> None:
    own = tiny.write_images(tmp_path / "images")
    broken_off(own, tmp_path / "out", 50)
    tiny.write_images(own, 91)
    assert "is of a run on other data" in refused(own, tmp_path / "out", capsys, "--resume")


def test_a_run_is_not_lost_to_another_one(
    images: Path, whole: Path, tmp_path: Path, capsys: Any
) -> None:
    assert tiny.run(images, tmp_path, "--seed", "4") == 0
    message = refused(images, tmp_path, capsys)
    assert "holds a run already" in message
    assert "--overwrite" in message
    assert "a batch of 1000" in refused(
        images, tmp_path, capsys, "--overwrite", "--batch-size", "1000"
    )
    assert last(tmp_path).name == "update-000000150.safetensors"  # nothing is lost by a slip
    assert tiny.run(images, tmp_path, "--overwrite") == 0
    assert_same_run(tmp_path, whole)


def test_two_at_once_are_refused(images: Path, tmp_path: Path, capsys: Any) -> None:
    from scripts.run_folder import locked

    with locked(tmp_path):
        assert "another process is training" in refused(images, tmp_path, capsys)
    assert tiny.run(images, tmp_path) == 0


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only")]
)
def test_a_disk_that_fails_loses_nothing(
    images: Path, whole: Path, tmp_path: Path, capsys: Any, error: OSError
) -> None:
    proper, calls = os.fsync, 0

    def fail(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise error
        proper(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert tiny.run(images, tmp_path) == 1
    message = capsys.readouterr().err
    assert str(error.strerror) in message
    assert [*tmp_path.rglob(f"*{PARTIAL}")] == []
    assert tiny.run(images, tmp_path, "--resume") == 0
    assert_same_run(tmp_path, whole)


def test_a_folder_that_cannot_be_written_to_is_told_before_training(
    images: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proper = open

    def read_only(name: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
        if "w" in mode and str(name).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, "Read-only file system", name)
        return proper(name, mode, *args, **named)

    monkeypatch.setattr("builtins.open", read_only)
    assert tiny.run(images, tmp_path / "run") == 1
    out, err = capsys.readouterr()
    assert "Read-only file system" in err
    assert "epoch" not in out


# Losses that are no number


class Explosive(tiny.Net):
    """Its weights overflow at the update after ``at``: the exponential of a large number."""

    at = 50

    def __init__(self, rng: Any = None) -> None:
        super().__init__(rng)
        self.count = np.zeros((), np.int64)

    def forward(self, x: Any) -> tg.Tensor:
        scores = super().forward(x)
        if not self.training:
            return scores
        self.count += 1
        return tg.exp(scores * 1e5) if self.count > self.at else scores


def test_nan_stops_the_run_and_says_where(
    images: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "Net", Explosive)
    assert tiny.run(images, tmp_path, "--no-compiled") == 1
    message = capsys.readouterr().err
    assert "the loss became" in message
    assert "at update 51" in message
    assert "the op 'exp' is the first to hold inf" in message
    assert "test_resume.py" in message
    assert "in forward" in message
    assert f"kept: {last(tmp_path)}" in message
    assert "--lr 0.0001" in message
    assert open_checkpoint(last(tmp_path)).updates == 40


def test_a_rate_far_too_high_is_told_with_the_op(images: Path, tmp_path: Path, capsys: Any) -> None:
    assert tiny.run(images, tmp_path, "--optimizer", "sgd", "--lr", "1e38") == 1
    message = capsys.readouterr().err
    assert "It began at update" in message
    assert "What usually helps: a smaller learning rate (--lr 1e+37)" in message


def test_images_that_hold_nan_are_told(tmp_path: Path, capsys: Any) -> None:
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        x = rng.random((90, 4, 4), np.float32)
        x[80:, 1, 1] = np.nan
        np.save(images / f"{split}-images.npy", x)
        np.save(images / f"{split}-labels.npy", rng.integers(3, size=90))
    assert tiny.run(images, tmp_path / "out") == 1
    assert "The images themselves hold nan or inf" in capsys.readouterr().err


def test_a_weight_that_is_not_finite_is_not_kept(
    images: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proper = training.Training.update

    def poisoned(self: training.Training) -> float:
        loss = proper(self)
        if self.done == 60:
            self.model.parameters()[0].data[0, 0] = np.inf
        return loss

    monkeypatch.setattr(training.Training, "update", poisoned)
    assert tiny.run(images, tmp_path) == 1
    assert "hidden.weight is not finite after update 60" in capsys.readouterr().err
    assert open_checkpoint(last(tmp_path)).updates == 40
