"""Checkpoints: one safetensors file each, written whole or not at all; the newest few are kept."""

import functools
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_np as tg
from scripts.training import Training
from tinygrad_np.serialization import PARTIAL, FileDamagedError, read
from tinygrad_np.tensor import Array

FORMAT, VERSION = "tinygrad_np training checkpoint", "4"


@functools.cache
def versions() -> dict[str, str]:
    """What the last bits of a run may depend on."""
    blas = tg.show_config(mode="dicts")["blas"]
    return {
        "tinygrad_np": tg.__version__, "numpy": np.__version__,
        "python": platform.python_version(),
        "blas": " ".join(str(blas[key]) for key in ("library", "version", "kernel") if blas[key]),
        "blas_threads": str(blas["threads"]),
    }  # fmt: skip


class CheckpointError(ValueError):
    """A checkpoint is undamaged, but this run cannot continue from it."""


class Checkpoint(NamedTuple):
    """The content of a checkpoint: the run's settings and versions, and its state."""

    path: Path
    settings: dict[str, Any]
    versions: dict[str, str]
    arrays: dict[str, Array]
    state: dict[str, Any]

    @property
    def updates(self) -> int:
        """The number of updates made."""
        return int(self.state["updates"])


class Checkpoints:
    """The checkpoints in a run's folder, of which the last ``keep`` are kept."""

    def __init__(self, out: Path, keep: int = 3) -> None:
        self.folder, self.keep = out / "checkpoints", keep

    def files(self) -> list[Path]:
        """All checkpoint files, the newest first."""
        return sorted(self.folder.glob("update-*.safetensors"), reverse=True)

    def save(self, training: Training, settings: Mapping[str, Any]) -> None:
        """Write a checkpoint, then remove the oldest ones beyond ``keep``.

        Raises OSError where it cannot be written: the checkpoints before it are still there.
        """
        arrays, state = training.state()
        content = json.dumps({"settings": settings, "versions": versions(), "state": state})
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"update-{training.done:09}.safetensors"
        try:
            tg.save(arrays, path, {"format": FORMAT, "version": VERSION, "run": content})
        except OSError as error:
            last = self.files()[0] if self.files() else "none"
            error.add_note(f"{path} could not be written. The last good checkpoint: {last}.")
            raise
        files = self.files()  # a newer one is damaged, and must not displace a good one
        for old in files[files.index(path) + self.keep :]:
            old.unlink(missing_ok=True)

    def latest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint, None if there is none.

        Prints a line for each damaged one. Raises CheckpointError where all are damaged, or one is
        of another version.
        """
        files = self.files()
        for path in files:
            try:
                return open_checkpoint(path)
            except FileDamagedError as error:
                print(f"{error}. Falling back to the checkpoint before it.")
        if files:
            what = "all checkpoints are damaged: start again with --overwrite"
            raise CheckpointError(f"{self.folder}: {what}")
        return None

    def remove_partial(self) -> None:
        """Remove the half-written files that a killed process has left in the run's folder."""
        for folder in (self.folder, self.folder.parent):
            for path in folder.glob(f"*{PARTIAL}"):
                path.unlink(missing_ok=True)

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
        raise CheckpointError(f"{path}: is not a checkpoint of scripts.train")
    if metadata.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: is a checkpoint of version {metadata.get('version')}; this program reads "
            f"version {VERSION}. Continue with the program that wrote it, or use --overwrite"
        )
    try:
        content = json.loads(metadata["run"])
        return Checkpoint(path, content["settings"], content["versions"], arrays, content["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata are not what was saved: {error!r}") from error
