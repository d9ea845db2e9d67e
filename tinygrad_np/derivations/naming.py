"""Names that Python accepts and that are not taken yet."""

from __future__ import annotations

import builtins
import keyword
import re
from collections import Counter
from collections.abc import Iterable

from ..graph import Node

RESERVED = (
    "np", "n", "loss", "gradients", "math", "erf", "sliding_window_view", "depth", "row", "col",
)  # fmt: skip
"""Names that the source of a derivation uses itself."""


class Namer:
    """Gives each value a name of its own that Python accepts."""

    def __init__(self) -> None:
        self.used = {*RESERVED, *keyword.kwlist, *dir(builtins)}

    def free(self, name: str, numbered: bool = False) -> str:
        """The name, or the first like it that is free; with ``numbered`` the count starts at 1.

        >>> namer = Namer()
        >>> namer.free("x"), namer.free("x"), namer.free("0.weight"), namer.free("W", True)
        ('x', 'x2', 'weight_0', 'W1')
        """
        name = identifier(name)
        joint = "_" if name[-1].isdigit() else ""
        count = 1
        found = f"{name}{joint}1" if numbered else name
        while found in self.used:
            count += 1
            found = f"{name}{joint}{count}"
        self.used.add(found)
        return found


def shortened(names: Iterable[str]) -> dict[str, str]:
    """Names without their modules, if that leaves them different.

    >>> shortened(["blocks.0.W", "blocks.1.W", "a.b", "c.b"])
    {'blocks.0.W': 'W.0', 'blocks.1.W': 'W.1', 'a.b': 'a.b', 'c.b': 'c.b'}
    """
    short = {}
    for name in names:
        *around, last = name.split(".")
        short[name] = ".".join([last, *[part for part in around if part.isdigit()]])
    counts = Counter(short.values())
    return {name: word if counts[word] == 1 else name for name, word in short.items()}


def identifier(name: str) -> str:
    """A name that Python accepts; the numbers of layers go to the end.

    >>> identifier("0.weight"), identifier("encoder.1.bias"), identifier("∂")
    ('weight_0', 'encoder_1_bias', 'v')
    """
    parts = re.findall(r"[A-Za-z0-9_]+", name)
    numbers = [part for part in parts if part[0].isdigit()]
    words = [part for part in parts if not part[0].isdigit()]
    if parts and not parts[0][0].isdigit():
        return "_".join(parts)
    return "_".join([*(words or ["v"]), *numbers])


def input_word(node: Node, place: int) -> str:
    """The op's name for an input if it is a word, such as weight; x and y say nothing."""
    inputs = getattr(node.op, "inputs", ())
    variadic = getattr(node.op, "variadic", None)
    name = "" if variadic or place >= len(inputs) else inputs[place]
    return name if len(name) > 1 else ""
