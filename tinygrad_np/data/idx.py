"""IDX, the file format of MNIST and its relatives.

A file holds two zero bytes, one byte for the type, one for the number of dimensions, each dimension
as a uint32, and the values in C order. Everything is big-endian.
"""

from __future__ import annotations

import math
import os
import struct
from io import BufferedIOBase
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int | None, ...]
"""A shape that a file must have; None allows any length of an axis."""

_CODES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
DTYPES = {code: np.dtype(text) for code, text in _CODES.items()}
KNOWN = ", ".join(f"{dtype.name} ({code:#04x})" for code, dtype in DTYPES.items())
MAX_NDIM = 64  # NumPy's own limit
CHUNK = 1 << 19


class IDXError(ValueError):
    """A file is not the expected IDX file. The message says what was found and what was expected.

    >>> import pathlib, tempfile, tinygrad_np as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "labels").write_bytes(b"no IDX file")
    ...     tg.data.read_idx(f"{folder}/labels")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    tinygrad_np.data.idx.IDXError: ...
    """


def read_idx(
    path: str | os.PathLike[str], *, expect: Shape | None = None, mmap: bool = False
) -> NDArray[Any]:
    """Read an IDX file, plain or gzipped (its first bytes decide, not its name).

    Args:
        path: the file.
        expect: the shape that the file must have; None allows any length of an axis.
        mmap: map a plain file into memory, read-only and in its own big-endian byte order.

    Returns:
        An array of the file's shape and type (uint8, int8, int16, int32, float32 or
        float64), in native byte order; a writable copy unless mapped.

    Raises:
        FileNotFoundError: there is no such file.
        IDXError: the file is damaged, is not IDX, or does not have the shape ``expect``. Memory
            is bounded by the file's real size, whatever its header claims.

    >>> import tempfile, numpy as np
    >>> from tinygrad_np.data import read_idx, write_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_idx(f"{folder}/a.idx.gz", np.array([[0, 1], [4, 9]], dtype=np.int16))
    ...     read_idx(f"{folder}/a.idx.gz", expect=(None, 2))
    array([[0, 1],
           [4, 9]], dtype=int16)
    """
    import gzip
    import zlib

    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file; give the path of an IDX file")
    if not os.path.isfile(path):
        raise IDXError(f"{path}: is a folder or a device, expected an IDX file")
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not zipped:
                return _load(file, expect, mmap)
            if mmap:
                raise IDXError("is gzipped, and only a plain file can be mapped; gunzip it")
            with gzip.GzipFile(fileobj=file) as stream:
                return _load(stream, expect)
    except IDXError as error:
        raise IDXError(f"{path}: {error}") from error.__cause__
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise IDXError(
            f"{path}: the gzip stream is damaged or cut short ({error}); get the file again"
        ) from error


def write_idx(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write an array as an IDX file, gzipped if the name ends in ``.gz``.

    Raises TypeError if the array has none of the six types of ``read_idx`` (in any byte order),
    ValueError if it has no dimension.

    >>> import numpy as np, tinygrad_np as tg
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.data.write_idx(f"{folder}/labels.gz", np.array([3, 1, 2], np.uint8))
    ...     tg.data.read_idx(f"{folder}/labels.gz")
    array([3, 1, 2], dtype=uint8)
    """
    import gzip

    code = {dtype: code for code, dtype in DTYPES.items()}.get(array.dtype.newbyteorder(">"))
    if code is None:
        raise TypeError(f"IDX cannot hold {array.dtype.name}, only {KNOWN}; use array.astype")
    if array.ndim == 0:
        raise ValueError(f"IDX holds 1 to {MAX_NDIM} dimensions, this array has 0")
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    content = header + array.astype(DTYPES[code], copy=False).tobytes()
    with open(path, "wb") as file:  # mtime=0: the same array makes the same file
        zipped = os.fspath(path).endswith(".gz")
        file.write(gzip.compress(content, mtime=0) if zipped else content)


def _header(stream: BufferedIOBase, expect: Shape | None) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4:
        raise IDXError(f"holds {len(magic)} bytes, expected at least the 4 of a magic number")
    zeros, code, ndim = struct.unpack(">HBB", magic)
    if zeros:
        raise IDXError(f"starts with bytes {magic.hex(' ')}, expected 00 00: not an IDX file")
    if code not in DTYPES:
        raise IDXError(f"has type code {code:#04x}, expected one of {KNOWN}")
    if not 1 <= ndim <= MAX_NDIM:
        raise IDXError(f"declares {ndim} dimensions, expected 1 to {MAX_NDIM}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise IDXError(
            f"ends inside the header: {len(sizes)} bytes of dimensions, expected {4 * ndim}"
        )
    shape = struct.unpack(f">{ndim}I", sizes)
    if expect is not None:
        fits = [want in (None, have) for have, want in zip(shape, expect, strict=False)]
        if len(shape) != len(expect) or not all(fits):
            raise IDXError(f"has shape {shape}, expected {expect}".replace("None", "any"))
    return DTYPES[code], shape


def _load(stream: Any, expect: Shape | None, mmap: bool = False) -> NDArray[Any]:
    """Read or map the array that the header declares; IDXError for missing or extra bytes."""
    dtype, shape = _header(stream, expect)
    wanted = math.prod(shape) * dtype.itemsize
    payload = bytearray()
    if mmap:
        found: int | str = os.fstat(stream.fileno()).st_size - stream.tell()
    else:
        while len(payload) < wanted and (more := stream.read(min(CHUNK, wanted - len(payload)))):
            payload += more
        # The end of a gzip stream is also where its checksum is verified.
        found = "more" if len(payload) == wanted and stream.read(1) else len(payload)
    if found != wanted:
        raise IDXError(
            f"has {found} bytes after the header, expected shape {shape} of {dtype.name} = "
            f"{wanted} bytes; the file is cut short, has bytes left over, or its header is damaged"
        )
    if mmap and wanted:  # an empty array cannot be mapped
        return np.memmap(stream, dtype=dtype, mode="r", offset=stream.tell(), shape=shape)
    try:
        array = np.frombuffer(payload, dtype).reshape(shape)
    except ValueError as error:  # such as (0, 2**32 - 1, 2**32 - 1)
        raise IDXError(f"has shape {shape}, expected one NumPy can hold ({error})") from error
    return array.astype(dtype.newbyteorder("="), copy=False)
