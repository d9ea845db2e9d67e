"""tg.save and tg.load: what goes in comes out, what does not fit is named, what is torn is seen."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import tinygrad_np as tg
from tinygrad_np import nn
from tinygrad_np.serialization import PARTIAL, FileDamagedError, read

DTYPES = [
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16",
    "uint32", "uint64", "bool", "complex64",
]  # fmt: skip


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {d: (10 * rng.random((2, 3))).astype(d) for d in DTYPES}
    found["0-d"] = np.array(3.5)
    found["empty"] = np.zeros((0, 4), np.float32)
    found["Größe 大"] = np.arange(3)
    return found


def same(a: Any, b: Any) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape), name
        assert a[name].tobytes() == b[name].tobytes(), name


def test_round_trip(tmp_path: Path) -> None:
    tg.save(arrays(), tmp_path / "a.safetensors", {"about": "a test"})
    found, metadata = read(tmp_path / "a.safetensors", verified=True)
    same(found, arrays())
    assert metadata == {"about": "a test"}
    found["float32"][...] = 0  # the caller's own
    same(tg.load(str(tmp_path / "a.safetensors")), arrays())


def test_the_safetensors_library_reads_our_files(tmp_path: Path) -> None:
    tg.save(arrays(), tmp_path / "a.safetensors")
    same(safetensors.numpy.load_file(tmp_path / "a.safetensors"), arrays())


def test_files_of_the_safetensors_library_are_read(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file(arrays(), path, {"format": "np"})
    same(tg.load(path), arrays())
    with pytest.raises(FileDamagedError, match="no digest"):
        read(path, verified=True)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T, np.arange(12.0)[::-2], np.arange(3, dtype=">f8"),
        np.broadcast_to(np.float32(2), (3, 2)), np.float32(7), tg.Tensor([1.0, 2.0]),
    ],
    ids=["transposed", "strided", "big-endian", "broadcast", "scalar", "Tensor"],
)  # fmt: skip
def test_any_layout_is_saved_by_its_values(tmp_path: Path, array: Any) -> None:
    tg.save({"a": array}, tmp_path / "a")
    found = tg.load(tmp_path / "a")["a"]
    expected = array.data if isinstance(array, tg.Tensor) else np.asarray(array)
    assert found.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, expected)
    assert found.shape == expected.shape


def test_the_same_weights_make_the_same_file(tmp_path: Path) -> None:
    net = nn.Linear(3, 2, rng=0)
    tg.save(net, tmp_path / "a")
    tg.save(dict(reversed(net.state_dict().items())), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_module_is_loaded_into(tmp_path: Path) -> None:
    net, other = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=1)
    tg.save(net, tmp_path / "net")
    weight = other.weight.data
    tg.load(tmp_path / "net", other)
    assert other.weight.data is weight  # optimisers and replays look there
    same(other.state_dict(), net.state_dict())


def test_the_entries_that_do_not_fit_are_named(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 2, rng=0), nn.Linear(2, 2, rng=0))
    state: dict[str, Any] = net.state_dict()
    before = net.state_dict()
    state["0.weight"] = state["0.weight"].astype(np.float64)
    state["1.weight"] = np.zeros((2, 5), np.float32)
    state["2.bias"] = state.pop("1.bias")
    tg.save(state, tmp_path / "net")
    with pytest.raises(ValueError, match="does not fit") as caught:
        tg.load(tmp_path / "net", net)
    for words in (
        str(tmp_path / "net"),
        "missing: 1.bias",
        "unexpected: 2.bias",
        "0.weight: expected float32 of shape (2, 3), got float64 of shape (2, 3)",
        "1.weight: expected float32 of shape (2, 2), got float32 of shape (2, 5)",
    ):
        assert words in str(caught.value)
    same(net.state_dict(), before)


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ({"a": [1.0]}, TypeError, "'a' is a list"),
        ({"a": np.array(["x"])}, TypeError, "dtype <U1"),
        ({"a": np.array([None])}, TypeError, "dtype object"),
        ({"a": np.zeros(2, np.complex128)}, TypeError, "dtype complex128"),
        ({"__metadata__": np.zeros(2)}, ValueError, "reserved"),
        ({1: np.zeros(2)}, TypeError, "names and metadata must be text, got 1 with {}"),
        ({1: np.zeros(2), "a": np.zeros(2)}, TypeError, "must be text, got 'a', 1 with"),
    ],
)
def test_values_that_cannot_be_saved(tmp_path: Path, state: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        tg.save(state, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_metadata_is_text(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="metadata must be text"):
        tg.save({}, tmp_path / "a", {"n": 3})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="reserved"):
        tg.save({}, tmp_path / "a", {"tinygrad_np.sha256": "0"})


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        tg.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        tg.load(tmp_path)


def test_a_type_that_numpy_lacks(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(FileDamagedError, match="not a safetensors file that NumPy can read"):
        tg.load(tmp_path / "a")


# The file is whole, or the old one


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    def fail(*args: Any) -> None:
        raise error

    path = tmp_path / "a"
    tg.save({"a": np.zeros(2)}, path)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        tg.save({"a": np.ones(2)}, path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(tg.load(path)["a"], np.zeros(2))


def test_content_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(file: int) -> None:
        fsync(file)
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}")))

    def note_replace(old: str, new: str) -> None:
        replace(old, new)
        done.append("renamed")

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    tg.save({"a": np.zeros(2)}, tmp_path / "a")
    assert done[0].startswith("a.") and done[0].endswith(PARTIAL)
    assert done[1:] == ["renamed", tmp_path.name]


def test_threads_that_save_to_one_name_do_not_mix(tmp_path: Path) -> None:
    def saves(value: int) -> None:
        for _ in range(20):
            tg.save({"a": np.full(50_000, value)}, tmp_path / "a")
            assert np.ptp(tg.load(tmp_path / "a")["a"]) == 0

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(saves, range(4)))
    assert os.listdir(tmp_path) == ["a"]


def test_frozen_parameters_and_buffers_are_in_files(tmp_path: Path) -> None:
    def made(seed: int) -> Any:
        net = nn.Sequential(nn.Linear(3, 2, rng=seed))
        net.mean = np.full(3, seed)  # type: ignore[attr-defined]
        for parameter in net.parameters():
            parameter.requires_grad = False
        return net

    tg.save(made(1), tmp_path / "net")
    net = made(2)
    tg.load(tmp_path / "net", net)
    same(net.state_dict(), made(1).state_dict())


def test_the_attributes_of_a_module_that_cannot_be_saved_are_named(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    net.words = np.array(["a"])  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="'words' is of dtype <U1.*`transient`"):
        tg.save(net, tmp_path / "net")
    with pytest.raises(TypeError, match="'a' is a masked array"):
        tg.save({"a": np.ma.masked_array([1, 2], [True, False])}, tmp_path / "net")


save: Any = tg.save
load: Any = tg.load


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda path: save(path, {"a": np.ones(2)}), r"state, path\), the state first"),
        (lambda path: save(path, nn.Linear(2, 2)), r"state, path\), the state first"),
        (lambda path: save(np.ones(2), path), r"got a ndarray: write tg\.save\({"),
        (lambda path: save(tg.Tensor([1.0]), path), "got a Tensor"),
        (lambda path: save([np.ones(2)], path), "got a list"),
        (lambda path: save(nn.Linear, path), "got a type"),
        (lambda path: save({}, {}), "the path is a str or pathlib.Path, got a dict"),
        (lambda path: save({}, path, "about"), "metadata is a dict of text"),
        (lambda path: load(nn.Linear(2, 2), path), "the path is a str .* got a Linear"),
        (lambda path: load(path, nn.Linear), "got the class Linear: give an instance"),
        (lambda path: load(path, {}), "loads into a module, got dict"),
    ],
)
def test_save_and_load_refuse_other_arguments(tmp_path: Path, call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []
