"""The data package: IDX files, MNIST, batches."""

import contextlib
import gzip
import hashlib
import http.server
import struct
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tinygrad_np.data import (
    IDXError,
    batches,
    load_idx_folder,
    load_mnist,
    mnist,
    read_idx,
    write_idx,
)

DTYPES = ("uint8", "int8", "int16", "int32", "float32", "float64")
SUFFIXES = ("idx", "idx.gz")
MEGABYTE = 1 << 20

# The folder is the same for all examples of a property; each writes its file anew.
property_settings = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
idx_arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
    )
)


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


@contextlib.contextmanager
def peak_below(limit: int) -> Iterator[None]:
    """Fail when the block allocates more than so many bytes at a time."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit


# IDX: what is written comes back


@property_settings
@given(array=idx_arrays, suffix=st.sampled_from(SUFFIXES))
def test_round_trip(tmp_path: Path, array: NDArray[Any], suffix: str) -> None:
    file = tmp_path / f"array.{suffix}"
    write_idx(file, array)
    back = read_idx(file)
    assert back.shape == array.shape
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    assert back.flags.writeable
    assert back.tobytes() == array.tobytes()  # NaN and its payload included


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i2", "i4", "f4", "f8"])
def test_any_byte_order_is_written_big_endian(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.array([1, -2, 300], dtype=order + dtype)
    write_idx(tmp_path / "a", array)
    assert (tmp_path / "a").read_bytes()[8:] == array.astype(f">{dtype}").tobytes()
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


def test_reads_a_file_made_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"\0\0\x0b\2" + b"\0\0\0\1" + b"\0\0\0\2" + b"\1\0" + b"\xff\xfe")
    back = read_idx(str(file))
    assert back.tolist() == [[256, -2]]
    assert back.dtype == np.int16


def test_strided_and_read_only_arrays_are_written(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int32).reshape(4, 6).T[::2]
    array.flags.writeable = False
    write_idx(tmp_path / "a.gz", array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), array)


def test_the_same_array_makes_the_same_gzip(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        write_idx(tmp_path / name, np.arange(9, dtype=np.uint8))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_gzip_is_recognised_by_content_not_by_name(tmp_path: Path) -> None:
    array = np.arange(9, dtype=np.uint8)
    write_idx(tmp_path / "a.gz", array)
    (tmp_path / "a.gz").rename(tmp_path / "a")
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


def test_gzip_of_several_members(tmp_path: Path) -> None:
    content = header(0x08, 4) + b"abcd"
    (tmp_path / "a").write_bytes(gzip.compress(content[:5]) + gzip.compress(content[5:]))
    assert read_idx(tmp_path / "a").tobytes() == b"abcd"


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool", "complex64", "U3"])
def test_types_that_idx_lacks(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(TypeError, match=r"IDX cannot hold .*, only uint8 .*astype"):
        write_idx(tmp_path / "a", np.zeros(3, dtype=dtype))
    assert not (tmp_path / "a").exists()


def test_no_dimension_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 to 64 dimensions, this array has 0"):
        write_idx(tmp_path / "a", np.array(1, dtype=np.uint8))


# IDX: what the caller expects


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_expected_shape(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    write_idx(file, np.zeros((3, 2), dtype=np.uint8))
    assert read_idx(file, expect=(3, 2)).shape == (3, 2)
    assert read_idx(file, expect=(None, 2)).shape == (3, 2)
    for expect, text in (
        ((3, 3), r"\(3, 3\)"),
        ((None,), r"\(any,\)"),
        ((3, 2, 1), r"\(3, 2, 1\)"),
    ):
        with pytest.raises(IDXError, match=rf"a\.{suffix}: has shape \(3, 2\), expected {text}"):
            read_idx(file, expect=expect)


# IDX: memory mapping


@pytest.mark.parametrize("dtype", DTYPES)
def test_mmap(tmp_path: Path, dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    write_idx(tmp_path / "a", array)
    mapped = read_idx(tmp_path / "a", mmap=True)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, array)


def test_mmap_does_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with file.open("wb") as stream:
        stream.write(header(0x08, 64 * MEGABYTE))
        stream.truncate(64 * MEGABYTE + 8)  # a hole
    with peak_below(MEGABYTE):
        assert read_idx(file, mmap=True)[-1] == 0


def test_mmap_of_an_empty_array(tmp_path: Path) -> None:
    write_idx(tmp_path / "a", np.zeros((0, 3), dtype=np.int16))
    assert read_idx(tmp_path / "a", mmap=True).shape == (0, 3)


def test_mmap_of_gzip_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "a.gz", np.zeros(3, dtype=np.uint8))
    with pytest.raises(IDXError, match=r"a\.gz: is gzipped.*gunzip it"):
        read_idx(tmp_path / "a.gz", mmap=True)


# IDX: damage

GOOD = header(0x08, 2, 3) + b"abcdef"
DAMAGED = {
    "empty": (b"", "holds 0 bytes, expected at least the 4"),
    "shorter than the magic number": (b"\0\0\x08", "holds 3 bytes"),
    "text": (b"not an IDX file", "starts with bytes 6e 6f 74 20, expected 00 00"),
    "second byte not zero": (b"\0\1" + GOOD[2:], "starts with bytes 00 01 08 02"),
    "unknown type": (b"\0\0\x0a\1" + GOOD[4:], "type code 0x0a, expected one of uint8 (0x08)"),
    "no dimension": (b"\0\0\x08\0", "declares 0 dimensions, expected 1 to 64"),
    "too many dimensions": (header(0x08, *[1] * 65) + b"a", "declares 65 dimensions"),
    "ends in the header": (GOOD[:9], "ends inside the header: 5 bytes of dimensions, expected 8"),
    "no payload": (GOOD[:12], "has 0 bytes after the header, expected shape (2, 3) of uint8"),
    "one byte short": (GOOD[:-1], "has 5 bytes after the header"),
    "short for its type": (header(0x0E, 2) + b"a" * 15, "of float64 = 16 bytes"),
    "empty array with bytes": (header(0x08, 0, 3) + b"a", "of uint8 = 0 bytes"),
    "larger than any array": (header(0x08, 0, 2**32 - 1, 2**32 - 1), "one NumPy can hold"),
    "the largest header": (header(0x0E, *[2**32 - 1] * 64) + b"a", "has 1 bytes after the header"),
}


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged(tmp_path: Path, damage: str, compress: bool) -> None:
    content, complaint = DAMAGED[damage]
    file = tmp_path / "damaged.idx"
    file.write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(IDXError) as caught:
        read_idx(file)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")


def test_trailing_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    for content in (GOOD + b"gh", gzip.compress(GOOD + b"gh")):
        file.write_bytes(content)
        with pytest.raises(IDXError, match=r"has more bytes after the .*, expected .* = 6 bytes"):
            read_idx(file)
    file.write_bytes(GOOD + b"gh")
    with pytest.raises(IDXError, match=r"has 8 bytes after the header, expected .* = 6 bytes"):
        read_idx(file, mmap=True)


def test_gzip_cut_short(tmp_path: Path) -> None:
    whole = gzip.compress(GOOD)
    for length in range(2, len(whole)):
        (tmp_path / "a.gz").write_bytes(whole[:length])
        with pytest.raises(IDXError, match=r"a\.gz: the gzip stream is damaged or cut short"):
            read_idx(tmp_path / "a.gz")


@pytest.mark.parametrize("place", [-8, -1], ids=["checksum", "length"])
def test_gzip_checks_are_verified(tmp_path: Path, place: int) -> None:
    content = bytearray(gzip.compress(GOOD))
    content[place] ^= 1
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(IDXError, match="the gzip stream is damaged"):
        read_idx(tmp_path / "a.gz")


def test_garbage_after_gzip(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(GOOD) + b"garbage")
    with pytest.raises(IDXError, match="the gzip stream is damaged"):
        read_idx(tmp_path / "a.gz")


@pytest.mark.parametrize("name", ["a.idx", "a.gz"])
@property_settings
@given(array=idx_arrays, data=st.data())
def test_a_flipped_bit(tmp_path: Path, name: str, array: NDArray[Any], data: st.DataObject) -> None:
    file = tmp_path / name
    write_idx(file, array)
    content = bytearray(file.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    try:
        back = read_idx(file)
    except IDXError as error:
        assert str(error).startswith(f"{file}: ")
        return
    if name == "a.gz":  # such as a bit of gzip's time stamp: the checksum covers the array
        assert back.dtype == array.dtype
        assert back.tobytes() == array.tobytes()
    else:  # nothing in the format tells
        assert 4 + 4 * back.ndim + back.nbytes == len(content)


@property_settings
@given(array=idx_arrays, suffix=st.sampled_from(SUFFIXES), data=st.data())
def test_a_truncated_file(
    tmp_path: Path, array: NDArray[Any], suffix: str, data: st.DataObject
) -> None:
    file = tmp_path / f"a.{suffix}"
    write_idx(file, array)
    content = file.read_bytes()
    file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(IDXError):
        read_idx(file)


@property_settings
@given(content=st.binary(max_size=64), magic=st.sampled_from([b"", b"\0\0\x08\1", b"\x1f\x8b\x08"]))
def test_any_bytes(tmp_path: Path, content: bytes, magic: bytes) -> None:
    file = tmp_path / "a"
    file.write_bytes(magic + content)
    with contextlib.suppress(IDXError):
        read_idx(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.idx: no such file; give the path"):
        read_idx(tmp_path / "nowhere.idx")


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IDXError, match="is a folder or a device, expected an IDX file"):
        read_idx(tmp_path)


# IDX: memory


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_a_header_that_claims_too_much_allocates_nothing(tmp_path: Path, compress: bool) -> None:
    content = header(0x08, 2**31) + bytes(100)
    (tmp_path / "a").write_bytes(gzip.compress(content) if compress else content)
    with peak_below(MEGABYTE), pytest.raises(IDXError, match="2147483648"):
        read_idx(tmp_path / "a")


def test_gzip_that_could_hold_what_it_claims_but_does_not(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(200_000)
    (tmp_path / "a").write_bytes(gzip.compress(header(0x08, 200_000_000) + noise))
    with peak_below(4 * MEGABYTE), pytest.raises(IDXError, match="has 200000 bytes after the"):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize("claimed", [10, 0])
def test_gzip_bomb(tmp_path: Path, claimed: int) -> None:
    file = tmp_path / "bomb.gz"
    with gzip.open(file, "wb") as stream:
        stream.write(header(0x08, claimed))
        for _ in range(100):
            stream.write(bytes(MEGABYTE))
    with peak_below(MEGABYTE), pytest.raises(IDXError, match="has more bytes after the header"):
        read_idx(file)


# Folders of four files

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = STEMS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of 5 and 3 images of 2 by 3 pixels, in 4 classes."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 5), ("t10k", 3)):
        images = rng.integers(256, size=(n, 2, 3)).astype(np.uint8)
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", np.arange(n, dtype=np.uint8) % 4)
    return tmp_path


def put(folder: Path, stem: str, array: Any, dtype: str = "uint8") -> None:
    write_idx(folder / f"{stem}.gz", np.asarray(array, dtype=dtype))


def test_folder_by_default(folder: Path) -> None:
    (x_train, t_train), (x_test, t_test) = load_idx_folder(folder)
    assert (x_train.shape, t_train.shape, x_test.shape, t_test.shape) == (
        (5, 6),
        (5,),
        (3, 6),
        (3,),
    )
    assert x_train.dtype == np.float32
    assert t_train.dtype == np.int64
    raw = read_idx(folder / f"{TRAIN_IMAGES}.gz").reshape(5, 6)
    np.testing.assert_array_equal(x_train, raw.astype(np.float32) / np.float32(255))
    assert t_train.tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_normalize_in_the_dtype_asked(folder: Path, dtype: str) -> None:
    put(folder, TRAIN_IMAGES, np.full((5, 2, 3), 255))
    (x, _), _ = load_idx_folder(str(folder), flatten=False, dtype=dtype)
    assert x.dtype == dtype
    assert x.shape == (5, 2, 3)
    assert (x == 1).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32"])
def test_pixels_kept_as_they_are(folder: Path, dtype: str) -> None:
    (x, t), _ = load_idx_folder(folder, normalize=False, dtype=dtype)
    assert x.dtype == dtype
    assert t.dtype == np.int64
    np.testing.assert_array_equal(x, read_idx(folder / f"{TRAIN_IMAGES}.gz").reshape(5, 6))
    x[0, 0] = 7  # writable


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_hot(folder: Path, dtype: str) -> None:
    (_, t), (_, t_test) = load_idx_folder(folder, one_hot=True, dtype=dtype)
    assert t.dtype == dtype
    assert t.tolist() == np.eye(4)[[0, 1, 2, 3, 0]].tolist()
    assert t_test.shape == (3, 4)  # as many columns as the training labels


def test_one_hot_of_given_classes(folder: Path) -> None:
    assert load_idx_folder(folder, one_hot=True, classes=10)[0][1].shape == (5, 10)


@pytest.mark.parametrize(
    ("dtype", "normalize", "error", "complaint"),
    [
        ("uint8", True, ValueError, "fractions, which uint8 cannot hold.*normalize=False"),
        ("int8", False, ValueError, "are uint8, which does not fit in int8"),
        ("bool", False, TypeError, "a float or an integer type, got bool"),
        ("complex64", True, TypeError, "got complex64"),
    ],
)
def test_dtypes_that_do_not_suit(
    folder: Path, dtype: str, normalize: bool, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        load_idx_folder(folder, normalize=normalize, dtype=dtype)


def test_only_bytes_are_divided_by_255(folder: Path) -> None:
    put(folder, TRAIN_IMAGES, np.zeros((5, 2, 3)), "float32")
    with pytest.raises(ValueError, match="are float32, but normalize=True divides by 255"):
        load_idx_folder(folder)
    assert load_idx_folder(folder, normalize=False)[0][0].dtype == np.float32


def test_plain_files_come_first(folder: Path) -> None:
    write_idx(folder / TRAIN_LABELS, np.full(5, 3, dtype=np.uint8))
    assert load_idx_folder(folder)[0][1].tolist() == [3] * 5


@pytest.mark.parametrize("stem", STEMS)
def test_missing_from_the_folder(folder: Path, stem: str) -> None:
    (folder / f"{stem}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"{stem}: no such file.*the folder holds t"):
        load_idx_folder(folder)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_in_folders_of_their_names(folder: Path, suffix: str) -> None:
    """As some programs unpack them."""
    expected = load_idx_folder(folder)
    for file in [*folder.iterdir()]:
        inside = file.rename(folder / "moving")
        name = file.name.removesuffix(".gz")
        (folder / f"{name}{suffix}").mkdir(exist_ok=True)
        inside.rename(folder / f"{name}{suffix}" / name)
    for found, want in zip(load_idx_folder(folder), expected, strict=True):
        np.testing.assert_array_equal(found[0], want[0])
        np.testing.assert_array_equal(found[1], want[1])


def test_a_folder_of_a_files_name_is_passed_over(folder: Path) -> None:
    expected = load_idx_folder(folder)[0][0]
    stem = "train-images-idx3-ubyte"
    (folder / stem).unlink(missing_ok=True)
    write_idx(folder / f"{stem}.gz", np.rint(255 * expected).astype(np.uint8).reshape(-1, 2, 3))
    (folder / stem).mkdir()
    np.testing.assert_array_equal(load_idx_folder(folder)[0][0], expected)
    (folder / f"{stem}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"{stem} is a folder, without a file of that"):
        load_idx_folder(folder)


def test_no_folder(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; give the folder that"):
        load_idx_folder(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match="is a file, not a folder"):
        load_idx_folder(folder / f"{TRAIN_IMAGES}.gz")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the folder holds nothing"):
        load_idx_folder(tmp_path)


MISLABELLED = {
    "labels under an images name": (TRAIN_IMAGES, np.zeros(5), "one dimension, .* labels file"),
    "images under a labels name": (
        TEST_LABELS,
        np.zeros((3, 2, 3)),
        "expected labels.*images file",
    ),
    "fewer labels": (TRAIN_LABELS, np.zeros(4), "has 4 labels, expected 5, one for each image of"),
    "fewer images": (TEST_IMAGES, np.zeros((2, 2, 3)), "has 3 labels, expected 2"),
    "images of two sizes": (
        TEST_IMAGES,
        np.zeros((3, 3, 3)),
        r"shape \(3, 3, 3\), expected \(any, 2, 3\)",
    ),
}


@pytest.mark.parametrize("case", MISLABELLED)
def test_mislabelled(folder: Path, case: str) -> None:
    stem, array, complaint = MISLABELLED[case]
    put(folder, stem, array)
    with pytest.raises(IDXError, match=complaint):
        load_idx_folder(folder)


def test_labels_must_be_integers(folder: Path) -> None:
    put(folder, TRAIN_LABELS, np.zeros(5), "float32")
    with pytest.raises(IDXError, match=r"\(5,\) of float32, expected labels, \(n,\) of integers"):
        load_idx_folder(folder)


def test_labels_out_of_range(folder: Path) -> None:
    put(folder, TEST_LABELS, [0, 10, 11])
    with pytest.raises(IDXError, match=r"label 10 at index 1, expected 0 to 9 \(2 of 3 are out"):
        load_idx_folder(folder, classes=10)
    put(folder, TEST_LABELS, [0, 1, -1], "int8")
    with pytest.raises(IDXError, match="label -1 at index 2"):
        load_idx_folder(folder)


def test_given_shapes(folder: Path) -> None:
    load_idx_folder(folder, train_shape=(5, 2, 3), test_shape=(None, 2, 3))
    with pytest.raises(IDXError, match=r"t10k-images.*has shape \(3, 2, 3\), expected \(4, 2, 3\)"):
        load_idx_folder(folder, test_shape=(4, 2, 3))


def test_a_set_without_images(folder: Path) -> None:
    put(folder, TEST_IMAGES, np.zeros((0, 2, 3)))
    put(folder, TEST_LABELS, np.zeros(0))
    _, (x, t) = load_idx_folder(folder, one_hot=True)
    assert (x.shape, t.shape) == ((0, 6), (0, 4))


# MNIST

BUNDLED = Path(__file__).resolve().parents[2] / "data" / "mnist"
MD5 = {
    TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
    TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
    TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
    TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
}


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYGRAD_NP_DATA", raising=False)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkout, and no network: a download is an error."""

    def fetch(*_: object) -> Path:
        raise OSError("the download was tried")

    monkeypatch.setattr(mnist, "CHECKOUT", tmp_path / "site-packages")
    monkeypatch.setattr(mnist, "fetch", fetch)


@pytest.mark.parametrize("stem", STEMS)
def test_the_bundled_files_are_the_original_ones(stem: str) -> None:
    content = gzip.decompress((BUNDLED / f"{stem}.gz").read_bytes())
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == MD5[stem]


def test_mnist_from_the_checkout() -> None:
    (x_train, t_train), (x_test, t_test) = load_mnist(flatten=False, normalize=False, dtype="uint8")
    assert (x_train.shape, x_test.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert x_train.dtype == np.uint8
    assert t_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(t_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.usefixtures("elsewhere")
def test_mnist_from_the_path_and_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"normalize": False, "dtype": "uint8"}
    assert load_mnist(path=BUNDLED, **options)[1][0].shape == (10000, 784)
    monkeypatch.setenv("TINYGRAD_NP_DATA", str(BUNDLED.parent))  # its subfolder mnist
    assert load_mnist(**options, one_hot=True)[1][1].shape == (10000, 10)
    with pytest.raises(FileNotFoundError, match="no such file"):  # the path goes first
        load_mnist(path=tmp_path)


@pytest.mark.parametrize("exists", [True, False])
def test_a_variable_without_files_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    named = tmp_path if exists else tmp_path / "nowhere"
    monkeypatch.setenv("TINYGRAD_NP_DATA", str(named))
    with pytest.raises(FileNotFoundError, match=str(named)) as caught:
        load_mnist()
    assert "the environment variable TINYGRAD_NP_DATA names" in caught.value.__notes__[0]


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_NP_DATA", "")
    assert mnist.find_mnist(None)[0] == BUNDLED


def test_a_broken_file_of_the_checkout_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "setup.cfg").touch()
    (folder / "data").mkdir()
    (folder / "data" / "mnist").mkdir()
    (folder / f"{TRAIN_IMAGES}.gz").rename(folder / "data" / "mnist" / f"{TRAIN_IMAGES}.gz")
    monkeypatch.setattr(mnist, "CHECKOUT", folder)
    with pytest.raises(FileNotFoundError, match=TRAIN_LABELS):
        load_mnist()


def test_other_data_is_not_mnist(folder: Path) -> None:
    with pytest.raises(IDXError, match=r"\(5, 2, 3\), expected \(60000, 28, 28\)") as caught:
        load_mnist(path=folder)
    assert "the path that was given" in caught.value.__notes__[0]


def test_training_and_test_files_swapped(tmp_path: Path) -> None:
    for stem in STEMS:
        other = stem.replace("train", "T").replace("t10k", "train").replace("T", "t10k")
        (tmp_path / f"{stem}.gz").symlink_to(BUNDLED / f"{other}.gz")
    with pytest.raises(IDXError, match=r"train-images.*\(10000, 28, 28\), expected \(60000, 28"):
        load_mnist(path=tmp_path)


@pytest.mark.usefixtures("elsewhere")
def test_nowhere_to_be_found() -> None:
    with pytest.raises(OSError, match=r"tried\n.*load_mnist\(path=.*TINYGRAD_NP_DATA"):
        load_mnist()


# Download


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """Serve tmp_path/served over HTTP, and return its address."""
    served = tmp_path / "served"

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(served))

        def log_message(self, *_: object) -> None:
            pass

    served.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "tinygrad_np"


def test_download_tries_the_mirrors_in_turn(tmp_path: Path, mirror: str, cache: Path) -> None:
    for place, content in (("altered", b"not it"), ("good", b"the contents")):
        (tmp_path / "served" / place).mkdir()
        (tmp_path / "served" / place / "a.gz").write_bytes(content)
    files = {"a.gz": hashlib.sha256(b"the contents").hexdigest()}
    bad = [f"{mirror}missing/", f"{mirror}altered/"]

    with pytest.raises(OSError, match=r"a\.gz could not be downloaded") as caught:
        mnist.fetch("set", files, bad)
    assert all(f"{base}a.gz: " in str(caught.value) for base in bad)
    assert not (cache / "set" / "a.gz").exists()

    assert mnist.fetch("set", files, [*bad, f"{mirror}good/"]) == cache / "set"
    assert (cache / "set" / "a.gz").read_bytes() == b"the contents"


def test_download_once(tmp_path: Path, mirror: str, cache: Path) -> None:
    served = tmp_path / "served" / "a.gz"
    served.write_bytes(b"the contents")
    files = {"a.gz": hashlib.sha256(b"the contents").hexdigest()}
    mnist.fetch("set", files, [mirror])
    served.unlink()
    assert mnist.fetch("set", files, [mirror]) == cache / "set"  # from the cache


@pytest.mark.usefixtures("elsewhere")
def test_mnist_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "fetch", lambda *_: BUNDLED)
    assert load_mnist(normalize=False, dtype="uint8")[1][0].shape == (10000, 784)


def test_the_files_to_download_are_the_four() -> None:
    assert list(mnist.FILES) == [f"{stem}.gz" for stem in STEMS]
    assert all(len(bytes.fromhex(digest)) == 32 for digest in mnist.FILES.values())
    assert all(base.startswith("https://") and base.endswith("/") for base in mnist.MIRRORS)


# Batches

X = np.arange(10).reshape(5, 2)
T = np.arange(5) * 10


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(
    n=st.integers(1, 30), size=st.integers(1, 30), shuffle=st.booleans(), drop_last=st.booleans()
)
def test_every_row_once_and_paired(n: int, size: int, shuffle: bool, drop_last: bool) -> None:
    size = min(n, size)
    x, t = np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n)
    epoch = list(batches(x, t, size, rng=rng(), shuffle=shuffle, drop_last=drop_last))
    lengths = [len(x_batch) for x_batch, _ in epoch]
    rest = [n % size] if n % size and not drop_last else []
    assert lengths == [size] * (n // size) + rest
    for x_batch, t_batch in epoch:
        np.testing.assert_array_equal(x_batch, x[t_batch])
        assert x_batch.dtype == np.float32
    seen = np.concatenate([t_batch for _, t_batch in epoch])
    assert len(set(seen.tolist())) == len(seen)
    if not shuffle:
        np.testing.assert_array_equal(seen, t[: len(seen)])


@given(n=st.integers(1, 30), size=st.integers(1, 30))
def test_with_replacement(n: int, size: int) -> None:
    size = min(n, size)
    x, t = np.arange(n) * 3, np.arange(n)
    epoch = list(batches(x, t, size, rng=rng(), replacement=True))
    assert [len(x_batch) for x_batch, _ in epoch] == [size] * (n // size)
    assert all((x_batch == 3 * t_batch).all() for x_batch, t_batch in epoch)


def test_with_replacement_rows_do_come_twice() -> None:
    t = np.arange(100)
    ((_, drawn),) = batches(t, t, 100, rng=rng(), replacement=True)
    assert 50 < len(set(drawn.tolist())) < 75  # about 63 are expected


@pytest.mark.parametrize("replacement", [False, True])
def test_the_generator_decides_the_order(replacement: bool) -> None:
    def order(source: np.random.Generator) -> list[int]:
        t = np.arange(100)
        epoch = batches(t, t, 10, rng=source, replacement=replacement)
        return [int(row) for _, t_batch in epoch for row in t_batch]

    assert order(rng(1)) == order(rng(1))
    assert order(rng(1)) != order(rng(2))
    source = rng(1)
    assert order(source) != order(source)  # one epoch after the other


def test_rows_in_order_are_views() -> None:
    for x_batch, t_batch in batches(X, T, 2, shuffle=False):
        assert np.shares_memory(x_batch, X)
        assert np.shares_memory(t_batch, T)


@pytest.mark.parametrize("options", [{"shuffle": False}, {}, {"replacement": True}])
def test_the_data_are_not_written_to(options: dict[str, bool]) -> None:
    x, t = X.copy(), T.copy()
    x.flags.writeable = t.flags.writeable = False
    assert len(list(batches(x, t, 5, rng=rng(), **options))) == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "shuffle=True needs a random generator, got rng=None: pass.*or shuffle=False"),
        (
            {"replacement": True},
            "replacement=True needs a random generator, got rng=None: pass rng=",
        ),
        ({"replacement": True, "shuffle": False}, "replacement=True needs a random generator"),
    ],
)
def test_no_generator(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        batches(X, T, 2, **options)


def test_a_seed_is_no_generator() -> None:
    with pytest.raises(TypeError, match=r"a random generator, got rng=0: pass rng=np\.random"):
        batches(X, T, 2, rng=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -1, 6])
def test_batch_size_out_of_range(size: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and the number of rows, 5; got {size}"):
        batches(X, T, size, shuffle=False)


def test_batch_size_is_an_integer() -> None:
    with pytest.raises(TypeError, match=r"must be an integer, got 2\.0"):
        batches(X, T, 2.0, shuffle=False)  # type: ignore[arg-type]
    assert len(list(batches(X, T, np.int64(5), shuffle=False))) == 1  # type: ignore[arg-type]


def test_lengths_differ() -> None:
    with pytest.raises(ValueError, match=r"got 5 and 4 .shapes \(5, 2\) and \(4,\)"):
        batches(X, T[:4], 2, shuffle=False)


def test_nothing_to_batch() -> None:
    with pytest.raises(ValueError, match="x and t are empty"):
        batches(X[:0], T[:0], 1, shuffle=False)
