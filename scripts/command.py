"""What every command here shares: how it explains itself, how it prints, what went wrong."""

from __future__ import annotations

import argparse
import io
import sys

from tinygrad_np.tables import ERRORS


class Nowhere(io.TextIOBase):
    """A stream that takes everything and shows nothing."""

    def write(self, text: str) -> int:
        return len(text)


def prepare_streams() -> None:
    """See to it that printing cannot fail, whatever standard output and error are.

    There may be none (a service, ``pythonw``), and their encoding may lack characters.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, Nowhere())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def on_terminal() -> bool:
    """Whether standard error is a terminal, where a progress bar can be drawn."""
    stream = sys.stderr
    return stream is not None and not getattr(stream, "closed", False) and stream.isatty()


def parser_of(name: str, doc: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``python -m scripts.<name>``; its texts are printed as they are.

    Each command makes its parser first, so that its streams are prepared here as well.
    """
    prepare_streams()
    return argparse.ArgumentParser(
        prog=f"python -m scripts.{name}",
        description=doc,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def failed(error: Exception) -> int:
    """Say what went wrong, with all that is known of it; the exit code."""
    print("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
    return 1


def positive(text: str) -> int:
    """The type of an option that counts something."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def natural(text: str) -> int:
    """The type of an option that is a seed."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value
