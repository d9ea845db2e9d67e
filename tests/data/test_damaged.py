"""Damaged files: refused in words or read rightly; they cost no memory and run no code."""

import gzip
import io
import json
import math
import resource
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import tinygrad_np as tg
from scripts.checkpoints import CheckpointError, open_checkpoint
from scripts.images import read_images
from scripts.pixels import ImageError, Pixels
from tests import tiny
from tests.limits import HungError, limited
from tinygrad_np.data import IDXError, read_idx, write_idx
from tinygrad_np.serialization import FileDamagedError

quiet = settings(database=None, suppress_health_check=[HealthCheck.too_slow])
MANY, SOME = (
    pytest.mark.parametrize("examples", [n // 10, pytest.param(n, marks=pytest.mark.slow)])
    for n in (1800, 450)
)
"""The numbers of random files: few, and many, which is slow."""
Array = NDArray[Any]

HUGE = [0, 1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


# Ways to damage a file


def cut(content: bytes, at: int, _: int) -> bytes:
    return content[: at % (len(content) + 1)]


def flip(content: bytes, at: int, value: int) -> bytes:
    at %= 8 * len(content)
    changed = bytearray(content)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def garble(content: bytes, at: int, value: int) -> bytes:
    at %= len(content)
    return content[:at] + value.to_bytes(8, "little") + content[at + 8 :]


def enlarge(content: bytes, at: int, value: int) -> bytes:
    """A big-endian number near the beginning, where dimensions are, becomes huge."""
    at %= min(40, len(content))
    return content[:at] + struct.pack(">I", HUGE[value % len(HUGE)]) + content[at + 4 :]


def leave_out(content: bytes, at: int, value: int) -> bytes:
    at %= len(content)
    return content[:at] + content[at + 1 + value % 64 :]


def repeat(content: bytes, at: int, value: int) -> bytes:
    at %= len(content)
    return content[: at + 1 + value % 64] + content[at:]


def append(content: bytes, at: int, value: int) -> bytes:
    return content + value.to_bytes(8, "little")[: 1 + at % 8]


def other_magic(content: bytes, at: int, value: int) -> bytes:
    magic = [b"\x1f\x8b\x08", b"\x89PNG\r\n\x1a\n", b"\0\0\x08\x03", b"PK\x03\x04", b"\x80\x04."]
    return magic[value % len(magic)] + content[at % 9 :]


damage = st.tuples(
    st.sampled_from([cut, flip, flip, garble, enlarge, leave_out, repeat, append, other_magic]),
    st.integers(0, 2**32),
    st.integers(0, 2**64 - 1),
)
damages = st.lists(damage, min_size=1, max_size=3)
Damages = list[tuple[Callable[[bytes, int, int], bytes], int, int]]


def damaged(content: bytes, how: Damages) -> bytes:
    for change, at, value in how:
        content = change(content, at, value) if content else content
    return content


# IDX

PIXELS = np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)
NUMBERS = np.arange(12, dtype=np.float64).reshape(3, 4)
CODES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


@pytest.fixture(scope="module", autouse=True)
def idx_files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Whole files. They were read, so that what reading imports is imported."""
    folder = tmp_path_factory.mktemp("idx")
    found = []
    for name in ("a", "a.gz"):
        for array in (PIXELS, NUMBERS):
            write_idx(folder / name, array)
            np.testing.assert_array_equal(read_idx(folder / name), array)
            found.append((folder / name).read_bytes())
    read_idx(folder / "a", mmap=True)
    return found


def by_the_book(content: bytes) -> Array | None:
    """What an IDX file holds, by the format's definition; None where it is none."""
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in CODES:
        return None
    ndim = content[3]
    if not 1 <= ndim <= 64 or len(content) < 4 + 4 * ndim:
        return None
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    dtype, rest = np.dtype(CODES[content[2]]), content[4 + 4 * ndim :]
    if math.prod(shape) * dtype.itemsize != len(rest):
        return None
    return np.frombuffer(rest, dtype).reshape(shape)


def assert_idx_is_read_by_the_book(path: Path, content: bytes, mmap: bool) -> None:
    path.write_bytes(content)
    expected = by_the_book(content)
    try:
        with limited():
            found = read_idx(path, mmap=mmap)
    except IDXError as error:
        assert str(path) in str(error)
        assert expected is None or mmap or expected.size == 0
        return
    assert expected is not None
    assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    assert found.astype(expected.dtype).tobytes() == expected.tobytes()
    assert found.shape == expected.shape


@MANY
def test_idx(tmp_path: Path, idx_files: list[bytes], examples: int) -> None:
    @settings(quiet, max_examples=examples)
    @given(damages, st.integers(0, 3), st.booleans())
    def check(how: Damages, which: int, mmap: bool) -> None:
        content = damaged(idx_files[which], how)
        assert_idx_is_read_by_the_book(tmp_path / "damaged", content, mmap)

    check()


@SOME
def test_idx_of_any_dimensions(tmp_path: Path, examples: int) -> None:
    @settings(quiet, max_examples=examples)
    @given(st.lists(st.sampled_from(HUGE), max_size=66), st.integers(0, 255), st.booleans())
    def check(shape: list[int], code: int, compress: bool) -> None:
        content = struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape) + bytes(300)
        content = gzip.compress(content) if compress else content
        assert_idx_is_read_by_the_book(tmp_path / "damaged", content, False)

    check()


@pytest.mark.parametrize(
    ("claims", "holds", "expect"),
    [(1, 200, None), (2**32 - 1, 4, None), (200_000_000, 200, (3,))],
    ids=["says little", "says more", "not as expected"],
)
def test_an_idx_bomb(tmp_path: Path, claims: int, holds: int, expect: tuple[int] | None) -> None:
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb") as file:
        file.write(struct.pack(">HBBI", 0, 8, 1, claims))
        for _ in range(holds):
            file.write(bytes(1_000_000))
    (tmp_path / "bomb").write_bytes(stream.getvalue())
    with pytest.raises(IDXError), limited(megabytes=32):
        read_idx(tmp_path / "bomb", expect=expect)


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    images = tiny.write_images(folder / "images")
    assert tiny.run(images, folder / "out", "--iterations", "5") == 0
    return folder / "out" / "checkpoints" / "update-000000005.safetensors"


@MANY
def test_checkpoint(checkpoint: Path, tmp_path: Path, examples: int) -> None:
    path = tmp_path / "update-000000005.safetensors"

    @settings(quiet, max_examples=examples)
    @given(damages)
    def check(how: Damages) -> None:
        path.write_bytes(damaged(checkpoint.read_bytes(), how))
        assert_refused_or_whole(path, checkpoint)

    check()


@SOME
def test_checkpoint_with_another_header(checkpoint: Path, tmp_path: Path, examples: int) -> None:
    """The header is well-formed JSON of the right length, and says something else."""
    content = checkpoint.read_bytes()
    length = int.from_bytes(content[:8], "little")
    path = tmp_path / "update-000000005.safetensors"

    @settings(quiet, max_examples=examples)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        header = changed_header(json.loads(content[8 : 8 + length]), data)
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
        assert_refused_or_whole(path, checkpoint)

    check()


def changed_header(header: Any, data: st.DataObject) -> Any:
    for _ in range(data.draw(st.integers(1, 3))):
        entry = header[data.draw(st.sampled_from(sorted(header)))]
        if entry is header.get("__metadata__"):
            key = data.draw(st.sampled_from(sorted(entry)))
            entry[key] = data.draw(st.text(max_size=20) | st.just("[" * 100_000))
            continue
        number = st.integers(-1, 2**70) | st.sampled_from(HUGE)
        entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(
            st.lists(number, max_size=4) | st.sampled_from(["F32", "F64", "U8", "BF16", "X"])
        )
    return header


def assert_refused_or_whole(path: Path, checkpoint: Path) -> None:
    """Of a checkpoint every bit counts; of weights those that anyone wrote can be read."""
    try:
        with limited():
            found = open_checkpoint(path)
    except (FileDamagedError, CheckpointError) as error:
        assert str(path) in str(error)
    else:
        whole = open_checkpoint(checkpoint)
        assert (found.state, found.settings) == (whole.state, whole.settings)
        assert {name: array.tobytes() for name, array in found.arrays.items()} == {
            name: array.tobytes() for name, array in whole.arrays.items()
        }
    try:
        with limited():
            arrays = tg.load(path)
    except FileDamagedError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= path.stat().st_size


# Images

DIGIT = np.zeros((40, 30), np.uint8)
DIGIT[8:33, 12:17] = DIGIT[8:12, 8:24] = 220
DIGIT[20, 5] = 90


def picture(mode: str, **options: Any) -> bytes:
    image = Image.fromarray(DIGIT)
    if mode == "I;16":
        image = Image.fromarray(DIGIT.astype(np.uint16) * 257)
    elif mode == "LA":
        image = Image.merge("LA", (Image.new("L", image.size, 255), image))
    else:
        image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


PICTURES = [picture(mode) for mode in ("L", "1", "P", "RGB", "RGBA", "LA", "I;16")]
PICTURES.append(picture("P", transparency=0))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color: int, data: bytes, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    rest = chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + rest


def read(path: Path, megabytes: int = 32) -> Array | None:
    """The digit of a PNG file; None where it is refused in words."""
    try:
        with limited(megabytes):
            found = read_images(path, (28, 28), Pixels(digits=True))
    except (ImageError, IDXError) as error:
        assert str(path) in str(error)
        return None
    assert found.dtype == np.uint8
    assert found.shape[1:] == (28, 28)
    return found


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> list[Array]:
    """What the whole pictures are read as; Pillow's and NumPy's modules are then imported."""
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    found = []
    for content in PICTURES:
        path.write_bytes(content)
        found.append(read_images(path, (28, 28), Pixels(digits=True)))
    path.write_bytes(PICTURES[0][:60])
    with pytest.raises(ImageError):
        read_images(path, (28, 28), Pixels(digits=True))
    return found


@MANY
def test_image(tmp_path: Path, digits: list[Array], examples: int) -> None:
    path = tmp_path / "a.png"

    @settings(quiet, max_examples=examples)
    @given(damages, st.integers(0, len(PICTURES) - 1))
    def check(how: Damages, which: int) -> None:
        path.write_bytes(damaged(PICTURES[which], how))
        found = read(path)
        if found is not None:
            np.testing.assert_array_equal(found, digits[which])

    check()


@SOME
def test_image_of_any_header(tmp_path: Path, digits: list[Array], examples: int) -> None:
    """Every checksum is right, and the content is not what the header says."""
    path = tmp_path / "a.png"

    @settings(quiet, max_examples=examples)
    @given(
        width=st.sampled_from(HUGE) | st.integers(0, 100),
        height=st.sampled_from(HUGE) | st.integers(0, 100),
        depth=st.sampled_from([1, 2, 4, 8, 16, 32]),
        color=st.integers(0, 7),
        data=st.binary(max_size=50) | st.just(bytes(5000)),
        length=st.none() | st.integers(0, 80),
    )
    def check(
        width: int, height: int, depth: int, color: int, data: bytes, length: int | None
    ) -> None:
        path.write_bytes(png(width, height, depth, color, zlib.compress(data)[:length]))
        read(path)

    check()


TOO_LARGE = "bytes can hold|exceeds limit"


def small_with_100_megabytes(kind: bytes) -> bytes:
    """A small picture, and beside it compressed text or a profile that is large."""
    large = chunk(kind, b"a\0\0" + zlib.compress(bytes(100_000_000), 9))
    return png(28, 28, 8, 0, zlib.compress(bytes(29 * 28)), large)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: png(65_000, 65_000, 1, 0, zlib.compress(bytes(10_000))), TOO_LARGE),
        (lambda: png(2**31 - 1, 2**31 - 1, 16, 6, b""), TOO_LARGE),
        (lambda: png(12_000, 12_000, 1, 0, zlib.compress(bytes(12_000 * 1501), 9)), TOO_LARGE),
        (lambda: small_with_100_megabytes(b"zTXt"), "is not a PNG"),
        (lambda: small_with_100_megabytes(b"iCCP"), "is not a PNG|nothing stands out"),
    ],
    ids=["1 bit", "largest", "blank", "text", "profile"],
)  # fmt: skip
def test_an_image_bomb(
    tmp_path: Path, digits: list[Array], content: Callable[[], bytes], words: str
) -> None:
    (tmp_path / "a.png").write_bytes(content())
    with pytest.raises(ImageError, match=words), limited(megabytes=32):
        read_images(tmp_path / "a.png", (28, 28), Pixels(digits=True))


# The limits are limits


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux says how large a process is")
def test_memory_is_limited() -> None:
    with open("/proc/self/statm", "rb") as file:  # memory that this process has freed cannot do
        whole = int(file.read().split()[0]) * resource.getpagesize()
    with pytest.raises(MemoryError), limited(megabytes=32):
        np.empty(whole + (64 << 20), np.uint8)


def test_time_is_limited() -> None:
    with pytest.raises(HungError), limited(seconds=1):
        time.sleep(30)


def test_execution_is_seen() -> None:
    with pytest.raises(AssertionError, match="exec"), limited():
        eval("1 + 1")
