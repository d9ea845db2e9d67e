"""A check in a forked process."""

import os
import select
import warnings
from collections.abc import Callable


def holds_in_a_forked_process(check: Callable[[], bool]) -> bool:
    """Whether ``check()`` is true in a fork of this process; False if it raises or hangs."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            os.write(writing, bytes([check()]))
        finally:
            os._exit(0)
    os.close(writing)
    answered, _, _ = select.select([reading], [], [], 60)
    if not answered:
        os.kill(child, 9)
    os.waitpid(child, 0)
    answer = os.read(reading, 1) if answered else b""
    os.close(reading)
    return answer == b"\x01"
