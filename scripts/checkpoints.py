"""Checkpoints: one safetensors file each, whole or not there, the newest few of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import tinygrad_np as tg
from scripts.training import Training
from tinygrad_np.serialization import PARTIAL, FileDamagedError, read

FORMAT, VERSION = "tinygrad_np training checkpoint", "1"


class CheckpointError(ValueError):
    """A checkpoint is whole, but not one that this run can go on from."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: the run's settings and the versions it ran on, and its state."""

    path: Path
    settings: dict[str, Any]
    versions: dict[str, str]
    arrays: dict[str, NDArray[Any]]
    state: dict[str, Any]

    @property
    def updates(self) -> int:
        """How far the run had come."""
        return int(self.state["updates"])

    def restore(self, training: Training) -> None:
        """Go on from here; CheckpointError where it does not fit, with all that differs."""
        try:
            training.restore(self.arrays, self.state)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.path}: is not a checkpoint of this model and optimiser: {error}"
            ) from error


class Checkpoints:
    """The checkpoints of the run in a folder, of which the last ``keep`` are kept."""

    def __init__(self, out: Path, keep: int = 3) -> None:
        self.folder, self.keep = out / "checkpoints", keep

    def files(self) -> list[Path]:
        """All checkpoint files, the newest first."""
        return sorted(self.folder.glob("update-*.safetensors"), key=_number, reverse=True)

    def save(
        self, training: Training, settings: Mapping[str, Any], versions: Mapping[str, str]
    ) -> Path:
        """Write a checkpoint, then remove those that are too many.

        Raises OSError where it cannot be written: the checkpoints before it are then still there.
        """
        arrays, state = training.state()
        content = {"settings": settings, "versions": versions, "state": state}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"update-{training.done:09}.safetensors"
        try:
            tg.save(
                arrays, path, {"format": FORMAT, "version": VERSION, "run": json.dumps(content)}
            )
        except OSError as error:
            error.add_note(f"The checkpoint {path} could not be written. {self._left()}")
            raise
        files = self.files()  # what is newer is damaged, and must not push out what is whole
        for old in files[files.index(path) + self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def _left(self) -> str:
        files = self.files()
        if not files:
            return "There is none from before."
        return f"The last good one is {files[0]}: make room, then go on with --resume."

    def latest(self, told: Callable[[str], None] = print) -> Checkpoint | None:
        """The newest checkpoint that is whole; those that are damaged are told of.

        Returns None where there is no checkpoint. Raises CheckpointError where all are damaged, or
        one is of another version.
        """
        damaged = []
        for path in self.files():
            try:
                return open_checkpoint(path)
            except FileDamagedError as error:
                told(f"{error}. Falling back to the checkpoint before it.")
                damaged.append(path.name)
        if damaged:
            raise CheckpointError(
                f"{self.folder}: all checkpoints are damaged ({', '.join(damaged)}): "
                "start anew with --overwrite"
            )
        return None

    def clear(self) -> None:
        """Remove all checkpoints."""
        for path in self.files():
            path.unlink()


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises FileDamagedError where it is damaged, CheckpointError where it is another kind of file
    or of another version.
    """
    arrays, metadata = read(path, verified=True)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is no checkpoint of scripts.train")
    if metadata.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: is a checkpoint of version {metadata.get('version')}; this program reads "
            f"version {VERSION}. Go on with the program that wrote it, or begin anew "
            "with --overwrite"
        )
    try:
        content = json.loads(metadata["run"])
        return Checkpoint(path, content["settings"], content["versions"], arrays, content["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata are not what was saved: {error!r}") from error


def remove_partial(out: Path) -> None:
    """Remove what a process that was killed left half written in a run's folder."""
    for path in [*out.glob(f"*{PARTIAL}"), *out.glob(f"checkpoints/*{PARTIAL}")]:
        path.unlink(missing_ok=True)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("update-")
    return int(digits) if digits.isdecimal() else -1
