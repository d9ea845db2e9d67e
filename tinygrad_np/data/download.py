"""Files fetched once into the user's cache, checked by their SHA-256."""

from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["fetch"]


def fetch(name: str, files: Mapping[str, str], mirrors: Sequence[str]) -> Path:
    """Return the cache folder that holds these files, downloading those that are missing.

    Args:
        name: of the folder, within the user's cache of this package.
        files: file names, each with the SHA-256 of its contents.
        mirrors: base URLs, each ending in a slash, tried in turn for every file.

    Raises:
        OSError: a file could be had, whole and unaltered, from none of the mirrors.
    """
    import pooch

    folder = Path(pooch.os_cache("tinygrad_np")) / name
    for file, sha256 in files.items():
        _fetch_file(folder, file, sha256, mirrors)
    return folder


def _fetch_file(folder: Path, file: str, sha256: str, mirrors: Sequence[str]) -> None:
    import pooch

    failures = []
    for mirror in mirrors:
        try:
            pooch.retrieve(
                mirror + file, f"sha256:{sha256}", fname=file, path=folder, progressbar=True
            )
            return
        except (OSError, ValueError) as error:  # no connection, or not the file we know
            failures.append(f"  {mirror}{file}: {error}")
    raise OSError("\n".join([f"{file} could not be downloaded to {folder}:", *failures]))
