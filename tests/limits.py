"""Inside ``limited``: little memory, little time, and nothing may be executed."""

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FORBIDDEN = {
    "compile", "exec", "import", "marshal.loads", "os.exec", "os.fork", "os.posix_spawn",
    "os.spawn", "os.system", "pickle.find_class", "socket.connect", "subprocess.Popen",
    "ctypes.dlopen",
}  # fmt: skip

_seen: list[str] = []
_watching = [False]


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching[0] and event in FORBIDDEN:
        _seen.append(f"{event}{arguments!r:.80}")


sys.addaudithook(_hook)


class HungError(BaseException):
    """Something took longer than anything should."""


def _hung(number: int, frame: Any) -> None:
    raise HungError


@contextmanager
def limited(megabytes: int = 32, seconds: int = 60) -> Iterator[None]:
    """Raises MemoryError, HungError or AssertionError for what goes beyond.

    ``megabytes`` is what the process may grow by, where the system can tell (Linux).
    """
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20), limits[1]))
    handler = signal.signal(signal.SIGALRM, _hung)
    signal.alarm(seconds)
    _seen.clear()
    _watching[0] = True
    try:
        yield
    finally:
        _watching[0] = False
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert not _seen, " ".join(_seen)
