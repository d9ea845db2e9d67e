"""Where things live that a step is given: how a replay looks there, and what was there before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Condition = tuple[str, tuple[Any, ...]]
"""A Python expression, with numbered braces where the objects beside it go."""

_WORDS = {"array": "data", "node": "requires_grad"}


@dataclass(frozen=True, eq=False)
class Place:
    """Where something lives: an expression as in a Condition, and words for messages."""

    text: str
    objects: tuple[Any, ...]
    label: str

    @property
    def is_argument(self) -> bool:
        """Whether it is inside the arguments, which are others at each call."""
        return self.text.startswith(("args", "kwargs"))

    @property
    def is_fixed(self) -> bool:
        """Whether the same thing is here for ever: an object itself, or what a tuple holds."""
        in_tuple = self.text == "{0}[{1}]" and isinstance(self.objects[0], tuple)
        return self.text == "{0}" or in_tuple

    def item(self, key: Any) -> Place:
        """What is under a key of what lives here."""
        text = f"{self.text}[{{{len(self.objects)}}}]"
        return Place(text, (*self.objects, key), f"{self.label}[{key!r}]")

    def attribute(self, name: str) -> Place:
        """An attribute of what lives here."""
        return Place(f"{self.text}.{name}", self.objects, self.label)

    def condition(self, text: str, *objects: Any) -> Condition:
        """An expression of this place, {0}, and of further objects, {1} and so on."""
        shift = len(self.objects)
        names = [self.text, *[f"{{{shift + i}}}" for i in range(len(objects))]]
        return text.format(*names), (*self.objects, *objects)


def itself(value: Any, label: str) -> Place:
    """The place of what has been found to be the same as before."""
    return Place("{0}", (value,), label)


def held(holder: Any, key: Any, label: str) -> Place:
    """The place of what a list or dict holds under a key."""
    return Place("{0}[{1}]", (holder, key), label)


def attribute(owner: Any, name: str, label: str) -> Place:
    """The place of an object's attribute."""
    return Place(f"{{0}}.{name}", (owner,), label)


@dataclass(frozen=True, eq=False)
class Holder:
    """Something that holds other things, its shadow, and what the shadow held at the start.

    ``original`` is a list, a dict, or an object of which the ``names`` are attributes; None for
    what is made anew at each call. ``label`` is a form for the word of what is under a key.
    """

    original: Any
    shadow: Any
    names: tuple[str, ...]
    label: str
    before: dict[Any, Any]

    @staticmethod
    def contents(shadow: Any, names: tuple[str, ...]) -> dict[Any, Any]:
        """What it holds, by key, index or name."""
        if names:
            return {name: getattr(shadow, name) for name in names}
        return dict(shadow if isinstance(shadow, dict) else enumerate(shadow))

    def word(self, key: Any) -> str:
        """What the user calls it."""
        return self.label.format(_WORDS.get(key, key) if self.names else key)

    def changes(self) -> Iterator[tuple[Any, Any]]:
        """What the shadow holds now and did not hold at the start; None for what it has lost."""
        now = self.contents(self.shadow, self.names)
        for key in {**self.before, **now}:
            if self.before.get(key, self) is not now.get(key, self):
                yield key, now.get(key, self)


def same(a: Any, b: Any) -> bool:
    """Whether two plain values are equal, and not only as 1, 1.0 and True, or 0.0 and -0.0, are."""
    return type(a) is type(b) and repr(a) == repr(b)


def same_items(a: Any, b: Any) -> bool:
    """Whether a long list or dict of plain values is as it was."""
    if isinstance(b, dict):
        return same_items(list(a.items()), list(b.items()))
    return bool(a == b) and all(map(same, a, b))


def like(value: Any, parts: dict[Any, Any]) -> Any:
    """A tuple, list or dict of the same kind."""
    if isinstance(value, dict):
        return parts
    items = list(parts.values())
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
