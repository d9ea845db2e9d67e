"""The memory of this process, as the operating system counts it, in bytes."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no field {field}")


def reset_peak() -> None:
    """Count the peak anew from here; only Linux can, elsewhere it is that of the whole run."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def resident() -> int:
    """What is resident now; where that cannot be known, the peak so far."""
    return _status("VmRSS") if _STATUS.exists() else peak()


def peak() -> int:
    """The most that was resident since ``reset_peak``."""
    if _STATUS.exists():
        return _status("VmHWM")
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
