"""IDX, the file format of MNIST and its relatives.

A file is two zero bytes, a byte that names the type, a byte that counts the dimensions,
each dimension as a big-endian uint32, then the values, big-endian, in C order.
"""

import gzip
import math
import os
import stat
import struct
import zlib
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = ["IDXError", "read_idx", "write_idx"]

DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}

GZIP_MAGIC = b"\x1f\x8b"
GZIP_RATIO = 1032  # no DEFLATE stream grows by more than this
MAX_NDIM = 64  # NumPy's own limit
CHUNK = 1 << 20


class IDXError(ValueError):
    """A file is not the IDX file it should be; the message says what was found and expected."""


def read_idx(
    path: str | os.PathLike[str],
    *,
    expect: tuple[int | None, ...] | None = None,
    mmap: bool = False,
) -> NDArray[Any]:
    """Read an IDX file, plain or gzipped (told apart by its first bytes, not by its name).

    Args:
        path: the file.
        expect: the shape the file must have; None stands for any length of that axis.
        mmap: map a plain file into memory, read-only, instead of reading it. Types of more
            than one byte then keep the file's big-endian order.

    Returns:
        An array of the file's shape and type (uint8, int8, int16, int32, float32 or
        float64), in native byte order; writable and its own unless mapped.

    Raises:
        FileNotFoundError: there is no such file.
        IDXError: the file is damaged in any way, is not IDX, or is not what ``expect`` says.
            Memory stays bounded by what the file really holds, whatever its header claims.

    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "squares.idx.gz"
    >>> write_idx(path, np.array([[0, 1], [4, 9]], dtype=np.int16))
    >>> read_idx(path, expect=(None, 2))
    array([[0, 1],
           [4, 9]], dtype=int16)
    >>> folder.cleanup()
    """
    path = Path(path)
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(GZIP_MAGIC)) == GZIP_MAGIC:
            if mmap:
                _fail(path, "is gzipped, and only a plain file can be memory-mapped; gunzip it")
            file.seek(0)
            return _read_gzip(path, file, size, expect)
        file.seek(0)
        return _read_plain(path, file, size, expect, mmap)


def write_idx(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write an array as an IDX file, gzipped when the name ends in ``.gz``.

    Args:
        path: the file; one that exists is overwritten.
        array: at least one-dimensional, of one of the six types of ``read_idx``,
            in any byte order.

    Raises:
        TypeError: IDX has no such type.
        ValueError: IDX has no such number of dimensions.
    """
    path = Path(path)
    dtype = array.dtype.newbyteorder(">")
    if dtype not in CODES:
        known = ", ".join(known.name for known in CODES)
        raise TypeError(
            f"IDX cannot hold {array.dtype.name}, only {known}; convert with array.astype(...)"
        )
    if not 1 <= array.ndim <= MAX_NDIM:
        raise ValueError(f"IDX holds 1 to {MAX_NDIM} dimensions, this array has {array.ndim}")
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[dtype], array.ndim, *array.shape)
    content = header + array.astype(dtype, copy=False).tobytes()
    # mtime=0: the same array makes the same file
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _open(path: Path) -> BufferedReader:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; give the path of an IDX file, plain or gzipped"
        ) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        _fail(path, f"is {kind}, expected an IDX file")
    return path.open("rb")


def _read_gzip(
    path: Path, file: BufferedIOBase, size: int, expect: tuple[int | None, ...] | None
) -> NDArray[Any]:
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            dtype, shape = _read_header(path, stream, expect)
            wanted = math.prod(shape) * dtype.itemsize
            if wanted > size * GZIP_RATIO:
                _fail(
                    path,
                    f"declares {_describe(dtype, shape)}, which is more than "
                    f"{size} bytes of gzip can hold: the header is damaged",
                )
            payload = _read_payload(path, stream, dtype, shape)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise IDXError(
            f"{path}: the gzip stream is damaged or cut short ({error}), expected a whole "
            "gzipped IDX file; get the file again"
        ) from error
    return _as_array(path, payload, dtype, shape)


def _read_plain(
    path: Path, file: BufferedReader, size: int, expect: tuple[int | None, ...] | None, mmap: bool
) -> NDArray[Any]:
    dtype, shape = _read_header(path, file, expect)
    offset = file.tell()
    if offset + math.prod(shape) * dtype.itemsize != size:
        _fail_length(path, dtype, shape, str(size - offset))
    if mmap and size > offset:
        return np.memmap(file, dtype=dtype, mode="r", offset=offset, shape=shape)
    return _as_array(path, _read_payload(path, file, dtype, shape), dtype, shape)


def _read_header(
    path: Path, stream: BufferedIOBase, expect: tuple[int | None, ...] | None
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4:
        _fail(path, f"holds {len(magic)} bytes, expected at least the 4 of an IDX magic number")
    zeros, code, ndim = struct.unpack(">HBB", magic)
    if zeros:
        _fail(path, f"starts with bytes {magic.hex(' ')}, expected 00 00: this is not an IDX file")
    if code not in DTYPES:
        known = ", ".join(f"{code:#04x} {dtype.name}" for code, dtype in DTYPES.items())
        _fail(path, f"has type code {code:#04x}, expected one of {known}")
    if not 1 <= ndim <= MAX_NDIM:
        _fail(path, f"declares {ndim} dimensions, expected 1 to {MAX_NDIM}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        _fail(
            path,
            f"ends inside the header: {len(sizes)} bytes of dimensions, expected {4 * ndim} "
            f"for the {ndim} dimensions it declares",
        )
    dtype, shape = DTYPES[code], struct.unpack(f">{ndim}I", sizes)
    if expect is not None and not _matches(shape, expect):
        wanted = ", ".join("any" if length is None else str(length) for length in expect)
        _fail(path, f"has shape {shape}, expected ({wanted}{',' if len(expect) == 1 else ''})")
    return dtype, shape


def _matches(shape: tuple[int, ...], expect: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expect) and all(
        want in (None, have) for have, want in zip(shape, expect, strict=True)
    )


def _read_payload(
    path: Path, stream: BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> bytearray:
    """Read what the header declares, in chunks, and see that nothing is missing or left over."""
    wanted = math.prod(shape) * dtype.itemsize
    payload = bytearray()
    while len(payload) < wanted:
        chunk = stream.read(min(CHUNK, wanted - len(payload)))
        if not chunk:
            _fail_length(path, dtype, shape, str(len(payload)))
        payload += chunk
    if stream.read(1):  # the end of a gzip stream is also where its checksum is verified
        _fail_length(path, dtype, shape, "more")
    return payload


def _as_array(
    path: Path, payload: bytearray, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    try:
        array = np.frombuffer(payload, dtype).reshape(shape)
    except ValueError as error:  # such as (0, 2**32 - 1, 2**32 - 1)
        raise IDXError(
            f"{path}: has shape {shape}, expected one NumPy can make an array of ({error})"
        ) from error
    return array.astype(dtype.newbyteorder("="), copy=False)


def _describe(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"shape {shape} of {dtype.name} = {math.prod(shape) * dtype.itemsize} bytes"


def _fail_length(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], found: str) -> NoReturn:
    _fail(
        path,
        f"has {found} bytes after the header, expected {_describe(dtype, shape)}; "
        "the file is cut short, has bytes left over, or its header is damaged",
    )


def _fail(path: Path, what: str) -> NoReturn:
    raise IDXError(f"{path}: {what}")
