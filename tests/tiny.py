"""A data set and networks so small that a training run takes a moment."""

from pathlib import Path
from typing import Any, Self

import numpy as np

import tinygrad_np as tg
from models.gpt import GPT
from scripts import train
from tinygrad_np import nn
from tinygrad_np.data import write_idx

SIDE, CLASSES, IMAGES = 4, 3, 90


def write_images(folder: Path, images: int = IMAGES) -> Path:
    """Four IDX files of images whose class shows in one bright pixel."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "t10k"):
        labels = rng.integers(CLASSES, size=images, dtype=np.uint8)
        pixels = rng.integers(120, size=(images, SIDE * SIDE), dtype=np.uint8)
        pixels[np.arange(images), labels] = 255
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels)
        write_idx(folder / f"{split}-images-idx3-ubyte", pixels.reshape(-1, SIDE, SIDE))
    return folder


SIZES = {"vocabulary": 7, "width": 8, "heads": 2, "context": 5}
"""Of a small GPT; the other networks of ``models`` take none."""


def samples(name: str, n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """What a network of ``models`` takes: images and classes, or a text and what follows."""
    if name == "gpt":
        tokens = rng.integers(SIZES["vocabulary"], size=(n, SIZES["context"] + 1))
        return tokens[:, :-1], tokens[:, 1:]
    return rng.normal(size=(n, 784)), rng.integers(0, 10, n)


def small_gpt(vocabulary: int, context: int, rng: Any = None) -> GPT:
    """A language model that ``scripts.train`` trains in a moment."""
    return GPT(vocabulary, depth=1, width=8, heads=2, context=context, rng=rng)


class Net(nn.Module):
    """Layers with dropout, whose masks are drawn from the default generator."""

    def __init__(self, rng: Any = None) -> None:
        self.hidden = nn.Linear(SIDE * SIDE, 8, rng=rng)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(8, CLASSES, rng=rng)

    def forward(self, x: Any) -> tg.Tensor:
        scores: tg.Tensor = self.out(self.drop(tg.tanh(self.hidden(x))))
        return scores


class Noisy(Net):
    """It draws from every kind of generator, and keeps a running mean: tg.compile cannot follow."""

    def __init__(self, rng: Any = None) -> None:
        super().__init__(rng)
        self.own = np.random.default_rng(1)
        self.old = np.random.RandomState(2)
        self.mean = np.zeros(SIDE * SIDE, np.float32)

    def forward(self, x: Any) -> tg.Tensor:
        if not self.training:
            return super().forward(x - self.mean)
        import random

        self.mean += 0.1 * (x.mean(axis=0) - self.mean)
        noise = self.own.normal() + self.old.normal() + np.random.normal() + random.gauss(0, 1)
        return super().forward(x - self.mean + np.float32(0.01 * noise))


class Nested(Net):
    """Its generator and arrays are in lists and dicts; its means are replaced, in other dtypes."""

    def __init__(self, rng: Any = None) -> None:
        super().__init__(rng)
        self.generators = [np.random.default_rng(1)]
        self.means: dict[str, Any] = {"column": np.zeros(SIDE * SIDE, np.float32)}
        self.level: Any = np.zeros(())

    def forward(self, x: Any) -> tg.Tensor:
        if self.training:
            self.level = 0.9 * self.level + 0.1 * x.mean()  # a number from now on
            self.means["column"] = 0.9 * self.means["column"] + np.float64(0.1) * x.mean(axis=0)
            x = x + np.float32(0.1 * self.generators[0].normal())
        return super().forward((x - self.means["column"] - self.level).astype(np.float32))


class Constant(Net):
    """Its running mean is a Tensor without gradient, which training replaces by a float64 one."""

    def __init__(self, rng: Any = None) -> None:
        super().__init__(rng)
        self.mean = tg.Tensor(np.zeros(SIDE * SIDE, np.float32))

    def forward(self, x: Any) -> tg.Tensor:
        if self.training:
            self.mean = tg.Tensor(0.9 * self.mean.data + np.float64(0.1) * x.mean(axis=0))
        return super().forward((x - self.mean.data).astype(np.float32))


class Late(Net):
    """It draws a number for small batches alone: tg.compile finds out in the second epoch."""

    def __init__(self, rng: Any = None) -> None:
        super().__init__(rng)
        self.own = np.random.default_rng(1)

    def forward(self, x: Any) -> tg.Tensor:
        if self.training and len(x) < 8:
            x = x + np.float32(self.own.normal())
        return super().forward(x)


class Unsure(Net):
    """It drops out while it is evaluated, too."""

    def eval(self) -> Self:
        super().eval()
        self.drop.training = True
        return self


class Later(Net):
    """tg.compile finds out at the first update of the second epoch."""

    seen = False

    def forward(self, x: Any) -> tg.Tensor:
        self.seen = self.seen or not self.training
        if self.training and self.seen:
            x = x + np.float32(0 * float(x[0, 0]))
        return super().forward(x)


def command(images: Path, out: Path, *more: str, model: str = "Net") -> list[str]:
    """The arguments of a short run of scripts.train; what follows overrides."""
    return [
        f"tests.tiny:{model}", "--dataset", str(images), "--out", str(out), "--batch-size", "8",
        "--optimizer", "adam", "--iterations", "150", "--checkpoint-every", "20", "--no-pictures",
        *more,
    ]  # fmt: skip


def run(images: Path, out: Path, *more: str, model: str = "Net") -> int:
    """A short run in this process."""
    return train.main(command(images, out, *more, model=model))
