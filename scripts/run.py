"""A training run from its first update, or its last checkpoint, to its last picture."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import models
from scripts import datasets, generators, run_folder
from scripts.checkpoints import Checkpoint, CheckpointError, Checkpoints, remove_partial
from scripts.interrupt import Interrupt, Interrupted
from scripts.progress import Progress
from scripts.recipes import Recipe
from scripts.training import NonFiniteError, Training

LENGTH = ("iterations", "epochs")
RECIPE = tuple(field.name for field in dataclasses.fields(Recipe))


@dataclass
class Options:
    """What a run was asked for, besides its settings."""

    out: Path
    resume: bool = False
    overwrite: bool = False
    data: str | None = None
    compiled: bool = True
    every: int = 1000
    keep: int = 3
    pictures: bool = True


def run(settings: dict[str, Any], given: dict[str, Any], options: Options) -> int:
    """Train; returns the exit code. ``given`` are those settings that were asked for expressly.

    Runs of the same settings end with the same weights. Raises OSError, ValueError (among them
    CheckpointError) and FloatingPointError, with words for people; what was written so far is then
    whole, and can be gone on from.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    with run_folder.locked(options.out), Interrupt() as interrupt:
        remove_partial(options.out)
        checkpoints = Checkpoints(options.out, options.keep)
        found = _found(checkpoints, options)
        if found is not None:
            settings = _continued(found, given)
        return _Run(settings, options, checkpoints, interrupt).go(found)


def _found(checkpoints: Checkpoints, options: Options) -> Checkpoint | None:
    """The checkpoint to go on from, None to begin."""
    if options.resume:
        found = checkpoints.latest()
        if found is None:
            print(f"{options.out}: no checkpoint yet, so the run begins at its beginning.")
        return found
    if checkpoints.files() and not options.overwrite:
        raise ValueError(
            f"{options.out}: holds a run already, at {checkpoints.files()[0].name}. Go on with it "
            "by --resume, begin anew in its place by --overwrite, or choose another folder by --out"
        )
    return None


def _continued(found: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run that goes on: its own; but it may be made longer."""
    settings = found.settings
    wrong = []
    for name, value in given.items():
        kept = settings.get(name)
        if name == "model" and settings.get("relu") and value == "three_layer":
            continue  # the recipe took another network for it
        if name in LENGTH or value == kept:
            continue
        if name == "dataset" and "digest" in settings:
            settings = {**settings, name: value}  # they may be elsewhere now: the digest tells
            continue
        wrong.append(f"{name} is {kept!r}, asked for was {value!r}")
    length = {name: given[name] for name in LENGTH if name in given}
    if length and settings.get("one_cycle") and any(settings[n] != v for n, v in length.items()):
        wrong.append("its length cannot change, because its learning rate follows from it")
    if wrong:
        raise CheckpointError(
            f"{found.path}: is of a run with other settings:\n  "
            + "\n  ".join(wrong)
            + "\nLeave these options out, or begin another run with another --out"
        )
    if length:
        settings = {**settings, **dict.fromkeys(LENGTH), **length}
    return settings


class _Run:
    """Everything of one run."""

    def __init__(
        self,
        settings: dict[str, Any],
        options: Options,
        checkpoints: Checkpoints,
        interrupt: Interrupt,
    ) -> None:
        self.settings, self.options = settings, options
        self.checkpoints, self.interrupt = checkpoints, interrupt
        self.out = options.out
        self.versions = run_folder.versions()
        self.recipe = Recipe(**{name: settings[name] for name in RECIPE})
        rng = generators.seed_all(settings["seed"])
        self.model = models.make(settings["model"], rng, settings["dtype"])
        try:
            self.data = datasets.load(settings["dataset"], options.data)
        except FileNotFoundError as error:
            if options.resume:
                error.add_note("If the images are elsewhere now, name the folder by --dataset.")
            raise
        images = len(self.data.sets[0][0])
        shape = self.data.image_shape
        side = math.isqrt(math.prod(shape))
        if self.recipe.shifts and shape != (side**2,) and {*shape} - {1} != {side}:
            raise ValueError(
                f"this recipe moves images by a pixel, which have to be square, not {shape}: "
                "choose another --recipe"
            )
        updates = self.recipe.updates(images)
        self.training = Training(
            self.model,
            self.recipe.make_optimizer(self.model, updates),
            self.data.sets,
            updates=updates,
            batch_size=self.recipe.batch_size,
            rng=rng,
            replacement=self.recipe.replacement,
            scale=self.data.pixels.scale,
            augment=self.recipe.augmentation(self.data.pixels.ground),
            compiled=options.compiled,
        )
        settings["images"] = images
        settings["image_shape"] = list(shape)
        settings["classes"] = list(self.data.classes)
        settings["digest"] = self.data.digest
        settings["pixels"] = dataclasses.asdict(self.data.pixels)

    def go(self, found: Checkpoint | None) -> int:
        """Train to the end and draw, or until interrupted; returns the exit code."""
        if found is not None:
            self._take_up(found)
        else:
            self.checkpoints.clear()  # now that the new run can begin
        # That of a run before, or of a shorter one: until the end the checkpoints tell.
        (self.out / run_folder.MODEL).unlink(missing_ok=True)
        run_folder.write_config(self.out, self.settings, self.versions)
        run_folder.write_metrics(self.out, self.training.rows)
        print(self.model.summary(), end="\n\n")
        if note := self.data.pixels.note:
            print(note)
        if found is None:
            self._save()  # what cannot be written is better known now
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                self._train()
        except Interrupted:
            self._save()
            print(
                f"Stopped after update {self.training.done:,} of {self.training.updates:,}. "
                f"The same command with --resume goes on from here."
            )
            return self.interrupt.exit_code
        run_folder.write_model(self.out, self.model)
        if self.options.pictures:
            for line in run_folder.draw(
                self.out, self.settings["model"], self.model, self.training.rows, self.data
            ):
                print(line)
        return 0

    def _take_up(self, found: Checkpoint) -> None:
        """Go on from a checkpoint."""
        images = found.settings.get("images")
        if images != self.settings["images"]:
            raise CheckpointError(
                f"{found.path}: is of a run with {images} training images; "
                f"there are {self.settings['images']} now"
            )
        if found.settings.get("digest", self.data.digest) != self.data.digest:
            raise CheckpointError(
                f"{found.path}: is of a run on other images or labels: the data set, then "
                f"{found.settings['dataset']}, now {self.data.name}, does not hold the same. Go on "
                "with the ones it began on, or begin another run with another --out"
            )
        pixels = self.data.pixels
        if "pixels" not in found.settings and pixels.dtype != "uint8" and pixels.scale != 1:
            raise CheckpointError(
                f"{found.path}: is of a run of an older version, whose pixels were not divided by "
                f"{pixels.scale:g} as they are now: begin anew with --overwrite"
            )
        if found.updates > self.training.updates:
            raise CheckpointError(
                f"{found.path}: is {found.updates:,} updates old, more than the "
                f"{self.training.updates:,} asked for: a run can only be made longer"
            )
        found.restore(self.training)
        changed = [
            f"{name} {then}, now {self.versions.get(name)}"
            for name, then in found.versions.items()
            if then != self.versions.get(name)
        ]
        if changed:
            print(
                "The run began on other versions, so that its last bits may differ from those of "
                f"an uninterrupted run: {'; '.join(changed)}."
            )
        print(
            f"Going on from {found.path}: {found.updates:,} of {self.training.updates:,} updates."
        )

    def _save(self) -> None:
        self.checkpoints.save(self.training, self.settings, self.versions)

    def _train(self) -> None:
        """Update, evaluate, save, until all is done; raises Interrupted between two steps."""
        training = self.training
        start, updates_took = time.perf_counter(), 0.0
        with Progress(
            training.updates, training.batch_size, training.done, training.batch_accuracy
        ) as bar:
            bar.write(f"{'epoch':>6} {'loss':>8} {'train':>8} {'test':>8} {'seconds':>8}")
            for row in training.rows:
                bar.write(_line(row))
            while True:
                if training.row_due:
                    row = training.evaluate(self.interrupt.check)
                    run_folder.write_metrics(self.out, training.rows)
                    bar.write(_line(row))
                    updates_took += row.seconds
                if training.finished:
                    break
                bar.update(self._update())
                self.interrupt.check()
                if training.done % self.options.every == 0:
                    self._save_if_finite()
        self._save_if_finite()
        rows = training.rows
        best = max(rows, key=lambda row: row.test_accuracy)
        print(
            f"\nTest accuracy {rows[-1].test_accuracy:.2%} "
            f"(highest: {best.test_accuracy:.2%}, after epoch {best.epoch:g}).\n"
            f"{training.done:,} updates took {sum(row.seconds for row in rows):.1f} s; "
            f"all else here {time.perf_counter() - start - updates_took:.1f} s."
        )

    def _update(self) -> float:
        """One update, by ``tg.compile`` where that works for this model."""
        training = self.training
        at = training.done
        try:
            return training.update()
        except NonFiniteError as error:
            raise self._explained(error) from None
        except Exception as error:
            if not training.compiled or isinstance(error, OSError):
                raise
            # Half an update may have been made: back to where all was well, and without replay.
            self._rewind()
            training.compiled = False
            while training.done < at or training.row_due:
                if training.row_due:
                    training.evaluate()
                else:
                    training.update()
            loss = training.update()  # raises where it is no fault of tg.compile's
            print(f"Going on without tg.compile, which cannot follow this model: {error}")
            return loss

    def _rewind(self) -> Checkpoint:
        found = self.checkpoints.latest()
        assert found is not None
        found.restore(self.training)
        return found

    def _save_if_finite(self) -> None:
        try:
            self._save()
        except NonFiniteError as error:
            raise self._explained(error) from None

    def _explained(self, error: NonFiniteError) -> NonFiniteError:
        """The same error, with where it began and what may help."""
        at = self.training.done
        found = self._rewind()
        where = self.training.first_nonfinite(at)
        lines = [str(error)]
        if where is not None:
            lines.append(f"It began {where}")
        lines.append(f"The last good checkpoint is kept: {found.path}")
        x, _ = self.training.batch or (np.zeros(1), None)
        if not np.isfinite(x).all():
            lines.append("The images themselves hold nan or inf: look at the data.")
        else:
            lines.append(
                f"What usually helps: a smaller learning rate (--lr {self.recipe.lr / 10:g}), "
                "another optimizer (--optimizer adam), larger batches, or --dtype float64."
            )
        return NonFiniteError("\n".join(lines))


def _line(row: Any) -> str:
    return (
        f"{row.epoch:6g} {row.train_loss:8.5g} {row.train_accuracy:8.2%} "
        f"{row.test_accuracy:8.2%} {row.seconds:8.2f}"
    )
