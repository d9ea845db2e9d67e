"""Images that stay in their file: training takes no more memory than a batch needs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.pixels import Pixels
from scripts.training import score_batches
from tests import tiny
from tinygrad_np.data import batches, read_idx, write_idx

ROOT = Path(__file__).parents[2]
SIDE, MEMORY = 256, 192 << 20
IMAGES = 10 * MEMORY // SIDE**2

PROGRAM = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY}, {MEMORY}))
import numpy as np
from scripts import train
try:
    np.ones({MEMORY}, np.uint8)
except MemoryError:
    sys.exit(train.main(sys.argv[1:]))
sys.exit("memory is not limited")
"""


def write_sparse(folder: Path, kind: str) -> None:
    """Images of ten times the memory; most are black, and take no room on the disk."""
    rng = np.random.default_rng(0)
    for split, count in (("train", IMAGES), ("t10k", 100)):
        labels = rng.integers(3, size=count, dtype=np.uint8)
        if kind == "npy":
            np.save(folder / f"{split}-labels.npy", labels)
            path = folder / f"{split}-images.npy"
            shape = (count, SIDE, SIDE)
            images: Any = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        else:
            write_idx(folder / f"{split}-labels-idx1-ubyte", labels)
            path = folder / f"{split}-images-idx3-ubyte"
            write_idx(path, np.zeros((0, SIDE, SIDE), np.uint8))
            header = path.read_bytes()
            with path.open("r+b") as file:
                file.write(header[:4] + count.to_bytes(4, "big"))
                file.truncate(len(header) + count * SIDE**2)
            images = np.memmap(path, np.uint8, "r+", len(header), (count, SIDE, SIDE))
        images[:100, 0, :] = rng.integers(256, size=(100, SIDE))
        images.flush()
        del images


class Wide(tiny.Net):
    """It takes large images."""

    def __init__(self, rng: Any = None) -> None:
        super().__init__(rng)
        self.hidden = type(self.hidden)(SIDE**2, 8, rng=rng)


@pytest.mark.slow
@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux limits a process's own memory")
@pytest.mark.parametrize("kind", ["idx", "npy"])
def test_training_on_ten_times_the_memory(tmp_path: Path, kind: str) -> None:
    write_sparse(tmp_path, kind)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 10 * MEMORY
    arguments = [
        "tests.scripts.test_larger_than_memory:Wide", "--dataset", str(tmp_path),
        "--iterations", "20", "--out", str(tmp_path / "out"), "--batch-size", "32", "--no-pictures",
    ]  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT, env={"OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "20 updates took" in result.stdout
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_batches_of_a_mapped_file_are_copies_of_its_rows(tmp_path: Path) -> None:
    tiny.write_images(tmp_path)
    x = read_idx(tmp_path / "train-images-idx3-ubyte", mmap=True)
    t = read_idx(tmp_path / "train-labels-idx1-ubyte", mmap=True)
    assert isinstance(x, np.memmap)
    whole = read_idx(tmp_path / "train-images-idx3-ubyte")
    pairs = [batches(images, t, 7, rng=np.random.default_rng(0)) for images in (x, whole)]
    for (mapped, _), (own, _) in zip(*pairs, strict=True):
        np.testing.assert_array_equal(mapped, own)


def test_large_images_are_scored_in_small_batches() -> None:
    net = Wide(0)
    parts = list(score_batches(net, np.zeros((70, SIDE, SIDE), np.uint8), Pixels()))
    assert [len(part) for part in parts] == [32, 32, 6]
