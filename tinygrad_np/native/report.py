"""The native executor's surroundings on this machine, for ``show_config``."""

from __future__ import annotations

from typing import Any

from .cache import cache_folder
from .layout import unavailable
from .toolchain import FLAGS, CompilerError, find_compiler


def describe() -> dict[str, Any]:
    """The compiler, its version and flags, the cache folder, and advice where one is missing.

    >>> sorted(describe())
    ['advice', 'cache', 'compiler', 'flags', 'version']
    """
    advice = []
    compiler = version = None
    try:
        found = find_compiler()
        compiler, version = " ".join(found.command), found.version()
    except CompilerError as error:
        advice.append(f"Compiled functions run in NumPy, not as native code: {error}.")
    reason = unavailable()
    cache = None if reason else cache_folder()
    if reason:
        advice = [f"Compiled functions run in NumPy: {reason}."]
    elif cache is None:
        advice.append(
            "Each process compiles anew: the cache folder cannot be written to, or it is not "
            "yours alone. Set XDG_CACHE_HOME to a folder of your own."
        )
    return {
        "compiler": compiler,
        "version": version,
        "flags": list(FLAGS),
        "cache": str(cache) if cache else None,
        "advice": advice,
    }
