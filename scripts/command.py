"""What every command here shares: how it explains itself, and how it says what went wrong."""

from __future__ import annotations

import argparse
import sys


def parser_of(name: str, doc: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``python -m scripts.<name>``; its texts are printed as they are."""
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
