"""Checkpoints: one safetensors file each, written whole or not at all; the newest few are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import tinygrad_np as tg
from scripts.training import Training
from tinygrad_np.serialization import PARTIAL, FileDamagedError, read

FORMAT, VERSION = "tinygrad_np training checkpoint", "4"


class CheckpointError(ValueError):
    """A checkpoint is undamaged, but this run cannot continue from it."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint: the run's settings and versions, and its state."""

    path: Path
    settings: dict[str, Any]
    versions: dict[str, str]
    arrays: dict[str, NDArray[Any]]
    state: dict[str, Any]

    @property
    def updates(self) -> int:
        """The number of updates made."""
        return int(self.state["updates"])

    def restore(self, training: Training) -> None:
        """Continue from here; CheckpointError, with all differences, where it does not fit."""
        try:
            training.restore(self.arrays, self.state)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.path}: is not a checkpoint of this model and optimiser: {error}"
            ) from error


class Checkpoints:
    """The checkpoints in a run's folder, of which the last ``keep`` are kept."""

    def __init__(self, out: Path, keep: int = 3) -> None:
        self.folder, self.keep = out / "checkpoints", keep

    def files(self) -> list[Path]:
        """All checkpoint files, the newest first."""

        def number(path: Path) -> int:
            digits = path.stem.removeprefix("update-")
            return int(digits) if digits.isdecimal() else -1

        return sorted(self.folder.glob("update-*.safetensors"), key=number, reverse=True)

    def save(
        self, training: Training, settings: Mapping[str, Any], versions: Mapping[str, str]
    ) -> None:
        """Write a checkpoint, then remove the oldest ones beyond ``keep``.

        Raises OSError where it cannot be written: the checkpoints before it are still there.
        """
        arrays, state = training.state()
        content = json.dumps({"settings": settings, "versions": versions, "state": state})
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"update-{training.done:09}.safetensors"
        try:
            tg.save(arrays, path, {"format": FORMAT, "version": VERSION, "run": content})
        except OSError as error:
            files = self.files()
            left = "There is none from before."
            if files:
                left = f"The last good one is {files[0]}: make room, then continue with --resume."
            error.add_note(f"The checkpoint {path} could not be written. {left}")
            raise
        files = self.files()  # a newer one is damaged, and must not displace a good one
        for old in files[files.index(path) + self.keep :]:
            old.unlink(missing_ok=True)

    def latest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint, None where there is no checkpoint at all.

        Prints a line for each damaged one. Raises CheckpointError where all are damaged, or one is
        of another version.
        """
        damaged = []
        for path in self.files():
            try:
                return open_checkpoint(path)
            except FileDamagedError as error:
                print(f"{error}. Falling back to the checkpoint before it.")
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
            f"version {VERSION}. Continue with the program that wrote it, or start anew "
            "with --overwrite"
        )
    try:
        content = json.loads(metadata["run"])
        return Checkpoint(path, content["settings"], content["versions"], arrays, content["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata are not what was saved: {error!r}") from error


def remove_partial(out: Path) -> None:
    """Remove the half-written files that a killed process has left in a run's folder."""
    for path in [*out.glob(f"*{PARTIAL}"), *out.glob(f"checkpoints/*{PARTIAL}")]:
        path.unlink(missing_ok=True)
