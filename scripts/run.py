"""A training run, from its first update or its last checkpoint to its last picture."""

import argparse
import dataclasses
import random
from contextlib import suppress
from typing import Any

import numpy as np

import models
import tinygrad_np as tg
from scripts import datasets, run_folder
from scripts.checkpoints import Checkpoint, CheckpointError, Checkpoints, versions
from scripts.command import Interrupt, Interrupted
from scripts.pixels import Pixels
from scripts.recipes import Recipe
from scripts.training import Metrics, NonFiniteError, Training
from tinygrad_np import distributed

LENGTH = ("iterations", "epochs")
RECIPE = tuple(field.name for field in dataclasses.fields(Recipe))


def run(settings: dict[str, Any], given: dict[str, Any], options: argparse.Namespace) -> int:
    """Train; returns the exit code. ``given`` are the settings named on the command line.

    Runs of the same settings end with the same weights. Raises OSError, ValueError (CheckpointError
    is one) and FloatingPointError with messages for people. Whatever was written before is then
    undamaged, and the run can be resumed.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    with run_folder.locked(options.out), Interrupt() as interrupt:
        checkpoints = Checkpoints(options.out, options.keep)
        checkpoints.remove_partial()
        found = _found(checkpoints, options) if distributed.rank() == 0 else None
        found = distributed.agreed(found)
        settings = _continued(found, given) if found else settings
        return _Run(settings, options, checkpoints, interrupt).go(found)


def _found(checkpoints: Checkpoints, options: argparse.Namespace) -> Checkpoint | None:
    """The checkpoint to resume from, None to start at the beginning."""
    if options.resume:
        found = checkpoints.latest()
        if found is None:
            print(f"{options.out}: no checkpoint yet, so the run starts at the beginning.")
        return found
    if checkpoints.files() and not options.overwrite:
        raise ValueError(
            f"{options.out}: holds a run already, at {checkpoints.files()[0].name}. Continue it "
            "with --resume, replace it with --overwrite, or choose another folder with --out"
        )
    return None


def _continued(found: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a resumed run: those it began with, except that it can be made longer."""
    settings = dict(found.settings)
    recipe = _recipe(settings)
    length = {name: given[name] for name in LENGTH if name in given}
    asked = given | {"model": recipe.network(given["model"])}
    settings["dataset"] = asked.get("dataset", settings["dataset"])  # moved? The digest decides
    wrong = [
        f"{name} was {settings[name]!r}, now {value!r}"
        for name, value in asked.items()
        if name not in length and value != settings[name]
    ]
    if recipe.one_cycle and any(settings[name] != n for name, n in length.items()):
        wrong.append("the length cannot change, because the learning rate depends on it")
    if wrong:
        lines = "\n  ".join(wrong)
        raise CheckpointError(
            f"{found.path}: is of a run with other settings:\n  {lines}\n"
            "Leave these options out, or start another run with another --out"
        )
    return settings | (dict.fromkeys(LENGTH) | length if length else {})


def _recipe(settings: dict[str, Any]) -> Recipe:
    return Recipe(**{name: settings[name] for name in RECIPE})


class _Run:
    """One run: its settings, its data, and the training."""

    def __init__(
        self, settings: dict[str, Any], options: argparse.Namespace, checkpoints: Checkpoints,
        interrupt: Interrupt,
    ) -> None:  # fmt: skip
        self.options, self.checkpoints, self.interrupt = options, checkpoints, interrupt
        self.recipe = _recipe(settings)
        models.factory(settings["model"])  # a wrong name is reported before the data are read
        try:
            self.data = data = datasets.load(settings["dataset"], options.data)
        except FileNotFoundError as error:
            if options.resume:
                error.add_note("If the images are elsewhere now, name the folder by --dataset.")
            raise
        if data.digest != distributed.agreed(data.digest):
            raise ValueError("the data differ from those that rank 0 has read")
        pixels = dataclasses.asdict(data.form) if isinstance(data.form, Pixels) else None
        self.settings = settings | {
            "image_shape": list(data.shape), "classes": list(data.classes), "digest": data.digest,
            "pixels": pixels,
        }  # fmt: skip
        self.training = self.beginning(options.compiled)

    def beginning(self, compiled: bool) -> Training:
        """The training before its first update: the same at every call."""
        seed = self.settings["seed"]
        random.seed(seed)
        np.random.seed(seed % 2**32)
        rng = tg.manual_seed(seed)
        model = run_folder.make_model(self.settings, rng)
        if distributed.size() > 1:
            distributed.synchronize(model)
            distributed.broadcast(model)
        return Training(model, self.data, self.recipe, rng, compiled)

    def go(self, found: Checkpoint | None) -> int:
        """Train to the end and draw, or until interrupted; returns the exit code."""
        out, training = self.options.out, self.training
        if found is not None:
            self.resume(found)
        else:
            self.checkpoints.clear()  # only now: everything that can be refused has been checked
        # Weights of an earlier or a shorter run: the checkpoints replace them until the end.
        (out / run_folder.MODEL).unlink(missing_ok=True)
        run_folder.write_config(out, self.settings)
        run_folder.write_metrics(out, training.rows, self.data.measure)
        print(training.model.summary(), end="\n\n")
        if note := self.data.form.note:
            print(note)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            try:
                if found is None or distributed.rank() > 0:  # the folder of other ranks is new
                    # A folder that cannot be written to is found out before training.
                    self.checkpoints.save(self.training, self.settings)
                self.train()
                self.checkpoints.save(self.training, self.settings)
            except NonFiniteError as error:
                raise self.explained(error) from None
        training = self.training
        if not training.finished or training.row_due:
            print(
                f"Stopped after update {training.done:,} of {training.updates:,}. "
                "The same command with --resume continues from here."
            )
            return self.interrupt.exit_code
        tg.save(training.model, out / run_folder.MODEL)
        if self.options.pictures:
            name = self.settings["model"]
            run_folder.draw(out, name, training.model, training.rows, self.data)
        return 0

    def resume(self, found: Checkpoint) -> None:
        """Continue from a checkpoint, if it is of this data and not too long."""
        then, now, updates = found.settings, self.settings, self.training.updates
        if then["digest"] != now["digest"]:
            raise CheckpointError(
                f"{found.path}: is of a run on other data: the data set was {then['dataset']}; "
                f"{now['dataset']} does not hold the same"
            )
        if found.updates > updates:
            raise CheckpointError(
                f"{found.path}: holds update {found.updates:,}, and only {updates:,} updates are "
                "asked for: a run can only be made longer"
            )
        try:
            self.training.restore(found.arrays, found.state)
        except (ValueError, KeyError, TypeError) as error:
            what = "is not a checkpoint of this model and optimiser"
            raise CheckpointError(f"{found.path}: {what}: {error}") from error
        present = versions()
        changed = [f"{name} {version}, now {present.get(name)}"
                   for name, version in found.versions.items()
                   if version != present.get(name)]  # fmt: skip
        if changed:
            print(
                "The run began on other versions, so its last bits may differ from those of "
                f"an uninterrupted run: {'; '.join(changed)}."
            )
        print(f"Resuming from {found.path}: {found.updates:,} of {updates:,} updates.")

    def train(self) -> None:
        """Update, evaluate, save, until all is done, or until a signal comes between two steps."""
        from tqdm import tqdm

        training, measure, size = self.training, self.data.measure, self.recipe.batch_size
        with suppress(Interrupted), tqdm(
            total=training.updates * size, initial=training.done * size, leave=False,
            unit=f" {self.data.unit}", unit_scale=True, dynamic_ncols=True, mininterval=0.5,
            disable=distributed.rank() > 0 or None,  # None: unless on a terminal
        ) as bar:  # fmt: skip
            bar.write(f"{'epoch':>6} {'loss':>8} {'train':>8} {'test':>8} {'seconds':>8}")
            for row in training.rows:
                bar.write(self.line(row))
            while True:
                training = self.training
                if training.row_due:
                    # Ranks stop together, between two updates.
                    alone = distributed.size() == 1
                    row = training.evaluate(self.interrupt.check if alone else lambda: None)
                    run_folder.write_metrics(self.options.out, training.rows, measure)
                    bar.write(self.line(row))
                if training.finished:
                    break
                loss = self.update()
                if bar.update(size):  # the bar has been redrawn, at most twice a second
                    value = measure.text(self.training.batch_measure())
                    bar.set_postfix_str(f"loss {loss:.4g}, {measure.name} {value}", refresh=False)
                self.interrupt.check()
                if self.training.done % self.options.checkpoint_every == 0:
                    self.checkpoints.save(self.training, self.settings)
            rows, best = training.rows, measure.better(training.rows, key=lambda row: row.test)
            bar.write(
                f"\nTest {measure.name} {measure.text(rows[-1].test)} "
                f"(best: {measure.text(best.test)}, after epoch {best.epoch:g}). "
                f"{training.done:,} updates took {sum(row.seconds for row in rows):.1f} s."
            )

    def line(self, row: Metrics) -> str:
        """A row of the table."""
        train, test = map(self.data.measure.text, (row.train, row.test))
        return f"{row.epoch:6g} {row.train_loss:8.5g} {train:>8} {test:>8} {row.seconds:8.2f}"

    def update(self) -> float:
        """One update; without ``tg.compile`` from here on if that cannot compile the model."""
        try:
            return self.training.update()
        except (tg.CompileError, RuntimeWarning) as error:  # a warning if these are errors
            if distributed.size() > 1:  # the other ranks do not know
                error.add_note("If tg.compile cannot compile the model, use --no-compiled.")
                raise
            print(f"Continuing without tg.compile, which cannot compile this model: {error}")
            # The failed update may be half made: go back to the last checkpoint, eagerly.
            self.training = self.rewound(self.training.done)
            return self.training.update()

    def rewound(self, at: int) -> Training:
        """An eager training, restored from the last checkpoint and repeated up to update ``at``."""
        found = self.checkpoints.latest()
        assert found is not None
        training = self.beginning(compiled=False)
        training.restore(found.arrays, found.state)
        while True:
            if training.row_due:
                training.evaluate()
            if training.done >= at:
                return training
            training.update()

    def explained(self, error: NonFiniteError) -> NonFiniteError:
        """The same error, with where nan or inf first appeared and what may help."""
        at, lines = self.training.done, [str(error)]
        try:
            # In debug mode from two batches before: the weights may have broken in the first one.
            with distributed.alone():
                training = self.rewound(at - 2)
                with tg.debug():
                    while training.done < at:
                        training.update()
        except NonFiniteError:
            pass
        except FloatingPointError as cause:
            lines.append(f"It began at update {training.done + 1:,}, {cause}")
        lines.append(f"The last good checkpoint is kept: {self.checkpoints.files()[0]}")
        if self.training.batch and not np.isfinite(self.training.batch[0]).all():
            lines.append("The images themselves hold nan or inf: look at the data.")
        else:
            lines.append(
                f"What usually helps: a smaller learning rate (--lr {self.recipe.lr / 10:g}), "
                "another optimizer (--optimizer adam), larger batches, or --dtype float64."
            )
        return NonFiniteError("\n".join(lines))
