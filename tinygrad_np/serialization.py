"""Weights in files: safetensors, which hold arrays and text, but no code."""

from __future__ import annotations

import copyreg
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from .nn import Module
from .tensor import Array, Tensor, plain

Path = str | os.PathLike[str]

DIGEST = "tinygrad_np.sha256"
"""The name of the digest that ``save`` keeps in a file's metadata."""

PARTIAL = ".partial"
"""The suffix of a file while it is being written."""

_DTYPES = {
    "float16", "float32", "float64", "complex64", "bool", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64",
}  # fmt: skip


class FileDamagedError(ValueError):
    """A file is not a safetensors file, is truncated, or has changed since it was saved."""


def save(
    state: Module | Mapping[str, Array | Tensor],
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module's state (parameters, also frozen ones, and buffers) to a safetensors file.

    ``state`` is a module, or a dict of arrays by name. PyTorch, JAX and others read the file with
    the ``safetensors`` package. ``metadata`` is text to store with the arrays. The file also holds
    a digest, from which ``load`` sees whether a single bit has changed. It is written whole or not
    at all, and replaces an existing file.

    Raises TypeError if a value is not an array, or of a dtype that safetensors lacks; ValueError
    for a reserved name, or if two parts of a module's state have one name; OSError if the file
    cannot be written, and an existing file then stays.

    >>> import tempfile, tinygrad_np as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(tg.nn.Linear(3, 2, rng=0), f"{folder}/net.safetensors")
    ...     {name: array.shape for name, array in tg.load(f"{folder}/net.safetensors").items()}
    {'bias': (2,), 'weight': (2, 3)}
    """
    from safetensors.numpy import save as serialize

    if not isinstance(state, Mapping | Module):
        swapped = isinstance(state, str | os.PathLike) and not isinstance(path, str | os.PathLike)
        raise TypeError(
            "tg.save(state, path) takes a module or a dict of arrays by name, got a "
            f"{type(state).__name__}: write tg.save("
            + ("state, path), the state first" if swapped else '{"name": array}, path)')
        )
    _check_path(path, "tg.save(state, path)")
    if not isinstance(metadata, Mapping | None):
        raise TypeError(f"metadata is a dict of text, not a {type(metadata).__name__}")
    given = state if isinstance(state, Mapping) else state.state_dict()
    arrays = {name: _array(name, value) for name, value in given.items()}
    told = dict(metadata or {})
    for name in {*arrays} & {"__metadata__"} | {*told} & {DIGEST}:
        raise ValueError(f"the name {name!r} is reserved: choose another")
    try:
        content = serialize(arrays, {**told, DIGEST: _digest(arrays, told)})
    except TypeError as error:
        names = sorted(map(repr, arrays))
        raise TypeError(
            f"names and metadata must be text, got {', '.join(names)} with {told!r}"
        ) from error
    replace_file(path, content)


def load(path: Path, into: Module | None = None) -> dict[str, Array]:
    """Read a safetensors file; return its arrays by name. ``into`` also gets them as its state.

    The values are written into the module's own arrays, which stay the same objects.

    Raises FileDamagedError if the file is damaged (any damage shows in a file that ``save`` wrote);
    ValueError if it does not fit the module, with all names that are missing, unexpected or of
    another shape or dtype. The module is then unchanged.

    >>> import tempfile, numpy as np, tinygrad_np as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save({"weight": np.zeros((2, 3), np.float32)}, f"{folder}/net")
    ...     tg.load(f"{folder}/net", tg.nn.Linear(3, 2))  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ValueError: the state does not fit this module:
      missing: bias
    """
    _check_path(path, "tg.load(path, module)")
    if not isinstance(into, Module | None):
        got = f"the class {into.__name__}" if isinstance(into, type) else type(into).__name__
        raise TypeError(
            f"tg.load(path, into) loads into a module, got {got}: give an instance of a "
            "tinygrad_np.nn.Module, or leave it out to get the arrays as a dict"
        )
    arrays, _ = read(path)
    if into is not None:
        try:
            into.load_state_dict(arrays)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
    return arrays


def read(path: Path, *, verified: bool = False) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and metadata of a safetensors file; ``verified=True`` requires a digest."""
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    try:
        open(name, "rb").close()  # Python's own error if it is missing or not readable
        with safe_open(name, framework="np") as file:
            metadata = dict(file.metadata() or {})
            arrays = {key: np.array(file.get_tensor(key)) for key in sorted(file.keys())}
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileDamagedError(
            f"{name}: is not a safetensors file that NumPy can read, or is damaged ({error})"
        ) from error
    digest = metadata.pop(DIGEST, None)
    if digest is None and verified:
        raise FileDamagedError(f"{name}: has no digest, so that it cannot be trusted to be whole")
    if digest not in (None, _digest(arrays, metadata)):
        raise FileDamagedError(f"{name}: is damaged: not what was saved (the digest differs)")
    return arrays, metadata


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it holds either the old content or the new, whatever happens."""
    name = os.fspath(path)
    partial = f"{name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}"  # unique to this writer
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
    if os.name == "posix":  # elsewhere folders cannot be opened
        folder = os.open(os.path.dirname(name) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _check_path(path: Any, call: str) -> None:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{call}: the path is a str or pathlib.Path, got a {type(path).__name__}")


def _array(name: str, value: Any) -> Array:
    """A value as it is saved: contiguous, in this machine's byte order."""
    array = plain(value)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name!r} is a masked array: save its .data and its .mask under two names")
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(f"{name!r} is a {type(value).__name__}: only arrays and Tensors are saved")
    array = np.asarray(array, order="C")
    if array.dtype.name not in _DTYPES:
        raise TypeError(
            f"{name!r} is of dtype {array.dtype}, which safetensors cannot hold (where it is an "
            "attribute of a module and no state of it, name it in the class's `transient`)"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _digest(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """SHA-256 of names, dtypes, shapes, values and metadata."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    digest.update(json.dumps(metadata, sort_keys=True).encode())
    return digest.hexdigest()


# Copies and pickles of leaves and constants. A computed Tensor's copy would need one of its graph.


def _reduced(tensor: Tensor) -> tuple[Any, ...]:
    if not tensor.is_leaf:
        raise TypeError(
            "a computed Tensor cannot be copied or pickled, its graph cannot travel: use "
            f"tensor.detach() ({tensor.label()})"
        )
    state = tensor.array, tensor.requires_grad, tensor.name, tensor.grad, tensor.is_frozen
    return _copied, state


def _copied(
    data: Array, requires_grad: bool, name: str | None, grad: Array | None, frozen: bool
) -> Tensor:
    tensor = Tensor(data.copy(), requires_grad or frozen, name=name)
    tensor.grad = None if grad is None else grad.copy()
    if frozen:
        tensor.requires_grad = False
    return tensor


copyreg.pickle(Tensor, _reduced)
