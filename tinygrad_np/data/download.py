"""Files fetched once into the user's cache, checked by their SHA-256."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def fetch(name: str, files: Mapping[str, str], mirrors: Sequence[str]) -> Path:
    """The folder ``name`` of the cache, with these files, of which the missing are downloaded.

    ``files`` maps names to SHA-256 sums; ``mirrors`` are base URLs, each ending in a slash, tried
    in turn. Raises OSError where none of them has a file whole and unaltered.
    """
    import pooch

    folder: Path = pooch.os_cache("tinygrad_np") / name
    for file, sha256 in files.items():
        failures = []
        for mirror in mirrors:
            try:
                pooch.retrieve(
                    mirror + file, f"sha256:{sha256}", fname=file, path=folder, progressbar=True
                )
                break
            except (OSError, ValueError) as error:  # no connection, or not the file we know
                failures.append(f"  {mirror}{file}: {error}")
        else:
            raise OSError("\n".join([f"{file} could not be downloaded to {folder}:", *failures]))
    return folder
